"""A model's mistakes on labelled rows, and the findings derived from them."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sentiscale.label_errors.counts import Division, FloatArray, ReviewGroup
from sentiscale.label_errors.doubt import LabelDoubt
from sentiscale.model.metrics import expected_calibration_error
from sentiscale.records import CalibrationBin
from sentiscale.text.classes import UNSURE, Classes
from sentiscale.text.rejects import RejectCounts
from sentiscale.util.numbers import count
from sentiscale.util.templates import Finding, environment, finding, sentences

TEMPLATE = "triage.jinja"
CLEAR = 0.01
"""Minimum difference in accuracy that is reported as a finding if it is statistically significant."""
TOO_FAR = 0.02
"""Minimum difference between confidence and accuracy that is reported as a finding."""
MOST_NAMED = 3
LONGEST_TEXT = 32_768
"""Maximum number of characters kept of a review, more than a model reads of any realistic review."""


@dataclass(frozen=True)
class Mistake:
    """A row whose label the model contradicts."""

    file: str
    """File that contains the row; for prepared data, the name of the split."""
    number: int
    """Line number in the file, from 1; for prepared data, the row number in the split, from 0."""
    label: int
    """Position of the label in the classes."""
    predicted: int
    """Position of the label that the model gives; K for unsure."""
    logits: NDArray[np.float32]
    """(1,) for two classes, else (K,)."""
    chances: FloatArray
    """Probability of each class, (K,)."""
    contradiction: float
    """How clearly the model contradicts the label; see `ScoredBlock`."""
    tokens: int
    text: str
    """Text of the review; for prepared data, empty until it is read."""
    category: str | None = None

    @property
    def margin(self) -> float:
        """Normalised margin: probability of the most probable other class minus that of the label."""
        return float(np.tanh(self.contradiction / 2))

    @property
    def other(self) -> int:
        """Position of the most probable class other than the label."""
        return int(np.argmax(np.where(np.arange(len(self.chances)) == self.label, -1.0, self.chances)))

    @property
    def probability(self) -> float:
        """Probability of the most probable class other than the label."""
        return (1 + self.margin) / 2 if len(self.chances) == 2 else float(self.chances[self.other])


class TopMistakes:
    """The mistakes with the largest keys, largest first; among equal keys, the earlier ones."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._kept: list[tuple[float, Mistake]] = []

    def offer(self, keys: FloatArray, make: Callable[[int], Mistake]) -> None:
        """Add the rows of a block that have large enough keys.

        Args:
            keys: one key per row (rows,); rows with keys of 0 or less are never kept.
            make: returns the mistake for a row number; called only for rows that may be kept.
        """
        floor = max(self._kept[-1][0], 0.0) if len(self._kept) == self.most else 0.0
        chosen = np.flatnonzero(keys > floor)
        chosen = chosen[np.argsort(-keys[chosen], kind="stable")[: self.most]]
        new = [(float(keys[number]), make(number)) for number in chosen.tolist()]
        self._kept = sorted([*self._kept, *new], key=itemgetter(0), reverse=True)[: self.most]

    @property
    def rows(self) -> list[Mistake]:
        return [row for _, row in self._kept]


