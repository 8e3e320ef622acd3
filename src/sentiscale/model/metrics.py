"""Scores of logits against labels: accuracy, F1, AUC, calibration."""

import numpy as np
import numpy.typing as npt

from sentiscale.records import CalibrationBin, EvalCounts, Scores

FloatArray = npt.NDArray[np.float32]
LabelArray = npt.NDArray[np.uint8]

CALIBRATION_BINS = 15


def count(logits: FloatArray, labels: LabelArray) -> EvalCounts:
    """Count the confusion matrix and sum the loss; all shapes are (rows,)."""
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
    """Score logits (rows,) against labels (rows,) of 0 and 1."""
    from sklearn.metrics import precision_recall_fscore_support, roc_auc_score  # not needed for prediction

    counts = count(logits, labels)
    bins = calibration_bins(probabilities(logits), labels)
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
        ece=expected_calibration_error(bins),
        rows=counts.rows,
        confusion=[
            [counts.true_negative, counts.false_positive],
            [counts.false_negative, counts.true_positive],
        ],
        calibration=bins,
    )


def probabilities(logits: FloatArray) -> npt.NDArray[np.float64]:
    """Return the probability of "positive" for each logit."""
    return 1.0 / (1.0 + np.exp(-np.clip(logits.astype(np.float64), -700, 700)))


def calibration_bins(
    positive_probability: npt.NDArray[np.float64], labels: LabelArray
) -> list[CalibrationBin]:
    """Compute confidence and accuracy in 15 confidence bins of equal width; all shapes are (rows,).

    These are the bins of a reliability diagram (Niculescu-Mizil and Caruana, 2005), without empty bins.
    """
    confidence = np.maximum(positive_probability, 1 - positive_probability)
    right = (positive_probability > 0.5) == (labels == 1)
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    rows, confidences, rights = (
        np.bincount(bins, weights, minlength=CALIBRATION_BINS) for weights in (None, confidence, right)
    )
    return [
        CalibrationBin(
            low=bin_ / CALIBRATION_BINS,
            high=(bin_ + 1) / CALIBRATION_BINS,
            rows=int(rows[bin_]),
            confidence=float(confidences[bin_] / rows[bin_]),
            accuracy=float(rights[bin_] / rows[bin_]),
        )
        for bin_ in np.flatnonzero(rows).tolist()
    ]


def expected_calibration_error(bins: list[CalibrationBin]) -> float:
    """Mean absolute difference of confidence and accuracy, weighted by rows per bin; 0 without rows."""
    rows = sum(bin_.rows for bin_ in bins)
    return sum(bin_.rows * abs(bin_.accuracy - bin_.confidence) for bin_ in bins) / max(rows, 1)
