"""`sentiscale fetch`: download or check a public review collection."""

from pathlib import Path
from typing import Annotated

import typer

from sentiscale.cli.options import JsonOption, QuietOption, print_json


def fetch(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="Collection: amazon-polarity, with 3.6 million training and 400,000 test reviews.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Directory for the files.")],
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Download a public review collection, or check files that were downloaded by hand.

    After an interruption, repeat the command to continue. Without a network, it lists the files to download
    elsewhere; copy them to DIR and repeat the command to check them.
    """
    from sentiscale.datasets.fetch import fetch as run
    from sentiscale.util.terminal import make_progress

    summary = run(name, out, progress=make_progress(quiet))
    if as_json:
        print_json(summary.model_dump())
        return
    counts = ", ".join(f"{count:,} reviews for {split}ing" for split, count in summary.rows.items())
    print(f"{summary.out}: {counts} ({summary.source}, {summary.bytes / 1e6:,.0f} MB), complete.")
    print(f"Next: {summary.next}")
