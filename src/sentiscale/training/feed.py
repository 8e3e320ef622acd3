"""This rank's batches, step after step: what training, `--layout auto` and benchmarks feed to a learner."""

from collections.abc import Iterator
from itertools import count

import numpy as np

from sentiscale.config import TrainSettings
from sentiscale.data.batches import Batch, IntArray, drop_words, make_batch, token_lengths, training_rows
from sentiscale.data.prepared import Split
from sentiscale.parallel.world import World
from sentiscale.training.clock import PhaseClock


def rank_batches(
    split: Split,
    settings: TrainSettings,
    world: World,
    clock: PhaseClock,
    first_step: int = 0,
    rows_of_steps: Iterator[tuple[int, IntArray]] | None = None,
) -> Iterator[tuple[int, Batch]]:
    """Yield (step, this rank's share of the step's rows) without end; the time to make it counts as `data`.

    Which rows, and which of their words are dropped, depends on seed and step alone. `rows_of_steps` takes
    the place of training's own order; it must not end before the caller does.
    """
    if rows_of_steps is None:
        lengths = token_lengths(split, settings.max_tokens)
        rows_of_steps = training_rows(lengths, settings.batch_size_for(len(split)), settings.seed, first_step)
    for coming in count(first_step):
        with clock.phase("data", coming):
            step, rows = next(rows_of_steps)
            batch = make_batch(
                split, rows, settings.max_tokens, data_rank=world.replica, data_size=world.layout.data
            )
            if settings.word_dropout:
                generator = np.random.default_rng([settings.seed, step])
                batch = drop_words(batch, settings.word_dropout, settings.max_tokens, generator)
        yield step, batch
