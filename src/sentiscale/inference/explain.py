"""What each word of a review contributed to its logit.

The logit is a weighted sum of two parts and a bias. The wide part is linear, so what a word contributed is
exact: an n-gram's term is divided equally among its occurrences and the words these are made of. The network
is no sum of words; there the contributions are integrated gradients (Sundararajan, Taly & Yan, 2017,
"Axiomatic attribution for deep networks"): the gradient in a word's vector, averaged over a straight way from
the vector of unknown words to that of the word, times the difference of the two. So both parts begin at the
same text: the review with every word unknown, whose n-grams do not count.
"""

from collections.abc import Iterator, Sequence
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
from sentiscale.inference.outputs import EXPLANATION_COLUMNS
from sentiscale.inference.predictor import Prediction, Predictor
from sentiscale.model.directory import SavedModel
from sentiscale.model.network import SentimentNet
from sentiscale.model.wide import WideModel
from sentiscale.parallel.cpu import flushed_denormals
from sentiscale.text.vocab import PAD, UNK

Shares = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

STEPS = 32
"""Points on the way at which gradients are taken at first."""

MOST_STEPS = 256
"""Points at most, for a review whose integral does not come out right with fewer."""

TOLERANCE = 0.01
"""Logit that the integral may leave over before more points are taken."""

GROUP_ROWS = 16
"""Reviews of about one length that are integrated together."""

MOST_PLACES = 4096
"""Tokens, padding included, that go through the network at once: few enough to stay in a core's caches."""


@dataclass(frozen=True)
class WordShare:
    """One word of a review and what it contributed."""

    word: str
    """As the model reads it: "n't" of "don't" is a word of its own."""
    start: int
    """Where it begins in the raw text, in characters."""
    end: int
    """One past its last character."""
    contribution: float
    """To the logit: above 0 speaks for "positive", below for "negative"; 0 where the model does not read."""


@dataclass(frozen=True)
class Explanation:
    """Why a review got its logit: `logit = base + the contributions of all words`."""

    prediction: Prediction
    """Label and probability, as `predict` gives them."""
    logit: float
    """Its sigmoid is the probability of "positive"."""
    base: float
    """The logit of a text of as many unknown words: what the model says before it knows one."""
    words: tuple[WordShare, ...]
    """All words in the order of the text."""
    gap: float
    """Part of the logit that the numeric integral left over; the contributions include it, see `explain`."""

    def as_dict(self) -> dict[str, Any]:
        """The prediction's fields, then logit, base, gap and words, as plain values."""
        fields = asdict(self)
        return {**fields.pop("prediction"), **fields, "words": list(fields["words"])}


def explain(predictor: Predictor, texts: Sequence[str | None], *, steps: int = STEPS) -> list[Explanation]:
    """Say of each text what each of its words contributed to the logit.

    A long review has words that the network does not read; these have the share of the wide part only, and
    words beyond what a model keeps of a review have none. What the integral leaves over (`gap`) is spread
    over the words in proportion to the size of the network's shares, so that the sum is exact.

    Args:
        predictor: the model.
        texts: reviews; thousands are no problem, but their explanations are all in memory. A null is an
            empty text.
        steps: points of the integral; twice as many, and again, where more than 0.01 is left over.

    Raises: UsageError when `texts` is one string or `steps` is below 2.
    """
    if isinstance(texts, str):
        raise UsageError("explain takes a list of texts and got one text; put it into a list: [text].")
    if steps < 2:
        raise UsageError(f"steps is {steps}; it must be at least 2.")
    if not len(texts):
        return []
    rows = predictor.encoder.encode(texts)
    logits = predictor.logits(rows).astype(np.float64)
    network_shares, bases = _network_shares(predictor.model, rows.ids, rows.offsets, steps)
    explanations = []
    for row, (text, prediction) in enumerate(zip(texts, predictor.predict(list(texts)), strict=True)):
        part = slice(rows.offsets[row], rows.offsets[row + 1])
        of_network, of_wide = network_shares[part], _wide_shares(predictor.model, rows.ids[part])
        logit = float(logits[row])
        base = float(bases[row]) if len(of_network) else logit
        gap = logit - base - float(of_network.sum() + of_wide.sum())
        shares = of_network + of_wide + _spread(gap, of_network if of_network.any() else of_wide)
        words = _words(predictor, text or "", shares)
        explanations.append(Explanation(prediction, logit, base, words, gap))
    return explanations


def _words(predictor: Predictor, text: str, shares: Shares) -> tuple[WordShare, ...]:
    """Join the words of a text with their shares; words that the model does not keep have none."""
    spans = predictor.encoder.spans(text)
    contributions = np.zeros(len(spans))
    contributions[: len(shares)] = shares
    return tuple(WordShare(*span, share) for span, share in zip(spans, contributions.tolist(), strict=True))


def _spread(rest: float, shares: Shares) -> Shares:
    """Divide `rest` in proportion to the sizes of shares; equally where all are 0."""
    sizes = np.abs(shares)
    return rest * (sizes / sizes.sum() if sizes.any() else np.full(len(shares), 1 / max(1, len(shares))))


def _wide_shares(model: SavedModel, row: npt.NDArray[np.int32]) -> Shares:
    """What each token of one row adds to the wide part's term in the logit, beyond its intercept."""
    shares = np.zeros(len(row))
    if model.wide is None:
        return shares
    buckets, places = model.wide.ngrams.occurrences(row)
    terms = _terms(model.wide, buckets) * model.combination.wide
    for term, words in zip(terms.tolist(), places, strict=True):
        for word in words:
            shares[word] += term / len(words)
    return shares


