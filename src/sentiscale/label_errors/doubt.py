"""Find labels that are probably wrong by confident learning, in one pass over the rows.

The method is that of Northcutt, Jiang & Chuang, "Confident learning: estimating uncertainty in dataset
labels" (JAIR 70, 2021). The threshold of a class is its mean probability over the rows with that label. A row
counts for the class whose threshold its probability reaches, or for the most probable one of several. The
contingency table of labels and these classes is the confident joint. A row off its diagonal has a doubtful
label, and this class is suggested for it, if it is more probable than the label. Doubtful rows are ranked by
normalised margin: the probability of the most probable other class minus that of the label.

cleanlab implements the method too, but requires pandas and other packages, and all probabilities in memory.
"""

from dataclasses import dataclass
from functools import cached_property
from tempfile import SpooledTemporaryFile

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

STEPS = 2**16
"""Thresholds are rounded up to a multiple of 1 / STEPS, so that rounding errors of the mean do not matter."""
NEAR = 1e-3
"""Tolerance for rounding errors of thresholds, as a fraction of a step."""
MOST_IN_MEMORY = 64 * 2**20
"""Bytes of probabilities that are kept in memory; more are written to a temporary file."""
BLOCK_ROWS = 65_536
NONE = -1


@dataclass(frozen=True)
class LabelDoubt:
    """Results of confident learning; classes are given by their positions."""

    thresholds: tuple[float | None, ...]
    """Mean probability of each class over the rows with that label; None for a class without rows."""
    rows: tuple[int, ...]
    """Number of rows of each label."""
    joint: list[list[int]]
    """The confident joint, [label][class]: numbers of rows that reach the threshold of a class."""
    doubted: list[list[int]]
    """Number of rows with a doubtful label, [label][suggested class]."""

    @cached_property
    def bounds(self) -> FloatArray:
        """Smallest probability of each class at which the model is sure of it, (K,)."""
        means = np.array([np.inf if mean is None else mean for mean in self.thresholds])
        return np.asarray(np.ceil(means * STEPS - NEAR) / STEPS)

    def suggested(self, label: int, chances: FloatArray) -> int | None:
        """Return the class suggested for a row, given its probabilities (K,); None without doubt."""
        stored = _stored(chances[None])
        (code,) = suggestions(np.array([label]), _sure(stored, self.bounds), stored)
        return None if code == NONE else int(code)

    @property
    def doubted_per_label(self) -> list[int]:
        return [sum(counts) for counts in self.doubted]

    @property
    def total(self) -> int:
        return sum(self.doubted_per_label)

    @property
    def estimated(self) -> list[list[float]]:
        """Estimated share of all rows, [label][class]: the joint, scaled to the rows of each label."""
        shares = []
        for label, counted in enumerate(self.joint):
            sure = sum(counted)
            parts = [part / sure if sure else float(code == label) for code, part in enumerate(counted)]
            shares.append([part * self.rows[label] / max(sum(self.rows), 1) for part in parts])
        return shares

    @property
    def wrong_per_label(self) -> list[float]:
        """Estimated share of all rows that have this label and another class, [label]."""
        return [
            sum(part for code, part in enumerate(parts) if code != label)
            for label, parts in enumerate(self.estimated)
        ]

    @property
    def noise(self) -> float:
        """Estimated share of rows with a wrong label."""
        return sum(self.wrong_per_label)


class DoubtCounter:
    """The labels and probabilities of all rows, to be compared with the thresholds once these are known."""

    def __init__(self, classes: int) -> None:
        self.rows = np.zeros(classes, np.int64)
        self.own = np.zeros(classes)
        """Sum of the probabilities of the rows' labels, by label."""
        self._record = np.dtype([("label", np.uint8), ("chances", np.float32, (classes,))])
        self._file = SpooledTemporaryFile(MOST_IN_MEMORY)  # noqa: SIM115 - closed with this object

    def __del__(self) -> None:
        self._file.close()

    def add(self, labels: NDArray[np.uint8], chances: FloatArray) -> None:
        """Count rows, given their labels (rows,) and the probabilities of all classes (rows, K)."""
        classes = len(self.rows)
        self.rows += np.bincount(labels, minlength=classes)
        self.own += [chances[labels == label, label].sum() for label in range(classes)]
        records = np.empty(len(labels), self._record)
        records["label"], records["chances"] = labels, _stored(chances)
        self._file.write(records.tobytes())

    def result(self) -> LabelDoubt | None:
        """Compute the result after all rows; None if fewer than two labels occur: nothing to suggest."""
        classes = len(self.rows)
        joint, doubted = np.zeros((2, classes, classes + 1), np.int64)
        means = [float(own / rows) if rows else None for own, rows in zip(self.own, self.rows, strict=True)]
        found = LabelDoubt(tuple(means), tuple(self.rows.tolist()), [], [])
        self._file.seek(0)
        while block := self._file.read(BLOCK_ROWS * self._record.itemsize):
            records = np.frombuffer(block, self._record)
            labels, chances = records["label"].astype(np.int64), records["chances"]
            sure = _sure(chances, found.bounds)
            # The place for NONE is the last one, which is left out.
            np.add.at(joint, (labels, sure), 1)
            np.add.at(doubted, (labels, suggestions(labels, sure, chances)), 1)
        if np.count_nonzero(self.rows) < 2:
            return None
        return LabelDoubt(found.thresholds, found.rows, joint[:, :-1].tolist(), doubted[:, :-1].tolist())


def suggestions(labels: IntArray, sure: IntArray, chances: NDArray[np.floating]) -> IntArray:
    """Return the class suggested for each row, (rows,), or NONE if its label is not doubtful.

    Args:
        labels: label of each row (rows,).
        sure: class of which the model is sure, or NONE (rows,).
        chances: probabilities of the classes (rows, K).
    """
    rows = np.arange(len(labels))
    doubtful = (sure != NONE) & (sure != labels) & (chances[rows, sure] > chances[rows, labels])
    return np.where(doubtful, sure, NONE)


def _sure(chances: NDArray[np.float32], bounds: FloatArray) -> IntArray:
    """Return for each row the most probable class that reaches its bound, or NONE, (rows,)."""
    reached = np.where(chances >= bounds, chances, -1.0)
    return np.where(reached.max(axis=1) >= 0, reached.argmax(axis=1), NONE)


def _stored(chances: FloatArray) -> NDArray[np.float32]:
    """Round probabilities to what the file holds, so that rows are judged alike at any time."""
    return chances.astype(np.float32)
