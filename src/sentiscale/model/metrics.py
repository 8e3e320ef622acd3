"""Scores of logits against labels: accuracy, F1 per class, calibration, distance of stars, intervals.

Logits of two classes have shape (rows,), those of K > 2 classes (rows, K); see `text.classes`.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from sentiscale.model.decision import Codes, Decision
from sentiscale.records import CalibrationBin, ClassScores, Interval, Scores
from sentiscale.text.classes import Classes
from sentiscale.util.proportions import wilson

FloatArray = npt.NDArray[np.float32]
LabelArray = npt.NDArray[np.uint8]
Chances = npt.NDArray[np.float64]
"""Probability of each class: (rows, K)."""
Confusion = npt.NDArray[np.int64]
"""Rows by true class and label, the last label being unsure: (..., K, K + 1)."""

CALIBRATION_BINS = 15
RESAMPLES = 1000
"""Number of bootstrap samples of an interval."""


def score(
    logits: FloatArray,
    labels: LabelArray,
    classes: Classes | None = None,
    decision: Decision | None = None,
    *,
    settled: npt.NDArray[np.bool_] | None = None,
    intervals: bool = False,
) -> Scores:
    """Score logits against labels.

    Args:
        logits: combined logits of the model, (rows,) or (rows, K).
        labels: position of each row's class in `classes`, (rows,).
        classes: the classes; negative and positive by default.
        decision: how labels follow from probabilities; the most probable class by default.
        settled: whether a row was answered without the network, (rows,); None without a cascade.
        intervals: also compute 95 % intervals.
    """
    classes = classes or Classes()
    chances = probabilities(logits)
    codes = (decision or Decision(classes.names)).codes(chances)
    found = confusion(labels, codes, len(classes))
    values: dict[str, Any] = {name: value.item() for name, value in summary(found, classes).items()}
    by_class = class_scores(found, classes, intervals=intervals)
    bins = calibration_bins(chances, labels)
    sided = side_counts(chances, labels, classes)
    branches = {} if settled is None else branch_scores(labels, codes, settled, len(classes))
    return Scores(
        **values,
        **branches,
        loss=loss_sum(logits, labels) / max(len(labels), 1),
        auc=area_under_curve(logits if len(classes) == 2 else chances, labels, len(classes)),
        ece=expected_calibration_error(bins),
        rows=len(labels),
        unsure=int(found[:, -1].sum()),
        classes=classes.names,
        per_class=by_class,
        majority_share=float(found.sum(axis=1).max() / max(len(labels), 1)),
        binary_accuracy=sided[0] / sided[1] if sided and sided[1] else None,
        confusion=found[:, :-1].tolist(),
        calibration=bins,
        intervals=score_intervals(found, classes, sided) if intervals else {},
    )


def probabilities(logits: FloatArray) -> Chances:
    """Return the probability of each class, (rows, K), from logits, (rows,) or (rows, K)."""
    exact = logits.astype(np.float64)
    if exact.ndim == 1:
        second = 1.0 / (1.0 + np.exp(-np.clip(exact, -700, 700)))
        return np.column_stack([1 - second, second])
    powers = np.exp(exact - exact.max(axis=1, keepdims=True))
    chances: Chances = powers / powers.sum(axis=1, keepdims=True)
    return chances


def loss_sum(logits: FloatArray, labels: LabelArray) -> float:
    """Sum of the cross-entropies of rows, in nats."""
    exact = logits.astype(np.float64)
    if exact.ndim == 1:
        return float(np.sum(np.logaddexp(0.0, exact) - (labels == 1) * exact))
    exact -= exact.max(axis=1, keepdims=True)
    own = exact[np.arange(len(labels)), labels]
    return float(np.sum(np.log(np.exp(exact).sum(axis=1)) - own))


def branch_scores(
    labels: LabelArray, codes: Codes, settled: npt.NDArray[np.bool_], classes: int
) -> dict[str, Any]:
    """Return the share of rows answered without the network, and the accuracy of these and of the others."""

    def accuracy(rows: npt.NDArray[np.bool_]) -> float | None:
        answered = rows & (codes < classes)
        return float(np.mean(codes[answered] == labels[answered])) if answered.any() else None

    return {
        "short_share": float(settled.mean()) if len(settled) else None,
        "short_accuracy": accuracy(settled),
        "network_accuracy": accuracy(~settled),
    }


def confusion(labels: LabelArray, codes: Codes, classes: int) -> Confusion:
    """Count rows by class and label: (K, K + 1); the last column is unsure."""
    places = labels.astype(np.int64) * (classes + 1) + codes
    return np.bincount(places, minlength=classes * (classes + 1)).reshape(classes, classes + 1)


def summary(found: Confusion, classes: Classes) -> dict[str, npt.NDArray[np.float64]]:
    """Return the scores that follow from one or more confusion matrices (..., K, K + 1), each (...)."""
    right, given, rows = _margins(found)
    precision, recall = right / np.maximum(given, 1), right / np.maximum(rows, 1)
    f1 = 2 * right / np.maximum(given + rows, 1)
    occurs, either = rows > 0, given + rows > 0
    binary = len(classes) == 2  # then precision, recall and F1 are those of the second class
    values = {
        "accuracy": right.sum(axis=-1) / np.maximum(given.sum(axis=-1), 1),
        "precision": precision[..., 1] if binary else _mean(precision, either),
        "recall": recall[..., 1] if binary else _mean(recall, occurs),
        "f1": f1[..., 1] if binary else _mean(f1, either),
        "macro_f1": _mean(f1, either),
        "balanced_accuracy": _mean(recall, occurs),
    }
    if classes.stars is not None:
        stars = np.array(classes.stars)
        answered = found[..., :-1]
        errors = np.abs(stars[:, None] - stars)
        total = answered.sum(axis=(-2, -1))
        values["mae"] = (answered * errors).sum(axis=(-2, -1)) / np.maximum(total, 1)
        # What independent labels with the same shares would have, as in Cohen's kappa.
        by_chance = answered.sum(axis=-1)[..., :, None] * answered.sum(axis=-2)[..., None, :]
        expected = (by_chance * errors**2).sum(axis=(-2, -1)) / np.maximum(total, 1)
        observed = (answered * errors**2).sum(axis=(-2, -1))
        values["quadratic_kappa"] = 1 - observed / np.where(expected > 0, expected, np.inf)
    return values


def class_scores(found: Confusion, classes: Classes, *, intervals: bool) -> dict[str, ClassScores]:
    """Return the scores of each class."""
    columns = [margin.tolist() for margin in _margins(found)]
    ends: list[dict[str, Interval]] = [{} for _ in classes.names]
    if intervals:
        right, given, rows = _margins(_resampled(found))
        low, high = np.percentile(2 * right / np.maximum(given + rows, 1), [2.5, 97.5], axis=0).tolist()
        ends = [
            {"precision": wilson(hits, labelled), "recall": wilson(hits, of), "f1": (least, most)}
            for hits, labelled, of, least, most in zip(*columns, low, high, strict=True)
        ]
    return {
        name: ClassScores(
            precision=hits / max(labelled, 1),
            recall=hits / max(of, 1),
            f1=2 * hits / max(labelled + of, 1),
            rows=of,
            intervals=own,
        )
        for name, hits, labelled, of, own in zip(classes.names, *columns, ends, strict=True)
    }


def side_counts(chances: Chances, labels: LabelArray, classes: Classes) -> tuple[int, int] | None:
    """Count the rows with a negative or positive class, and those whose more probable side is right.

    Returns: right rows and all rows; None if there is no class between the sides, or no sides.
    """
    if classes.sides is None or 0 not in classes.sides:
        return None
    sides = np.array(classes.sides)
    truth = sides[labels]
    positive = chances[:, sides > 0].sum(axis=1) > chances[:, sides < 0].sum(axis=1)
    return int(np.sum((truth != 0) & (positive == (truth > 0)))), int(np.sum(truth != 0))


def score_intervals(found: Confusion, classes: Classes, sided: tuple[int, int] | None) -> dict[str, Interval]:
    """95 % intervals: Wilson's for shares of rows, a percentile bootstrap of the rows for other scores."""
    spread = summary(_resampled(found), classes)
    ends = {name: np.percentile(values, [2.5, 97.5]).tolist() for name, values in spread.items()}
    right, given, rows = (margin.tolist() for margin in _margins(found))
    ends["accuracy"] = wilson(sum(right), sum(given))
    if len(classes) == 2:
        ends |= {"precision": wilson(right[1], given[1]), "recall": wilson(right[1], rows[1])}
    if sided:
        ends["binary_accuracy"] = wilson(*sided)
    return {name: (float(low), float(high)) for name, (low, high) in ends.items()}


