"""The worked example of an input format: read as written, prepared through a pipe, mistakes named."""

import importlib.util
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiscale.data.prepare import prepare
from tests.conftest import REPOSITORY

FORMAT = REPOSITORY / "examples" / "add_an_input_format.py"


@pytest.fixture(scope="module")
def reviews():
    """The generator of the example."""
    spec = importlib.util.spec_from_file_location(FORMAT.stem, FORMAT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.reviews


KEY = st.sampled_from(["review/score", "review/summary", "review/text", "product/productId"])
VALUE = st.text(st.characters(max_codepoint=255, exclude_categories=["Cc", "Zl", "Zp"]), max_size=30)


@given(
    written=st.lists(st.dictionaries(KEY, VALUE, min_size=1), max_size=5), end=st.sampled_from(["\n", "\r\n"])
)
def test_reviews_are_read_as_they_were_written(reviews, written, end):
    blocks = (end.join(f"{key}: {value}" for key, value in fields.items()) for fields in written)
    text = f"{end}{end}{end}".join(blocks)
    assert list(reviews(text.splitlines(keepends=True))) == written


def test_line_without_a_key_belongs_to_the_field_before(reviews):
    lines = ["astray\n", "review/text: one\n", "two: 2\n", "\n", "review/text: three"]
    assert list(reviews(lines)) == [{"review/text": "one two: 2"}, {"review/text": "three"}]


RAW = """product/productId: B{number}
review/score: {score}
review/summary: caf\xe9 number {number}
review/text: a {word} thing, number {number}

"""


def test_reviews_of_the_example_s_format_are_prepared_through_a_pipe(tmp_path):
    scores = ["1.0", "5.0", "3.0", "4.0", "unknown"]
    text = "".join(
        RAW.format(number=number, score=scores[number % 5], word="good" if number % 2 else "bad")
        for number in range(100)
    )
    (tmp_path / "reviews.txt").write_bytes(text.encode("latin-1"))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    shell = ["sh", "-c", f"'{sys.executable}' '{FORMAT}' reviews.txt > pipe"]
    with subprocess.Popen(shell, cwd=tmp_path, stderr=subprocess.PIPE) as example:
        data = prepare(pipe, tmp_path / "data", workers=1)
    assert (example.returncode, data.manifest.labels) == (0, {"negative": 20, "positive": 40})
    assert data.manifest.rejected["by_reason"] == {"neutral": 20, "unknown_label": 20}
    assert "caf\xe9" in data.vocab.words


def run_example(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, FORMAT, *map(str, arguments)], capture_output=True, text=True)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"__label__1 bad\n", "holds no review: no line begins with review/ or product/ and a key."),
        (b"\x1f\x8b\x08 no gzip", "cannot be read after 0 reviews: "),
        (None, "cannot be read after 0 reviews: [Errno 2] No such file"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path, content, told):
    path = tmp_path / "reviews.txt.gz" if content and content[0] == 0x1F else tmp_path / "reviews.txt"
    if content is not None:
        path.write_bytes(content)
    done = run_example(path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"{path} {told}")
