"""`sentiscale evaluate`: compute a model's scores on labelled reviews."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sentiscale.cli.options import JsonOption, QuietOption, print_json, reads_reviews

if TYPE_CHECKING:
    from sentiscale.config import PrepareSettings


@reads_reviews
def evaluate(
    model: Annotated[Path, typer.Argument(help="Model directory, RUN/model.")],
    data: Annotated[str, typer.Argument(metavar="DATA_OR_FILE", help="Prepared data or a labelled file.")],
    split: Annotated[str, typer.Option(help="Split to evaluate, if DATA_OR_FILE is prepared data.")] = "test",
    quiet: QuietOption = False,
    as_json: JsonOption = False,
    *,
    settings: "PrepareSettings",
) -> None:
    """Score a model on labelled reviews: accuracy, loss, F1, AUC, calibration error, confusion matrix."""
    from sentiscale.inference.evaluate import evaluate as run_evaluation
    from sentiscale.label_errors.job import cautions_of_files
    from sentiscale.model.directory import read_record
    from sentiscale.text.label_reading import values_line
    from sentiscale.text.rejects import example_lines
    from sentiscale.util.terminal import make_progress

    scores = run_evaluation(model, data, split=split, settings=settings, progress=make_progress(quiet))
    if cautions_of_files(read_record(model), [data]):
        sys.stderr.write(
            f"note: the model's data were prepared from {data}. Unless it was their test set, the model was "
            "trained on most of these rows, so the scores are too high.\n"
        )
    if as_json:
        print_json(scores.model_dump())
        return
    (negative_right, negative_wrong), (positive_wrong, positive_right) = scores.confusion
    auc = "undefined (one class)" if scores.auc is None else f"{scores.auc:.4f}"
    print(f"accuracy {scores.accuracy:.4f} on {scores.rows:,} rows; loss {scores.loss:.4f} nats")
    print(f"f1 {scores.f1:.4f}, precision {scores.precision:.4f}, recall {scores.recall:.4f}, auc {auc}")
    print(f"calibration error {scores.ece:.4f}")
    print("                 said negative  said positive")
    print(f"truly negative   {negative_right:13,}  {negative_wrong:13,}")
    print(f"truly positive   {positive_wrong:13,}  {positive_right:13,}")
    if scores.label_values:
        print(f"labels: {values_line(scores.label_values)}")
    if scores.left_out:
        print(f"left out {sum(scores.left_out.values()):,} rows without a usable label or text:")
        print("\n".join(example_lines(scores.left_out, scores.left_out_examples)))
