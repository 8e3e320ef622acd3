"""`sentiscale threshold`: choose from which probability on a class is the label; store it in the model."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sentiscale.cli.options import JsonOption, QuietOption, print_json, print_table, reads_reviews

if TYPE_CHECKING:
    from sentiscale.config import PrepareSettings
    from sentiscale.inference.threshold import ThresholdChoice
    from sentiscale.model.decision import Decision

CLASS = typer.Option("--class", metavar="NAME", help="The class.", show_default="every class, with --abstain")
PRECISION = typer.Option(help="Share of the class's labels that must be right.")
RECALL = typer.Option(help="Share of the class's rows that must be given its label.")
COST = typer.Option(metavar="fp=A,fn=B", help="Costs of a wrong label, and of a missed row of the class.")
ABSTAIN = typer.Option(help="Probability below which a label becomes unsure.")
SPLIT = typer.Option(help="Split of prepared data to report on.")


@reads_reviews
def threshold(
    model: Annotated[Path, typer.Argument(help="Run or model directory.")],
    data: Annotated[
        str | None, typer.Argument(metavar="DATA_OR_FILE", help="Prepared data or a labelled file.")
    ] = None,
    class_name: Annotated[str | None, CLASS] = None,
    precision: Annotated[float | None, PRECISION] = None,
    recall: Annotated[float | None, RECALL] = None,
    cost: Annotated[str | None, COST] = None,
    abstain: Annotated[float | None, ABSTAIN] = None,
    split: Annotated[str, SPLIT] = "test",
    no_store: Annotated[bool, typer.Option("--no-store", help="Only print it.")] = False,
    clear: Annotated[bool, typer.Option("--clear", help="Remove thresholds, with --class its.")] = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
    *,
    settings: "PrepareSettings",
) -> None:
    """Choose from which probability on a class is the label, and store it in the model.

    The threshold is chosen on the validation rows and reported on the split named; a labelled file is divided
    by a hash of the text. Everything that uses the model applies it, unless called with --no-threshold.
    """
    from sentiscale.errors import UsageError

    if clear:
        clear_model(model, class_name, as_json=as_json)
        return
    if data is None:
        raise UsageError("threshold needs labelled reviews: sentiscale threshold MODEL DATA_OR_FILE ...")
    from sentiscale.inference.threshold import Goal, set_threshold
    from sentiscale.label_errors.job import cautions_of_files
    from sentiscale.model.directory import read_record
    from sentiscale.util.terminal import make_progress

    goal = Goal.of(class_name, precision=precision, recall=recall, cost=cost, abstain=abstain)
    chosen = set_threshold(
        model, data, goal, split=split, store=not no_store, settings=settings, progress=make_progress(quiet)
    )
    if cautions_of_files(read_record(model), [data]):
        chosen.notes.append(
            f"the model's data were prepared from {data}. Unless it was their test set, the model was "
            "trained on most of these rows, so the scores are too good"
        )
    for note in chosen.notes:
        sys.stderr.write(f"note: {note}.\n")
    if as_json:
        print_json(document(chosen))
    else:
        print_choice(chosen, model)


def clear_model(model: Path, class_name: str | None, *, as_json: bool) -> None:
    from sentiscale.inference.threshold import clear_thresholds

    decision = clear_thresholds(model, class_name)
    if as_json:
        keys = ("threshold", "precision", "recall", "rows", "interval")
        print_json({"class": class_name, **dict.fromkeys(keys), **document_of(decision)})
    else:
        print(f"{model} has no thresholds{f' for {class_name}' if class_name else ''} now")


def document(chosen: "ThresholdChoice") -> dict[str, Any]:
    """Return the JSON document, whose scores are those on the rows reported on."""
    entry = chosen.entry
    after = entry.reported.after
    intervals = {**after.intervals, "cost": entry.reported.cost_interval}
    of_goal = "precision" if entry.measure == "abstain" else entry.measure
    return {
        "class": entry.class_name,
        "threshold": entry.threshold,
        "measure": entry.measure,
        "target": entry.target,
        "costs": entry.costs and entry.costs.model_dump(),
        "precision": after.precision,
        "recall": after.recall,
        "f1": after.f1,
        "rows": entry.reported.rows,
        "interval": intervals[of_goal],
        "intervals": intervals,
        "unsure": entry.reported.unsure,
        "chosen": entry.chosen.model_dump(),
        "reported": entry.reported.model_dump(),
        "notes": chosen.notes,
        "stored": chosen.stored,
        **document_of(chosen.decision),
    }


def document_of(decision: "Decision") -> dict[str, Any]:
    return {"thresholds": dict(decision.thresholds), "abstain": dict(decision.abstain)}


def print_choice(chosen: "ThresholdChoice", model: Path) -> None:
    entry, reported = chosen.entry, chosen.entry.reported
    wanted = f"{entry.measure} {entry.target:g}" if entry.costs is None else f"costs {entry.costs}"
    print(
        f"{entry.class_name or 'every class'}: threshold {entry.threshold:.4f} for {wanted}, chosen on "
        f"{entry.chosen.rows:,} rows ({entry.chosen.part})"
    )
    measures = ("precision", "recall", "f1")
    rows = []
    for title, scores in (("without", reported.before), ("with", reported.after)):
        cells = [f"{getattr(scores, name):.4f} [{{:.4f}}, {{:.4f}}]" for name in measures]
        ends = [scores.intervals[name] for name in measures]
        rows.append([title, *(cell.format(*end) for cell, end in zip(cells, ends, strict=True))])
    of_class = f", {reported.after.rows:,} of the class" if entry.class_name else ""
    heading = f"{reported.part}, {reported.rows:,} rows{of_class}; 95 % intervals"
    print_table(["threshold", *measures], rows, left=("threshold",), heading=heading)
    if reported.unsure:
        print(f"unsure {reported.unsure:.1%} of the rows")
    if reported.cost is not None:
        print(f"mean cost {reported.cost:.4f} a row, without threshold {reported.cost_before:.4f}")
    kept = f"stored in {model}; --no-threshold ignores it" if chosen.stored else "not stored"
    print(kept)
