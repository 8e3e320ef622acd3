"""Which rows stay and where they go; which words have an id."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiscale.data.selection import MERGE_EVERY, WordCounter, select, split_of
from sentiscale.data.shards import WordCounts

ALL_TRAIN = (1.0, 0.0, 0.0)


def chosen(hashes, labels, is_test=None, shares=ALL_TRAIN, *, dedupe=True):
    is_test = np.zeros(len(hashes), np.bool_) if is_test is None else np.array(is_test, np.bool_)
    return select(np.array(hashes, np.uint64), np.array(labels, np.uint8), is_test, shares, dedupe=dedupe)


def test_the_first_of_equal_rows_stays():
    selection = chosen([7, 8, 7, 7, 9], [0, 1, 0, 1, 1])
    assert selection.splits.tolist() == [0, 0, 255, 255, 0]
    assert (selection.duplicates, selection.conflicts) == (2, 1)  # the second copy of 7 has the other label


def test_a_named_test_set_is_never_thinned_and_its_copies_leave_training():
    selection = chosen([1, 2, 3, 2, 2], [0, 1, 0, 1, 0], [False, False, False, True, True])
    assert selection.splits.tolist() == [0, 255, 0, 2, 2]
    assert selection.duplicates == 1


def test_without_dedupe_all_rows_stay():
    selection = chosen([1, 1, 1], [0, 1, 0], [False, False, True], dedupe=False)
    assert selection.splits.tolist() == [0, 0, 2]
    assert (selection.duplicates, selection.conflicts) == (0, 0)


@given(
    st.lists(st.integers(0, 2**64 - 1), min_size=1),
    st.sampled_from([(0.8, 0.1, 0.1), (0.5, 0.5), (0.0, 1.0)]),
)
def test_equal_texts_never_straddle_splits(hashes, shares):
    doubled = np.array(hashes + hashes, np.uint64)
    splits = split_of(doubled, shares)
    assert splits[: len(hashes)].tolist() == splits[len(hashes) :].tolist()
    assert set(splits.tolist()) <= {place for place, share in enumerate(shares) if share}


def test_shares_are_met():
    hashes = np.random.default_rng(0).integers(0, 2**64, 100_000, dtype=np.uint64)
    parts = np.bincount(split_of(hashes, (0.8, 0.1, 0.1))) / len(hashes)
    assert parts == pytest.approx([0.8, 0.1, 0.1], abs=0.005)  # 4 standard deviations


def test_a_hash_at_the_very_end_stays_inside():
    top = np.array([2**64 - 1], np.uint64)
    assert split_of(top, (0.9, 0.1, 0.0)).tolist() == [1]
    assert split_of(top, (0.7, 0.2, 0.1)).tolist() == [2]


def counts(**words):
    return WordCounts(
        pa.array([word.encode() for word in words], pa.large_binary()), np.array(list(words.values()))
    )


def test_words_by_frequency_then_by_bytes():
    counter = WordCounter()
    counter.add(counts(b=2, a=2, c=5, once=1))
    counter.add(counts(z=9, once=0, a=1))
    assert counter.vocabulary(100, 2).words == ["<pad>", "<unk>", "z", "c", "a", "b"]
    assert counter.vocabulary(4, 2).words == ["<pad>", "<unk>", "z", "c"]


def test_the_order_of_blocks_does_not_matter():
    rng = np.random.default_rng(1)
    parts = [
        counts(**{f"w{word}": int(rng.integers(1, 4)) for word in rng.integers(0, 50, 20)})
        for _ in range(3 * MERGE_EVERY)
    ]
    forward, backward = WordCounter(), WordCounter()
    for part, other in zip(parts, reversed(parts), strict=True):
        forward.add(part)
        backward.add(other)
    assert forward.vocabulary(30, 2) == backward.vocabulary(30, 2)
