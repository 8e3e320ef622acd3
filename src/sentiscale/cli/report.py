"""`sentiscale report`: report the results of a scaling study as HTML, Markdown, a table or JSON."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sentiscale.cli.options import JsonOption, print_json

if TYPE_CHECKING:
    from sentiscale.study.analysis.study import Family, Study, StudyRow

DEFAULT_OUT = Path("report.html")
ROW_FIELDS = (
    "repeats",
    "disturbed",
    "seconds_median",
    "speedup",
    "speedup_ci95",
    "efficiency",
    "karp_flatt",
    "rows_per_s",
    "oversubscribed",
    "waiting_share",
    "bytes_per_step",
    "peak_memory_mb_per_rank",
    "accuracy",
    "reached",
)
CASE_FIELDS = (
    "kind",
    "layout",
    "collectives",
    "copies",
    "model",
    "batch_size",
    "precision",
    "device",
    "scaling",
    "engine",
)
COLUMNS = ("case", "cores", "repeats", "seconds", "95 %", "speedup", "95 %", "efficiency", "rows/s")

DIRS = typer.Argument(
    metavar="DIR...", help="Directories that `sentiscale bench` wrote; several are combined."
)
OUT = typer.Option(
    metavar="FILE.html", help="HTML page to write.", show_default="report.html; none with --json"
)
TIMINGS = typer.Option(metavar="FILE.csv", help="Times from other programs: workers,seconds[,strategy].")


def report(
    directories: Annotated[list[Path] | None, DIRS] = None,
    out: Annotated[Path | None, OUT] = None,
    markdown: Annotated[
        Path | None, typer.Option(metavar="FILE.md", help="Markdown file to write, with the same content.")
    ] = None,
    timings: Annotated[Path | None, TIMINGS] = None,
    as_json: JsonOption = False,
) -> None:
    """Report on a scaling study: speedup, efficiency, fitted laws, the recommended layout and caveats.

    Writes one HTML page that needs no network and no other file. An existing page is replaced.
    """
    from sentiscale import api

    if out is None and not as_json:
        out = DEFAULT_OUT
    study = api.report(*directories or (), timings=timings, out=out, markdown=markdown)
    written = {"page": out, "markdown": markdown}
    if as_json:
        print_json({**document(study), "out": out, "markdown": markdown})
    else:
        print_study(study, {name: path for name, path in written.items() if path is not None})


def document(study: "Study") -> dict[str, Any]:
    """JSON document of `--json`; `fit` is the fit of the first family."""
    return {
        "rows": [_row(family, row) for family in study.families for row in family.rows],
        "fit": _fit(study.families[0] if study.families else None),
        "recommendation": asdict(study.recommendation) if study.recommendation else None,
        "findings": study.findings,
        "caveats": study.caveats,
        "families": [
            {
                "name": family.name,
                "scaling": family.scaling,
                "base": family.base,
                "trend": family.trend,
                "fits": [asdict(fit) for fit in family.fits],
            }
            for family in study.families
        ],
        "hosts": [host.model_dump() for host in study.hosts],
        "versions": study.versions,
        "git_commits": study.git_commits,
        "commands": study.commands,
        "amounts": study.amounts,
    }


def _row(family: "Family", row: "StudyRow") -> dict[str, Any]:
    return {
        "family": family.name,
        **{name: getattr(row.case, name) for name in CASE_FIELDS},
        **{name: getattr(row, name) for name in ROW_FIELDS},
        "workers": row.workers,
        "threads": row.case.threads_per_rank,
        "ci95": row.seconds_ci95,
        "step_ms": row.times,
    }


def _fit(family: "Family | None") -> dict[str, Any]:
    """Parameters of the USL if it could be fitted, else of Amdahl's law (kappa is null), else all null."""
    fit = family.fits[-1] if family and family.fits else None
    parameters = fit.parameters if fit else {}
    return {
        "family": family.name if family and fit else None,
        "model": fit.model if fit else None,
        **{name: parameters.get(name) for name in ("sigma", "kappa", "lambda")},
        "best_workers": fit.best_workers if fit else None,
        "residual": fit.residual if fit else None,
        "ci95": fit.intervals if fit else {},
        "points": fit.points if fit else 0,
        "trusted_up_to": fit.trusted_up_to if fit else None,
        "caveat": fit.caveat if fit else "too few numbers of cores to fit a law",
    }


def print_study(study: "Study", written: dict[str, Path]) -> None:
    """Print the recommendation, the table of the first family and the paths of the files written."""
    print(study.headline)
    if study.recommendation:
        print(study.recommendation.why)
        print(f"Confidence: {study.recommendation.confidence}")
    print()
    _print_family(study.families[0])
    others = len(study.families) - 1
    if others:
        print(f"and {others} more {'family' if others == 1 else 'families'} of cases on the page")
    if study.caveats:
        print(f"{len(study.caveats)} caveats, the first: {study.caveats[0]}")
    for name, path in written.items():
        print(f"{name}: {path}")


def _print_family(family: "Family") -> None:
    from rich.console import Console
    from rich.table import Table

    from sentiscale.util.numbers import figure, interval, per_cent

    table = Table(box=None, header_style="bold", pad_edge=False, title=family.name, title_justify="left")
    for title in COLUMNS:
        title = "workers" if title == "cores" and family.has_only_times else title
        table.add_column(title, justify="left" if title == "case" else "right")
    for row in family.rows:
        table.add_row(
            row.name + (" (more ranks than cores)" if row.oversubscribed else ""),
            str(row.workers),
            str(row.repeats),
            figure(row.seconds_median),
            interval(row.seconds_ci95) or "-",
            "-" if row.speedup is None else figure(row.speedup),
            interval(row.speedup_ci95) or "-",
            "-" if row.efficiency is None else per_cent(row.efficiency),
            figure(row.rows_per_s) if row.rows_per_s else "-",
        )
    Console(width=None if Console().is_terminal else 120, highlight=False).print(table)
