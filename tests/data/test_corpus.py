"""Finding and reading review files: what they are, compressed or not, and what is said when they are not."""

import bz2
import gzip
import json
import lzma
import os
import threading

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sentiscale.config import PrepareSettings
from sentiscale.data.blocks import cut_blocks
from sentiscale.data.corpus import Corpus, read_reviews
from sentiscale.data.sources import Stream, find_files
from sentiscale.errors import DataError, UsageError
from sentiscale.text.formats import recognise
from sentiscale.text.formats.base import MAX_RECORD_BYTES, TableFormat
from sentiscale.text.labels import Reason

FASTTEXT = b"__label__1 Bad: broke at once\n__label__2 Good: works well\n"
EXPECTED = [(0, "Bad: broke at once"), (1, "Good: works well")]


def read(path, *, labels="required", **settings):
    """All reviews of a file as (label, text), and its rejected rows as (line, reason)."""
    corpus = Corpus.find(path, PrepareSettings(**settings), labels=labels)
    reviews = []
    for block in corpus.blocks():
        reviews += zip(block.labels.tolist(), [text.decode() for text in block.text.to_pylist()], strict=True)
    return reviews, rejected(corpus)


def rejected(corpus):
    """Rejected rows of a corpus of one file as (line, reason)."""
    (source,) = corpus.sources
    rejects, line = [], 1
    for raw in source.blocks(int(corpus.settings.block_mb * 10**6)):
        line += raw.lines_before
        found = read_reviews(raw.data, source.table, corpus.mode, too_long_record=raw.too_long)
        bad = np.flatnonzero(found.reasons)
        rejects += [(int(found.lines[row]) + line, Reason(found.reasons[row]).name.lower()) for row in bad]
        line += found.line_count
    return rejects


def zstd(data):
    return pa.compress(data, "zstd", asbytes=True)


COMPRESSORS = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": zstd}


# formats


def test_fasttext_lines(write):
    assert read(write("reviews.txt", FASTTEXT)) == (EXPECTED, [])


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "no-suffix", "wrong.txt.data"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_csv_with_any_delimiter_and_name(write, name, delimiter):
    rows = [
        ("id", "Sentiment", "Summary", "Text"),
        ("1", "negative", "Bad", "broke at once"),
        ("2", "positive", "Good", "works well"),
    ]
    path = write(name, "".join(delimiter.join(row) + "\n" for row in rows))
    assert read(path) == (EXPECTED, [])


def test_columns_named_by_hand(write):
    path = write("a.csv", "text,what,body_,mark\nx,Bad,broke at once,-1\ny,Good,works well,1\n")
    assert read(path, text_column="body_", title_column="what", label_column="mark") == (EXPECTED, [])


def test_stars_with_the_middle_counted(write):
    path = write("a.csv", "stars,text\n1,awful\n3,so so\n5,great\n9,what\n,none\n")
    assert read(path, stars_scale="1-5") == (
        [(0, "awful"), (1, "great")],
        [(3, "neutral"), (5, "unknown_label"), (6, "no_label")],
    )
    with pytest.raises(DataError, match=r"'9' \(1 row\); stars from 1 to 5 were expected"):
        read(path)


def test_headerless_amazon_polarity(write):
    content = '"1","Bad","broke ""at once"""\n"2","Good","two\\nlines, and\nmore"\n'
    expected = [(0, 'Bad: broke "at once"'), (1, "Good: two lines, and\nmore")]
    assert read(write("train.csv", content)) == (expected, [])


def test_headerless_two_columns_and_stars(write):
    assert read(write("yelp.csv", '"1","bad"\n"2","good"\n'))[0] == [(0, "bad"), (1, "good")]
    assert read(write("full.csv", '"5","t","good"\n"1","t","bad"\n'))[0] == [(1, "t: good"), (0, "t: bad")]


@pytest.mark.parametrize(
    "label", [("negative", "positive"), (0, 1), (1, 2), (False, True), (0.0, 1.0), ("1", 2)]
)
def test_json_lines_with_any_kind_of_label(write, label):
    lines = [{"content": text, "label": value} for (_, text), value in zip(EXPECTED, label, strict=True)]
    assert read(write("a.jsonl", "\n".join(map(json.dumps, lines)))) == (EXPECTED, [])


