"""A few steps that stand for an epoch."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiscale.data.batches import padded_width
from sentiscale.study.bench.steps import typical_steps, warm_up_steps

LENGTHS = np.clip(np.random.default_rng(3).lognormal(4.2, 0.8, 20_000).astype(np.int64), 1, 200)


@pytest.mark.parametrize("batch_size", [32, 128, 512])
def test_a_sample_needs_as_many_padded_tokens_a_row_as_the_whole_epoch(batch_size):
    def padded(steps) -> float:
        return float(np.mean([padded_width(LENGTHS[rows]) for rows in steps]))

    whole = typical_steps(LENGTHS, batch_size, 0, len(LENGTHS) // batch_size)
    assert padded(typical_steps(LENGTHS, batch_size, 0, 2560 // batch_size)) == pytest.approx(
        padded(whole), rel=0.05
    )


@given(st.integers(1, 300), st.integers(0, 5))
def test_steps_are_full_and_none_comes_twice_before_all_have_come(steps, seed):
    found = typical_steps(LENGTHS[:3000], 64, seed, steps)
    assert len(found) == steps
    assert all(len(rows) == 64 for rows in found)
    counts = np.unique([rows[0] for rows in found], return_counts=True)[1]
    assert counts.max() - (counts.min() if steps >= 46 else counts.max()) <= 1
    assert [list(rows) for rows in found] == [list(r) for r in typical_steps(LENGTHS[:3000], 64, seed, steps)]


def test_the_warm_up_meets_every_shape_once_longest_first():
    steps = typical_steps(LENGTHS, 128, 0, 24)
    widths = [padded_width(LENGTHS[rows]) for rows in warm_up_steps(LENGTHS, steps)]
    assert widths == sorted({padded_width(LENGTHS[rows]) for rows in steps}, reverse=True)
