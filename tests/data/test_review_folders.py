"""Folders and archives with one review per file, in folders named after the classes."""

import gzip

import pytest

from sentiscale.config import PrepareSettings
from sentiscale.data.corpus import Corpus
from sentiscale.data.sources import find_files
from sentiscale.errors import DataError, UsageError
from tests.data.test_containers import tarred, zipped

GOOD, BAD = "good,\nbut long", "it was bad"


def reviews(path, labels="required", **settings):
    corpus = Corpus.find(path, PrepareSettings(**settings), labels=labels)
    return sorted(
        (text.decode(), label)
        for block in corpus.blocks()
        for label, text in zip(block.labels.tolist(), block.text.to_pylist(), strict=True)
    )


def imdb(folder=""):
    files = {}
    for number in range(30):
        files[f"{folder}train/pos/{number}_9.txt"] = f"{GOOD} {number}".encode()
        files[f"{folder}train/neg/{number}_2.txt"] = f"{BAD} {number}".encode()
        files[f"{folder}train/unsup/{number}_0.txt"] = b"no label"
    return files


WANTED = sorted([(f"{GOOD} {n}", 1) for n in range(30)] + [(f"{BAD} {n}", 0) for n in range(30)])


@pytest.mark.parametrize("kind", ["folder", "zip", "tgz"])
def test_every_file_is_one_review(write, tmp_path, kind):
    files = {
        **imdb("aclImdb/"),
        "aclImdb/README": b"about",
        "aclImdb/imdbEr.txt": b"0.1\n",
        "aclImdb/train/urls_pos.txt": b"http://x\n",
        "aclImdb/train/labeledBow.feat": b"9 0:1\n",
        "aclImdb/train/pos/.hidden.txt": b"x",
    }
    if kind == "folder":
        for name, content in files.items():
            write(f"r/{name}", content)
        path = tmp_path / "r"
    else:
        path = write(f"r.{kind}", zipped(files) if kind == "zip" else gzip.compress(tarred(files)))
    for block_mb in (8, 0.0001):
        assert reviews(path, block_mb=block_mb) == WANTED
    assert reviews(f"{path}/aclImdb/train") == WANTED
    assert len(reviews(path, labels="none")) == 90
    (note,) = Corpus.find(path).notes
    assert "60 files are one review each; 3" in note


@pytest.mark.parametrize(
    "folders", [("pos", "neg"), ("positive", "negative"), ("Pos", "NEG"), ("POSITIVE", "neg")]
)
def test_usual_names_of_the_classes(write, tmp_path, folders):
    for number in range(3):
        write(f"r/{folders[0]}/{number}.txt", f"good {number}\n")
        write(f"r/deep/{folders[1]}/{number}.TXT", f"bad {number}")
    assert [label for _, label in reviews(tmp_path / "r")] == [0, 0, 0, 1, 1, 1]


def test_files_with_labels_or_columns_are_not_reviews(write, tmp_path):
    write("lines/pos/a.txt", "__label__2 good\n__label__1 bad\n")
    write("lines/neg/b.txt", "__label__1 bad\n")
    assert len(reviews(tmp_path / "lines")) == 3
    write("tables/pos/a.csv", "text,label\ngood,1\nfine,1\n")
    write("tables/neg/b.csv", "text,label\nbad,0\n")
    write("tables/neg/c.txt", "__label__1 bad\n")
    assert len(reviews(tmp_path / "tables")) == 4


def test_few_files_of_many_lines_are_refused_with_both_remedies(write, tmp_path):
    write("r/pos/a.txt", "good\n" * 50)
    write("r/neg/b.txt", "bad\n" * 50)
    with pytest.raises(DataError) as caught:
        reviews(tmp_path / "r")
    assert "sed 's/^/__label__negative /'" in str(caught.value)
    assert "--format files" in str(caught.value)
    assert len(reviews(tmp_path / "r", format="files")) == 2


def test_other_names_are_read_with_the_format_files(write, tmp_path):
    for number in range(3):
        write(f"r/1/{number}.txt", f"good {number}")
        write(f"r/0/{number}.txt", f"bad {number}")
    assert [label for _, label in reviews(tmp_path / "r", format="files")] == [0, 0, 0, 1, 1, 1]
    write("r/other/x.txt", "which class?")
    assert len(reviews(tmp_path / "r", format="files")) == 6
    with pytest.raises(UsageError, match="reads folders"):
        reviews(tmp_path / "r/1/0.txt", format="files")


