"""`sentiscale eda`: describe a prepared dataset in an HTML page."""

from pathlib import Path
from typing import Annotated

import typer

from sentiscale.cli.options import JsonOption, QuietOption, print_json


def eda(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Prepared data.")],
    out: Annotated[Path, typer.Option(metavar="FILE.html", help="HTML page to write.")],
    force: Annotated[bool, typer.Option("--force", help="Replace --out if it exists.")] = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Describe prepared data in one HTML page: class balance, lengths, vocabulary, typical words, samples.

    The page needs no network and no other file.
    """
    from sentiscale.report.eda import eda as write_page
    from sentiscale.util.terminal import make_progress

    written = write_page(data, out, force=force, progress=make_progress(quiet))
    facts = written.facts
    if as_json:
        print_json({"out": str(written.out), "bytes": written.bytes, **facts.summary()})
        return
    for warning in facts.manifest.warnings:
        print(f"note: {warning}")
    for label, terms in facts.words.items():
        print(f"{label}:  {', '.join(term.text for term in terms[:8]) or 'no word stands out'}")
    print(f"{written.out}: {written.bytes / 1e3:,.0f} kB, opens in any browser")
