"""Model directories: whole, self-contained, refused when they are not what they say."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sentiscale.errors import DataError
from sentiscale.inference.predictor import Predictor
from sentiscale.model.directory import load_model
from sentiscale.training.launch import train
from tests.training.conftest import quick

TEXTS = ["Not bad at all.", "What a joke this is.", "", "superb! " * 300, "zzzz qqqq"]


@pytest.fixture(scope="module")
def trained(dataset, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("trained") / "run"
    train(dataset, run, quick(train__precision="fp32"))
    return run / "model"


@pytest.fixture
def model(trained, tmp_path) -> Path:
    """A copy that a test may spoil."""
    copy = tmp_path / "model"
    copy.mkdir()
    for file in trained.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    return copy


def test_it_holds_text_and_safetensors_only(trained):
    assert {file.name for file in trained.iterdir()} == {
        "config.toml",
        "vocab.txt",
        "weights.safetensors",
        "digests.json",
        "record.json",
    }


def test_it_predicts_the_same_in_another_process_and_place(model):
    code = (
        "import sys, json, sentiscale\n"
        "predictor = sentiscale.Predictor.load(sys.argv[1])\n"
        "print(json.dumps([p.positive_probability for p in predictor.predict(json.loads(sys.argv[2]))]))"
    )
    command = [sys.executable, "-c", code, str(model), json.dumps(TEXTS)]
    output = subprocess.run(command, capture_output=True, text=True, check=True, cwd=model.parent).stdout
    here = [prediction.positive_probability for prediction in Predictor.load(model).predict(TEXTS)]
    assert json.loads(output) == pytest.approx(here, abs=1e-6)


def test_a_prediction_does_not_depend_on_its_neighbours(trained):
    predictor = Predictor.load(trained)
    together = [prediction.positive_probability for prediction in predictor.predict(TEXTS)]
    alone = [predictor.predict(text).positive_probability for text in TEXTS]
    streamed = [prediction.positive_probability for prediction in predictor.stream(iter(TEXTS), chunk_rows=2)]
    assert together == pytest.approx(alone, abs=1e-6)
    assert together == pytest.approx(streamed, abs=1e-6)


def test_predictions_say_what_they_rest_on(trained):
    _, _, empty, long, strange = Predictor.load(trained).predict(TEXTS)
    assert empty.unknown_share == 1.0
    assert long.truncated
    assert not empty.truncated
    assert strange.unknown_share == 1.0
    for prediction in (empty, long, strange):
        assert 0.5 <= prediction.probability <= 1
        assert prediction.label == ("positive" if prediction.positive_probability > 0.5 else "negative")


def test_no_texts_give_no_predictions(trained):
    assert Predictor.load(trained).predict([]) == []


@pytest.mark.parametrize("name", ["config.toml", "vocab.txt", "weights.safetensors"])
def test_a_missing_file_is_named(model, name):
    (model / name).unlink()
    with pytest.raises(DataError, match=name.replace(".", r"\.")):
        load_model(model)


def test_a_directory_that_is_no_model_is_refused(tmp_path):
    with pytest.raises(DataError, match="not a model directory"):
        load_model(tmp_path)
