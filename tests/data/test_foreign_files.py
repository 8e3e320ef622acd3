"""What is no text is refused by every verb with its kind and a remedy, and never labelled."""

import bz2
import io
import lzma
import pickle
import sqlite3

import numpy as np
import pyarrow as pa
import pyarrow.feather
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

    for name in ("page.csv", "r.png", "zeros.txt"):
        done = predicted(FOREIGN[name][0])
        assert (done.returncode, done.stdout) == (3, b""), name
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
