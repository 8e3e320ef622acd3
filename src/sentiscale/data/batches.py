"""Global batches, whose rows depend only on seed, epoch and step, never on the layout."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sentiscale.data.prepared import Split
from sentiscale.text.vocab import PAD, UNK

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]

POOL_BATCHES = 100
"""Number of batches whose rows are sorted by length together. Larger pools need less padding; smaller pools
keep the order more random."""

PAD_MULTIPLE = 8
"""Batch widths are rounded up to a multiple of this: oneDNN builds one primitive per shape, so fewer shapes
are faster."""


@dataclass(frozen=True)
class Batch:
    """The rows that one rank processes in one step.

    Shapes: ids_BT (B, T) int64, padded with 0 at the end; lengths_B (B,) int64 >= 1; labels_B (B,) float32,
    positions of the classes; weights_B (B,) float32, 0 for a filler row; places_B (B,) int64, positions in
    the global batch. Totals of the step over all ranks: `rows_global` rows without fillers, `tokens_global`
    tokens without padding, `padded_global` tokens with padding.
    """

    ids_BT: IntArray
    lengths_B: IntArray
    labels_B: npt.NDArray[np.float32]
    weights_B: npt.NDArray[np.float32]
    places_B: IntArray
    rows_global: int
    tokens_global: int = 0
    padded_global: int = 0


def token_lengths(split: Split, max_tokens: int) -> IntArray:
    """Number of tokens per row that reach the model; 1 for an empty row, which is one padding token."""
    return np.clip(split.lengths, 1, max_tokens)


def epoch_order(lengths: IntArray, batch_size: int, seed: int, epoch: int) -> list[IntArray]:
    """Divide an epoch into global batches of rows with similar lengths, in random order.

    Rows are shuffled and divided into pools of `POOL_BATCHES` batches. Each pool is sorted by length and cut
    into batches, and all batches are shuffled. Every row occurs exactly once.
    """
    generator = np.random.default_rng([seed, epoch])
    rows = generator.permutation(len(lengths))
    batches: list[IntArray] = []
    for pool_start in range(0, len(rows), batch_size * POOL_BATCHES):
        pool = rows[pool_start : pool_start + batch_size * POOL_BATCHES]
        batches += _cut(pool[np.argsort(lengths[pool], kind="stable")], batch_size)
    return [batches[index] for index in generator.permutation(len(batches))]


def sorted_order(lengths: IntArray, batch_size: int) -> list[IntArray]:
    """Batches of all rows, shortest first, for evaluation and prediction."""
    return _cut(np.argsort(lengths, kind="stable"), batch_size)


def training_rows(
    lengths: IntArray, batch_size: int, seed: int, first_step: int = 0
) -> Iterator[tuple[int, IntArray]]:
    """Yield (step, rows of the global batch) endlessly, starting at `first_step`, as a resumed run does."""
    steps_per_epoch = -(-len(lengths) // batch_size)
    epoch, skip = divmod(first_step, steps_per_epoch)
    while True:
        for index, rows in enumerate(epoch_order(lengths, batch_size, seed, epoch)[skip:], skip):
            yield epoch * steps_per_epoch + index, rows
        epoch, skip = epoch + 1, 0


def make_batch(
    split: Split,
    rows: IntArray,
    max_tokens: int,
    *,
    data_rank: int = 0,
    data_size: int = 1,
    row_weights: FloatArray | None = None,
) -> Batch:
    """Build this rank's part of a global batch: every `data_size`-th row, starting at `data_rank`.

    A rank without rows gets one filler row of weight 0, because every rank must run every step. The others
    have weight 1, or that in `row_weights` (rows of the split,).
    """
    lengths = np.clip(split.offsets[rows + 1] - split.offsets[rows], 1, max_tokens)
    places = np.arange(data_rank, len(rows), data_size)
    is_filler = len(places) == 0
    if is_filler:
        places = np.zeros(1, np.int64)
    mine = rows[places]
    weights = np.ones(len(mine), np.float32) if row_weights is None else row_weights[mine]
    ids_BT, lengths_B = padded_ids(split.tokens, split.offsets, mine, max_tokens)
    return Batch(
        ids_BT=ids_BT,
        lengths_B=lengths_B,
        labels_B=split.labels[mine].astype(np.float32),
        weights_B=np.zeros(1, np.float32) if is_filler else weights,
        places_B=places,
        rows_global=len(rows),
        tokens_global=int(lengths.sum()),
        padded_global=_padded_tokens(lengths, data_size),
    )


def micro_batches(batch: Batch, most: int) -> list[Batch]:
    """Split a batch into at most `most` parts of consecutive rows and trim the padding of each part.

    Rows of a batch are sorted by length, so the parts with short rows lose most of their padding.
    """
    parts = []
    for part in np.array_split(np.arange(len(batch.lengths_B)), min(most, len(batch.lengths_B))):
        width = padded_width(batch.lengths_B[part])
        parts.append(
            Batch(
                ids_BT=batch.ids_BT[part, :width],
                lengths_B=batch.lengths_B[part],
                labels_B=batch.labels_B[part],
                weights_B=batch.weights_B[part],
                places_B=batch.places_B[part],
                rows_global=batch.rows_global,
            )
        )
    return parts


def padded_width(lengths_B: IntArray) -> int:
    """Width of a batch: the length of its longest row, rounded up to a multiple of `PAD_MULTIPLE`."""
    return -(-int(lengths_B.max()) // PAD_MULTIPLE) * PAD_MULTIPLE


def padded_ids(
    tokens: npt.NDArray[Any], offsets: IntArray, rows: IntArray, max_tokens: int
) -> tuple[IntArray, IntArray]:
    """Gather ragged rows into a padded matrix: ids_BT (B, T) and lengths_B (B,).

    A row longer than `max_tokens` keeps its first and last `max_tokens` / 2 tokens, because long reviews
    often state their opinion in the last sentences.
    """
    starts = np.asarray(offsets[rows])
    full_B = np.asarray(offsets[rows + 1]) - starts
    lengths_B = np.clip(full_B, 1, max_tokens)
    position_T = np.arange(padded_width(lengths_B))
    from_end_B1 = np.where(full_B > max_tokens, full_B - max_tokens, 0)[:, None]
    source_BT = starts[:, None] + position_T + np.where(position_T >= max_tokens // 2, from_end_B1, 0)
    real_BT = position_T < np.minimum(full_B, max_tokens)[:, None]
    ids_BT = np.full(source_BT.shape, PAD, np.int64)
    ids_BT[real_BT] = tokens[source_BT[real_BT]]
    return ids_BT, lengths_B


def drop_words(batch: Batch, share: float, max_tokens: int, generator: np.random.Generator) -> Batch:
    """Replace a random share of the tokens by the unknown word, for regularization.

    Random numbers are drawn for the whole global batch, so that every layout drops the same words.
    """
    drawn = generator.random((batch.rows_global, max_tokens + PAD_MULTIPLE), dtype=np.float32)
    ids_BT = batch.ids_BT
    dropped_BT = (drawn[batch.places_B, : ids_BT.shape[1]] < share) & (ids_BT != PAD)
    return replace(batch, ids_BT=np.where(dropped_BT, UNK, ids_BT))


def _padded_tokens(lengths: IntArray, data_size: int) -> int:
    shares = (lengths[rank::data_size] for rank in range(min(data_size, len(lengths))))
    return sum(len(share) * padded_width(share) for share in shares)


def _cut(rows: IntArray, batch_size: int) -> list[IntArray]:
    return [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
