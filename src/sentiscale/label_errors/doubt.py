"""Which labels are probably wrong: confident learning, from counts in one pass over the rows.

Northcutt, Jiang & Chuang, "Confident learning: estimating uncertainty in dataset labels" (JAIR 70, 2021). A
class' threshold is its mean probability on the rows labelled so. A row counts for the class whose threshold
its probability reaches, the likelier one where it reaches both; the table of labels against these classes is
the confident joint. Rows off its diagonal have a doubtful label. They are ranked by normalised margin: the
probability of the other class less that of the label.

cleanlab does the same for any number of classes, but needs pandas and more. For two classes the lines below
do, and a grid of probabilities keeps their memory independent of the number of rows.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

STEPS = 2**16
"""Probabilities are counted in steps of one in so many; what is decided of a row is decided on its step."""
NEAR = 1e-3
"""Of a step: what rounding may add to a threshold."""


@dataclass(frozen=True)
class LabelDoubt:
    """Results of confident learning; class 0 is negative, 1 positive."""

    thresholds: tuple[float, float]
    """Mean probability of each class on the rows labelled so."""
    rows: tuple[int, int]
    joint: list[list[int]]
    """The confident joint: [label][class], rows that are sure enough for one of them."""
    doubted: tuple[int, int]
    """Rows of each label that are off the diagonal and whose label the model does not predict."""

    def is_doubtful(self, label: int, other: float) -> bool:
        """Whether a row's label is doubtful, by the probability of the other class."""
        return step_of(other) >= least_step(self.thresholds[1 - label])

    @property
    def total(self) -> int:
        return sum(self.doubted)

    @property
    def estimated(self) -> list[list[float]]:
        """Share of all rows by [label][class]: the joint, each label scaled to its rows."""
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
    """Rows of each label by the probability of the other class."""

    def __init__(self) -> None:
        self.rows = np.zeros((2, STEPS + 1), np.int64)
        self.own = np.zeros(2)
        """Sum over rows of the probability of their label."""

    def add(self, labels: NDArray[np.uint8], other: FloatArray) -> None:
        """Count rows; shapes (rows,), probabilities between 0 and 1."""
        steps = (other * STEPS).astype(np.int64)
        for label in (0, 1):
            of_label = labels == label
            self.rows[label] += np.bincount(steps[of_label], minlength=STEPS + 1)
            self.own[label] += float((1 - other[of_label]).sum())

    def result(self) -> LabelDoubt | None:
        """None where one of the labels does not occur, as it has no threshold then."""
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
    """The step that a probability is counted in."""
    return int(probability * STEPS)


def least_step(threshold: float) -> int:
    """The first step of the other class that makes a label doubtful: beyond its threshold and beyond half."""
    return max(math.ceil(threshold * STEPS - NEAR), STEPS // 2 + 1)