def _terms(wide: WideModel, buckets: npt.NDArray[np.int32]) -> Shares:
    """Term in the wide logit of each occurrence of a feature: those of one bucket have equal parts of it."""
    distinct, which, times = np.unique(buckets, return_inverse=True, return_counts=True)
    scales = wide.scales[distinct].astype(np.float64)
    length = np.sqrt((scales**2).sum()) or 1.0
    terms: Shares = (scales / length * wide.weights[distinct] / times)[which]
    return terms


def _network_shares(
    model: SavedModel, tokens: npt.NDArray[np.int32], offsets: IntArray, steps: int
) -> tuple[Shares, Shares]:
    """What each token adds to the network's term in the logit, and the whole logit with all words unknown.

    Shapes: tokens (all,), offsets (rows + 1,); returns (all,) and (rows,), 0 where the network does not read.
    """
    shares, bases = np.zeros(len(tokens)), np.zeros(len(offsets) - 1)
    joined, longest = model.combination, model.config.max_tokens
    numbers = np.arange(1, len(tokens) + 1)  # from 1, so that 0 is padding
    without_ngrams = joined.bias + (joined.wide * model.wide.intercept if model.wide else 0.0)
    # A caller's inference mode would make tensors of which no gradients can be taken.
    with flushed_denormals(), torch.inference_mode(False):
        for rows in _groups(offsets, longest):
            ids_BT, lengths_B = padded_ids(tokens, offsets, rows, longest)
            places_BT, _ = padded_ids(numbers, offsets, rows, longest)
            found_BT, base_B = _integrated(
                model.net, torch.from_numpy(ids_BT), torch.from_numpy(lengths_B), steps, joined.net
            )
            real_BT = places_BT > 0
            shares[places_BT[real_BT] - 1] = found_BT[real_BT]
            bases[rows] = base_B + without_ngrams
    return shares, bases


def _groups(offsets: IntArray, longest: int) -> Iterator[IntArray]:
    """Rows with tokens, those of about one length together, as many as memory allows."""
    lengths = np.minimum(np.diff(offsets), longest)
    rows = np.flatnonzero(lengths)
    for group in sorted_order(lengths[rows], max(1, min(GROUP_ROWS, MOST_PLACES // longest))):
        yield rows[group]


def _integrated(
    net: SentimentNet, ids_BT: Tensor, lengths_B: Tensor, steps: int, weight: float
) -> tuple[Shares, Shares]:
    """Integrated gradients (B, T) of `weight` times the network's logit, and this logit without words (B,).

    Rows whose integral leaves more than TOLERANCE over are done again with more points.
    """
    with torch.no_grad():
        embedded_BTE = net.embedding(ids_BT)
        unknown_BTE = net.embedding(torch.where(ids_BT == PAD, PAD, UNK))
        ends_2B = _head(net, torch.cat([embedded_BTE, unknown_BTE]), lengths_B.repeat(2))
        whole_B, base_B = weight * ends_2B.double().numpy().reshape(2, -1)
        shares_BT = np.zeros(ids_BT.shape)
        left_B = np.arange(len(ids_BT))
        for points in _refined(steps):
            ends_BTE = embedded_BTE[left_B], unknown_BTE[left_B]
            found_BT = weight * _attributed(net, *ends_BTE, lengths_B[left_B], points)
            shares_BT[left_B] = found_BT
            gap_B = (whole_B - base_B)[left_B] - found_BT.sum(axis=1)
            left_B = left_B[np.abs(gap_B) > TOLERANCE]
            if not len(left_B):
                break
    return shares_BT, base_B


def _refined(steps: int) -> Iterator[int]:
    """Numbers of points to try: `steps`, then twice as many, and again, up to MOST_STEPS."""
    yield steps
    while (steps := 2 * steps) <= MOST_STEPS:
        yield steps


def _attributed(
    net: SentimentNet, embedded_BTE: Tensor, baseline_BTE: Tensor, lengths_B: Tensor, steps: int
) -> Shares:
    """Integrated gradients (B, T) by the midpoint rule, summed over the width of a word's vector.

    The largest value over time, which the pooling takes, makes gradients jump on the way: there the midpoint
    rule leaves less over than Gauss-Legendre quadrature.
    """
    rows, width, _ = embedded_BTE.shape
    method = IntegratedGradients(lambda vectors, lengths: _head(net, vectors, lengths))
    found_BTE = method.attribute(
        embedded_BTE,
        baselines=baseline_BTE,
        additional_forward_args=(lengths_B,),
        n_steps=steps,
        method="riemann_middle",
        internal_batch_size=max(rows, MOST_PLACES // width),
    )
    shares_BT: Shares = found_BTE.double().sum(dim=2).numpy()
    return shares_BT


def _head(net: SentimentNet, embedded_BTE: Tensor, lengths_B: Tensor) -> Tensor:
    """The network from its word vectors on: logits (B,)."""
    logits_B: Tensor = net.head(net.recurrent(embedded_BTE, lengths_B))
    return logits_B


def texts_of(chunk: Chunk) -> list[str]:
    """The reviews as strings."""
    texts: list[str] = chunk.texts.cast(pa.large_string()).to_pylist()
    return texts


def explanation_table(explanations: list[Explanation]) -> pa.Table:
    """The columns logit, base and words."""
    rows = [
        {
            "logit": found.logit,
            "base": found.base,
            "words": [
                {"word": w.word, "start": w.start, "end": w.end, "contribution": w.contribution}
                for w in found.words
            ],
        }
        for found in explanations
    ]
    return pa.Table.from_pylist(rows, EXPLANATION_COLUMNS)
