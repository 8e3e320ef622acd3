"""The n-gram model of a run: fitted once, stored in the run and read again by a resumed one."""

from dataclasses import replace

import numpy as np
import pytest

from sentiscale.config import WideSettings
from sentiscale.errors import DataError
from sentiscale.training.run_directory import RunDir
from sentiscale.training.setup import load_or_fit_wide, read_wide
from sentiscale.util.progress import Progress
from tests.data.relabel import STARS, TERNARY, relabelled
from tests.training.conftest import quick


@pytest.mark.parametrize("classes", [TERNARY, STARS], ids=lambda classes: classes.kind)
def test_the_ngram_model_of_a_run_is_stored_for_any_number_of_classes(dataset, tmp_path, classes):
    split = relabelled(dataset.path, tmp_path / "data", classes.names, classes.kind).split("train")
    split = replace(split, weights=np.linspace(0.5, 1.5, len(split)).astype(np.float32))
    run_dir, settings, count = RunDir(tmp_path / "run"), quick(wide__bits=10), len(classes)
    run_dir.wide.parent.mkdir(parents=True)
    fit = (split, settings, run_dir, 1, Progress())
    fitted = load_or_fit_wide(*fit, classes=count)
    stored = read_wide(run_dir.wide, settings.wide, count)
    assert stored.weights.shape == (2**10, count)
    assert np.array_equal(stored.weights, fitted.weights)
    assert stored.intercept == fitted.intercept
    assert len(fitted.intercept) == count
    before = run_dir.wide.read_bytes()
    run_dir.wide.write_bytes(before[:-1])
    load_or_fit_wide(*fit, classes=count)
    assert run_dir.wide.read_bytes() == before
    with pytest.raises(DataError, match="does not fit the settings"):
        read_wide(run_dir.wide, settings.wide, 2)


@pytest.mark.parametrize(
    ("rows", "classes", "bits"),
    [(50_000, 2, 23), (1000, 2, 21), (50_000, 5, 22), (50_000, 24, 20), (1000, 100, 18)],
)
def test_many_classes_get_fewer_buckets(rows, classes, bits):
    assert WideSettings().resolved(rows, classes).bits == bits
    assert 4 * classes * 2**bits <= 2**27
    assert WideSettings(bits=22).resolved(rows, classes).bits == 22
