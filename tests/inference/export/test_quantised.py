"""Numbers in 8 bits and back: how far off they can be."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sentiscale.inference.onnx_graph import (
    LSTM_WEIGHT_MAX,
    quantize_lstm,
    quantize_rows,
    quantize_square_roots,
)

TABLES = arrays(
    np.float32, st.tuples(st.integers(1, 6), st.integers(1, 5)), elements=st.floats(-1000, 1000, width=32)
)


@given(TABLES)
def test_rows_are_off_by_half_a_step_at_most(table):
    numbers, scales = quantize_rows(table)
    step = np.abs(table).max(axis=1, keepdims=True) / 127
    assert np.all(np.abs(numbers * scales[:, None] - table) <= 0.501 * step + 1e-30)
    assert numbers.dtype == np.int8


def test_a_row_of_zeros_stays_zero():
    numbers, scales = quantize_rows(np.zeros((2, 3), np.float32))
    assert not numbers.any()
    assert np.isfinite(scales).all()


@given(TABLES)
def test_weights_take_seven_bits(weights):
    """64 and more would overflow on processors that add two products in 16 bits: 2 * 255 * 63 < 2**15."""
    quantised = quantize_lstm(weights)
    scale, zero = quantised.scales, quantised.zero_points
    assert np.abs(quantised.weights).max() <= LSTM_WEIGHT_MAX
    assert 2 * 255 * LSTM_WEIGHT_MAX < 2**15
    assert quantised.weights.shape == (1, *weights.T.shape)
    assert scale.shape == zero.shape == (1, len(weights))
    assert not zero.any()
    step = np.abs(weights).max(axis=1) / LSTM_WEIGHT_MAX
    assert np.all(np.abs(quantised.weights[0].T * scale.T - weights) <= 0.501 * step[:, None] + 1e-30)


@given(TABLES)
def test_square_roots_are_finer_where_values_are_small(table):
    numbers, steps = quantize_square_roots(table)
    back = numbers.astype(np.float32) * np.abs(numbers) * steps
    largest = np.maximum(np.abs(table).max(axis=0), np.finfo(np.float32).tiny)
    # With r = sqrt(|x| / largest), r is off by 1/254 at most, so x by (2 r + 1/254) / 254 of the largest.
    roots = np.sqrt(np.abs(table) / largest)
    assert np.all(np.abs(back - table) <= largest * (2 * roots + 0.004) * 0.00395 + 1e-30)


def test_the_rule_of_square_roots_by_hand():
    numbers, steps = quantize_square_roots(np.array([[4.0], [-1.0], [0.0]], np.float32))
    assert numbers[:, 0].tolist() == [127, -64, 0]  # sqrt(1 / 4) * 127 = 63.5, to the even neighbour
    assert steps[0] == np.float32(4 / 127**2)
