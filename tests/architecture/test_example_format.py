"""The worked example of an input format: one entry in the registry, and every reader knows it."""

import importlib.util
import subprocess
import sys
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiscale.data.corpus import Corpus
from sentiscale.data.inputs import Inputs
from sentiscale.data.prepare import prepare
from sentiscale.text.compiled import frozen
from sentiscale.text.formats import FORMATS
from sentiscale.text.formats.base import TableFormat
from tests.conftest import REPOSITORY

EXAMPLE = REPOSITORY / "examples" / "add_an_input_format.py"


@pytest.fixture(scope="module")
def snap():
    """The format of the example, registered for these tests only."""
    spec = importlib.util.spec_from_file_location(EXAMPLE.stem, EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    with patch.dict(FORMATS):
        spec.loader.exec_module(module)
        yield FORMATS["snap"]


KEY = st.sampled_from(["review/score", "review/summary", "review/text", "product/productId"])
VALUE = st.text(
    st.characters(max_codepoint=255, exclude_categories=["Cc", "Zl", "Zp"]), min_size=1, max_size=30
)


@given(
    written=st.lists(st.dictionaries(KEY, VALUE, min_size=1), max_size=5), end=st.sampled_from(["\n", "\r\n"])
)
def test_reviews_are_read_as_they_were_written(snap, written, end):
    blocks = (end.join(f"{key}: {value}" for key, value in fields.items()) for fields in written)
    data = f"{end}{end}{end}".join(blocks).encode("latin-1")
    table = TableFormat("snap", "review/text", label="review/score")
    columns = snap.parse(frozen(data), table)
    read = zip(columns.text.to_pylist(), columns.label.to_pylist(), strict=True)
    assert [(text.decode(), (label or b"").decode()) for text, label in read] == [
        (fields.get("review/text", ""), fields.get("review/score", "")) for fields in written
    ]


REVIEW = """product/productId: B{number}
review/score: {score}
review/summary: caf\xe9 number {number}
review/text: a {word} thing,
on two lines, number {number}

"""


@pytest.fixture
def reviews(tmp_path):
    scores = ["1.0", "5.0", "3.0", "4.0", "unknown"]
    text = "".join(
        REVIEW.format(number=number, score=scores[number % 5], word="good" if number % 2 else "bad")
        for number in range(100)
    )
    path = tmp_path / "reviews.txt"
    path.write_bytes(text.encode("latin-1"))
    return path


@pytest.mark.parametrize("block_mb", [0.0001, 8])
def test_a_registered_format_is_prepared(snap, reviews, tmp_path, block_mb):
    data = prepare(reviews, tmp_path / "data", workers=1, block_mb=block_mb)
    assert data.manifest.labels == {"negative": 20, "positive": 40}
    assert data.manifest.rejected["by_reason"] == {"neutral": 20, "unknown_label": 20}
    assert "caf\xe9" in data.vocab.words
    (block, *_) = Corpus.find(reviews).blocks()
    assert block.line[:2].tolist() == [1, 7]
    assert block.text[0].as_py().decode() == "caf\xe9 number 0: a bad thing,\non two lines, number 0"


def test_a_registered_format_is_a_table_for_predict(snap, reviews):
    table = reviews.rename(reviews.with_suffix(".snap"))
    (chunk,) = Inputs.find([str(table)]).with_columns(whole_records=False).chunks()
    assert len(chunk) == 100
    assert chunk.extra["product/productId"].to_pylist()[:2] == ["B0", "B1"]


def run_example(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, EXAMPLE, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_example_runs(reviews, tmp_path):
    done = run_example(reviews, "--out", tmp_path / "data")
    assert (done.returncode, done.stderr) == (0, "")
    assert "{'negative': 20, 'positive': 40}" in done.stdout


def test_a_file_without_reviews_is_named(tmp_path):
    path = tmp_path / "reviews.txt"
    path.write_bytes(b"product/productId: B1\n\n")
    done = run_example(path, "--out", tmp_path / "data")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith(f"{path} has no line that begins with review/text")
