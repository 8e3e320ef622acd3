"""Compute how much each word of a review contributes to the logit of a class.

With two classes, the logit is the log odds of the second one. With K > 2 classes, it is the logit of one
class minus the mean of all K logits: adding the same number to all logits changes no probability, and this
difference does not depend on it.

The logit is a weighted sum of the network, the linear n-gram model and a bias. For the linear model, the
contributions are exact: the term of an n-gram is divided equally among its occurrences and their words. For
the network, they are integrated gradients (Sundararajan, Taly & Yan, 2017, "Axiomatic attribution for deep
networks"): the gradient with respect to a word's vector, averaged along the straight path from the vector of
unknown words to the word's vector, times the difference of the two. Both models therefore have the same
baseline: the review with every word unknown, which has no n-grams.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from captum.attr import IntegratedGradients
from torch import Tensor

from sentiscale.data.batches import padded_ids, sorted_order
from sentiscale.data.inputs import Chunk
from sentiscale.errors import UsageError
from sentiscale.inference.predictor import Prediction, Predictions, Predictor
from sentiscale.model.directory import SavedModel
from sentiscale.model.network import SentimentNet
from sentiscale.model.wide import Combination
from sentiscale.parallel.cpu import flushed_denormals
from sentiscale.text.classes import Classes, listed
from sentiscale.text.vocab import PAD, UNK

Shares = npt.NDArray[np.float64]
Directions = npt.NDArray[np.float64]
"""Factors of each row's logits whose sum is the explained logit: (rows, 1) for two classes, or (rows, K)."""
IntArray = npt.NDArray[np.int64]

STEPS = 32
"""Initial number of integration points."""
MAX_STEPS = 256
"""Largest number of integration points, for reviews where fewer are not accurate enough."""
TOLERANCE = 0.01
"""Integration error, in logits, above which the integral is repeated with more points."""
GROUP_ROWS = 16
"""Number of reviews of similar length that are integrated together."""
MAX_POSITIONS = 4096
"""Largest number of padded tokens in a forward pass: few enough to stay in a core's caches."""


@dataclass(frozen=True)
class WordShare:
    """One word of a review and its contribution."""

    word: str
    """The word as the model reads it; for example, "don't" is split into "do" and "n't"."""
    start: int
    """Index of the word's first character in the raw text."""
    end: int
    """Index one past the word's last character."""
    contribution: float
    """Contribution to the logit: above 0 for the explained class, below 0 against it, 0 if ignored."""


@dataclass(frozen=True)
class Explanation:
    """Decomposition of a review's logit: `logit = base + sum of all contributions`."""

    prediction: Prediction
    """Prediction for the review, as returned by `predict`."""
    target: str
    """The explained class; `class` in documents and tables."""
    logit: float
    """The review's logit: with two classes, the log odds of `target`; else, the logit of `target` minus the
    mean over all classes."""
    base: float
    """Logit of a text with the same number of words, all unknown."""
    words: tuple[WordShare, ...]
    """All words in text order."""
    gap: float
    """Error of the numerical integral; it is included in the contributions (see `explain`)."""

    def as_dict(self) -> dict[str, Any]:
        """Return the prediction's fields, followed by class, logit, base, gap and words, as plain values."""
        fields = asdict(self)
        prediction, target = fields.pop("prediction"), fields.pop("target")
        return {**prediction, "class": target, **fields, "words": list(fields["words"])}


