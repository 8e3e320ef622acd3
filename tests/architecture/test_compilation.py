"""The small demonstration that ends `make setup` compiles what `make demo` needs."""

import os
import subprocess
import sys

import pytest

COUNT = """
import sys
from numba.core import event
from sentiscale.cli import app
with event.install_recorder("numba:compile") as recorder:
    try:
        app({call})
    finally:
        print(len(recorder.buffer), file=sys.stderr)
"""


def compilations(rows, out, cache):
    call = ["demo", "--rows", str(rows), "--out", str(out), "--set", "train.epochs=0.1", "--quiet"]
    variables = os.environ | {"NUMBA_CACHE_DIR": str(cache)}
    command = [sys.executable, "-c", COUNT.format(call=call)]
    done = subprocess.run(command, env=variables, capture_output=True, text=True)
    return int(done.stderr.split()[-1])


@pytest.mark.slow
def test_a_small_demonstration_compiles_what_a_larger_one_needs(tmp_path):
    assert compilations(1000, tmp_path / "small", tmp_path / "cache") > 50
    assert compilations(2000, tmp_path / "larger", tmp_path / "cache") == 0
