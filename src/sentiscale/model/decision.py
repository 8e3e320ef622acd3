"""Decide on a label from the probabilities of the classes: the most probable one, or as a user has chosen.

Probabilities are never changed here, so they stay calibrated.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Decision:
    """How labels follow from probabilities; without any of its fields, the most probable class.

    `weights` are the costs of missing a row of each class: the label is the class with the largest product
    of weight and probability (Elkan, 2001, "The foundations of cost-sensitive learning"). A class with a
    threshold is the label if its probability is at least the threshold, and never otherwise. A label whose
    probability is below its entry in `abstain` becomes unsure.
    """

    names: tuple[str, ...]
    """The classes, in the order of their codes."""
    weights: Mapping[str, float] = field(default_factory=dict)
    thresholds: Mapping[str, float] = field(default_factory=dict)
    abstain: Mapping[str, float] = field(default_factory=dict)

    @property
    def is_default(self) -> bool:
        """Whether the label is always the most probable class."""
        return not (self.weights or self.thresholds or self.abstain)

    def codes(self, probabilities: npt.NDArray[np.float64]) -> Codes:
        """Return the code of each row's label, (rows,), from (rows, K) probabilities; K means unsure.

        If several classes reach their thresholds, the one with the largest ratio of probability to threshold
        is chosen. If none does and every class has a threshold, the row is unsure.
        """
        if self.is_default:
            codes: Codes = probabilities.argmax(axis=1)
            return codes
        unsure = len(self.names)
        rates = probabilities * self._array(self.weights, 1.0)
        bounds = self._array(self.thresholds, np.nan)
        bounded = ~np.isnan(bounds)
        rates[:, bounded] = -1.0
        codes = np.where(bounded.all(), unsure, rates.argmax(axis=1))
        if bounded.any():
            ratios = np.where(probabilities >= bounds, probabilities / np.maximum(bounds, 1e-12), -1.0)
            codes = np.where(ratios.max(axis=1) >= 0, ratios.argmax(axis=1), codes)
        needed = np.append(self._array(self.abstain, 0.0), 0.0)[codes]
        sure = np.append(probabilities, np.ones((len(probabilities), 1)), axis=1)[range(len(codes)), codes]
        return np.where(sure >= needed, codes, unsure)

    def _array(self, values: Mapping[str, float], default: float) -> npt.NDArray[np.float64]:
        return np.array([values.get(name, default) for name in self.names])