def explain(
    predictor: Predictor, texts: Sequence[str | None], *, steps: int = STEPS, target: str | None = None
) -> list[Explanation]:
    """Compute the contribution of each word of each text to its logit.

    In long reviews, words that the network does not read have contributions from the linear model only, and
    words that the model does not keep have contributions of 0. The integration error (`gap`) is distributed
    over the words in proportion to the absolute contributions from the network, so that the sum is exact.

    Args:
        predictor: model to explain.
        texts: reviews; all explanations are held in memory. Nulls are treated as empty texts.
        steps: number of integration points; doubled until the error is at most 0.01, up to 256.
        target: class whose logit is explained. By default, the second of two classes, and of more classes
            each review's label, or the most probable class if the label is "unsure".

    Raises: UsageError when `texts` is a single string, `steps` is below 2 or `target` is not a class.
    """
    if isinstance(texts, str):
        raise UsageError("explain expects a list of texts but got a single string; pass it as [text].")
    if steps < 2:
        raise UsageError(f"steps is {steps}; it must be at least 2.")
    if not len(texts):
        return []
    rows = predictor.encoder.encode(texts)
    chunk = predictor.routed_logits(rows.ids, rows.offsets)
    class_logits = chunk.logits
    predictions = predictor.predictions(rows, class_logits)
    targets = _targets(predictions, target)
    directions = _directions(targets, predictor.classes)
    logits = (class_logits.reshape(directions.shape) * directions).sum(axis=1)
    read, settled = predictor.model.combination, chunk.settled
    network_shares, bases = _network_shares(
        predictor.model, rows.ids, rows.offsets, steps, directions, np.flatnonzero(~settled)
    )
    explanations = []
    for row, (text, prediction) in enumerate(zip(texts, predictions.rows(), strict=True)):
        part = slice(rows.offsets[row], rows.offsets[row + 1])
        calibration = predictor.cascade.calibration if predictor.cascade and settled[row] else read
        network = network_shares[part]
        wide = _wide_shares(predictor.model, rows.ids[part], directions[row] * calibration.wide)
        logit = float(logits[row])
        linear_base = (directions[row] * _linear_base(predictor.model, calibration)).sum()
        base = float(bases[row] + linear_base) if len(network) else logit
        gap = logit - base - float(network.sum() + wide.sum())
        shares = network + wide + _distributed(gap, network if network.any() else wide)
        spans = predictor.encoder.spans(text or "")
        contributions = np.zeros(len(spans))  # the model may keep fewer words than the text has
        contributions[: len(shares)] = shares
        words = tuple(
            WordShare(*span, share) for span, share in zip(spans, contributions.tolist(), strict=True)
        )
        name = predictor.classes.names[targets[row]]
        explanations.append(Explanation(prediction, name, logit, base, words, gap))
    return explanations


def _targets(predictions: Predictions, target: str | None) -> IntArray:
    """Return the position of each row's explained class."""
    names = predictions.classes.names
    if target is not None and target not in names:
        raise UsageError(f"target is '{target}', which is not a class; classes are {listed(names)}.")
    if target is not None or len(names) == 2:
        return np.full(len(predictions), names.index(target or names[1]))
    return np.where(predictions.codes < len(names), predictions.codes, predictions.probabilities.argmax(1))


def _directions(targets: IntArray, classes: Classes) -> Directions:
    if len(classes) == 2:
        return np.where(targets == 1, 1.0, -1.0)[:, None]
    own: Directions = np.eye(len(classes))[targets]
    return own - 1 / len(classes)


def _distributed(amount: float, shares: Shares) -> Shares:
    """Divide `amount` in proportion to the absolute shares, or equally if all shares are 0."""
    sizes = np.abs(shares)
    return amount * (sizes / sizes.sum() if sizes.any() else np.full(len(shares), 1 / max(1, len(shares))))


def _linear_base(model: SavedModel, calibration: Combination) -> Shares:
    """Logits of a text without n-grams, without the network's term: (1,) or (K,)."""
    intercept = model.wide.intercept if model.wide else 0.0
    return np.atleast_1d(np.add(calibration.bias, np.multiply(calibration.wide, intercept)))


def _wide_shares(model: SavedModel, row: npt.NDArray[np.int32], factors: Shares) -> Shares:
    """Contribution of each token of a row to the linear model's logits times factors, without intercept."""
    shares = np.zeros(len(row))
    if model.wide is None:
        return shares
    buckets, places = model.wide.ngrams.occurrences(row)
    # A bucket counts once, so its term is divided among all n-grams in it.
    distinct, which, times = np.unique(buckets, return_inverse=True, return_counts=True)
    scales = model.wide.scales[distinct].astype(np.float64)
    norm = np.sqrt((scales**2).sum()) or 1.0
    weights = model.wide.weights[distinct].reshape(len(distinct), len(factors)) @ factors
    terms = (scales / norm * weights / times)[which]
    for term, words in zip(terms.tolist(), places, strict=True):
        for word in words:
            shares[word] += term / len(words)
    return shares


