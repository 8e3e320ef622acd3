"""Each rule that makes layouts equal is broken on purpose: the comparison of test_equivalence must see it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
import torch

from sentiscale.data import batches
from sentiscale.parallel import gradients as table
from sentiscale.parallel import runner as stage
from sentiscale.parallel.gradients import DenseGradients, EmbeddingTable
from sentiscale.parallel.precision import LossScaler, Precision
from sentiscale.parallel.world import World
from sentiscale.training import step as learner
from sentiscale.training import validate
from sentiscale.training.step import Learner
from tests.parallel import learning
from tests.parallel.learning import MAX_TOKENS, Case, Result, difference, learn
from tests.worlds import once, run_world

VISIBLE = 1e-6
"""A million times what test_equivalence lets pass."""

Plant = Callable[[World], AbstractContextManager[object]]


def mean_of_each_rank(world: World):
    """As PyTorch's DDP does: each rank divides by its own rows, gradients are averaged."""
    right = batches.make_batch

    def wrong(*arguments, **options):
        batch = right(*arguments, **options)
        return replace(batch, rows_global=len(batch.weights_B) * world.layout.data)

    return patch.object(learning, "make_batch", wrong)


def order_of_its_own(world: World):
    right = batches.epoch_order
    return patch.object(
        batches,
        "epoch_order",
        lambda lengths, size, seed, epoch: right(lengths, size, seed + world.replica, epoch),
    )


def filler_rows_count(world: World):
    right = batches.make_batch

    def wrong(*arguments, **options):
        batch = right(*arguments, **options)
        return replace(batch, weights_B=np.ones_like(batch.weights_B))

    return patch.object(learning, "make_batch", wrong)


def norm_of_its_own_stage(world: World):
    right = learner.agree
    return patch.object(
        learner, "agree", lambda report, world: replace(right(report, world), norm=report.norm_squared**0.5)
    )


@contextmanager
def gradients_averaged(world: World) -> Iterator[None]:
    finish, reduce = DenseGradients.finish, EmbeddingTable.reduce

    def halved_finish(self):
        sent = finish(self)
        for bucket in self.buckets:
            bucket.gradients /= world.layout.data
        return sent

    def halved_reduce(self):
        sent = reduce(self)
        self.gradient_RE /= world.layout.data
        return sent

    with (
        patch.object(DenseGradients, "finish", halved_finish),
        patch.object(EmbeddingTable, "reduce", halved_reduce),
    ):
        yield


def padding_learns(world: World):
    return patch.object(table, "PAD", -1)


def dropout_of_each_rank(world: World):
    right = stage.dropout_mask

    def wrong(rows, width, dropout, generator):
        return right(rows, width, dropout, torch.Generator().manual_seed(world.rank))

    return patch.object(stage, "dropout_mask", wrong)


def changed_rows_kept_secret(world: World):
    return patch.object(EmbeddingTable, "share", lambda self: 0)


def skip_decided_alone(world: World):
    """The gradients of one rank overflow in fp16, and no other rank hears of it."""
    right = learner.agree
    return patch.object(
        learner, "agree", lambda report, world: replace(right(report, world), finite=report.finite)
    )


AWKWARD = Case(rows=13, steps=4, max_norm=0.05, dropout=0.3)
TAIL = Case(rows=9, steps=4)
EMPTY = Case(rows=12, batch_size=4, lengths="half empty")
"""Elsewhere padding has no gradient at all: it is masked, and comes last."""

PLANTS: dict[str, tuple[Plant, Case, str, int]] = {
    "mean of each rank": (mean_of_each_rank, AWKWARD, "2x1", 1),
    "order of its own": (order_of_its_own, AWKWARD, "2x1", 1),
    "filler rows count": (filler_rows_count, TAIL, "2x1", 1),
    "norm of its own stage": (norm_of_its_own_stage, AWKWARD, "1x2", 1),
    "gradients averaged": (gradients_averaged, AWKWARD, "2x1", 1),
    "padding learns": (padding_learns, EMPTY, "2x1", 1),
    "dropout of each rank": (dropout_of_each_rank, AWKWARD, "2x1", 1),
    "dropout of each rank of a hybrid": (dropout_of_each_rank, AWKWARD, "2x2", 1),
    "changed rows kept secret": (changed_rows_kept_secret, AWKWARD, "2x1", 2),
}
"""What is broken, the case that shows it, layout and hosts."""


