"""The wide part's product in one pass is that of the features as a matrix, scaled and multiplied."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sentiscale.model.ngrams import Ngrams, scale

rows_of_tokens = st.lists(st.lists(st.integers(1, 9), max_size=40), min_size=1, max_size=8)


@given(
    rows=rows_of_tokens,
    bits=st.integers(2, 10),
    longest=st.integers(1, 3),
    gaps=st.integers(0, 3),
    data=st.data(),
)
def test_products_are_those_of_the_matrix(rows, bits, longest, gaps, data):
    """Few words and few buckets: n-grams repeat, and different ones share buckets."""
    tokens = np.array([token for row in rows for token in row], np.int32)
    offsets = np.cumsum([0, *map(len, rows)]).astype(np.int64)
    chosen = np.array(data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=10)), np.int64)
    drawn = np.random.default_rng(bits)
    scales = drawn.uniform(0.1, 2, 2**bits).astype(np.float32)
    weights = drawn.normal(size=2**bits).astype(np.float32)
    ngrams = Ngrams(bits, longest, gaps)
    matrix = ngrams.matrix(tokens, offsets, chosen)
    scale(matrix, scales)
    found = ngrams.products(tokens, offsets, chosen, scales, weights)
    np.testing.assert_allclose(found, matrix @ weights, rtol=0, atol=1e-5)
