"""`sentiscale evaluate`: compute a model's scores on labelled reviews."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sentiscale.cli.options import (
    FullOption,
    JsonOption,
    QuietOption,
    ThresholdOption,
    print_json,
    print_table,
    reads_reviews,
)

if TYPE_CHECKING:
    from sentiscale.config import PrepareSettings
    from sentiscale.records import ClassScores, Interval, Scores

MAX_MATRIX = 12
"""Largest number of classes whose confusion matrix is printed."""
MAX_NAME = 16
"""Number of characters after which the name of a class is cut."""


@reads_reviews
def evaluate(
    model: Annotated[Path, typer.Argument(help="Model directory, RUN/model, or RUN.")],
    data: Annotated[str, typer.Argument(metavar="DATA_OR_FILE", help="Prepared data or a labelled file.")],
    split: Annotated[str, typer.Option(help="Split to evaluate, if DATA_OR_FILE is prepared data.")] = "test",
    thresholds: ThresholdOption = True,
    full: FullOption = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
    *,
    settings: "PrepareSettings",
) -> None:
    """Score a model on labelled reviews: accuracy, F1, loss, AUC, calibration error, confusion matrix."""
    from sentiscale.inference.evaluate import evaluate as run_evaluation
    from sentiscale.label_errors.job import cautions_of_files
    from sentiscale.model.directory import read_record
    from sentiscale.text.label_reading import values_line
    from sentiscale.text.rejects import example_lines
    from sentiscale.util.terminal import make_progress

    progress = make_progress(quiet)
    scores = run_evaluation(
        model, data, split=split, thresholds=thresholds, full=full, settings=settings, progress=progress
    )
    if cautions_of_files(read_record(model), [data]):
        sys.stderr.write(
            f"note: the model's data were prepared from {data}. Unless it was their test set, the model was "
            "trained on most of these rows, so the scores are too high.\n"
        )
    if as_json:
        print_json(scores.model_dump())
        return
    _print_scores(scores)
    _print_confusion(scores)
    if scores.label_values:
        print(f"labels: {values_line(scores.label_values)}")
    if scores.left_out:
        print(f"left out {sum(scores.left_out.values()):,} rows without a usable label or text:")
        print("\n".join(example_lines(scores.left_out, scores.left_out_examples)))


def _print_scores(scores: "Scores") -> None:
    print(
        f"accuracy {scores.accuracy:.4f} {_ends(scores.intervals.get('accuracy'))} on {scores.rows:,} rows, "
        f"balanced accuracy {scores.balanced_accuracy:.4f}, majority share {scores.majority_share:.4f}"
    )
    if scores.unsure:
        print(f"{scores.unsure:,} of these rows are labelled unsure; accuracy is that of the others")
    auc = "undefined (a class has no rows)" if scores.auc is None else f"{scores.auc:.4f}"
    print(f"macro f1 {scores.macro_f1:.4f}, auc {auc}, loss {scores.loss:.4f} nats")
    print(f"calibration error {scores.ece:.4f}")
    if scores.short_share is not None:
        branches = (("n-gram model", scores.short_accuracy), ("network", scores.network_accuracy))
        accuracies = ", ".join(f"{name} {share:.4f}" for name, share in branches if share is not None)
        print(f"{scores.short_share:.1%} of the rows needed no network; accuracy by branch: {accuracies}")
    if scores.mae is not None:
        print(f"mean absolute error {scores.mae:.4f} stars, quadratic kappa {scores.quadratic_kappa:.4f}")
    if scores.binary_accuracy is not None:
        print(f"accuracy of negative or positive {scores.binary_accuracy:.4f}, without rows between them")
    print()
    print_table(
        ("class", "rows", "precision", "recall", "f1"),
        (_class_row(name, own) for name, own in scores.per_class.items()),
        left={"class"},
    )


def _class_row(name: str, scores: "ClassScores") -> tuple[str, ...]:
    shares = (
        f"{getattr(scores, share):.4f} {_ends(scores.intervals.get(share))}"
        for share in ("precision", "recall")
    )
    return _short(name), f"{scores.rows:,}", *shares, f"{scores.f1:.4f}"


def _print_confusion(scores: "Scores") -> None:
    """Print the confusion matrix, or the most frequent confusions of many classes."""
    names = [_short(name) for name in scores.classes]
    print()
    if len(names) > MAX_MATRIX:
        pairs = [
            (rows, truth, given)
            for truth, counts in enumerate(scores.confusion)
            for given, rows in enumerate(counts)
            if truth != given and rows
        ]
        largest = sorted(pairs, key=lambda pair: -pair[0])[:MAX_MATRIX]
        rows = [(names[truth], names[given], f"{rows:,}") for rows, truth, given in largest]
        print_table(("true class", "label", "rows"), rows, left={"true class", "label"})
        return
    matrix = []
    for name, counts, own in zip(names, scores.confusion, scores.per_class.values(), strict=True):
        unsure = [own.rows - sum(counts)] if scores.unsure else []
        matrix.append((name, *(f"{rows:,}" for rows in [*counts, *unsure])))
    titles = [f"said {name}" for name in [*names, *(["unsure"] if scores.unsure else [])]]
    print_table(("true class", *titles), matrix, left={"true class"})


def _ends(interval: "Interval | None") -> str:
    return "" if interval is None else f"({interval[0]:.4f}-{interval[1]:.4f})"


def _short(name: str) -> str:
    """Cut a long name, and escape what Rich would take for markup."""
    from rich.markup import escape

    return escape(name if len(name) <= MAX_NAME else name[: MAX_NAME - 1] + "\u2026")
