"""All that `triage` finds out about a model's mistakes, as plain values."""

from dataclasses import dataclass
from typing import Any

from sentiscale.label_errors.counts import Division, Group, KeptRow
from sentiscale.label_errors.doubt import LabelDoubt
from sentiscale.model.metrics import CalibrationBin, expected_calibration_error
from sentiscale.records import EvalCounts
from sentiscale.report.eda_counting import CLASSES


@dataclass(frozen=True)
class TriageFacts:
    """A model's answers on labelled rows, taken apart."""

    model: str
    """Its directory."""
    data: str
    """Prepared data or files, as they were given."""
    split: str | None
    """Of prepared data; None for files."""
    rejected: int
    """Rows of files without a usable label or text."""
    counts: EvalCounts
    everything: Group
    calibration: list[CalibrationBin]
    divisions: list[Division]
    doubt: LabelDoubt | None
    """None where only one label occurs."""
    mistakes: list[KeptRow]
    """Those that the model is surest of, surest first, the ones with a doubtful label included."""
    drawn: list[KeptRow]
    """Drawn by lot from the mistakes whose label is not doubtful, surest first."""
    cautions: list[str]
    """What a person should know about these rows, one sentence each."""

    @property
    def doubtful(self) -> list[KeptRow]:
        """The kept rows whose label is doubtful, by falling margin."""
        return [row for row in self.mistakes if self.is_doubtful(row)]

    @property
    def ece(self) -> float:
        """Expected calibration error over 15 equal bins of confidence (Guo et al., 2017)."""
        return expected_calibration_error(self.calibration)

    @property
    def confusion(self) -> list[list[int]]:
        """Rows by [label][class given]."""
        counts = self.counts
        return [[counts.true_negative, counts.false_positive], [counts.false_negative, counts.true_positive]]

    def is_doubtful(self, row: KeptRow) -> bool:
        """Whether confident learning doubts the label of a kept row."""
        return self.doubt is not None and self.doubt.is_doubtful(row.label, row.probability)

    def summary(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        low, high = self.everything.interval
        return {
            "model": self.model,
            "data": self.data,
            "split": self.split,
            "rows": self.everything.rows,
            "rejected": self.rejected,
            "accuracy": self.everything.accuracy,
            "ci95": [low, high],
            "loss": self.counts.loss,
            "confusion": self.confusion,
            "ece": self.ece,
            "calibration": [part.model_dump() for part in self.calibration],
            "label_errors": self._label_errors(),
            "mistakes": [
                {**_row(row, self.split), "label_doubtful": self.is_doubtful(row)} for row in self.mistakes
            ],
            "drawn": [_row(row, self.split) for row in self.drawn],
            "groups": {part.key: [_group(group) for group in part.groups] for part in self.divisions},
            "cautions": self.cautions,
        }

    def _label_errors(self) -> dict[str, Any] | None:
        if self.doubt is None:
            return None
        return {
            "thresholds": dict(zip(CLASSES, self.doubt.thresholds, strict=True)),
            "joint": self.doubt.joint,
            "doubted": dict(zip(CLASSES, self.doubt.doubted, strict=True)),
            "estimated_share": self.doubt.noise,
            "rows": [_row(row, self.split) for row in self.doubtful],
        }


def _row(row: KeptRow, split: str | None) -> dict[str, Any]:
    place = {"file": row.file, "line": row.number} if split is None else {"split": split, "row": row.number}
    return {
        **place,
        "label": CLASSES[row.label],
        "given": CLASSES[1 - row.label],
        "probability": row.probability,
        "margin": row.margin,
        "tokens": row.tokens,
        "category": row.category,
        "text": row.text,
    }


def _group(group: Group) -> dict[str, Any]:
    low, high = group.interval
    return {
        "name": group.name,
        "rows": group.rows,
        "positive": group.positive,
        "mistakes": group.mistakes,
        "accuracy": group.accuracy,
        "ci95": [low, high],
        "confidence": group.confidence,
        "small": group.is_small,
    }
