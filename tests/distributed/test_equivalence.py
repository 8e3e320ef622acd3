"""The same global batch gives the same result, whatever the layout."""

from functools import lru_cache

import numpy as np
import pytest

from tests.distributed.learning import Case, learn_all
from tests.worlds import run_world

CLOSE = 1e-12

CASES = {
    "lstm": Case(),
    "gru": Case(cell="gru"),
    "clipped": Case(max_norm=0.05),
    "ragged last batch": Case(rows=13, batch_size=8, steps=4),
    "tail shorter than the ranks": Case(rows=9, batch_size=8, steps=4),
    "two directions, two layers": Case(bidirectional=True, layers=2, max_norm=0.05),
    "dropout": Case(dropout=0.5),
    "rows without a token": Case(rows=12, batch_size=4, steps=3, empty_rows=True),
    "dense embedding gradients": Case(sparse_embedding=False),
}

LAYOUTS = {
    "2x1": ("2x1", 1), "3x1": ("3x1", 1), "1x2": ("1x2", 1), "1x2 in 2 micro-batches": ("1x2", 2),
    "1x2 in 3 micro-batches": ("1x2", 3), "2x2 in 2 micro-batches": ("2x2", 2),
}  # fmt: skip


@lru_cache
def results(mesh: str, micro_batches: int):
    """What rank 0 found in every case: one world a layout is quicker than one a case."""
    return run_world(learn_all, mesh, CASES, micro_batches)[0]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_serial_result(layout, name):
    expected, found = results("1x1", 1)[name], results(*LAYOUTS[layout])[name]
    assert np.allclose(found["losses"], expected["losses"], rtol=0, atol=CLOSE)
    assert np.allclose(found["norms"], expected["norms"], rtol=0, atol=CLOSE)
    assert found["weights"].keys() == expected["weights"].keys()
    for key, value in expected["weights"].items():
        assert np.abs(found["weights"][key] - value).max() < CLOSE, key
