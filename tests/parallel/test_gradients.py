"""The row-sparse embedding against a dense one: the same sums, the same rows changed, on all replicas."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import embedding

from sentiscale.parallel.gradients import EmbeddingTable, distinct
from sentiscale.parallel.world import World
from sentiscale.text.vocab import PAD
from tests.worlds import run_world

WIDTH = 3
RATE = 0.5

Steps = list[list[list[int]]]
"""Token ids by step and by replica."""


@st.composite
def tables(draw) -> tuple[int, Steps]:
    """A vocabulary size, and a few steps of ids for four replicas; many repeat, some are all padding."""
    vocab = draw(st.integers(2, 12))
    ids = st.lists(st.integers(0, vocab - 1), min_size=1, max_size=8) | st.just([PAD, PAD])
    return vocab, draw(st.lists(st.lists(ids, min_size=4, max_size=4), min_size=1, max_size=3))


def first_weights(vocab: int) -> torch.Tensor:
    weight = torch.arange(vocab * WIDTH, dtype=torch.float64).view(vocab, WIDTH).sin()
    weight[PAD] = 0
    return weight


def factors(count: int) -> torch.Tensor:
    """What the loss multiplies each token's vector by."""
    return torch.arange(1, count * WIDTH + 1, dtype=torch.float64).view(count, WIDTH).cos()


def change_sparsely(world: World, cases: list[tuple[int, Steps]]) -> list[dict[str, object]]:
    """Gradient descent through the table; what each step left in it, on this replica."""
    return [one_table(world, vocab, steps) for vocab, steps in cases]


def one_table(world: World, vocab: int, steps: Steps) -> dict[str, object]:
    table = EmbeddingTable(first_weights(vocab), world)
    after, sent = [], []
    for of_replica in steps:
        ids = torch.tensor(of_replica[world.replica])
        leaf_UE, places = table.look_up(ids)
        table.send_row_numbers()
        (embedding(places, leaf_UE) * factors(len(ids))).sum().backward()
        reduced = table.reduce()
        assert (table.rows_R % world.layout.data == world.replica).all(), "rows of another owner"
        assert torch.equal(table.owned[table.places_owned], table.weight[table.rows_R])
        table.weight[table.rows_R] -= RATE * table.gradient_RE
        sent.append((reduced, table.share()))
        after.append(table.weight.numpy().copy())
        table.share()  # nobody changes rows of the shared memory before all have copied it
    return {"after": after, "sent": sent}


def change_densely(vocab: int, steps: Steps, replicas: int) -> list[np.ndarray]:
    weight, after = first_weights(vocab), []
    for of_replica in steps:
        weight = weight.detach().requires_grad_()
        losses = [
            (embedding(torch.tensor(ids), weight, padding_idx=PAD) * factors(len(ids))).sum()
            for ids in of_replica[:replicas]
        ]
        sum(losses).backward()
        weight = (weight - RATE * weight.grad).detach()
        after.append(weight.numpy().copy())
    return after


@pytest.mark.parametrize(("layout", "hosts"), [("1x1", 1), ("2x1", 1), ("2x1", 2), ("3x1", 1), ("4x1", 2)])
@settings(max_examples=4)
@given(cases=st.lists(tables(), min_size=12, max_size=12))
def test_rows_change_as_those_of_a_dense_table(layout, hosts, cases):
    """A world of processes tries many tables: a world for each would take minutes."""
    found = run_world(change_sparsely, layout, cases, hosts=hosts)
    for index, (vocab, steps) in enumerate(cases):
        expected = change_densely(vocab, steps, len(found))
        for of_replica in found:
            for got, wanted in zip(of_replica[index]["after"], expected, strict=True):
                assert np.abs(got - wanted).max() < 1e-12
                assert (got[PAD] == 0).all()


TWO_RANKS = [(10, [[[1, 2, 4, 4, 2, PAD], [3, 1]]])]
"""Replica 0 owns even rows, replica 1 odd ones; each row is three 8-byte numbers."""


def test_bytes_are_those_of_rows_that_went_to_another_replica():
    first, second = run_world(change_sparsely, "2x1", TWO_RANKS, hosts=2)
    # To replica 1 goes row 1 with a 4-byte number; then both send two changed rows with 8-byte numbers.
    assert first[0]["sent"] == [(4 + 24, 2 * (8 + 24))]
    assert second[0]["sent"] == [(0, 2 * (8 + 24))]


def test_on_one_host_changed_rows_are_not_sent_at_all():
    first, second = run_world(change_sparsely, "2x1", TWO_RANKS)
    assert first[0]["sent"] == [(4 + 24, 0)]
    assert second[0]["sent"] == [(0, 0)]


def loaded(world: World) -> np.ndarray:
    """Each replica puts numbers of its own into the rows it owns, as from a checkpoint."""
    table = EmbeddingTable(first_weights(11), world)
    table.owned.copy_(torch.arange(world.replica, 11, world.layout.data)[:, None].double().expand(-1, WIDTH))
    table.share_all()
    return table.weight.numpy().copy()


@pytest.mark.parametrize(("layout", "hosts"), [("1x1", 1), ("2x1", 1), ("3x1", 3), ("4x1", 2), ("2x2", 1)])
def test_what_owners_have_loaded_reaches_all(layout, hosts):
    stages = int(layout[-1])
    for weight in run_world(loaded, layout, hosts=hosts)[::stages]:
        assert np.array_equal(weight[:, 0], np.arange(11))


def test_a_lookup_without_a_backward_pass_is_an_error():
    from sentiscale.parallel.world import single_rank

    table = EmbeddingTable(first_weights(4), single_rank(torch.device("cpu")))
    with pytest.raises(RuntimeError, match="no backward pass"):
        table.reduce()
    table.look_up(torch.tensor([1, 2]))
    with pytest.raises(RuntimeError, match="no backward pass"):
        table.reduce()


@given(st.lists(st.integers(0, 30)))
def test_distinct_is_unique_without_sorting(numbers):
    tensor = torch.tensor(numbers, dtype=torch.int64)
    values, places = distinct(tensor, 31)
    expected, inverse = torch.unique(tensor, return_inverse=True)
    assert torch.equal(values, expected)
    assert torch.equal(places, inverse)
