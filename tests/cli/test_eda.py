"""`sentiscale eda` from the outside: what it prints, its exit codes, whole or absent."""

import json

import pytest

from tests.report.eda_data import write_dataset

ROWS = [(i % 2, f"{'bad' if i % 2 == 0 else 'good'} thing number n{i % 40}") for i in range(300)]


@pytest.fixture
def data(tmp_path):
    write_dataset(tmp_path / "data", {"train": ROWS, "test": ROWS[:20]}, warnings=["Something is odd."])


def test_json_is_one_document_with_the_main_numbers(cli, data, tmp_path):
    done = cli("eda", "data", "--out", "page.html", "--json", "--quiet")
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert told["out"] == "page.html"
    assert told["bytes"] == (tmp_path / "page.html").stat().st_size
    assert told["rows"] == {"train": 300, "valid": 0, "test": 20}
    assert told["labels"] == {"negative": 160, "positive": 160}
    assert told["tokens"] == 1280
    assert told["vocabulary"]["coverage"][-1] == {"size": 46, "share": 1.0}
    assert told["lengths"]["cuts"][-1] == {"max_tokens": 512, "tokens_kept": 1.0, "rows_whole": 1.0}
    assert told["telling"]["words"]["negative"][0]["text"] == "bad"
    assert told["telling"]["words"]["positive"][0]["z"] > 1.96
    assert told["telling"]["pairs"]["positive"][0]["text"] == "good thing"


def test_a_person_is_told_what_matters_and_where_the_page_is(cli, data):
    done = cli("eda", "data", "--out", "page.html")
    assert done.stdout.splitlines()[0] == "note: Something is odd."
    assert "negative:  bad" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("page.html: ")


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["missing", "--out", "p.html"], 3, "missing does not exist"),
        (["empty", "--out", "p.html"], 3, "is not a prepared dataset"),
        (["damaged", "--out", "p.html"], 3, "was changed after it was written"),
        (["no-rows", "--out", "p.html"], 3, "split 'train'"),
        (["data", "--out", "taken.html"], 2, "exists already"),
        (["data", "--out", "data/vocab.txt", "--force"], 2, "does not end in .html"),
        (["data", "--out", "data/vocab.txt/p.html"], 2, "cannot create"),
        (["data"], 2, "--out"),
    ],
)
def test_mistakes_end_in_one_message_and_a_code(cli, data, tmp_path, arguments, code, told):
    (tmp_path / "empty").mkdir()
    (tmp_path / "taken.html").write_text("mine")
    write_dataset(tmp_path / "damaged", {"train": ROWS})
    with open(tmp_path / "damaged" / "train" / "tokens.bin", "r+b") as file:
        file.write(b"\xff\xff")
    write_dataset(tmp_path / "no-rows", {"train": [], "test": ROWS})
    before = sorted(path.name for path in tmp_path.iterdir())
    done = cli("eda", *arguments)
    assert done.returncode == code
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert (tmp_path / "taken.html").read_text() == "mine"


def test_a_disk_that_is_full_leaves_the_old_page(cli, data, tmp_path, small_disk):
    page = small_disk / "page.html"
    page.write_text("old")
    (small_disk / "filler").write_bytes(bytes(240 * 1024))
    done = cli("eda", "data", "--out", page, "--force")
    assert done.returncode == 1
    assert "Free some space" in done.stderr
    assert page.read_text() == "old"
    assert sorted(path.name for path in small_disk.iterdir()) == ["filler", "page.html"]


def test_prepared_reviews_make_a_page(sentiscale, tmp_path):
    """The whole way with the real commands, in processes of their own."""
    lines = [f"__label__{1 + label} {text.replace('thing', '<b>thing</b>')}\n" for label, text in ROWS]
    (tmp_path / "reviews.txt").write_text("".join(lines) + "no label\n")
    prepared = sentiscale("prepare", "reviews.txt", "--out", "data", "--set", "prepare.keep_text=true")
    assert prepared.returncode == 0, prepared.stderr
    done = sentiscale("eda", "data", "--out", "page.html")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "page.html").read_text()
    assert "1 no label" in page
    assert "&lt;b&gt;" in page, "samples as they were written"
