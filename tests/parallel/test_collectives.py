"""What ranks tell each other, and what they conclude from it."""

import math
from dataclasses import replace
from unittest.mock import patch

import pytest
import torch

from sentiscale.parallel import gradients as dense
from sentiscale.parallel.collectives import (
    StepReport,
    agree,
    all_gather,
    all_reduce,
    gather_numbers,
    gather_texts,
    only_rank_0,
    share_text,
)
from sentiscale.parallel.gradients import DenseGradients
from sentiscale.parallel.world import World, single_rank
from tests.worlds import once, run_world

TEXTS = ["", "a", "naïve café", "好評 🙂\n" * 3, '{"rows": [1, 2]}', "x" * 70_000]
LAYOUTS = ["1x1", "2x1", "3x1", "1x2", "2x2"]


def talk(world: World) -> dict[str, object]:
    """Everything that ranks exchange besides gradients, once."""
    done = []
    only_rank_0(world, lambda: done.append(world.rank))
    own = StepReport(loss_sum=world.rank + 0.5, norm_squared=4.0 + world.stage)
    return {
        "numbers": gather_numbers([world.rank, 1e300 * world.rank], world),
        "shared": [share_text(text if world.is_main else "not this", world) for text in TEXTS],
        "gathered": [
            gather_texts(TEXTS[(world.rank + shift) % len(TEXTS)], world) for shift in range(len(TEXTS))
        ],
        "by rank 0": done,
        "sum": all_reduce(torch.tensor([world.rank, 1]), world.everyone).tolist(),
        "rows": all_gather(torch.tensor([[world.rank]]), world.everyone).tolist(),
        "plain": agree(own, world),
        "last requests": agree(requests(own, world.rank == world.layout.world_size - 1), world),
        "first requests": agree(requests(own, world.is_main), world),
        "one overflows": agree(replace(own, finite=world.rank != world.layout.world_size - 1), world),
        "one breaks": agree(
            replace(own, loss_sum=math.nan) if world.rank == world.layout.world_size - 1 else own, world
        ),
    }


def requests(report: StepReport, made: bool) -> StepReport:
    return replace(report, stop=made, out_of_time=made, save=made)


@once
def results(layout: str):
    return run_world(talk, layout)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_all_ranks_hear_the_same(layout):
    heard = [{key: value for key, value in each.items() if key != "by rank 0"} for each in results(layout)]
    for each in heard:  # a NaN equals nothing, not even itself
        assert math.isnan(each.pop("one breaks").loss_sum)
    assert all(each == heard[0] for each in heard)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_numbers_and_texts_arrive_as_they_were_by_rank(layout):
    found, ranks = results(layout)[0], range(len(results(layout)))
    assert found["numbers"] == [[rank, 1e300 * rank] for rank in ranks]
    assert found["shared"] == TEXTS
    for shift, texts in enumerate(found["gathered"]):
        assert texts == [TEXTS[(rank + shift) % len(TEXTS)] for rank in ranks]
    assert found["sum"] == [sum(ranks), len(ranks)]
    assert found["rows"] == [[[rank]] for rank in ranks]
    assert [each["by rank 0"] for each in results(layout)] == [[0]] + [[]] * (len(ranks) - 1)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_step_s_verdict_sees_the_whole_mesh(layout):
    found, size, stages = results(layout)[0], len(results(layout)), int(layout[-1])
    verdict = found["plain"]
    assert verdict.loss_sum == sum(rank + 0.5 for rank in range(size))
    assert verdict.norm == pytest.approx(math.sqrt(4.0 if stages == 1 else 4.0 + 5.0)), "of one replica"
    assert (verdict.finite, verdict.stop, verdict.out_of_time, verdict.save) == (True, False, False, False)
    assert verdict.broken_ranks == ()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_rank_may_stop_but_rank_0_alone_reads_the_clock(layout):
    last, first = results(layout)[0]["last requests"], results(layout)[0]["first requests"]
    assert last.stop
    assert (last.out_of_time, last.save) == (layout == "1x1", layout == "1x1")
    assert (first.stop, first.out_of_time, first.save) == (True, True, True)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_overflow_is_all_ranks_overflow_and_a_broken_loss_names_its_rank(layout):
    assert not results(layout)[0]["one overflows"].finite
    verdict = results(layout)[0]["one breaks"]
    assert verdict.broken_ranks == (len(results(layout)) - 1,)


def reduce_two_ways_round(world: World, wire_dtype: torch.dtype | None) -> dict[str, object]:
    """Three parameters in three buckets whose gradients come in another order on each rank."""
    parameters = {
        name: torch.nn.Parameter(torch.zeros(size)) for name, size in (("a", 2), ("b", 3), ("c", 4))
    }
    with patch.object(dense, "BUCKET_BYTES", 1):
        gradients = DenseGradients(parameters, world, wire_dtype)
    sizes = [bucket.gradients.numel() for bucket in gradients.buckets]
    gradients.reset(backward_passes=1)
    names = sorted(parameters, reverse=bool(world.rank % 2))
    for factor, name in enumerate(names, 1):
        (parameters[name].sum() * (factor + 0.001)).backward()
    sent = gradients.finish()
    return {
        "sizes": sizes,
        "sent": sent,
        "sums": {name: parameter.grad.tolist() for name, parameter in parameters.items()},
        "norm": float(gradients.norm_squared()),
    }


def test_buckets_leave_in_the_same_order_on_every_rank_whatever_comes_first():
    found = run_world(reduce_two_ways_round, "2x1", None)
    assert found[0] == found[1]
    assert found[0]["sizes"] == [4, 3, 2], "last parameters first"
    assert found[0]["sent"] == 9 * 4
    for name, size in (("a", 2), ("b", 3), ("c", 4)):
        assert found[0]["sums"][name] == pytest.approx([4.002] * size), name
    assert found[0]["norm"] == pytest.approx(9 * 4.002**2)


def test_compressed_gradients_are_half_the_bytes_and_a_little_off():
    found = run_world(reduce_two_ways_round, "2x1", torch.bfloat16)
    assert found[0] == found[1]
    assert found[0]["sent"] == 9 * 2
    assert found[0]["sums"]["a"] == [4.0, 4.0]


def test_alone_nothing_is_sent_or_rounded():
    [found] = run_world(reduce_two_ways_round, "1x1", torch.bfloat16)
    assert found["sent"] == 0
    assert found["sums"]["a"] == pytest.approx([1.001] * 2)


def test_a_gradient_that_never_came_is_an_error_not_a_wrong_sum():
    parameters = {name: torch.nn.Parameter(torch.zeros(2)) for name in "ab"}
    gradients = DenseGradients(parameters, single_rank(torch.device("cpu")))
    gradients.reset(backward_passes=2)
    for _ in range(2):
        parameters["a"].sum().backward()
    parameters["b"].sum().backward()
    with pytest.raises(RuntimeError, match="1 of 1 gradient buckets"):
        gradients.finish()
