"""Find labels that are probably wrong by confident learning, in one pass over the rows.

The method is that of Northcutt, Jiang & Chuang, "Confident learning: estimating uncertainty in dataset
labels" (JAIR 70, 2021). The threshold of a class is its mean probability over the rows with that label. A row
counts for the class whose threshold its probability reaches, or for the more probable one if it reaches both.
The contingency table of labels and these classes is the confident joint. Rows off its diagonal have a
doubtful label. They are ranked by normalised margin: the probability of the opposite class minus that of the
label.

cleanlab implements the method for any number of classes, but requires pandas and other packages. This
implementation handles two classes, and its grid of probabilities keeps memory independent of the number of
rows.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

STEPS = 2**16
"""Number of steps between 0 and 1 in which probabilities are counted; all decisions use the step of a row."""
NEAR = 1e-3
"""Tolerance for rounding errors of thresholds, as a fraction of a step."""


@dataclass(frozen=True)
class LabelDoubt:
    """Results of confident learning; class 0 is negative and class 1 positive."""

    thresholds: tuple[float, float]
    """Mean probability of each class over the rows with that label."""
    rows: tuple[int, int]
    joint: list[list[int]]
    """The confident joint, [label][class]: numbers of rows that reach the threshold of a class."""
    doubted: tuple[int, int]
    """Number of rows of each label that are off the diagonal and have another predicted class."""

    def is_doubtful(self, label: int, other: float) -> bool:
        """Return whether a row's label is doubtful, given the probability of the opposite class."""
        return step_of(other) >= least_step(self.thresholds[1 - label])

    @property
    def total(self) -> int:
        return sum(self.doubted)

    @property
    def estimated(self) -> list[list[float]]:
        """Estimated share of all rows, [label][class]: the joint, scaled to the rows of each label."""
        shares = []
        for label, counted in enumerate(self.joint):
            sure = sum(counted)
            parts = [part / sure for part in counted] if sure else [float(label == 0), float(label == 1)]
            shares.append([part * self.rows[label] / max(sum(self.rows), 1) for part in parts])
        return shares

    @property
    def noise(self) -> float:
        """Estimated share of rows with a wrong label."""
        return self.estimated[0][1] + self.estimated[1][0]


class DoubtGrid:
    """Counts of the rows of each label by the probability of the opposite class."""

    def __init__(self) -> None:
        self.rows = np.zeros((2, STEPS + 1), np.int64)
        self.own = np.zeros(2)
        """Sum of the probabilities of the rows' labels, by label."""

    def add(self, labels: NDArray[np.uint8], other: FloatArray) -> None:
        """Count rows, given the probability of the opposite class; both arrays have shape (rows,)."""
        steps = (other * STEPS).astype(np.int64)
        for label in (0, 1):
            of_label = labels == label
            self.rows[label] += np.bincount(steps[of_label], minlength=STEPS + 1)
            self.own[label] += float((1 - other[of_label]).sum())

    def result(self) -> LabelDoubt | None:
        """Compute the result; None if only one label occurs, because the other has no threshold."""
        rows = self.rows.sum(axis=1)
        if not rows.all():
            return None
        thresholds = (float(self.own[0] / rows[0]), float(self.own[1] / rows[1]))
        steps = np.arange(STEPS + 1)
        joint, doubted = [], []
        for label in (0, 1):
            reaches_other = steps >= math.ceil(thresholds[1 - label] * STEPS - NEAR)
            reaches_own = steps <= math.floor((1 - thresholds[label]) * STEPS + NEAR)
            off = reaches_other & (~reaches_own | (steps > STEPS // 2))
            counts = self.rows[label]
            pair = [int(counts[reaches_own & ~off].sum()), int(counts[off].sum())]
            joint.append(pair if label == 0 else pair[::-1])
            doubted.append(int(counts[least_step(thresholds[1 - label]) :].sum()))
        return LabelDoubt(thresholds, (int(rows[0]), int(rows[1])), joint, (doubted[0], doubted[1]))


def step_of(probability: float) -> int:
    """Return the step in which a probability is counted."""
    return int(probability * STEPS)


def least_step(threshold: float) -> int:
    """Return the first step, above the opposite class's threshold and 0.5, at which a label is doubtful."""
    return max(math.ceil(threshold * STEPS - NEAR), STEPS // 2 + 1)
