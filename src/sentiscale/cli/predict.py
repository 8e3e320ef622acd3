"""`sentiscale predict`: label reviews, one a line in, one prediction a line out."""

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from sentiscale.cli.options import (
    ConfigOption,
    FormatOption,
    JsonOption,
    QuietOption,
    SetOption,
    StarsColumnOption,
    TextColumnOption,
    print_json,
)


def predict(
    model: Annotated[Path, typer.Argument(help="Model directory, RUN/model.")],
    file: Annotated[str, typer.Argument(metavar="[FILE|-]", help="Reviews, one a line, or a table.")] = "-",
    out: Annotated[Path | None, typer.Option(help="Write .parquet, .csv or .jsonl instead.")] = None,
    labelled: Annotated[
        bool, typer.Option("--labelled", help="The input has labels: print the accuracy at the end.")
    ] = False,
    format: FormatOption = None,  # noqa: A002 - the flag's name
    text_column: TextColumnOption = None,
    stars_column: StarsColumnOption = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Label reviews: `label<TAB>probability` for each line of the input, in the same order."""
    from sentiscale.cli.progress import make_progress
    from sentiscale.config import resolve
    from sentiscale.labelling import InputReview, Sink, label_file, opened_output
    from sentiscale.predictor import Prediction, Predictor

    given = {"format": format, "text_column": text_column, "stars_column": stars_column}
    flags = {f"prepare.{name}": value for name, value in given.items()}
    settings = resolve(config=config, overrides=overrides or (), flags=flags).prepare
    predictor = Predictor.load(model)  # fails before the input is read
    listed: list[dict[str, Any]] = []

    def keep(review: InputReview, prediction: Prediction) -> None:
        listed.append({"line": review.line, **prediction.as_dict()})

    def show(review: InputReview, prediction: Prediction) -> None:
        sys.stdout.write(f"{prediction.label}\t{prediction.probability:.4f}\n")

    with ExitStack() as stack:
        sink: Sink = keep if as_json else show
        if out is not None:
            sink = stack.enter_context(opened_output(out))
        summary = label_file(
            predictor, file, sink, settings=settings, labelled=labelled, progress=make_progress(quiet)
        )
    if summary.rejected:
        sys.stderr.write(f"{summary.rejected:,} rows could not be read and have no prediction\n")
    if as_json:
        print_json({**summary.model_dump(), "out": out, "predictions": None if out else listed})
    elif labelled and summary.accuracy is not None:
        sys.stderr.write(f"accuracy {summary.accuracy:.4f} on {summary.rows:,} rows\n")
