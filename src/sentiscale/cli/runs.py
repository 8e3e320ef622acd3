"""`sentiscale runs`: list, compare and clean up run directories."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sentiscale.cli.options import JsonOption, print_json

if TYPE_CHECKING:
    from sentiscale.study.runs import RunComparison, RunSummary

SORTS = ("when", "accuracy", "seconds")
CLEAN = typer.Option(
    "--clean",
    help="List files to delete: checkpoints of finished runs, leftovers of runs that stopped early.",
)


def runs(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[DIR...]",
            help="Run directories, or folders that contain some.",
            show_default="current directory",
        ),
    ] = None,
    sort: Annotated[str, typer.Option(help="Sort order: when (newest first), accuracy or seconds.")] = "when",
    compare: Annotated[
        bool, typer.Option("--compare", help="Compare settings and results of the runs.")
    ] = False,
    clean: Annotated[bool, CLEAN] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Delete the files that --clean lists.")] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="List the files without deleting them, as --clean does without --yes."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List the training runs in folders, compare runs, or delete files that are no longer needed."""
    from sentiscale.study.runs import compare_runs, ordered, runs_in

    check(sort, compare=compare, clean=clean, yes=yes, dry_run=dry_run)
    given = folders or [Path()]
    if compare:
        comparison = compare_runs(folders or [])
        print_json(comparison.model_dump()) if as_json else print_comparison(comparison)
        return
    found = ordered(runs_in(given), sort)
    if clean:
        clean_up(found, delete=yes, as_json=as_json)
    elif as_json:
        print_json({"runs": [run.model_dump(mode="json") for run in found]})
    elif found:
        print_runs(found)
    else:
        print(f"no run in {', '.join(map(str, given))}; `sentiscale train DATA --out RUN` makes one")


def check(sort: str, *, compare: bool, clean: bool, yes: bool, dry_run: bool) -> None:
    """Raise UsageError for flags that cannot be combined."""
    from sentiscale.errors import UsageError, did_you_mean

    if sort not in SORTS:
        raise UsageError(f"--sort is '{sort}'.{did_you_mean(sort, SORTS)} Allowed: {', '.join(SORTS)}.")
    if compare and clean:
        raise UsageError("--compare and --clean cannot be combined; use one at a time.")
    if yes and dry_run:
        raise UsageError("--yes deletes files and --dry-run does not; use only one of them.")
    if (yes or dry_run) and not clean:
        raise UsageError(f"{'--yes' if yes else '--dry-run'} needs --clean; add --clean, or remove the flag.")


def clean_up(found: Sequence["RunSummary"], *, delete: bool, as_json: bool) -> None:
    """List the files that are no longer needed, or delete them."""
    from sentiscale.study.runs import carry_out, plan_cleaning

    planned = plan_cleaning(found)
    removed = carry_out(planned) if delete else planned
    total = sum(removal.bytes for removal in removed)
    if as_json:
        removals = [removal.model_dump(mode="json") for removal in removed]
        print_json({"deleted": delete, "bytes": total, "removals": removals})
        return
    for removal in removed:
        names = ", ".join(Path(path).name for path in removal.paths)
        print(f"{removal.run}: {removal.bytes / 1e6:,.1f} MB: {names} ({removal.why})")
    if len(removed) < len(planned):
        sys.stderr.write(
            f"{len(planned) - len(removed)} runs changed in the meantime; their files were not deleted\n"
        )
    if not removed:
        print("nothing to remove")
    elif delete:
        print(f"removed {total / 1e6:,.1f} MB from {len(removed)} runs")
    else:
        print(f"{total / 1e6:,.1f} MB in {len(removed)} runs; nothing was deleted. Add --yes to delete.")


def print_runs(found: Sequence["RunSummary"]) -> None:
    rows = [
        [
            run.run,
            run.started_at.astimezone().strftime("%Y-%m-%d %H:%M") if run.started_at else "-",
            "-" if run.cell is None else run.cell + (" + wide" if run.wide else ""),
            run.layout or "-",
            number(run.train_rows, ",d"),
            number(run.accuracy, ".4f") + (" (valid)" if run.split == "valid" else ""),
            number(run.loss, ".4f"),
            number(run.train_seconds, ",.1f"),
            number(run.rows_per_s, ",.0f"),
            run.status,
        ]
        for run in found
    ]
    titles = ["run", "when", "model", "layout", "rows", "accuracy", "loss", "seconds", "reviews/s", "status"]
    print_table(titles, rows, words={0, 1, 2, 3, 9})
    for run in found:
        if run.failure:
            print(f"{run.run}: {' '.join(run.failure.split())[:200]}")
    if len({run.data_digest for run in found if run.data_digest}) > 1:
        print("these runs used different data, so their accuracies are not comparable (see --compare)")


def print_comparison(found: "RunComparison") -> None:
    """Print the settings that differ, then the results, with one column per run."""
    for heading, lines in (("settings that differ", found.settings), ("results", found.results)):
        rows = [[line.name, *map(as_cell, line.values)] for line in lines]
        print_table([heading, *found.runs], rows or [["none"]], words={0})
        print()
    for note in found.notes:
        print(f"note: {note}")


def print_table(titles: Sequence[str], rows: Sequence[Sequence[str]], words: set[int]) -> None:
    """Print a table without truncating cells, as rich would; `words` are the columns to align left."""
    widths = [max(len(row[i]) for row in (titles, *rows) if i < len(row)) for i in range(len(titles))]
    for row in (titles, *rows):
        cells = (
            cell.ljust(width) if place in words else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=False))
        )
        print("  ".join(cells).rstrip())


def number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def as_cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    if isinstance(value, list) and len(value) > 4:
        return f"{len(value)} entries"
    text = "-" if value is None else f"{value:,d}" if type(value) is int else str(value)
    return text if len(text) <= 40 else f"{text[:39]}…"
