"""Join the network's logit and the wide part's into one calibrated logit, with three numbers.

Both parts are trained apart and weighed on the validation split (stacking, Wolpert 1992; with the
network alone this is Platt scaling), so neither learns to lean on the other's errors on training rows.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Combination:
    """`logit = net * network's logit + wide * wide part's logit + bias`."""

    net: float = 1.0
    """Weight of the network's logit."""
    wide: float = 0.0
    """Weight of the wide part's."""
    bias: float = 0.0
    """Added to both."""

    @classmethod
    def fit(
        cls, net_logits: FloatArray, wide_logits: FloatArray | None, labels: npt.NDArray[np.uint8]
    ) -> "Combination":
        """Weights that explain the labels best; the plain network when there is only one class.

        Shapes: all (rows,); `wide_logits` None leaves the wide part out.
        """
        from sklearn.linear_model import LogisticRegression  # seconds to load; prediction needs none

        if len(np.unique(labels)) < 2:
            return cls()
        columns = [net_logits] if wide_logits is None else [net_logits, wide_logits]
        fitted = LogisticRegression(C=100.0, max_iter=1000).fit(np.column_stack(columns), labels)
        net, *wide = (float(weight) for weight in fitted.coef_[0])
        return cls(net, wide[0] if wide else 0.0, float(fitted.intercept_[0]))

    def logits(self, net_logits: FloatArray, wide_logits: FloatArray | None) -> FloatArray:
        """Combined logits (rows,)."""
        joined = self.net * net_logits + self.bias
        if wide_logits is not None:
            joined = joined + self.wide * wide_logits
        return joined.astype(np.float32)
