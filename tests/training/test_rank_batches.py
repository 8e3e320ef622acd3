"""What a rank is fed with: its share of every step's rows, wherever training begins, with words dropped."""

from itertools import islice

import numpy as np
import torch

from sentiscale.config import TrainSettings
from sentiscale.data.batches import Batch
from sentiscale.parallel.layout import Layout
from sentiscale.parallel.world import World
from sentiscale.text.vocab import UNK
from sentiscale.training.clock import PhaseClock
from sentiscale.training.step import rank_batches
from tests.parallel.learning import awkward_split

SETTINGS = TrainSettings(batch_size=8, max_tokens=24, word_dropout=0.3, seed=3)
SPLIT = awkward_split(20)


def fed(
    layout: str = "1x1", rank: int = 0, first_step: int = 0, settings: TrainSettings = SETTINGS
) -> list[tuple[int, Batch]]:
    """Up to step 8, which is in the third epoch."""
    world = World(Layout.parse(layout), rank, torch.device("cpu"))
    return list(islice(rank_batches(SPLIT, settings, world, PhaseClock(), first_step), 8 - first_step))


def test_words_are_dropped_in_every_batch_and_not_without_the_setting():
    plain = fed(settings=SETTINGS.model_copy(update={"word_dropout": 0.0}))
    for (_, batch), (_, whole) in zip(fed(), plain, strict=True):
        changed = batch.ids_BT != whole.ids_BT
        assert changed.any()
        assert (batch.ids_BT[changed] == UNK).all()


def test_replicas_share_out_the_rows_and_words_of_one_process():
    for step, whole in fed():
        for replica in (0, 1):
            found_step, share = fed("2x1", replica)[step]
            assert found_step == step
            for row, place in enumerate(share.places_B):
                length = share.lengths_B[row]
                assert np.array_equal(share.ids_BT[row, :length], whole.ids_BT[place, :length])


def test_a_resumed_run_is_fed_as_if_it_had_never_stopped():
    for (step, batch), (expected_step, expected) in zip(fed(first_step=5), fed()[5:], strict=True):
        assert step == expected_step
        assert np.array_equal(batch.ids_BT, expected.ids_BT)


def test_making_batches_counts_as_data_until_the_clock_is_reset():
    noted: list[tuple[str, int]] = []
    clock = PhaseClock(on_phase=lambda phase, step: noted.append((phase, step)))
    batches = rank_batches(SPLIT, SETTINGS, World(Layout(1, 1), 0, torch.device("cpu")), clock, first_step=4)
    next(batches), next(batches)
    assert noted == [("data", 4), ("data", 5)]
    assert clock.times().data > 0
    clock.reset()
    assert clock.times().step_seconds == 0
    assert clock.seconds() < 1