def area_under_curve(scores: npt.NDArray[Any], labels: LabelArray, classes: int) -> float | None:
    """Area under the ROC curve from scores, (rows,) or (rows, K); None unless all classes occur.

    For K > 2 classes, the mean of the areas of each class against the rest.
    """
    from sklearn.metrics import roc_auc_score  # not needed for prediction

    if len(np.unique(labels)) < classes:
        return None
    if scores.ndim == 1:
        return float(roc_auc_score(labels, scores))
    return float(np.mean([roc_auc_score(labels == code, scores[:, code]) for code in range(classes)]))


def calibration_bins(chances: Chances, labels: LabelArray) -> list[CalibrationBin]:
    """Compute confidence and accuracy in 15 confidence bins of equal width, from (rows, K) and (rows,).

    These are the bins of a reliability diagram (Niculescu-Mizil and Caruana, 2005), without empty bins.
    """
    confidence = chances.max(axis=1)
    right = chances.argmax(axis=1) == labels
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


def _resampled(found: Confusion) -> Confusion:
    """Confusion matrices of bootstrap samples of the rows: (RESAMPLES, K, K + 1)."""
    total = int(found.sum())
    samples = np.random.default_rng(0).multinomial(total, found.ravel() / max(total, 1), RESAMPLES)
    return samples.reshape(RESAMPLES, *found.shape)


def _margins(found: Confusion) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
    """Rows labelled rightly, rows given each label, and rows of each class, each (..., K)."""
    right = np.diagonal(found, axis1=-2, axis2=-1)
    return right, found[..., :-1].sum(axis=-2), found.sum(axis=-1)


def _mean(values: npt.NDArray[Any], chosen: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Mean over the last axis of the chosen values; 0 if there are none."""
    mean: npt.NDArray[np.float64] = (values * chosen).sum(axis=-1) / np.maximum(chosen.sum(axis=-1), 1)
    return mean
