"""`sentiscale triage`: analyse a model's mistakes and find labels that are probably wrong."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sentiscale.cli.options import INPUT, JsonOption, QuietOption, print_json, reads_reviews

if TYPE_CHECKING:
    from sentiscale.config import PrepareSettings
    from sentiscale.label_errors.job import Triage


@reads_reviews
def triage(
    model: Annotated[Path, typer.Argument(help="Model directory, RUN/model.")],
    data: Annotated[str, typer.Argument(metavar="DATA_OR_FILE", help="Prepared data or a labelled file.")],
    out: Annotated[Path, typer.Option(metavar="FILE.html", help="HTML page to write.")],
    split: Annotated[str, typer.Option(help="Split to analyse, if DATA_OR_FILE is prepared data.")] = "test",
    category_column: Annotated[
        str | None, typer.Option(help="Column of a table to group the reviews by.", rich_help_panel=INPUT)
    ] = None,
    top: Annotated[int, typer.Option(help="Number of confident mistakes that --json lists.")] = 100,
    force: Annotated[bool, typer.Option("--force", help="Replace --out if it exists.")] = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
    *,
    settings: "PrepareSettings",
) -> None:
    """Analyse a model's mistakes: likely label errors, accuracy by length, words and category.

    Writes one HTML page that needs no network and no other file.
    """
    from sentiscale.label_errors.job import triage as write_page
    from sentiscale.util.terminal import make_progress

    written = write_page(
        model,
        data,
        out,
        split=split,
        category_column=category_column,
        top=top,
        settings=settings,
        force=force,
        progress=make_progress(quiet),
    )
    if as_json:
        print_json({"out": str(written.out), "bytes": written.bytes, **written.facts.summary()})
    else:
        _print_summary(written)


def _print_summary(written: "Triage") -> None:
    from sentiscale.label_errors.facts import accuracy_text

    facts = written.facts
    for caution in facts.cautions:
        print(f"note: {caution}")
    print(f"{facts.headline}: accuracy {accuracy_text(facts.everything)}")
    for sentence in facts.findings:
        print(f"- {sentence}")
    if facts.left_out.total:
        print(f"left out {facts.left_out.total:,} rows without a usable label or text:")
        print("\n".join(facts.left_out.lines()))
    print(f"{written.out}: {written.bytes / 1e3:,.0f} kB, opens in any browser")
