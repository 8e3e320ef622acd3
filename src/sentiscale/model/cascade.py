"""The cascade: rows of which the n-gram model is sure are answered without the network.

The margin of a row is the difference of its two largest logits; with one logit for two classes, its absolute
value. Rows are routed by the margin of the calibrated n-gram model.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from sentiscale.config import CascadeSettings
from sentiscale.model.decision import Codes, Decision
from sentiscale.model.metrics import calibration_bins, expected_calibration_error, loss_sum, probabilities
from sentiscale.model.ngrams import FloatArray
from sentiscale.model.wide import Combination

BoolArray = npt.NDArray[np.bool_]

MARGINS = np.arange(0.5, 8.01, 0.25)
"""Margins that `Cascade.fit` tries."""


@dataclass(frozen=True)
class Cascade:
    """The smallest margin of a row that skips the network, and the calibration of the n-gram model alone."""

    margin: float
    calibration: Combination
    """Its factor of the network is 0."""

    @classmethod
    def fit(
        cls,
        wide_logits: FloatArray,
        full_logits: FloatArray,
        labels: npt.NDArray[np.uint8],
        settings: CascadeSettings,
        decision: Decision,
        row_weights: FloatArray | None = None,
    ) -> Self | None:
        """Choose the smallest margin that keeps the changes of the answers within the bounds of `settings`.

        Args:
            wide_logits: logits of the n-gram model on validation rows, (rows,) or (rows, K).
            full_logits: logits of both models together, with the same shape.
            labels: position of each row's class, (rows,).
            settings: the bounds.
            decision: how labels follow from probabilities.
            row_weights: weight of each row in the calibration, (rows,); all 1 by default.

        Returns: None if there are too few rows, or no margin is within the bounds.
        """
        if not settings.enabled or len(labels) < settings.least_rows or len(np.unique(labels)) < 2:
            return None
        calibration = Combination.fit_wide(wide_logits, labels, row_weights)
        short = calibration.logits(np.zeros_like(wide_logits), wide_logits)
        accuracy, loss, ece, full_codes = _scores(full_logits, labels, decision)
        for margin in MARGINS.tolist():
            settled = margins(short) >= margin
            logits = joined(settled, short, full_logits)
            own_accuracy, own_loss, own_ece, own_codes = _scores(logits, labels, decision)
            if (
                settled.any()
                and np.mean(own_codes != full_codes) <= settings.max_changed
                and accuracy - own_accuracy <= settings.max_accuracy_loss
                and own_loss - loss <= settings.max_loss_increase
                and own_ece - ece <= settings.max_ece_increase
            ):
                return cls(margin, calibration)
        return None

    def logits(self, wide_logits: FloatArray) -> tuple[FloatArray, BoolArray]:
        """Return calibrated logits of the n-gram model, and which rows they settle: (rows,)."""
        short = self.calibration.logits(np.zeros_like(wide_logits), wide_logits)
        return short, margins(short) >= np.float32(self.margin)


def margins(logits: FloatArray) -> FloatArray:
    """Difference of the two largest logits of each row, (rows,), from logits (rows,) or (rows, K)."""
    if logits.ndim == 1:
        return np.abs(logits)
    second, first = np.partition(logits, -2, axis=1)[:, -2:].T
    difference: FloatArray = first - second
    return difference


def joined(settled: BoolArray, short: FloatArray, full: FloatArray) -> FloatArray:
    """Take each row's logits from `short` if it is settled, else from `full`."""
    return np.where(settled if short.ndim == 1 else settled[:, None], short, full)


def _scores(
    logits: FloatArray, labels: npt.NDArray[np.uint8], decision: Decision
) -> tuple[float, float, float, Codes]:
    """Return accuracy, log loss, calibration error and the label of each row, (rows,)."""
    chances = probabilities(logits)
    codes = decision.codes(chances)
    ece = expected_calibration_error(calibration_bins(chances, labels))
    return float(np.mean(codes == labels)), loss_sum(logits, labels) / len(labels), ece, codes
