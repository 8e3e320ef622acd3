"""A layout: which rank is which replica and stage, and what does not fit a machine."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiscale.errors import UsageError
from sentiscale.parallel.layout import LEAST_ROWS, Layout, usual_layout
from sentiscale.parallel.world import by_host

layouts = st.builds(Layout, st.integers(1, 9), st.integers(1, 2))


@given(layouts)
def test_text_and_layout_are_two_forms_of_one(layout):
    assert Layout.parse(str(layout)) == layout


@pytest.mark.parametrize(
    "text", ["", "2", "2x", "x2", "0x1", "1x0", "2X1", "-1x1", "2x1x1", " 2x1", "02x1", "two"]
)
def test_other_texts_are_refused_with_an_example(text):
    with pytest.raises(UsageError, match="DATAxMODEL, two whole numbers such as 2x1"):
        Layout.parse(text)


def test_more_stages_than_there_are_is_refused_with_two_ways_out():
    with pytest.raises(UsageError, match=r"3 stages.*--layout 4x2.*12x1"):
        Layout.parse("4x3")


@given(layouts)
def test_every_rank_has_one_place_in_one_row_and_one_column(layout):
    places = [layout.place(rank) for rank in range(layout.world_size)]
    assert len(set(places)) == layout.data * layout.model
    for rank, (replica, stage) in enumerate(places):
        assert rank in layout.replicas_of(stage)
        assert rank in layout.stages_of(replica)
        assert set(layout.replicas_of(stage)) & set(layout.stages_of(replica)) == {rank}
    assert [layout.place(rank)[0] for rank in layout.stages_of(0)] == [0] * layout.model


@pytest.mark.parametrize(
    ("layout", "ranks", "threads", "cores", "remedy"),
    [
        ("3x1", 3, 1, 2, "--layout 2x1"),
        ("2x2", 4, 1, 2, "--layout 1x2"),
        ("1x2", 2, 1, 1, "--layout 1x1"),
        ("2x1", 2, 4, 4, "--threads-per-rank 2"),
        ("1x1", 1, 3, 2, "--threads-per-rank 2"),
    ],
)
def test_more_threads_than_cores_need_a_word_of_the_user(layout, ranks, threads, cores, remedy):
    with pytest.raises(UsageError, match=rf"{cores} cores are visible. Use {remedy}, or add --oversubscribe"):
        Layout.parse(layout).check_cores(ranks, threads, cores, oversubscribe=False)
    Layout.parse(layout).check_cores(ranks, threads, cores, oversubscribe=True)


@given(layouts, st.integers(1, 4), st.integers(1, 40))
def test_what_is_refused_has_a_remedy_that_is_not(layout, threads, cores):
    """The remedy that the message names is taken, and must be accepted."""
    try:
        layout.check_cores(layout.world_size, threads, cores, oversubscribe=False)
    except UsageError as error:
        words = str(error).split("Use ")[1].split(",")[0].split()
        if words[0] == "--layout":
            better = Layout.parse(words[1])
            better.check_cores(better.world_size, 1, cores, oversubscribe=False)
        else:
            layout.check_cores(layout.world_size, int(words[1]), cores, oversubscribe=False)
    else:
        assert layout.world_size * threads <= cores


def test_replicas_are_grouped_by_host():
    assert by_host([0, 1, 2, 3], ["a", "a", "b", "b"]) == [[0, 1], [2, 3]]
    assert by_host([0, 2], ["a", "a", "b", "b"]) == [[0], [2]]


def test_hosts_with_different_numbers_of_replicas_share_no_memory():
    assert by_host([0, 1, 2], ["a", "a", "b"]) == [[0], [1], [2]]


@given(st.integers(1, 4096), st.integers(1, 300))
def test_usual_layout_fits_and_gives_every_replica_rows_enough(batch_size, cores):
    layout = usual_layout(batch_size, cores)
    threads = cores // layout.data
    layout.check_cores(layout.world_size, threads, cores, oversubscribe=False)
    assert layout.data == 1 or batch_size >= layout.data * LEAST_ROWS
    assert layout.data * threads > cores / 2


@pytest.mark.parametrize(
    ("batch_size", "cores", "replicas"),
    [
        (32, 2, 1),
        (128, 1, 1),
        (128, 2, 2),
        (128, 6, 3),
        (128, 7, 3),
        (128, 64, 4),
        (512, 64, 16),
        (256, 5, 5),
    ],
)
def test_usual_layout(batch_size, cores, replicas):
    assert usual_layout(batch_size, cores) == Layout(replicas, 1)
