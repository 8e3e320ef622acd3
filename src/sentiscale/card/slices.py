"""Divide labelled rows by length, unknown words, class or category, and score each part."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from sentiscale.analysis.proportions import wilson
from sentiscale.card.facts import Slice, Slices
from sentiscale.evaluation import ScoredRows
from sentiscale.metrics import probabilities

LENGTHS = (8, 16, 32, 64, 128, 256)
"""Ends of the slices by length, in tokens."""
UNKNOWN = (0.0, 0.01, 0.02, 0.05, 0.1)
"""Ends of the slices by share of unknown words."""
MOST_CATEGORIES = 50
"""Those with most rows have a line of their own."""


def usual_slices(rows: ScoredRows, read_tokens: int) -> list[Slices]:
    """Rows by length, by what the network reads of them, by unknown words and by class.

    Args:
        rows: what was labelled.
        read_tokens: tokens the network reads of a review.
    """
    longer = (rows.lengths > read_tokens).astype(int)
    return [
        divided("length in tokens", rows, *by_length(rows.lengths)),
        divided(
            f"what the network reads ({read_tokens} tokens)",
            rows,
            longer,
            ["wholly", "beginning and end only"],
        ),
        divided("unknown words", rows, *by_share(rows.unknown)),
        divided("true class", rows, rows.labels.astype(int), ["negative", "positive"]),
    ]


def by_length(lengths: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.intp], list[str]]:
    """The slice of each row, and the slices' names."""
    firsts = (1, *(end + 1 for end in LENGTHS))
    names = [f"{first} to {end}" for first, end in zip(firsts, LENGTHS, strict=False)]
    return np.searchsorted(LENGTHS, lengths), [*names, f"{firsts[-1]} and more"]


def by_share(shares: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.intp], list[str]]:
    """The same for shares between 0 and 1."""
    names = [f"up to {100 * end:g} %" for end in UNKNOWN[1:]]
    return np.searchsorted(UNKNOWN, shares), ["none", *names, f"more than {100 * UNKNOWN[-1]:g} %"]


def by_category(categories: Sequence[str]) -> tuple[npt.NDArray[np.intp], list[str]]:
    """The same for names, the most frequent first; those beyond the fiftieth are put together."""
    found, place, counts = np.unique(
        np.array(categories, dtype=object), return_inverse=True, return_counts=True
    )
    order = np.lexsort((found.astype(str), -counts))
    rank = np.empty(len(found), np.intp)
    rank[order] = np.arange(len(found))
    names = [str(name) for name in found[order]]
    if len(names) > MOST_CATEGORIES:
        names = [*names[:MOST_CATEGORIES], f"{len(names) - MOST_CATEGORIES} others"]
    return np.minimum(rank, MOST_CATEGORIES)[place.reshape(-1)], names


def divided(by: str, rows: ScoredRows, place: npt.NDArray[np.integer], names: Sequence[str]) -> Slices:
    """Score the rows of each slice; slices without rows are left out.

    Args:
        by: what divides them.
        rows: all rows.
        place: the slice of each row (rows,), an index into `names`.
        names: of the slices.
    """
    chances = probabilities(rows.logits)
    right = (rows.logits > 0) == (rows.labels == 1)
    columns = (None, right, rows.labels, np.maximum(chances, 1 - chances))
    sums = [np.bincount(place, weights, minlength=len(names)) for weights in columns]
    return Slices(
        by=by,
        slices=[
            _slice(names[i], int(count), int(hits), float(positive), float(sure))
            for i, (count, hits, positive, sure) in enumerate(zip(*sums, strict=True))
            if count
        ],
    )


def _slice(name: str, rows: int, right: int, positive: float, confidence: float) -> Slice:
    low, high = wilson(right, rows)
    return Slice(
        name=name, rows=rows, positive_share=positive / rows, confidence=confidence / rows,
        accuracy=right / rows, low=low, high=high,
    )  # fmt: skip
