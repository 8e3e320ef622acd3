"""What is no text is refused by every verb with its kind and a remedy, and never labelled."""

import bz2
import io
import lzma
import pickle
import sqlite3

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from sentiscale.config import PrepareSettings
from sentiscale.data.corpus import Corpus
from sentiscale.errors import DataError

HTML = "<!DOCTYPE html>\n<html><body>404 Not Found: good bad</body></html>\n"


def feather() -> bytes:
    sink = io.BytesIO()
    pyarrow.feather.write_feather(pa.table({"text": ["a"], "label": [1]}), sink)
    return sink.getvalue()


def sqlite() -> bytes:
    connection = sqlite3.connect(":memory:")
    connection.execute("create table reviews (text, label)")
    data = connection.serialize()
    connection.close()
    return data


def array() -> bytes:
    sink = io.BytesIO()
    np.save(sink, np.arange(3))
    return sink.getvalue()


FOREIGN = {
    "page.csv": (HTML.encode(), "web page"),
    "page2.txt": (b"\xef\xbb\xbf  \n <HTML lang='en'>", "web page"),
    "utf16.txt": (HTML.encode("utf-16"), "web page"),
    "lfs.csv": (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n", "git lfs pull"),
    "paper.pdf": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n", "pdftotext"),
    "r.xml": (b"<?xml version='1.0'?><reviews/>", "XML"),
    "r.rtf": (rb"{\rtf1\ansi good}", "RTF"),
    "r.feather": (feather(), "read_feather"),
    "r.db": (sqlite(), "sqlite3"),
    "r.npy": (array(), "NumPy"),
    "r.pkl": (pickle.dumps(["good", "bad"]), "pickle"),
    "r.png": (b"\x89PNG\r\n\x1a\n" + bytes(40), "picture"),
    "r.7z": (b"7z\xbc\xaf\x27\x1c" + bytes(40), "7z x"),
    "r.doc": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(40), "CSV"),
    "random.txt": (np.random.default_rng(0).bytes(4000), "not text"),
    "zeros.txt": (bytes(1000), "not text"),
    "utf16-random.csv": (b"\xff\xfe\0\xd8" + np.random.default_rng(1).bytes(3000), "not text"),
    "without-signature.txt.gz": (np.random.default_rng(2).bytes(3000), "not text"),
}


@pytest.mark.parametrize("squeeze", [bytes, bz2.compress, lzma.compress])
@pytest.mark.parametrize("name", FOREIGN)
def test_prepare_refuses_it_also_compressed(write, name, squeeze):
    content, told = FOREIGN[name]
    for labels in ("required", "optional", "none"):
        with pytest.raises(DataError) as caught:
            Corpus.find(write(name, squeeze(content)), labels=labels)
        assert told in str(caught.value)
        assert name in str(caught.value)


@pytest.mark.parametrize("name", FOREIGN)
def test_predict_and_evaluate_refuse_it(cli, model, write, name):
    content, told = FOREIGN[name]
    path = write(name, content)
    for call in (
        ("predict", model, path),
        ("predict", model, path, "--out", "p.csv"),
        ("evaluate", model, path),
    ):
        done = cli(*call)
        assert (done.returncode, done.stdout) == (3, ""), done.stdout
        assert told in done.stderr


def test_standard_input_is_checked_and_decompressed(model, tmp_path):
    import subprocess
    import sys

    def predicted(data):
        command = [sys.executable, "-m", "sentiscale", "predict", model, "--quiet"]
        return subprocess.run(command, input=data, capture_output=True)

    done = predicted(FOREIGN["r.png"][0])
    assert (done.returncode, done.stdout) == (3, b"")
    plain = predicted(b"good film\nbad\n")
    assert plain.stdout.count(b"\n") == 2
    for data in (lzma.compress(b"good film\nbad\n"), "good film\nbad\n".encode("utf-16")):
        assert predicted(data).stdout == plain.stdout
    assert predicted(b"").returncode == 0