@pytest.mark.parametrize("rows_per_group", [1, 100])
def test_parquet(tmp_path, rows_per_group):
    table = pa.table({"label": [0, 1], "title": ["Bad", "Good"], "content": ["broke at once", "works well"]})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=rows_per_group)
    assert read(tmp_path / "a.parquet") == (EXPECTED, [])


def test_parquet_with_dictionaries_and_nulls(tmp_path):
    table = pa.table(
        {
            "stars": pa.array([1, 5, None], pa.int8()),
            "text": pa.array(["broke", "works", "x"]).dictionary_encode(),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet") == ([(0, "broke"), (1, "works")], [(3, "no_label")])


def test_a_damaged_parquet_file_never_ends_in_a_traceback(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"label": [0, 1], "text": ["broke", "works"]}), path, compression="none")
    content = path.read_bytes()
    told = []
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        try:
            read(path)
        except DataError as error:
            told.append(str(error))
    assert told


def test_nested_parquet_columns_are_refused(tmp_path):
    pq.write_table(pa.table({"label": [[0], [1]], "text": ["a", "b"]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"column 'label' of .* is of type list"):
        Corpus.find(tmp_path / "a.parquet")


def test_format_by_hand_wins(write):
    assert read(write("odd.csv", FASTTEXT), format="fasttext")[0] == EXPECTED


def test_unlabelled_input_keeps_every_line(write):
    path = write("plain.txt", b"fine\n\nbroken \xff\xfe bytes\nlast")
    corpus = Corpus.find(path, labels="none")
    (block,) = corpus.blocks()
    assert block.text.cast(pa.large_string()).to_pylist() == ["fine", "", "broken \ufffd\ufffd bytes", "last"]
    assert set(block.labels.tolist()) == {255}
    assert not corpus.has_labels


@pytest.mark.parametrize("labels", ["none", "optional"])
def test_plain_lines_with_commas_are_no_table(write, labels):
    assert read(write("notes", "Great, really\nBad, sadly\n"), labels=labels)[0] == [
        (255, "Great, really"),
        (255, "Bad, sadly"),
    ]
    assert read(write("table", "id,review\n1,fine\n"), labels=labels)[0] == [(255, "fine")]


def test_optional_labels_are_taken_where_they_are(write):
    assert read(write("a.csv", "text,label\ngood,positive\nodd,what\n"), labels="optional")[0] == [
        (1, "good"),
        (255, "odd"),
    ]
    assert read(write("b.csv", "text\ngood\n"), labels="optional")[0] == [(255, "good")]


def test_one_is_settled_by_what_comes_later(write):
    """The first block holds only "1"; a 0 further down makes it the positive class."""
    lines = ["1,good"] * 500 + ["0,bad"]
    reviews, _ = read(write("a.csv", "label,text\n" + "\n".join(lines)), block_mb=0.001)
    assert [label for label, _ in reviews] == [1] * 500 + [0]


# line ends, byte-order mark


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_line_ends_and_byte_order_mark(write, line_end):
    path = write("a.txt", b"\xef\xbb\xbf" + FASTTEXT.replace(b"\n", line_end))
    assert read(path) == (EXPECTED, [])
    table = b"\xef\xbb\xbflabel,title,text\n1,Bad,broke at once\n2,Good,works well".replace(b"\n", line_end)
    assert read(write("a.csv", table)) == (EXPECTED, [])


def test_line_numbers_are_those_of_the_file(write):
    content = 'label,text\n2,"two\nlines"\n\n7,bad label\n1,fine\nonly one\n'
    for size in (8, 0.00002):
        reviews = Corpus.find(write("a.csv", content), PrepareSettings(block_mb=size))
        assert rejected(reviews) == [(5, "unknown_label"), (7, "malformed")]


# compression


@pytest.mark.parametrize("suffix", COMPRESSORS)
def test_compressed_files_by_content(write, suffix):
    compressed = COMPRESSORS[suffix](FASTTEXT)
    assert read(write(f"a.txt{suffix}", compressed)) == (EXPECTED, [])
    assert read(write("no-suffix", compressed)) == (EXPECTED, [])
    assert read(write(f"two.txt{suffix}", compressed + compressed)) == (EXPECTED * 2, [])


@pytest.mark.parametrize("suffix", COMPRESSORS)
@pytest.mark.parametrize("keep", [0.5, 0.99])
def test_a_file_cut_short_is_refused_by_name(write, suffix, keep):
    rng = np.random.default_rng(0)
    content = FASTTEXT + b"".join(b"__label__1 %d\n" % number for number in rng.integers(0, 2**62, 20_000))
    compressed = COMPRESSORS[suffix](content)
    path = write(f"a.txt{suffix}", compressed[: int(keep * len(compressed))])
    with pytest.raises(DataError, match="cut short or damaged") as caught:
        read(path)
    assert str(path) in str(caught.value)


def test_content_decides_whether_a_file_is_compressed(write):
    assert read(write("a.txt.gz", FASTTEXT)) == (EXPECTED, [])
    assert read(write("a.zst", gzip.compress(FASTTEXT))) == (EXPECTED, [])


# blocks


@pytest.mark.parametrize("block_mb", [0.000_01, 0.000_1, 0.001, 8])
@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.jsonl"])
def test_block_size_changes_nothing(write, name, block_mb):
    texts = [f'review {i} with "quotes", commas\nand lines' * (i % 5) + "é" for i in range(40)]
    if name == "a.txt":
        content = "".join(
            f"__label__{1 + i % 2} {text}\n".replace("\nand", " and") for i, text in enumerate(texts)
        )
        texts = [text.replace("\n", " ") for text in texts]
    elif name == "a.csv":
        quoted = [text.replace('"', '""') for text in texts]
        content = "label,text\n" + "".join(f'{1 + i % 2},"{text}"\n' for i, text in enumerate(quoted))
    else:
        content = "".join(
            json.dumps({"label": 1 + i % 2, "text": text}) + "\n" for i, text in enumerate(texts)
        )
    reviews, rejects = read(write(name, content), block_mb=block_mb)
    assert reviews == [(i % 2, text) for i, text in enumerate(texts)]
    assert rejects == []


def test_a_line_of_50_mb_is_rejected_and_the_rest_read(write):
    path = write("a.txt", FASTTEXT + b"__label__1 " + b"x" * 50_000_000 + b"\n" + FASTTEXT)
    longest = max(
        len(block.data) for block in cut_blocks(Stream(str(path), None), TableFormat("fasttext"), 2**20)
    )
    assert longest <= 2 * MAX_RECORD_BYTES, "memory must not grow with the line"
    assert read(path) == (EXPECTED * 2, [(3, "too_long")])
    assert read(path, block_mb=100) == (EXPECTED * 2, [(3, "too_long")])


def test_a_quote_never_closed_over_20_mb_costs_one_line(write):
    path = write("a.csv", b'label,text\n1,bad\n1,"oops\n' + b"2,good\n" * 3_000_000)
    corpus = Corpus.find(path)
    assert [line for line, _ in rejected(corpus)] == [3]
    assert sum(map(len, corpus.blocks())) == 3_000_001


# finding


def test_folders_globs_and_lists_in_a_stable_order(write, tmp_path):
    for name in (
        "b/2.txt",
        "b/1.txt.gz",
        "b/deep/3.csv",
        "b/.hidden.txt",
        "b/_part/x.txt",
        "b/readme.md",
        "b/data/manifest.json",
        "b/data/vocab.txt",
        "a.txt",
    ):
        write(name, b"")
    found = [str(tmp_path / name) for name in ("b/1.txt.gz", "b/2.txt", "b/deep/3.csv")]
    assert find_files(tmp_path / "b") == found
    assert find_files(str(tmp_path / "b" / "*.txt*")) == found[:2]
    assert find_files([tmp_path / "a.txt", tmp_path / "b", tmp_path / "a.txt"]) == [
        str(tmp_path / "a.txt"),
        *found,
    ]
    assert find_files(f"file://{tmp_path}/a.txt") == [f"file://{tmp_path}/a.txt"]


def test_other_file_systems():
    import fsspec

    with fsspec.open("memory://reviews/a.txt", "wb") as file:
        file.write(FASTTEXT)
    assert read("memory://reviews/a.txt") == (EXPECTED, [])
    assert read("memory://reviews/*.txt") == (EXPECTED, [])


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("reveiws.txt", r"does not exist\. Did you mean 'reviews\.txt'"),
        ("*.none", "no file matches"),
        ("empty", "no review files"),
    ],
)
def test_nothing_found(write, tmp_path, name, told):
    write("reviews.txt", FASTTEXT)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=told):
        Corpus.find(tmp_path / name)


