"""Scores of logits against labels: counts first, everything else from them and from scikit-learn."""

import numpy as np
import numpy.typing as npt
from sklearn.metrics import precision_recall_fscore_support, roc_auc_score

from sentiscale.records import EvalCounts, Record

FloatArray = npt.NDArray[np.float32]
LabelArray = npt.NDArray[np.uint8]

CALIBRATION_BINS = 15


class Scores(Record):
    """How good predictions are on labelled rows; "positive" is the class that f1 and the like speak of."""

    accuracy: float
    loss: float
    """Mean binary cross-entropy, nats."""
    f1: float
    precision: float
    recall: float
    auc: float | None
    """Area under the ROC curve; None when only one class occurs."""
    ece: float
    """Expected calibration error over 15 equal bins of confidence (Guo et al., 2017)."""
    rows: int
    confusion: list[list[int]]
    """[[true negatives, false positives], [false negatives, true positives]]."""


def count(logits: FloatArray, labels: LabelArray) -> EvalCounts:
    """Counts of right and wrong rows and their summed loss; shapes (rows,)."""
    positive, truth = logits > 0, labels == 1
    wide_logits = logits.astype(np.float64)
    return EvalCounts(
        true_positive=int(np.sum(positive & truth)),
        false_positive=int(np.sum(positive & ~truth)),
        true_negative=int(np.sum(~positive & ~truth)),
        false_negative=int(np.sum(~positive & truth)),
        loss_sum=float(np.sum(np.logaddexp(0.0, wide_logits) - truth * wide_logits)),
    )


def score(logits: FloatArray, labels: LabelArray) -> Scores:
    """All scores of logits (rows,) against labels (rows,) of 0 and 1."""
    counts = count(logits, labels)
    precision, recall, f1, _ = precision_recall_fscore_support(
        labels, logits > 0, average="binary", zero_division=0.0
    )
    return Scores(
        accuracy=counts.accuracy,
        loss=counts.loss,
        f1=float(f1),
        precision=float(precision),
        recall=float(recall),
        auc=float(roc_auc_score(labels, logits)) if len(np.unique(labels)) == 2 else None,
        ece=calibration_error(probabilities(logits), labels),
        rows=counts.rows,
        confusion=[
            [counts.true_negative, counts.false_positive],
            [counts.false_negative, counts.true_positive],
        ],
    )


def probabilities(logits: FloatArray) -> npt.NDArray[np.float64]:
    """Probability of "positive" for each logit, between 0 and 1."""
    return 1.0 / (1.0 + np.exp(-np.clip(logits.astype(np.float64), -700, 700)))


def calibration_error(positive_probability: npt.NDArray[np.float64], labels: LabelArray) -> float:
    """Mean distance between confidence and accuracy, weighed by the rows of each bin."""
    if len(labels) == 0:
        return 0.0
    confidence = np.maximum(positive_probability, 1 - positive_probability)
    right = (positive_probability > 0.5) == (labels == 1)
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    gaps = np.bincount(bins, weights=right - confidence, minlength=CALIBRATION_BINS)
    return float(np.abs(gaps).sum() / len(labels))
