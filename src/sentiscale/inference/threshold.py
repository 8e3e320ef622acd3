"""Choose the probability from which a class is the label, on labelled rows, and store it in the model.

A threshold is chosen on some rows and its scores are measured on others, because the best of many thresholds
on few rows looks better than it is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from sentiscale.config import PrepareSettings
from sentiscale.data.prepared import MANIFEST, PreparedDataset
from sentiscale.errors import DataError, SentiscaleError, UsageError, did_you_mean
from sentiscale.inference.evaluate import rows_of_files, rows_of_split
from sentiscale.inference.predictor import Predictor
from sentiscale.model.decision import Codes, Decision
from sentiscale.model.directory import file_states, load_model, store_decision
from sentiscale.model.files import model_path
from sentiscale.model.metrics import RESAMPLES, Chances, LabelArray, probabilities
from sentiscale.model.thresholds import (
    MAX_POINTS,
    Costs,
    Measure,
    ThresholdEntry,
    ThresholdPoint,
    ThresholdReport,
    ThresholdScores,
    read_threshold_report,
)
from sentiscale.records import ClassScores, Interval, now, reason_of
from sentiscale.text.classes import listed
from sentiscale.util.progress import Progress
from sentiscale.util.proportions import Z_95, wilson, wilson_lower

Numbers = NDArray[np.float64]
Flags = NDArray[np.bool_]

MARGIN = 1e-6
"""Distance of a threshold below the last row that it accepts, for other rounding in other batches."""
FEW_LABELS = 20
"""Number of rows given the label on which a precision is uncertain, whatever it is."""
ONE_ERROR = 1.0
"""Standard errors by which the precision on few rows must exceed the one asked for."""


@dataclass(frozen=True)
class Goal:
    """What a threshold is chosen for."""

    measure: Measure
    class_name: str | None = None
    """The class; None, for abstaining only, means every class."""
    target: float = 0.0
    """The precision, recall or probability; not used for costs."""
    costs: Costs | None = None

    @classmethod
    def of(
        cls,
        class_name: str | None = None,
        *,
        precision: float | None = None,
        recall: float | None = None,
        cost: Mapping[str, float] | str | None = None,
        abstain: float | None = None,
    ) -> "Goal":
        """Return the goal that exactly one of the arguments states; `cost` as {"fp": 1, "fn": 5} or text.

        Raises: UsageError when none or several are given, a value is out of range, or the class is missing.
        """
        targets: dict[Measure, float | None] = {"precision": precision, "recall": recall, "abstain": abstain}
        given = {measure: target for measure, target in targets.items() if target is not None}
        if len(given) + (cost is not None) != 1:
            raise UsageError(
                "threshold takes one of --precision X, --recall X, --cost fp=A,fn=B and --abstain X."
            )
        if class_name is None and abstain is None:
            raise UsageError("the threshold is that of one class; add --class NAME.")
        if cost is not None:
            return cls("cost", class_name, costs=costs_of(cost))
        ((measure, target),) = given.items()
        if not 0 < target <= 1:
            raise UsageError(
                f"--{measure} is {target}; it must be greater than 0 and at most 1, such as 0.9."
            )
        return cls(measure, class_name, target)


def costs_of(given: Mapping[str, float] | str) -> Costs:
    """Return the costs that a text such as fp=1,fn=5 states.

    Raises: UsageError when it does not state both costs, or one is not possible.
    """
    parts = (
        [part.partition("=")[::2] for part in given.split(",")] if isinstance(given, str) else given.items()
    )
    try:
        costs = Costs.model_validate({name.strip(): value for name, value in parts})
    except ValidationError as error:
        raise UsageError(
            f"--cost is '{given}': {reason_of(error)}. It takes the costs of a wrong label and of a missed "
            "row, such as fp=1,fn=5."
        ) from error
    if costs.fp + costs.fn == 0:
        raise UsageError("--cost has no cost: one of fp and fn must be greater than 0.")
    return costs


class LabelledPart(NamedTuple):
    """Labelled rows with the probabilities of their classes."""

    name: str
    chances: Chances
    labels: LabelArray


class ThresholdChoice(NamedTuple):
    """A threshold that was chosen, and what a reader should know about it."""

    entry: ThresholdEntry
    decision: Decision
    """The whole decision of the model with the threshold."""
    notes: list[str]
    stored: bool


def set_threshold(
    model: str | Path,
    data: str | Path,
    goal: Goal,
    *,
    split: str = "test",
    store: bool = True,
    settings: PrepareSettings | None = None,
    progress: Progress | None = None,
) -> ThresholdChoice:
    """Choose a threshold on validation rows, score it on others and store it in the model.

    Args:
        model: model directory or run directory.
        data: prepared data, or a labelled file or folder, which is divided by a hash of the text into rows to
            choose on and rows to report on.
        goal: what the threshold is chosen for.
        split: split of prepared data to report on.
        store: store the threshold; otherwise the model stays as it is.
        settings: how to read raw files.
        progress: receives progress updates.

    Raises:
        SentiscaleError: no threshold reaches the goal, or the model changed meanwhile.
        UsageError: there is no such class, or the model cannot be written.
        DataError: the model or the data cannot be used.
    """
    path = model_path(model)
    states, report = file_states(path), read_threshold_report(path) or ThresholdReport()
    predictor = Predictor(load_model(path))
    names, class_name = predictor.classes.names, goal.class_name
    check_class(names, class_name)
    chosen, reported, notes = labelled_parts(
        predictor, data, split, settings or PrepareSettings(), progress or Progress()
    )
    rest = without(predictor.decision, class_name, goal.measure)
    threshold, decision, more = choose(goal, chosen, rest)
    before = Decision(names, predictor.decision.weights)
    code = None if class_name is None else names.index(class_name)
    entry = ThresholdEntry(
        class_name=class_name,
        measure=goal.measure,
        target=None if goal.costs else goal.target,
        costs=goal.costs,
        threshold=threshold,
        chosen=part_scores(chosen, before, decision, code, goal.costs),
        reported=part_scores(reported, before, decision, code, goal.costs),
        data="".join(letter if letter.isprintable() else "?" for letter in str(data)[-1000:]),
        data_digest=PreparedDataset.open(data, verify=False).manifest.digest if is_prepared(data) else None,
        date=now(),
        curve=curve(ranking(reported, rest, code, goal.measure)),
    )
    if store:
        entries = [*report.without(class_name, goal.measure).entries, entry]
        store_decision(path, predictor.model.config, decision, ThresholdReport(entries=entries), states)
    return ThresholdChoice(entry, decision, [*notes, *more], store)


def clear_thresholds(model: str | Path, class_name: str | None = None) -> Decision:
    """Remove the thresholds of a class, or all of them, from a model; class weights of training remain.

    Returns: the decision that remains.
    Raises: UsageError when there is no such class; the errors of `store_decision`.
    """
    path = model_path(model)
    states, loaded = file_states(path), load_model(path)
    check_class(loaded.classes.names, class_name)
    decision = without(without(loaded.config.decision, class_name, "precision"), class_name, "abstain")
    report = ThresholdReport()
    if class_name is not None:  # otherwise a damaged report can be removed
        report = (read_threshold_report(path) or report).without(class_name)
    store_decision(path, loaded.config, decision, report, states)
    return decision


def check_class(names: Sequence[str], class_name: str | None) -> None:
    if class_name is not None and class_name not in names:
        raise UsageError(
            f"--class is '{class_name}', which is no class of the model.{did_you_mean(class_name, names)}"
            f" Classes: {listed(names)}."
        )


def without(decision: Decision, class_name: str | None, measure: Measure) -> Decision:
    """Return a decision without what a new threshold of the class, or of every class, replaces."""
    values = decision.abstain if measure == "abstain" else decision.thresholds
    kept = {name: value for name, value in values.items() if class_name not in (None, name)}
    return replace(decision, abstain=kept) if measure == "abstain" else replace(decision, thresholds=kept)


def is_prepared(data: str | Path) -> bool:
    return (Path(data) / MANIFEST).exists()


def labelled_parts(
    predictor: Predictor, data: str | Path, split: str, settings: PrepareSettings, progress: Progress
) -> tuple[LabelledPart, LabelledPart, list[str]]:
    """Return the rows to choose a threshold on, those to report on, and notes about them.

    Raises: DataError when the data cannot be used.
    """
    notes = []
    if is_prepared(data):
        dataset = PreparedDataset.open(data)
        if split == "test" and not dataset.manifest.rows["test"]:
            split = "valid"
            notes.append("the data have no test rows")
        parts = []
        for name in ("valid", split):
            rows = rows_of_split(predictor, dataset, name)
            parts.append(LabelledPart(name, probabilities(rows.logits), rows.labels))
        if split != "test":
            notes.append(f"the scores on split '{split}' are too good: the model has learnt from its rows")
        return parts[0], parts[1], notes
    rows = rows_of_files(predictor, str(data), settings, progress)
    chances, hashes = probabilities(rows.logits), np.asarray(rows.hashes)
    if rows.left_out.total:
        notes.append(f"{rows.left_out.total:,} rows without a usable label or text were left out")
    # The highest bit: `prepare` divides rows by the low ones, so that each half has rows of every split.
    upper = hashes >> np.uint64(63) == 1
    halves = [
        LabelledPart(name, chances[of_part], rows.labels[of_part])
        for name, of_part in (("first half", ~upper), ("second half", upper))
    ]
    if not all(len(half.labels) for half in halves):
        raise DataError(f"{data} has too few different reviews to choose a threshold on one half of them.")
    notes.append(
        f"a hash of the text divides the rows: {len(halves[0].labels):,} to choose on, "
        f"{len(halves[1].labels):,} to report on"
    )
    return halves[0], halves[1], notes


class Ranking(NamedTuple):
    """What each possible threshold gives, from the highest to the lowest; all arrays have one shape."""

    scores: Numbers
    """Score of the last row that is given the label; see `label_scores`."""
    right: Numbers
    """Number of rows that are given the label rightly."""
    labelled: Numbers
    """Number of rows that are given the label."""
    total: int
    """Number of rows that should be given the label."""

    def threshold(self, index: int) -> float:
        """Return a threshold just below a score, which rounding does not move past it."""
        score, following = float(self.scores[index]), float(np.append(self.scores, 0.0)[index + 1])
        return max((score + following) / 2, score - MARGIN)


def ranking(part: LabelledPart, rest: Decision, code: int | None, measure: Measure) -> Ranking:
    """Rank the rows by the threshold up to which they are given the label; `rest` is without it."""
    scores, right = label_scores(part, rest, code, measure)
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    # A threshold cannot tell rows of equal score apart.
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True) & (ordered > 0))
    total = len(part.labels) if code is None else int(np.sum(part.labels == code))
    return Ranking(
        ordered[ends], np.cumsum(right[order])[ends].astype(np.float64), ends + np.float64(1), total
    )


def label_scores(
    part: LabelledPart, rest: Decision, code: int | None, measure: Measure
) -> tuple[Numbers, Flags]:
    """Return the highest threshold at which each row is given the label, and whether that is right: (rows,).

    The score is 0 for a row that is not given the label at any threshold. Without a class, a row's label is
    whatever `rest` decides.
    """
    chances, names = part.chances, rest.names
    if code is None or measure == "abstain":
        codes = rest.codes(chances)
        own = np.column_stack([chances, np.zeros(len(chances))])[np.arange(len(codes)), codes]
        return np.where((codes == code) | (code is None), own, 0.0), part.labels == codes
    own, rivals = chances[:, code], np.ones(len(chances))
    for name, bound in rest.thresholds.items():
        ratio = chances[:, names.index(name)] / max(bound, 1e-12)
        rivals = np.maximum(rivals, ratio)  # below 1, the other class does not reach its threshold
    return np.where(own >= rest.abstain.get(names[code], 0.0), own / rivals, 0.0), part.labels == code


def choose(goal: Goal, part: LabelledPart, rest: Decision) -> tuple[float, Decision, list[str]]:
    """Choose a threshold; returns it, the decision with it, and notes.

    Raises: SentiscaleError when no threshold reaches the goal; DataError when the class does not occur.
    """
    if goal.measure == "abstain":
        names = rest.names if goal.class_name is None else [goal.class_name]
        return goal.target, replace(rest, abstain={**rest.abstain, **dict.fromkeys(names, goal.target)}), []
    name = str(goal.class_name)
    code = rest.names.index(name)
    ranked = ranking(part, rest, code, goal.measure)
    if not ranked.total or not len(ranked.scores):
        raise DataError(
            f"none of the {len(part.labels):,} rows to choose a threshold on is of class '{name}'."
        )
    if goal.costs is not None:
        threshold, notes = cheapest(ranked, goal.costs)
    elif goal.measure == "recall":
        threshold, notes = for_recall(ranked, goal.target, name)
    else:
        threshold, notes = for_precision(ranked, expected_precision(part, code, ranked), goal.target, name)
    return threshold, replace(rest, thresholds={**rest.thresholds, name: threshold}), notes


def for_precision(ranked: Ranking, expected: Numbers, target: float, name: str) -> tuple[float, list[str]]:
    """Choose the lowest threshold whose precision is, with some certainty, at least the one asked for.

    The lowest threshold with enough precision on a sample is one where the sample happens to be lucky. So the
    precision must also be reached by fitted probabilities, which few rows cannot move, and by one standard
    error, unless there are too few rows for that. See docs/how-to/lopsided-data.md for what this achieves.
    """
    found = ranked.right / ranked.labelled
    likely = (found >= target) & (expected >= target)
    safe = likely & (wilson_lower(ranked.right, ranked.labelled, ONE_ERROR) >= target)
    if likely.any():
        index = int(np.flatnonzero(safe if safe.any() else likely)[-1])
        labelled = ranked.labelled[index]
        if safe.any() and labelled >= FEW_LABELS:
            return ranked.threshold(index), []
        rows = f"{labelled:,.0f} of the rows to choose on are labelled '{name}' with it"
        return ranked.threshold(index), [f"the precision is uncertain: only {rows}"]
    best = int(np.argmax(np.minimum(found, expected)))
    raise SentiscaleError(
        f"no threshold gives '{name}' a precision of {target:g}. The most that can be expected is "
        f"{min(found[best], expected[best]):.3f}, with threshold {ranked.threshold(best):.4f}, where "
        f"{ranked.right[best]:,.0f} of {ranked.labelled[best]:,.0f} labels are right. Ask for less, pass "
        "more labelled rows, or train a better model: on more data, or with --preset accurate."
    )


def expected_precision(part: LabelledPart, code: int, ranked: Ranking) -> Numbers:
    """Mean of the probabilities, calibrated to these rows, of all rows that each threshold accepts.

    A logistic curve is fitted to the class against the rest (Platt, 1999), because the shares of the classes
    may differ from those in training.
    """
    from sklearn.linear_model import LogisticRegression  # slow to import; not needed for prediction

    truth, own = part.labels == code, np.clip(part.chances[:, code], 1e-12, 1 - 1e-12)
    if truth.all():
        return np.ones(len(ranked.scores))
    logits = np.log(own / (1 - own))[:, None]
    fitted = LogisticRegression(C=1e4, max_iter=1000).fit(logits, truth).predict_proba(logits)[:, 1]
    means: Numbers = np.cumsum(np.sort(fitted)[::-1])[ranked.labelled.astype(int) - 1] / ranked.labelled
    return means


def for_recall(ranked: Ranking, target: float, name: str) -> tuple[float, list[str]]:
    """Choose the highest threshold whose recall is at least the one asked for."""
    found = ranked.right / ranked.total
    if found[-1] < target:
        raise SentiscaleError(
            f"no threshold gives '{name}' a recall of {target:g}. The most is {found[-1]:.3f}, because the "
            "thresholds of other classes, or abstaining, take the other rows; --clear removes them."
        )
    return ranked.threshold(int(np.argmax(found >= target))), []


def cheapest(ranked: Ranking, costs: Costs) -> tuple[float, list[str]]:
    """Choose the threshold with the lowest cost, of equal ones that nearest to what calibration suggests."""
    missed = ranked.total - ranked.right
    total = costs.fp * (ranked.labelled - ranked.right) + costs.fn * missed
    expected = costs.fp / (costs.fp + costs.fn)  # of calibrated probabilities (Elkan, 2001)
    index = int(np.lexsort([np.abs(ranked.scores - expected), total])[0])
    threshold = ranked.threshold(index)
    if costs.fn * ranked.total < total[index]:  # never giving the label is cheapest
        threshold = (1 + float(ranked.scores[0])) / 2
    return threshold, [f"for perfectly calibrated probabilities, the threshold would be {expected:.4f}"]


def part_scores(
    part: LabelledPart, before: Decision, after: Decision, code: int | None, costs: Costs | None
) -> ThresholdScores:
    """Score the labels of both decisions."""
    classes = len(after.names)
    labels_before, labels = before.codes(part.chances), after.codes(part.chances)
    cost = mean_cost(part.labels, labels, code, costs)
    cost_before = mean_cost(part.labels, labels_before, code, costs)
    return ThresholdScores(
        part=part.name,
        rows=len(part.labels),
        before=scores_of(part.labels, labels_before, code, classes),
        after=scores_of(part.labels, labels, code, classes),
        unsure=float(np.mean(labels == classes)),
        cost_before=cost_before[0] if cost_before else None,
        cost=cost[0] if cost else None,
        cost_interval=cost[1] if cost else None,
    )


def scores_of(truth: LabelArray, labels: Codes, code: int | None, classes: int) -> ClassScores:
    """Score the labels of a class, or of all classes together; see `ThresholdEntry`."""
    given = labels < classes if code is None else labels == code
    wanted = np.ones(len(truth), bool) if code is None else truth == code
    right = given & (labels == truth)
    counts = [int(np.sum(flags)) for flags in (right, given, wanted)]
    kinds = np.bincount(4 * right + 2 * given + wanted, minlength=8)
    samples = np.random.default_rng(0).multinomial(len(truth), kinds / len(truth), RESAMPLES)
    f1 = (
        2
        * samples[:, 4:].sum(axis=1)
        / np.maximum(samples[:, [2, 3, 6, 7]].sum(axis=1) + samples[:, 1::2].sum(axis=1), 1)
    )
    low, high = np.percentile(f1, [2.5, 97.5]).tolist()
    return ClassScores(
        precision=counts[0] / max(counts[1], 1),
        recall=counts[0] / max(counts[2], 1),
        f1=2 * counts[0] / max(counts[1] + counts[2], 1),
        rows=counts[2],
        intervals={
            "precision": wilson(counts[0], counts[1]),
            "recall": wilson(counts[0], counts[2]),
            "f1": (low, high),
        },
    )


def mean_cost(
    truth: LabelArray, labels: Codes, code: int | None, costs: Costs | None
) -> tuple[float, Interval] | None:
    """Return the mean cost of a row and its 95 % interval, by the normal approximation."""
    if costs is None:
        return None
    paid = costs.fp * ((labels == code) & (truth != code)) + costs.fn * ((labels != code) & (truth == code))
    mean, half = float(paid.mean()), Z_95 * float(paid.std()) / len(paid) ** 0.5
    return mean, (max(0.0, mean - half), mean + half)


def curve(ranked: Ranking) -> list[ThresholdPoint]:
    """Return at most 200 points of the precision-recall curve, evenly spaced in recall."""
    if not len(ranked.scores):
        return []
    levels = np.linspace(ranked.right[0], ranked.right[-1], MAX_POINTS)
    return [
        ThresholdPoint(
            recall=ranked.right[index] / max(ranked.total, 1),
            precision=ranked.right[index] / ranked.labelled[index],
            threshold=ranked.scores[index],
        )
        for index in np.unique(np.searchsorted(ranked.right, levels)).tolist()
    ]
