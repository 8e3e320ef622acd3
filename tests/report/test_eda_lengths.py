"""What cut-offs keep, against counting row by row."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiscale.report.eda_counts import Lengths, round_width

true_lengths = st.lists(st.integers(1, 90), min_size=1, max_size=60)


def as_stored(lengths: list[int], max_tokens: int) -> Lengths:
    """Lengths as preparation leaves them, every second row positive."""
    stored = np.minimum(lengths, max_tokens)
    counts = np.zeros((2, stored.max() + 1), np.int64)
    np.add.at(counts, (np.arange(len(stored)) % 2, stored), 1)
    longer = np.array(lengths) - stored
    return Lengths(counts, max_tokens, int((longer > 0).sum()), int(longer.sum()))


@given(true_lengths, st.integers(1, 90), st.data())
def test_a_cut_keeps_what_a_count_row_by_row_says(lengths, max_tokens, data):
    cut_at = data.draw(st.integers(1, max_tokens))
    cut = as_stored(lengths, max_tokens).cut(cut_at)
    assert cut.tokens_kept == pytest.approx(sum(min(n, cut_at) for n in lengths) / sum(lengths))
    assert cut.rows_whole == pytest.approx(sum(n <= cut_at for n in lengths) / len(lengths))


@given(true_lengths)
def test_histogram_and_quantiles_hold_every_row(lengths):
    stored = as_stored(lengths, 64)
    edges, rows = stored.histogram()
    assert rows.sum() == stored.rows == len(lengths)
    expected, _ = np.histogram(np.minimum(lengths, 64), edges + 0.5)
    assert rows.sum(axis=0).tolist() == expected.tolist()
    assert stored.quantile(1) == min(max(lengths), 64)
    half = stored.quantile(0.5)
    assert sum(min(n, 64) <= half for n in lengths) >= len(lengths) / 2
    assert sum(min(n, 64) < half for n in lengths) < len(lengths) / 2 or half == 1


def test_usual_cuts_end_with_the_stored_one_and_never_lie_beyond():
    stored = as_stored([10, 150, 300, 700] * 5, 300)
    assert [cut.max_tokens for cut in stored.usual_cuts()] == [50, 100, 128, 200, 256, 300]
    short = as_stored([10, 20, 60], 512)
    assert [cut.max_tokens for cut in short.usual_cuts()] == [50, 512]
    assert (short.usual_cuts()[-1].tokens_kept, short.usual_cuts()[-1].rows_whole) == (1, 1)


def test_a_class_without_rows_has_no_lengths():
    assert Lengths(np.array([[0, 2], [0, 0]]), 512, 0, 0).quantile(0.5, 1) == 0


def test_bin_widths_are_round():
    assert [round_width(least) for least in (0.2, 1.5, 3, 9.8, 11, 30, 60, 101)] == [
        1,
        2,
        5,
        10,
        20,
        50,
        100,
        200,
    ]
