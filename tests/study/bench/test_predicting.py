"""Prediction from text by threads and batch size: a real model in real processes."""

import json
from pathlib import Path

import numpy as np
import pytest

import sentiscale
from sentiscale.data.prepared import PreparedDataset
from sentiscale.datasets.output import synth
from sentiscale.errors import DataError
from sentiscale.study.bench.prediction import PredictionCases, prediction_cases
from sentiscale.text.encode import Encoder
from tests.study.compare.conftest import QUICK

ROWS = 120


@pytest.fixture(scope="module")
def reviews(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("reviews") / "reviews.txt"
    synth(1500, 5, out=path)
    return path


@pytest.fixture(scope="module")
def data(reviews) -> PreparedDataset:
    return sentiscale.prepare(reviews, reviews.with_name("data"), workers=1)


@pytest.fixture(scope="module")
def run_directory(data) -> Path:
    """A small GRU with its n-gram part."""
    settings = {name.replace(".", "__"): value for name, value in QUICK.items()}
    path = data.path.with_name("run")
    sentiscale.train(data, path, **{**settings, "model__cell": "gru", "train__layout": "1x1"})
    return path


@pytest.fixture(scope="module")
def measured(run_directory, data, tmp_path_factory) -> PredictionCases:
    texts, out = (tmp_path_factory.mktemp(name) for name in ("texts", "out"))
    return prediction_cases(run_directory, data, [], texts, out, rows=ROWS)


def test_a_run_says_what_it_took(measured):
    case = measured.cases[1]
    run, others = measured.run(case, 3)
    assert (run.case, run.repeat) == (case, 3)
    assert run.rows == ROWS
    assert run.rows_per_s == pytest.approx(ROWS / run.seconds)
    assert run.start_seconds > 0.1
    assert run.warm_up_seconds > 0
    assert run.peak_memory_mb_per_rank[0] > 100, "torch alone takes more"
    assert run.shape["texts"] == "put together from tokens"
    assert others >= 0
    assert list(measured.out.iterdir()) == []
    assert list(measured.mismatches(run)) == []


def test_cases_are_threads_times_texts_at_once(measured):
    cases = PredictionCases(**{**vars(measured), "threads": (1, 2), "batch_sizes": (1, 32, 8192)}).cases
    assert [(case.workers, case.batch_size) for case in cases] == [
        (1, 1),
        (1, 32),
        (1, 8192),
        (2, 1),
        (2, 32),
        (2, 8192),
    ]
    assert {(case.kind, case.model, case.engine) for case in cases} == {("predict", "gru", "sentiscale")}


def test_batches_that_hold_all_texts_are_one_case(measured):
    """120 texts: 128 at once hold them all, and 8,192 would do the same again."""
    assert sorted({case.batch_size for case in measured.cases}) == [1, 128]


def test_texts_put_together_from_tokens_give_these_tokens_back(measured, data):
    texts = json.loads(measured.texts.path.read_bytes())
    rows = Encoder(data.vocab, data.manifest.cleaning, data.manifest.max_tokens).encode(texts)
    split = data.split("test")
    end = int(split.offsets[ROWS])
    expected = np.array(split.tokens[:end])
    known = expected > 1
    assert known.mean() > 0.8
    assert (np.bincount(rows.ids[rows.ids > 1]) == np.bincount(expected[known])).all()


def test_given_files_are_labelled_as_written(run_directory, data, reviews, tmp_path):
    found = prediction_cases(run_directory, data, [reviews], tmp_path, tmp_path, rows=50)
    lines = reviews.read_text().splitlines()[:50]
    assert json.loads(found.texts.path.read_bytes()) == [line.partition(" ")[2] for line in lines]
    assert found.texts.origin == "as written"


def test_a_model_directory_is_as_good_as_its_run(run_directory, data, measured, tmp_path):
    found = prediction_cases(run_directory / "model", data, [], tmp_path, tmp_path, rows=ROWS)
    assert (found.model, found.texts.digest) == (measured.model, measured.texts.digest)


def test_a_missing_model_is_told_before_anything_runs(data, tmp_path):
    with pytest.raises(DataError, match="nowhere"):
        prediction_cases(tmp_path / "nowhere", data, [], tmp_path, tmp_path)


def test_kept_runs_of_other_texts_are_recognised(measured, run_directory, data, tmp_path):
    kept, _ = measured.run(measured.cases[0], 0)
    fewer = prediction_cases(run_directory, data, [], tmp_path, tmp_path, rows=ROWS - 1)
    assert [text for text in fewer.mismatches(kept) if "other texts" in text]
