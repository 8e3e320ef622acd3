"""`sentiscale export`: convert a model to one ONNX file, after comparing their predictions."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sentiscale.cli.options import (
    FullOption,
    JsonOption,
    QuietOption,
    ThresholdOption,
    print_json,
    reads_reviews,
)

if TYPE_CHECKING:
    from sentiscale.config import PrepareSettings


@reads_reviews
def export(
    model: Annotated[Path, typer.Argument(help="Model directory or run directory.")],
    out: Annotated[
        Path, typer.Option(help="File to write, NAME.onnx; NAME.vocab.txt is written next to it.")
    ],
    int8: Annotated[
        bool,
        typer.Option("--int8", help="Store 8 bits per weight, a quarter of the size. Needs labelled rows."),
    ] = False,
    check: Annotated[
        str | None,
        typer.Option(
            metavar="DATA_OR_FILE", help="Prepared data or a labelled file to compare the two models on."
        ),
    ] = None,
    max_drop: Annotated[
        float, typer.Option(help="Largest drop in accuracy; a larger one is refused.")
    ] = 0.002,
    thresholds: ThresholdOption = True,
    full: FullOption = False,
    force: Annotated[bool, typer.Option("--force", help="Replace existing files.")] = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
    *,
    settings: "PrepareSettings",
) -> None:
    """Write a model for ONNX Runtime, with token ids and lengths as inputs and probabilities as output."""
    from sentiscale.inference.onnx_export import export as run_export
    from sentiscale.util.terminal import make_progress

    report = run_export(
        model,
        out,
        int8=int8,
        check=check,
        max_drop=max_drop,
        thresholds=thresholds,
        full=full,
        force=force,
        settings=settings,
        progress=make_progress(quiet),
    )
    if as_json:
        print_json(report.model_dump())
        return
    print(f"{'':12}{'MB':>9}{'reviews/s':>11}{'accuracy':>10}{'largest difference':>20}{'changed':>9}")
    for form in report.forms:
        accuracy = "-" if form.accuracy is None else f"{form.accuracy:.4f}"
        print(
            f"{form.name:12}{form.megabytes:>9.1f}{form.rows_per_s:>11,.0f}{accuracy:>10}"
            f"{form.largest_difference:>20.1e}{form.changed:>9,}"
        )
    print(f"one thread; {report.rows:,} rows: {report.checked_on}")
    print(f"wrote {report.out} (opset {report.opset}) and {report.vocabulary}")
