"""Trainings described by their sizes: bytes and costs worked out by hand, and what is refused."""

import pytest

from sentiscale.errors import UsageError
from sentiscale.study.plan.sizes import CLASSIC, costs_of_sizes, sizes_of, with_memory_limit


def test_classic_recipe_sends_its_whole_table_and_both_layers():
    """130,000 x 400 floats; 4 gates x 512 x (400 + 512 + 2) and 4 x 512 x (512 + 512 + 2); a head on max and
    mean of 512 units."""
    parameters = 130_000 * 400 + 2048 * 914 + 2048 * 1026 + 1025
    assert costs_of_sizes(CLASSIC).dense_bytes == 4 * parameters
    assert costs_of_sizes(CLASSIC).compute.at(64) == pytest.approx(64 * 0.081)


def test_update_moves_28_bytes_a_parameter_through_8_gigabytes_a_second():
    costs = costs_of_sizes(sizes_of(None, seconds_per_row=0.01, dense_bytes=4e6))
    assert costs.update_fixed == pytest.approx(1e6 * 28 / 8e9)


def test_given_sizes_win_over_those_of_a_name():
    assert sizes_of("classic", vocab=10, layers=None).vocab == 10
    assert sizes_of("classic", vocab=10, layers=None).layers == 2


def test_ranks_take_turns_at_memory_that_is_full():
    """48 GB/s serve six cores of 8 GB/s; twelve take twice as long."""
    slow = with_memory_limit(costs_of_sizes(CLASSIC), 48e9).update_slowdown
    assert [slow.at(ranks) for ranks in (1, 3, 6, 9, 12, 24)] == pytest.approx([1, 1, 1, 1.5, 2, 4])


@pytest.mark.parametrize(
    ("sizes", "reason"),
    [
        ({"vocab": 10, "embedding": 4, "hidden": 4}, "--seconds-per-row is missing"),
        ({"seconds_per_row": -1.0, "dense_bytes": 4.0}, "--seconds-per-row is missing"),
        ({"seconds_per_row": 0.1, "vocab": 10, "embedding": 4}, "give --bytes"),
    ],
)
def test_missing_sizes_are_named(sizes, reason):
    with pytest.raises(UsageError, match=reason):
        sizes_of(None, **sizes)