def random_keys(first: int, rows: int) -> FloatArray:
    """Return a reproducible pseudo-random number in (0, 1] for each of the rows `first`, `first` + 1, …

    Applies the mixing function of SplitMix64 (Steele, Lea & Flood, 2014) to the row number.
    """
    mixed = np.arange(first + 1, first + rows + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    keys: FloatArray = ((mixed >> np.uint64(11)).astype(np.float64) + 1) / 2.0**53
    return keys


@dataclass(frozen=True)
class TriageFacts:
    """Analysis of a model's predictions on labelled rows."""

    model: str
    classes: Classes
    data: str
    """Path of the prepared data or files, as given by the caller."""
    split: str | None
    """Split of prepared data; None for files."""
    left_out: RejectCounts
    """Rows in files that have no usable label or text."""
    confusion: list[list[int]]
    """Number of rows by [label][predicted class], without those labelled unsure."""
    unsure: int
    """Number of rows for which the model is not sure enough to give a label."""
    loss: float
    """Mean cross-entropy per row, in nats."""
    everything: ReviewGroup
    """All rows with a prediction."""
    calibration: list[CalibrationBin]
    divisions: list[Division]
    doubt: LabelDoubt | None
    """Doubtful labels; None if only one label occurs."""
    mistakes: list[Mistake]
    """Most confident mistakes in order of decreasing confidence, including those with a doubtful label."""
    drawn: list[Mistake]
    """Random sample of the mistakes without a doubtful label, in order of decreasing confidence."""
    cautions: list[str]
    """Caveats about the data, one sentence each."""

    @property
    def doubtful(self) -> list[Mistake]:
        """Mistakes in `mistakes` that have a doubtful label, in order of decreasing margin."""
        return [row for row in self.mistakes if self.is_doubtful(row)]

    @property
    def ece(self) -> float:
        """Expected calibration error over 15 confidence bins of equal width (Guo et al., 2017)."""
        return expected_calibration_error(self.calibration)

    @property
    def headline(self) -> str:
        """Summary such as `1,600 mistakes in 26,224 reviews`."""
        mistakes, rows = self.everything.mistakes, self.everything.rows
        return f"{count(mistakes)} mistake{'s' if mistakes != 1 else ''} in {count(rows)} reviews"

    @property
    def findings(self) -> list[str]:
        """Findings, one sentence each, the most important first."""
        return phrase(*_findings(self))

    def suggested(self, row: Mistake) -> int | None:
        """Return the class that confident learning suggests for a mistake; None without doubt."""
        return None if self.doubt is None else self.doubt.suggested(row.label, row.chances)

    def is_doubtful(self, row: Mistake) -> bool:
        return self.suggested(row) is not None

    def exchanges(self, counts: list[list[int]]) -> list[tuple[int, int, int]]:
        """Return the nonzero (rows, label, class) off the diagonal of [label][class], the most rows first."""
        found = [
            (rows, label, code)
            for label, row in enumerate(counts)
            for code, rows in enumerate(row)
            if rows and code != label
        ]
        return sorted(found, key=lambda each: (-each[0], each[1:]))

    def summary(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "data": self.data,
            "split": self.split,
            "classes": list(self.classes.names),
            "rows": self.everything.rows + self.unsure,
            "unsure": self.unsure,
            "rejected": self.left_out.total,
            "left_out": self.left_out.by_reason,
            "left_out_examples": {name: asdict(row) for name, row in self.left_out.examples.items()},
            "accuracy": self.everything.accuracy,
            "ci95": list(self.everything.interval),
            "loss": self.loss,
            "confusion": self.confusion,
            "ece": self.ece,
            "calibration": [part.model_dump() for part in self.calibration],
            "label_errors": self._label_errors(),
            "mistakes": [
                {**self._row(row), "label_doubtful": self.is_doubtful(row)} for row in self.mistakes
            ],
            "drawn": [self._row(row) for row in self.drawn],
            "groups": {part.key: [self._group(group) for group in part.groups] for part in self.divisions},
            "cautions": self.cautions,
        }

    def _label_errors(self) -> dict[str, Any] | None:
        if self.doubt is None:
            return None
        names = self.classes.names
        return {
            "thresholds": dict(zip(names, self.doubt.thresholds, strict=True)),
            "joint": self.doubt.joint,
            "doubted": dict(zip(names, self.doubt.doubted_per_label, strict=True)),
            "suggested": [
                {"label": names[label], "suggested": names[code], "rows": rows}
                for rows, label, code in self.exchanges(self.doubt.doubted)
            ],
            "estimated_share": self.doubt.noise,
            "rows": [self._row(row) for row in self.doubtful],
        }

    def _row(self, row: Mistake) -> dict[str, Any]:
        in_file = {"file": row.file, "line": row.number}
        names, suggested = (*self.classes.names, UNSURE), self.suggested(row)
        return {
            **({"split": self.split, "row": row.number} if self.split else in_file),
            "label": names[row.label],
            "given": names[row.predicted],
            "suggested": None if suggested is None else names[suggested],
            "probability": row.probability,
            "margin": row.margin,
            "tokens": row.tokens,
            "category": row.category,
            "text": row.text,
        }

    def _group(self, group: ReviewGroup) -> dict[str, Any]:
        names = ("name", "rows", "mistakes", "accuracy", "confidence")
        values = {name: getattr(group, name) for name in names}
        positive = group.positive if len(self.classes) == 2 else None
        return {**values, "positive": positive, "ci95": list(group.interval), "small": group.is_small}


def phrase(*findings: Finding) -> list[str]:
    return sentences(__package__, TEMPLATE, findings)


def accuracy_text(group: ReviewGroup) -> str:
    """Format a group's accuracy with its interval, as in `91.2 % (90.3 to 92.0)`."""
    module: Any = environment(__package__, html=False).get_template(TEMPLATE).module
    return str(module.accuracy(group))


def _findings(facts: TriageFacts) -> Iterator[Finding]:
    yield _doubt(facts)
    yield from _harder_class(facts)
    for division in facts.divisions:
        yield from _weak_groups(division, facts.everything.accuracy)
    yield finding("calibration", ece=facts.ece, is_good=facts.ece < CLEAR)
    for too_sure, sign in ((True, 1), (False, -1)):
        groups = [
            (division.title, group)
            for division in facts.divisions
            if division.key != "label"  # among rows of one label, confidence need not equal accuracy
            for group in division.groups
            if group.is_off and sign * (group.gap or 0) > TOO_FAR
        ]
        if groups:
            yield finding("miscalibrated", too_sure=too_sure, groups=groups)


def _doubt(facts: TriageFacts) -> Finding:
    if facts.doubt is None:
        return finding("one_label")
    if not facts.doubt.total:
        return finding("no_doubt")
    names, everything = facts.classes.names, facts.everything
    if len(names) == 2:
        parts = [
            (f"labelled {name}", rows)
            for name, rows in zip(names, facts.doubt.doubted_per_label, strict=True)
        ]
    else:
        parts = [
            (f"labelled {names[label]}, rather {names[code]}", rows)
            for rows, label, code in facts.exchanges(facts.doubt.doubted)
        ]
    rows, mistakes = everything.rows + facts.unsure, everything.mistakes
    return finding("doubt", total=facts.doubt.total, parts=parts, rows=rows, mistakes=mistakes)


def _harder_class(facts: TriageFacts) -> Iterator[Finding]:
    """Report the harder one of two classes; more classes are a division of the rows."""
    if len(facts.classes) > 2:
        return
    groups = [
        ReviewGroup(name, sum(row), row[label], 0, 0.0)
        for label, (name, row) in enumerate(zip(facts.classes.names, facts.confusion, strict=True))
    ]
    worse, better = sorted(groups, key=lambda group: group.accuracy)
    is_clear = worse.interval[1] < better.interval[0] and better.accuracy - worse.accuracy > CLEAR
    if is_clear and not worse.is_small and not better.is_small:
        yield finding("harder_class", worse=worse, better=better)


def _weak_groups(division: Division, accuracy: float) -> Iterator[Finding]:
    """Report the groups that are significantly less accurate than all rows together."""
    weak = [
        group
        for group in division.groups
        if not group.is_small
        and group.interval[1] < accuracy - CLEAR / 2
        and group.accuracy < accuracy - CLEAR
    ]
    if weak:
        worst = sorted(weak, key=lambda group: group.accuracy)[:MOST_NAMED]
        yield finding("weak_groups", title=division.title, groups=worst)
    elif len(division.groups) > 1:
        yield finding("no_weak_group", title=division.title)
