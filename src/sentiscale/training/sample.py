"""A few steps that stand for a whole epoch: what is timed where nobody can wait for all of it.

Batches hold rows that are alike in length, so one step may take ten times as long as the next, and a handful
of steps in a row says little about training. So steps are ordered by the length they are padded to, and every
k-th is taken (systematic sampling; Cochran, 1977, "Sampling Techniques"): few steps then need the time a row
that all of them need.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from sentiscale.data.batches import IntArray, epoch_order, padded_width


def typical_steps(lengths: IntArray, batch_size: int, seed: int, steps: int) -> list[IntArray]:
    """Rows of `steps` full steps of an epoch, in random order; all of an epoch before any step twice.

    Args:
        lengths: tokens of each training row that the network sees (rows,).
        batch_size: rows of a step, no more than there are.
        seed: fixes the epoch and the order.
        steps: how many, at least 1.
    """
    epoch = [rows for rows in epoch_order(lengths, batch_size, seed, 0) if len(rows) == batch_size]
    by_length = sorted(epoch, key=lambda rows: (int(lengths[rows].max()), int(lengths[rows].sum())))
    whole, rest = divmod(steps, len(epoch))
    middles = (np.arange(rest) + 0.5) * len(epoch) / max(rest, 1)
    chosen = by_length * whole + [by_length[int(place)] for place in middles]
    return [chosen[place] for place in np.random.default_rng(seed).permutation(len(chosen))]


def warm_up_steps(lengths: IntArray, steps: Sequence[IntArray]) -> list[IntArray]:
    """One of the steps for each padded length, longest first: kernels are built by shape, memory by need."""
    by_width = {padded_width(lengths[rows]): rows for rows in steps}
    return [by_width[width] for width in sorted(by_width, reverse=True)]


def numbered(*parts: Sequence[IntArray]) -> Iterator[tuple[int, IntArray]]:
    """Steps of several parts one after the other, with numbers from 0."""
    return enumerate([rows for part in parts for rows in part])