def sound_and_broken(world: World, names: list[str]) -> dict[str, tuple[Result, Result]]:
    """For each bug, the result of its case without it and with it."""
    found = {}
    for name in names:
        plant, case, *_ = PLANTS[name]
        sound = learn(world, case)
        with plant(world):
            found[name] = sound, learn(world, case)
    return found


def sound_alone(world: World) -> dict[str, Result]:
    return {name: learn(world, case) for name, (_, case, *_) in PLANTS.items()}


@once
def serial() -> dict[str, Result]:
    return run_world(sound_alone, "1x1")[0]


@once
def results(layout: str, hosts: int) -> list[dict[str, tuple[Result, Result]]]:
    names = [name for name, (_, _, *where) in PLANTS.items() if where == [layout, hosts]]
    return run_world(sound_and_broken, layout, names, hosts=hosts)


@pytest.mark.parametrize("name", PLANTS)
def test_a_broken_rule_changes_the_result(name):
    _, _, layout, hosts = PLANTS[name]
    sound, broken = zip(*(of_rank[name] for of_rank in results(layout, hosts)), strict=True)
    assert all(difference(found, serial()[name]) < 1e-12 for found in sound), "it differs without the bug too"
    assert max(difference(found, serial()[name]) for found in broken) > VISIBLE


def learn_with_overflow(world: World, case: Case) -> Result:
    """Train with loss scaling; at the second step, the last rank's own rows, or its stage, overflow."""
    learner = Learner.build(case.config(), world)
    learner.scaler = LossScaler(Precision("fp16"))
    reduce, steps = learner.runner.reduce_gradients, []

    def overflowing():
        sent = reduce()
        steps.append(None)
        if len(steps) == 2 and world.rank == world.layout.world_size - 1:
            for gradient in [each.gradient_RE for each in learner.runner.tables.values()] or [
                bucket.gradients for bucket in learner.runner.clipped.buckets
            ]:
                gradient[0] = float("inf")
        return sent

    learner.runner.reduce_gradients = overflowing
    found = learn(world, case, learner)
    return found | {"scale": learner.scaler.scale, "updates": learner.optimizer.steps}


def overflow_sound_and_broken(world: World, case: Case) -> tuple[Result, Result]:
    sound = learn_with_overflow(world, case)
    with skip_decided_alone(world):
        return sound, learn_with_overflow(world, case)


@pytest.mark.parametrize("layout", ["2x1", "1x2", "2x2"])
def test_a_step_that_overflows_on_one_rank_is_skipped_by_all(layout):
    case = Case(steps=4, max_norm=0.05)
    expected = overflow_alone(case)
    sound, broken = zip(*run_world(overflow_sound_and_broken, layout, case), strict=True)
    for found in (expected, *sound):
        assert found["updates"] == 3
        assert found["scale"] == 2.0**15
        for name, value in found["weights"].items():
            assert np.abs(value - expected["weights"][name]).max() < 1e-12, name
    assert {found["updates"] for found in broken} == {3, 4}


@once
def overflow_alone(case: Case) -> Result:
    return run_world(learn_with_overflow, "1x1", case)[0]


def logits_of_own_rows(world: World) -> tuple[np.ndarray, np.ndarray]:
    """With the sum over ranks and without it."""
    runner, split = Learner.build(Case().config(), world).runner, Case(rows=30).split()
    sound = validate.network_logits(runner, split, MAX_TOKENS)
    with patch.object(validate, "all_reduce", lambda tensor, group: tensor):
        return sound, validate.network_logits(runner, split, MAX_TOKENS)


@pytest.mark.parametrize("layout", ["2x1", "1x2"])
def test_evaluation_that_is_not_summed_misses_rows(layout):
    [(expected, _)] = run_world(logits_of_own_rows, "1x1")
    sound, broken = zip(*run_world(logits_of_own_rows, layout), strict=True)
    assert all(np.array_equal(found, expected) for found in sound)
    assert max(np.abs(found - expected).max() for found in broken) > VISIBLE
