"""The example that reads an ONNX file without sentiscale: same words, same labels, none of our code."""

import importlib.util
import subprocess
import sys
import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings

from sentiscale.inference.onnx_export import export
from sentiscale.inference.onnx_graph import onnx_bytes
from sentiscale.inference.predictor import Predictor
from sentiscale.model.decision import Decision
from sentiscale.text.classes import Classes
from sentiscale.text.clean import clean
from tests.conftest import REPOSITORY
from tests.data.relabel import STARS
from tests.inference.export.conftest import WORDS, made
from tests.text.test_clean import NASTY, REVIEW_LIKE

EXAMPLE = REPOSITORY / "examples" / "onnx_without_sentiscale.py"

ALONE = f"""
import runpy, sys
sys.argv = [{str(EXAMPLE)!r}, *sys.argv[1:]]
runpy.run_path({str(EXAMPLE)!r}, run_name="__main__")
foreign = [name for name in ("sentiscale", "torch", "numba", "pyarrow") if name in sys.modules]
assert not foreign, foreign
"""


@pytest.fixture(scope="module")
def words_of():
    spec = importlib.util.spec_from_file_location("onnx_without_sentiscale", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.words_of


@settings(max_examples=400)
@given(text=REVIEW_LIKE)
@example("shouldn't've can't x'n't 'S 'ReAl dogs' ''s 's'x")
@example("Wow!! ! ' !\U0001f600! \u00dcBER \u0130\u1ea0 \u2019tis n't")
@example("a" * 63 + "'b " + "a" * 62 + "'\u00e9 " + "\u00e9" * 40 + " " + "\u65e5" * 30 + "b's")
@example("\u023e \u0130 \u00c0 \u0410")  # lower case of one byte more, of two characters, as usual
@example("'" * 3 + "ll 've're \u017f'\u017f")
def test_the_example_cuts_any_text_as_the_cleaning_does(words_of, text):
    assert " ".join(words_of(text)) == clean(pa.array([text]), "words").texts()[0]


@pytest.mark.skipif(unicodedata.unidata_version != "14.0.0", reason="characters assigned later may differ")
@settings(max_examples=400)
@given(text=NASTY)
def test_the_example_cuts_texts_with_emoticons_and_markup_as_the_cleaning_does(words_of, text):
    assert " ".join(words_of(text)) == clean(pa.array([text]), "words").texts()[0]


def test_the_example_reads_unpaired_surrogates_alike(words_of, trained):
    text = "great \ud800 stuff\udfff!"
    words = Predictor.load(trained).encoder.vocab
    rows = Predictor.load(trained).encoder.encode([text])
    assert [words.id_of(word) for word in words_of(text)] == rows.ids.tolist()


def test_the_example_labels_lines_as_predict_does(trained, reviews, tmp_path):
    """In a process that loads neither sentiscale nor torch."""
    export(trained, tmp_path / "model.onnx")
    lines = [line.partition(" ")[2] for line in reviews.read_text().splitlines()[:300]]
    lines += ["", "Don\u2019t buy!!!! It's BAD \U0001f600", "zzqx", "fine " * 700]
    assert_same_labels(tmp_path / "model.onnx", lines, Predictor.load(trained))


@pytest.mark.parametrize("classes", [Classes(), STARS], ids=len)
def test_the_example_follows_the_decision_of_a_model(classes, tmp_path):
    names = classes.names
    decision = Decision(names, {names[0]: 2.0}, {names[1]: 0.4}, dict.fromkeys(names, 0.3) | {names[0]: 0.6})
    model = made(classes=classes, decision=decision)
    (tmp_path / "model.onnx").write_bytes(onnx_bytes(model))
    words = np.random.default_rng(4).integers(0, WORDS, (60, 5)).tolist()
    lines = [" ".join(f"w{word}" for word in row) for row in words]
    assert len({prediction.label for prediction in Predictor(model).predict(lines)}) > 1
    assert_same_labels(tmp_path / "model.onnx", lines, Predictor(model))


def assert_same_labels(file, lines, predictor):
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(file)],
        input="\n".join(lines) + "\n",
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    answers = [line.split("\t") for line in done.stdout.splitlines()]
    expected = predictor.predict(lines)
    assert [label for label, _ in answers] == [prediction.label for prediction in expected]
    for (_, probability), prediction in zip(answers, expected, strict=True):
        assert abs(float(probability) - prediction.probability) <= 0.5e-4 + 1e-5  # printed with 4 digits