# files that cannot be used


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.txt", b"", "is empty"),
        ("a.txt", b"\n \n", "is empty"),
        ("a.txt.gz", gzip.compress(b"", mtime=0), "is empty"),
        ("a.jsonl", b"nothing\nlike json\n", "no JSON object"),
        ("a.parquet", b"PAR1 but broken", "not a readable Parquet"),
        ("a.parquet", b"text", "not a readable Parquet"),
        ("notes", b"just some words\nand more\n", "no known format"),
        ("a.csv", b"id,words\n1,good\n", "no column with a usual name for the review. It has: id, words"),
        ("a.csv", b"id,text\n1,good\n", "no column with a usual name for the label. It has: id, text"),
    ],
)
def test_unusable_files_say_why(write, name, content, told):
    path = write(name, content)
    with pytest.raises(DataError) as caught:
        Corpus.find(path)
    assert told in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_wrong_column_name_gets_a_suggestion(write):
    path = write("a.csv", "label,review_text\n1,x\n")
    with pytest.raises(
        UsageError, match=r"--text-column is 'reveiw_text'.*Did you mean 'review_text'.*Columns: label"
    ):
        Corpus.find(path, PrepareSettings(text_column="reveiw_text"))
    with pytest.raises(UsageError, match="exclude each other"):
        Corpus.find(path, PrepareSettings(label_column="label", stars_column="label"))


