"""Files of the large collection, recognised and counted in every form they are published in."""

import bz2
import json
import shlex

import pyarrow as pa
import pytest
from pyarrow import parquet

from sentiscale.datasets.fetch import EDITIONS, fetch
from sentiscale.errors import DataError, UsageError

EXPECTED = {"train": 6, "test": 2}
COLLECTION = "amazon-polarity"


def write_parquet(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {
        "label": [row % 2 for row in range(rows)],
        "title": [f"Title {row}" for row in range(rows)],
        "content": [f"Text number {row}." for row in range(rows)],
    }
    parquet.write_table(pa.table(columns), path)


def lines(rows):
    return "".join(f"__label__{row % 2 + 1} Title {row}: Text number {row}.\n" for row in range(rows))


def write_hub_files(folder):
    write_parquet(folder / "amazon_polarity" / "train-00000-of-00002.parquet", 4)
    write_parquet(folder / "amazon_polarity" / "train-00001-of-00002.parquet", 2)
    write_parquet(folder / "amazon_polarity" / "test-00000-of-00001.parquet", 2)


def write_bz2_lines(folder):
    for split, rows in EXPECTED.items():
        (folder / f"{split}.ft.txt.bz2").write_bytes(bz2.compress(lines(rows).encode()))


def write_plain_lines(folder):
    (folder / "train.ft.txt").write_text(lines(6))
    (folder / "test.ft.txt").write_text(lines(2).removesuffix("\n"))


def write_csv(folder):
    (folder / "amazon_review_polarity_csv").mkdir()
    for split, rows in EXPECTED.items():
        records = [
            f'"{row % 2 + 1}","A ""title"", no. {row}","Two\nlines, no. {row}"\n' for row in range(rows)
        ]
        (folder / "amazon_review_polarity_csv" / f"{split}.csv").write_text("".join(records))


WRITERS = {
    "hub": (write_hub_files, "Hugging Face hub", 3),
    "bz2": (write_bz2_lines, "fastText lines", 2),
    "plain": (write_plain_lines, "fastText lines", 2),
    "csv": (write_csv, "original CSV", 2),
}


@pytest.mark.parametrize("form", WRITERS)
def test_complete_files_are_recognised_and_counted(form, tmp_path):
    write, source, files = WRITERS[form]
    write(tmp_path)
    summary = fetch(COLLECTION, tmp_path, expected=EXPECTED)
    assert summary.source == source
    assert summary.rows == EXPECTED
    assert sum(len(listed) for listed in summary.files.values()) == files
    assert summary.bytes == sum(file.stat().st_size for file in tmp_path.rglob("*.*") if file.is_file())


@pytest.mark.parametrize("form", ["hub", "csv"])
def test_the_next_command_prepares_exactly_these_files(form, tmp_path, sentiscale):
    folder = tmp_path / "my reviews"
    folder.mkdir()
    WRITERS[form][0](folder)
    program, *arguments = shlex.split(fetch(COLLECTION, folder, expected=EXPECTED).next)
    assert program == "sentiscale"
    done = sentiscale(*arguments, "--min-count", "1", "--no-dedupe", "--quiet", "--json")
    assert done.returncode == 0, done.stderr
    prepared = json.loads(done.stdout)
    assert prepared["rows"]["test"] == EXPECTED["test"]
    assert prepared["rows"]["train"] + prepared["rows"]["valid"] == EXPECTED["train"]
    assert (tmp_path / "my reviews-prepared" / "manifest.json").exists()


@pytest.mark.parametrize("form", ["bz2", "plain", "csv"])
def test_too_few_reviews_in_files_put_there_by_hand_are_an_error(form, tmp_path):
    WRITERS[form][0](tmp_path)
    with pytest.raises(DataError, match=r"6 \(train\) and 2 \(test\) reviews in .* has 7 \(train\)"):
        fetch(COLLECTION, tmp_path, expected={"train": 7, "test": 2})


def test_a_truncated_download_is_an_error_that_names_the_file(tmp_path):
    write_bz2_lines(tmp_path)
    whole = (tmp_path / "train.ft.txt.bz2").read_bytes()
    (tmp_path / "train.ft.txt.bz2").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"train\.ft\.txt\.bz2 is damaged or cut short"):
        fetch(COLLECTION, tmp_path, expected=EXPECTED)


def test_a_damaged_parquet_file_is_an_error_that_names_the_file(tmp_path):
    write_hub_files(tmp_path)
    (tmp_path / "amazon_polarity" / "test-00000-of-00001.parquet").write_bytes(b"PAR1 but no more")
    with pytest.raises(DataError, match=r"test-00000-of-00001\.parquet is not a whole Parquet file"):
        fetch(COLLECTION, tmp_path, expected=EXPECTED)


def test_the_books_of_the_hub_client_are_not_reviews(tmp_path):
    write_hub_files(tmp_path / ".cache" / "huggingface")
    assert all(edition.find(tmp_path) == {} for edition in EDITIONS)


def test_wrong_names_and_places_are_usage_errors(tmp_path):
    with pytest.raises(UsageError, match="Did you mean 'amazon-polarity'"):
        fetch("amazon_polarity", tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is a file; --out takes a directory"):
        fetch(COLLECTION, tmp_path / "file")
