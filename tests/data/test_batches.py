"""Which rows form a batch, and how they are padded."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiscale.data.batches import (
    PAD_MULTIPLE,
    Batch,
    drop_words,
    epoch_order,
    make_batch,
    micro_batches,
    padded_ids,
    sorted_order,
    token_lengths,
    training_rows,
)
from sentiscale.data.prepared import Split
from sentiscale.text.vocab import PAD, UNK

lengths_and_batch = st.tuples(st.lists(st.integers(1, 40), min_size=1, max_size=300), st.integers(1, 70))


def split_of(rows: list[list[int]]) -> Split:
    offsets = np.cumsum([0, *map(len, rows)]).astype(np.int64)
    tokens = np.array([token for row in rows for token in row], np.uint16)
    labels = np.arange(len(rows), dtype=np.uint8) % 2
    return Split("train", tokens, offsets, labels)


@given(lengths_and_batch, st.integers(0, 3), st.integers(0, 3))
def test_an_epoch_holds_every_row_once(case, seed, epoch):
    lengths, batch_size = np.array(case[0]), case[1]
    batches = epoch_order(lengths, batch_size, seed, epoch)
    assert sorted(np.concatenate(batches)) == list(range(len(lengths)))
    assert max(map(len, batches)) <= batch_size


@given(lengths_and_batch)
def test_evaluation_order_holds_every_row_once_and_pads_least(case):
    lengths, batch_size = np.array(case[0]), case[1]
    order = np.concatenate(sorted_order(lengths, batch_size))
    assert sorted(order) == list(range(len(lengths)))
    assert np.all(np.diff(lengths[order]) >= 0)


def test_epochs_differ_and_seeds_differ_but_repeat_exactly():
    lengths = np.arange(1, 101)
    first = np.concatenate(epoch_order(lengths, 8, seed=1, epoch=0))
    assert np.array_equal(first, np.concatenate(epoch_order(lengths, 8, seed=1, epoch=0)))
    assert not np.array_equal(first, np.concatenate(epoch_order(lengths, 8, seed=1, epoch=1)))
    assert not np.array_equal(first, np.concatenate(epoch_order(lengths, 8, seed=2, epoch=0)))


def test_batches_are_alike_in_length():
    """Sorted within pools, so a batch of 8 out of 800 rows of length 1 to 100 spans few lengths."""
    lengths = np.random.default_rng(0).integers(1, 101, 800)
    spans = [np.ptp(lengths[rows]) for rows in epoch_order(lengths, 8, seed=0, epoch=0)]
    assert np.mean(spans) < 3


@given(st.integers(0, 60))
def test_training_continues_from_any_step_as_if_never_stopped(first_step):
    lengths = np.arange(1, 38)
    whole, resumed = training_rows(lengths, 5, 7), training_rows(lengths, 5, 7, first_step)
    for _ in range(first_step):
        next(whole)
    for _ in range(20):
        step, rows = next(whole)
        resumed_step, resumed_rows = next(resumed)
        assert step == resumed_step
        assert np.array_equal(rows, resumed_rows)


@given(st.integers(1, 12), st.integers(1, 5))
def test_ranks_share_a_global_batch_without_loss_or_repeat(rows_in_batch, data_size):
    split = split_of([[index + 2] for index in range(12)])
    rows = np.arange(rows_in_batch)
    parts = [make_batch(split, rows, 4, data_rank=rank, data_size=data_size) for rank in range(data_size)]
    real = np.concatenate([part.places_B[part.weights_B == 1] for part in parts])
    assert sorted(real) == list(range(rows_in_batch))
    assert all(part.rows_global == rows_in_batch and len(part.places_B) >= 1 for part in parts)


@given(st.lists(st.integers(0, 40), min_size=1, max_size=30), st.integers(1, 5), st.integers(4, 30))
def test_every_rank_counts_the_tokens_of_all(lengths, data_size, max_tokens):
    split = split_of([[2] * length for length in lengths])
    rows = np.arange(len(lengths))
    parts = [make_batch(split, rows, max_tokens, data_rank=r, data_size=data_size) for r in range(data_size)]
    real = [part for part in parts if part.weights_B.any()]
    assert {part.tokens_global for part in parts} == {sum(int(part.lengths_B.sum()) for part in real)}
    assert {part.padded_global for part in parts} == {sum(part.ids_BT.size for part in real)}


@given(st.lists(st.integers(0, 40), min_size=1, max_size=30), st.integers(1, 6))
def test_micro_batches_hold_every_row_once_without_needless_padding(lengths, most):
    split = split_of([list(range(2, 2 + length)) for length in sorted(lengths)])
    batch = make_batch(split, np.arange(len(lengths)), 30)
    parts = micro_batches(batch, most)
    assert len(parts) == min(most, len(lengths))
    assert np.concatenate([part.places_B for part in parts]).tolist() == batch.places_B.tolist()
    assert np.concatenate([part.labels_B for part in parts]).tolist() == batch.labels_B.tolist()
    start = 0
    for part in parts:
        rows, width = part.ids_BT.shape
        assert part.lengths_B.max() <= width < part.lengths_B.max() + PAD_MULTIPLE
        assert np.array_equal(part.ids_BT, batch.ids_BT[start : start + rows, :width])
        assert part.rows_global == len(lengths)
        start += rows


def test_padding_is_at_the_end_and_to_a_multiple():
    split = split_of([[5, 6, 7], [8]])
    ids_BT, lengths_B = padded_ids(split.tokens, split.offsets, np.array([1, 0]), 10)
    assert ids_BT.shape == (2, PAD_MULTIPLE)
    assert ids_BT[0].tolist() == [8] + [PAD] * 7
    assert ids_BT[1].tolist() == [5, 6, 7] + [PAD] * 5
    assert lengths_B.tolist() == [1, 3]


def test_long_reviews_keep_their_beginning_and_their_end():
    split = split_of([list(range(2, 12)), [3, 4]])
    ids_BT, lengths_B = padded_ids(split.tokens, split.offsets, np.array([0, 1]), 6)
    assert ids_BT[0].tolist() == [2, 3, 4, 9, 10, 11, PAD, PAD]
    assert ids_BT[1].tolist() == [3, 4] + [PAD] * 6
    assert lengths_B.tolist() == [6, 2]


def test_an_empty_row_is_one_padding_token():
    split = split_of([[], [9]])
    ids_BT, lengths_B = padded_ids(split.tokens, split.offsets, np.array([0, 1]), 6)
    assert ids_BT[0].tolist() == [PAD] * 8
    assert lengths_B.tolist() == [1, 1]
    assert token_lengths(split, 6).tolist() == [1, 1]


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_dropped_words_become_unknown_and_padding_stays(share):
    batch = Batch(
        ids_BT=np.tile([5, 6, PAD, PAD], (500, 1)),
        lengths_B=np.full(500, 2),
        labels_B=np.zeros(500, np.float32),
        weights_B=np.ones(500, np.float32),
        places_B=np.arange(500),
        rows_global=500,
    )
    ids_BT = drop_words(batch, share, 4, np.random.default_rng(0)).ids_BT
    assert np.all(ids_BT[:, 2:] == PAD)
    assert np.mean(ids_BT[:, :2] == UNK) == pytest.approx(share, abs=0.05)


def test_every_layout_drops_the_same_words():
    split = split_of([[5] * length for length in (2, 9, 12, 20, 3, 17)])
    rows = np.arange(6)

    def dropped(rank: int, size: int):
        batch = make_batch(split, rows, 16, data_rank=rank, data_size=size)
        return batch.places_B, drop_words(batch, 0.5, 16, np.random.default_rng(1)).ids_BT

    places, whole = dropped(0, 1)
    assert places.tolist() == list(range(6))
    for rank in range(3):
        places, part = dropped(rank, 3)
        assert np.array_equal(part, whole[places, : part.shape[1]])