def test_folders_named_after_stars(write, tmp_path):
    for stars in range(1, 6):
        write(f"r/{stars}/a.txt", f"worth {stars}")
    with pytest.raises(DataError, match="--stars-column label"):
        reviews(tmp_path / "r", format="files")
    found = reviews(tmp_path / "r", format="files", stars_column="label")
    assert found == [("worth 1", 0), ("worth 2", 0), ("worth 4", 1), ("worth 5", 1)]
    with pytest.raises(UsageError, match="Columns: path, text, label"):
        reviews(tmp_path / "r", format="files", stars_column="stars")


def test_encodings_empty_and_binary_files(write, tmp_path):
    for number in range(5):
        write(f"r/pos/{number}.txt", f"good {number}")
    write("r/neg/1.txt", "schlecht für alle".encode("utf-16"))
    write("r/neg/2.txt", "\ufeffschlecht".encode())
    write("r/neg/3.txt", "caf\xe9".encode("latin-1"))
    write("r/neg/4.txt", b"")
    write("r/neg/5.txt", b"a\0b")
    assert [text for text, label in reviews(tmp_path / "r") if label == 0] == [
        "schlecht",
        "schlecht für alle",
    ]
    (tmp_path / "r/neg/1.txt").unlink()
    named = reviews(tmp_path / "r", encoding="latin-1")
    assert "café" in [text for text, label in named if label == 0]


def test_train_and_test_can_be_kept_apart(write, tmp_path, cli):
    for name, content in {
        **imdb("r/"),
        **{f"r/test/{c}/{n}.txt": f"{c} {n}".encode() for c in ("pos", "neg") for n in range(9)},
    }.items():
        write(name, content)
    note = cli("prepare", "r", "--out", "d").stdout
    assert f"{tmp_path}/r/train --test {tmp_path}/r/test" in note
    done = cli("prepare", "r/train", "--test", "r/test", "--out", "d2", "--json")
    assert '"test": 18' in done.stdout


def test_predictions_name_the_file(write, cli, model):
    for name, content in imdb().items():
        write(f"r/{name}", content)
    done = cli("predict", model, "r", "--out", "p.jsonl")
    assert done.returncode == 0, done.stderr
    assert "90 rows" in done.stdout
    assert cli("evaluate", model, "r").stdout.startswith("accuracy")


@pytest.mark.parametrize("labels", ["required", "none"])
@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_files_that_are_not_text_are_rejected_with_their_path(write, tmp_path, kind, labels):
    strange = {
        "picture": b"\x89PNG\r\n\x1a\n\0\0",
        "web page": b"<!doctype html><title>404</title>",
        "not text": b"\0\1\2abc" * 9,
        "empty": b" \n",
    }
    files = {f"{folder}/{number}.txt": b"a review" for folder in ("pos", "neg") for number in range(30)}
    files |= {f"pos/{name}.txt": content for name, content in strange.items()}
    if kind == "zip":
        path = write("r.zip", zipped(files))
    else:
        path = tmp_path / "r"
        for name, content in files.items():
            write(f"r/{name}", content)
    corpus = Corpus.find(path, labels=labels)
    blocks = list(corpus.blocks())
    assert sum(len(block) for block in blocks) == 60
    rejects = {reject.problem.split(".txt")[0]: reject for block in blocks for reject in block.rejects}
    assert set(rejects) == {f"{path}/pos/{name}" for name in strange}
    for place, reject in rejects.items():
        assert reject.reason == "malformed"
        assert place.rsplit("/")[-1] in reject.problem.split(".txt")[1]
        assert reject.remedy() == ""


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_texts_about_the_files_are_skipped(write, tmp_path, kind):
    table = b"label,text\n1,good\n0,bad\n"
    files = {"x/a.csv": table, "x/README.txt": b"hello", "licenses.txt": b"MIT", "notice.csv": table}
    if kind == "zip":
        path = write("r.zip", zipped(files))
    else:
        path = tmp_path / "r"
        for name, content in files.items():
            write(f"r/{name}", content)
    found = sorted(find_files(path))
    assert [each.removeprefix(f"{path}/") for each in found] == ["notice.csv", "x/a.csv"]