def test_recognising_a_file_needs_only_its_beginning(write):
    path = write("a.csv", b"label,text\n" + b'1,"a\nb"\n' * 400_000)
    with Stream(str(path), None) as stream:
        table = recognise(stream.start(), PrepareSettings(), "required")
    assert (table.format, table.columns, table.lines_before) == ("csv", ("label", "text"), 1)


def in_background(write, path, data):
    thread = threading.Thread(target=lambda: write(path, data))
    thread.start()
    return thread


@pytest.mark.parametrize("squeeze", [bytes, gzip.compress, lzma.compress])
def test_a_named_pipe_is_read_once_and_whole(tmp_path, squeeze):
    data = FASTTEXT * 20_000
    pipe = tmp_path / "reviews"
    os.mkfifo(pipe)
    writer = in_background(lambda path, content: path.write_bytes(content), pipe, squeeze(data))
    corpus = Corpus.find(pipe, PrepareSettings(block_mb=0.1), labels="none")
    rows = sum(len(block) for block in corpus.blocks())
    writer.join()
    assert rows == data.count(b"\n")


def test_a_pipe_cannot_be_read_twice(tmp_path):
    pipe = tmp_path / "reviews"
    os.mkfifo(pipe)
    writer = in_background(lambda path, content: path.write_bytes(content), pipe, FASTTEXT)
    corpus = Corpus.find(pipe, labels="none")
    writer.join()
    assert sum(len(block) for block in corpus.blocks()) > 0
    with pytest.raises(DataError, match="can be read only once"):
        list(corpus.blocks())


def test_an_empty_pipe_is_refused(tmp_path):
    pipe = tmp_path / "reviews"
    os.mkfifo(pipe)
    writer = in_background(lambda path, content: path.write_bytes(content), pipe, b"")
    with pytest.raises(DataError, match="is empty"):
        Corpus.find(pipe)
    writer.join()
