"""`sentiscale synth`: write generated product reviews."""

from typing import Annotated

import typer

from sentiscale.cli.options import JsonOption, QuietOption, print_json


def synth(
    rows: Annotated[int, typer.Option("--rows", help="Number of reviews to write, half of them positive.")],
    out: Annotated[
        str,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="File to write (.txt, .csv or .jsonl), a pipe, or - for stdout.",
        ),
    ],
    seed: Annotated[
        int, typer.Option("--seed", help="Random seed; the same seed writes the same bytes on every machine.")
    ] = 0,
    format: Annotated[  # noqa: A002 - the flag's name
        str | None,
        typer.Option(
            "--format",
            metavar="NAME",
            help="Output format: fasttext, csv or jsonl.",
            show_default="by suffix",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write generated product reviews with sentiment labels, for demonstrations and scale tests.

    Word order matters in these reviews: negation, contrast and comparison reverse the meaning of single
    words. The output is fastText lines (.txt), or a table with stars, title, text and category (.csv or
    .jsonl).
    """
    from sentiscale.datasets.output import synth as write
    from sentiscale.errors import UsageError
    from sentiscale.util.terminal import make_progress

    if out == "-" and as_json:
        raise UsageError("--json and --out - both write to standard output. Remove one of them.")
    summary = write(rows, seed, out=out, format=format, force=force, progress=make_progress(quiet))
    if as_json:
        print_json(summary.model_dump())
    elif out != "-":
        print(
            f"{summary.out}: {summary.rows:,} reviews, {summary.bytes / 1e6:,.1f} MB, "
            f"{summary.types:,} different words, {summary.rows_per_s:,.0f} reviews/s"
        )