def _network_shares(
    model: SavedModel,
    tokens: npt.NDArray[np.int32],
    offsets: IntArray,
    steps: int,
    directions: Directions,
    read: IntArray,
) -> tuple[Shares, Shares]:
    """Contribution of each token to the network's term, and each row's term with all words unknown.

    Shapes: tokens (all,), offsets (rows + 1,), read (the rows that the network reads); returns (all,) and
    (rows,). Contributions of tokens that the network does not read are 0.
    """
    shares, bases = np.zeros(len(tokens)), np.zeros(len(offsets) - 1)
    max_tokens = model.config.max_tokens
    numbers = np.arange(1, len(tokens) + 1)  # from 1, since 0 is padding
    factors = (directions * model.combination.net).astype(np.float32)
    lengths = np.minimum(np.diff(offsets), max_tokens)
    nonempty = read[lengths[read] > 0]
    group_rows = max(1, min(GROUP_ROWS, MAX_POSITIONS // max_tokens))
    # Tensors created in the caller's inference mode would have no gradients.
    with flushed_denormals(), torch.inference_mode(False):
        for group in sorted_order(lengths[nonempty], group_rows):
            rows = nonempty[group]
            ids_BT, lengths_B = padded_ids(tokens, offsets, rows, max_tokens)
            places_BT, _ = padded_ids(numbers, offsets, rows, max_tokens)
            ids, row_lengths, factors_BK = map(torch.from_numpy, (ids_BT, lengths_B, factors[rows]))
            shares_BT, base_B = _integrated(model.net, ids, row_lengths, factors_BK, steps)
            real_BT = places_BT > 0
            shares[places_BT[real_BT] - 1] = shares_BT[real_BT]
            bases[rows] = base_B
    return shares, bases


def _integrated(
    net: SentimentNet, ids_BT: Tensor, lengths_B: Tensor, factors_BK: Tensor, steps: int
) -> tuple[Shares, Shares]:
    """Integrated gradients (B, T) of the weighted sum of the network's logits, and its baseline values (B,).

    Rows with an error above TOLERANCE are repeated with twice as many points, up to MAX_STEPS.
    """
    with torch.no_grad():
        embedded_BTE = net.embedding(ids_BT)
        unknown_BTE = net.embedding(torch.where(ids_BT == PAD, PAD, UNK))
        repeated = lengths_B.repeat(2), factors_BK.repeat(2, 1)
        ends_2B = _weighted_logits(net, torch.cat([embedded_BTE, unknown_BTE]), *repeated)
        logit_B, base_B = ends_2B.double().numpy().reshape(2, -1)
        shares_BT = np.zeros(ids_BT.shape)
        left_B = np.arange(len(ids_BT))
        while True:
            ends_BTE = embedded_BTE[left_B], unknown_BTE[left_B]
            found_BT = _attributed(net, *ends_BTE, lengths_B[left_B], factors_BK[left_B], steps)
            shares_BT[left_B] = found_BT
            gap_B = (logit_B - base_B)[left_B] - found_BT.sum(axis=1)
            left_B = left_B[np.abs(gap_B) > TOLERANCE]
            steps *= 2
            if not len(left_B) or steps > MAX_STEPS:
                return shares_BT, base_B


def _attributed(
    net: SentimentNet,
    embedded_BTE: Tensor,
    baseline_BTE: Tensor,
    lengths_B: Tensor,
    factors_BK: Tensor,
    steps: int,
) -> Shares:
    """Integrated gradients (B, T), summed over the elements of a word's vector."""
    rows, width, _ = embedded_BTE.shape
    found_BTE = IntegratedGradients(lambda *inputs: _weighted_logits(net, *inputs)).attribute(
        embedded_BTE,
        baselines=baseline_BTE,
        additional_forward_args=(lengths_B, factors_BK),
        n_steps=steps,
        # Max pooling makes gradients jump along the path; there the midpoint rule has a smaller error than
        # Gauss-Legendre quadrature, Captum's default.
        method="riemann_middle",
        internal_batch_size=max(rows, MAX_POSITIONS // width),
    )
    shares_BT: Shares = found_BTE.double().sum(dim=2).numpy()
    return shares_BT


def _weighted_logits(
    net: SentimentNet, embedded_BTE: Tensor, lengths_B: Tensor, factors_BK: Tensor
) -> Tensor:
    """Apply the network without its embedding; returns the sum of each row's logits times factors (B,)."""
    logits: Tensor = net.head(net.recurrent(embedded_BTE, lengths_B))
    return (logits.reshape(factors_BK.shape) * factors_BK).sum(dim=1)


def texts_of(chunk: Chunk) -> list[str]:
    texts: list[str] = chunk.texts.cast(pa.large_string()).to_pylist()
    return texts


def explanation_table(explanations: list[Explanation], columns: pa.Schema) -> pa.Table:
    """Table of explanations with the given keys of `Explanation.as_dict` as columns."""
    return pa.Table.from_pylist([each.as_dict() for each in explanations], columns)