@pytest.mark.parametrize(
    "content",
    [
        b"<br /> good\nbad\n",
        b"%PDF is a bad format\n",
        b"GIF files are good\n",
        b"ORC armies\nPKZIP\n",
        b"\x1b[31mred\x1b[0m is good\n" * 5,
        b"a\0b is rejected alone\n" + b"good words\n" * 20,
        b"{sarcasm} sure, good\n",
        b"[spoiler] bad\n",
        b"{'quoted' like} this\n",
        "версия хорошая\n".encode("windows-1251"),
        b"version https is good\n",
    ],
)
def test_text_that_looks_alike_is_read(write, content):
    corpus = Corpus.find(write("a.txt", content), labels="none")
    assert sum(map(len, corpus.blocks())) == content.count(b"\n")


def test_a_named_format_overrides_the_check_of_text_only(write):
    settings = PrepareSettings(format="fasttext")
    assert sum(map(len, Corpus.find(write("a.txt", HTML), settings, labels="none").blocks())) == 2
    with pytest.raises(DataError, match="picture"):
        Corpus.find(write("a.txt", FOREIGN["r.png"][0]), settings, labels="none")


XML = {
    "reviews.txt": "<review>\n<rating>1.0</rating>\n<text>bad</text>\n</review>\n<review>\n</review>\n",
    "nested.txt": "\n<reviews n='2'>\r\n  <review>bad</review>\r\n</reviews>\r\n",
    "picture.txt": "<svg xmlns='x'></svg>\n",
}


@pytest.mark.parametrize("name", XML)
@pytest.mark.parametrize("labels", ["required", "none"])
def test_xml_without_a_declaration_is_refused(write, name, labels):
    with pytest.raises(DataError, match="is XML"):
        Corpus.find(write(name, XML[name]), labels=labels)


@pytest.mark.parametrize(
    "text", ["<b>Great</b> lamp\nbad", "<p>Good</p>\n<p>Bad</p>", "<3 it\n</3", "<br>\nbad"]
)
def test_reviews_with_tags_are_read(write, text):
    corpus = Corpus.find(write("r.txt", text), labels="none")
    assert [line.decode() for block in corpus.blocks() for line in block.text.to_pylist()] == text.split("\n")


NOT_TEXT = {
    "int64": pa.array([1, 2]),
    "date32": pa.array([0, 1], pa.date32()),
    "bool": pa.array([True, False]),
}


@pytest.mark.parametrize("kind", NOT_TEXT)
@pytest.mark.parametrize("labels", ["required", "none"])
def test_a_column_that_is_not_text_is_refused(tmp_path, kind, labels):
    path = tmp_path / "r.parquet"
    pq.write_table(pa.table({"text": NOT_TEXT[kind], "note": ["bad", "good"], "label": [0, 1]}), path)
    with pytest.raises(DataError, match=rf"'text' .* of type {kind}.*, not text\. Columns of text: note\."):
        Corpus.find(path, labels=labels)
    corpus = Corpus.find(path, PrepareSettings(text_column="note"), labels=labels)
    assert [text for block in corpus.blocks() for text in block.text.to_pylist()] == [b"bad", b"good"]


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_binary(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())]
)
def test_every_type_of_text_is_read(tmp_path, kind):
    path = tmp_path / "r.parquet"
    pq.write_table(pa.table({"text": pa.array(["bad", "good"]).cast(kind), "label": [0, 1]}), path)
    assert [text for block in Corpus.find(path).blocks() for text in block.text.to_pylist()] == [
        b"bad",
        b"good",
    ]


@pytest.mark.parametrize("value", ["7", "2.5", "true"])
@pytest.mark.parametrize("labels", ["required", "none"])
def test_json_without_text_is_refused(write, value, labels):
    line = f'{{"text": {value}, "note": "good", "label": 1}}\n'
    with pytest.raises(DataError, match=rf"'text' .* contains {value} and no text.*--text-column"):
        Corpus.find(write("r.jsonl", line * 3), labels=labels)
    mixed = write("m.jsonl", line + '{"text": "bad", "label": 0}\n{"text": null, "label": 0}\n')
    assert [block.text.to_pylist() for block in Corpus.find(mixed).blocks()] == [[value.encode(), b"bad"]]
