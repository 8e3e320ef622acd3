"""Which split a row goes to."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiscale.data.placement import split_of


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
