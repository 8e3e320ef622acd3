"""From review files to a dataset: what is kept, where it goes, and what the result depends on."""

import json
import os
import socket

import numpy as np
import pyarrow.parquet as pq
import pytest

from sentiscale.data.prepare import prepare
from sentiscale.data.prepared import PreparedDataset
from sentiscale.errors import DataError, OutputExistsError, SentiscaleError, UsageError
from sentiscale.text.encode import Encoder
from tests.data.prepare_data import reviews


def rows_of(dataset, name):
    """The rows of a split as (label, ids)."""
    split = dataset.split(name)
    bounds = split.offsets.tolist()
    ids = split.tokens.tolist()
    return [(int(label), ids[bounds[i] : bounds[i + 1]]) for i, label in enumerate(split.labels)]


def rejects_of(dataset):
    table = pq.read_table(dataset.path / "rejects.parquet")
    return list(zip(*(table[name].to_pylist() for name in ("line", "reason", "text")), strict=True))


def test_every_row_is_accounted_for(write, tmp_path):
    lines = [*reviews(400), "no label", "__label__1 ...", "__label__3 what", "__label__2", ""]
    path = write("a.txt", lines)
    with pytest.raises(DataError, match="To leave out the rows with 3: --label-map 3=drop"):
        prepare(path, tmp_path / "data")
    dataset = prepare(path, tmp_path / "data", label_map="1=negative,2=positive")
    manifest = dataset.manifest
    assert manifest.rejected == {
        "total": 5,
        "by_reason": {
            "no_label": 1,
            "unknown_label": 1,
            "no_text": 1,
            "empty_after_cleaning": 1,
            "blank_line": 1,
        },
    }
    assert manifest.duplicates == 20
    assert sum(manifest.rows.values()) + manifest.duplicates + 5 == len(lines)
    assert (
        sum(manifest.labels.values())
        == sum(manifest.rows.values())
        == sum(manifest.length_histogram.values())
    )
    assert manifest.tokens == sum(len(dataset.split(name).tokens) for name in ("train", "valid", "test"))
    assert rejects_of(dataset) == [
        (401, "no_label", "no label"),
        (402, "empty_after_cleaning", "..."),
        (403, "unknown_label", "what"),
        (404, "no_text", ""),
        (405, "blank_line", ""),
    ]
    example = manifest.reject_examples["unknown_label"]
    assert (example.line, example.text, example.label) == (403, "what", "3")
    assert set(manifest.reject_examples) == set(manifest.rejected["by_reason"])


@pytest.mark.parametrize("block_mb", [8, 0.001])
def test_rejected_rows_are_found_by_file_and_line(write, tmp_path, block_mb):
    rows = [f"{1 + i % 2},text number {i}" for i in range(100)]
    one = write("one.csv", ["label,text", *rows, "7,odd"])
    two = write("two.csv", ["label,text", '2,"two', 'lines"', *rows[:50], "1"])
    classes = {"1": "negative", "2": "positive"}
    dataset = prepare([one, two], tmp_path / "data", block_mb=block_mb, label_map=classes)
    table = pq.read_table(dataset.path / "rejects.parquet").to_pylist()
    assert [(row["file"], row["line"], row["reason"], row["text"]) for row in table] == [
        (str(one), 102, "unknown_label", "odd"),
        (str(two), 54, "malformed", "1\n"),
    ]


def test_stored_rows_equal_what_the_encoder_makes(write, tmp_path):
    """Training and prediction must see the same ids, in input order."""
    train = [
        "__label__2 It's GREAT, don't you think?",
        "__label__1 Not great !!!!!",
        "__label__2 it works",
    ] * 2
    test = ["__label__1 Isn't it? Unheard-of " + "x" * 100, "__label__2 works " + "great " * 40]
    dataset = prepare(
        write("a.txt", train),
        tmp_path / "data",
        test=write("b.txt", test),
        split=(1, 0),
        min_count=1,
        max_tokens=30,
    )
    encoder = Encoder(dataset.vocab, "words", 30)
    for name, lines in (("train", train[:3]), ("test", test)):
        encoded = encoder.encode([line.partition(" ")[2] for line in lines])
        assert np.array_equal(dataset.split(name).tokens, encoded.ids)
        assert np.array_equal(dataset.split(name).offsets, encoded.offsets)
        assert dataset.split(name).labels.tolist() == [int(line[9]) - 1 for line in lines]
    assert dataset.manifest.cut == 1


def test_the_result_depends_on_input_and_settings_alone(write, tmp_path):
    path, other = write("a.txt", reviews(600)), write("b.txt", reviews(300, seed=5))
    digests = set()
    for workers, block_mb, keep_text in ((1, 8, False), (2, 0.01, True), (3, 0.002, False)):
        dataset = prepare(
            [path, other],
            tmp_path / "data",
            workers=workers,
            block_mb=block_mb,
            keep_text=keep_text,
            force=True,
        )
        digests.add(dataset.manifest.digest)
    assert len(digests) == 1
    assert prepare([other, path], tmp_path / "data", force=True).manifest.digest not in digests
    assert prepare([path, other], tmp_path / "data", force=True, clean="alpha").manifest.digest not in digests


def test_equal_reviews_never_straddle_splits(write, tmp_path):
    dataset = prepare(
        write("a.txt", reviews(800)), tmp_path / "data", dedupe=False, min_count=1, split=(0.4, 0.3, 0.3)
    )
    seen = [{tuple(ids) for _, ids in rows_of(dataset, name)} for name in ("train", "valid", "test")]
    unknown_free = [{ids for ids in rows if 1 not in ids} for rows in seen]
    assert dataset.manifest.duplicates == 0
    assert sum(dataset.manifest.rows.values()) == 800
    for one in range(3):
        for other in range(one):
            assert not unknown_free[one] & unknown_free[other]


def test_a_named_test_set_keeps_all_its_rows(write, tmp_path):
    train, test = reviews(200), [*reviews(50, seed=0), *reviews(50, seed=9)]
    dataset = prepare(write("a.txt", train), tmp_path / "data", test=write("b.txt", test))
    assert dataset.manifest.rows["test"] == 100
    texts = {line.partition(" ")[2].lower() for line in train} - {
        line.partition(" ")[2].lower() for line in test
    }
    assert dataset.manifest.rows["train"] + dataset.manifest.rows["valid"] == len(texts)


def test_the_vocabulary_is_made_of_training_rows_only(write, tmp_path):
    dataset = prepare(
        write("a.txt", reviews(100)),
        tmp_path / "data",
        test=write("b.txt", reviews(100, seed=3, extra=" onlyhere")),
    )
    assert "onlyhere" not in dataset.vocab.words
    assert dataset.manifest.unknown["test"] >= 90


def test_common_words_have_small_ids_and_the_size_is_kept(write, tmp_path):
    lines = ["__label__1 a a a a b b b c c", "__label__2 a b c d d", "__label__2 e"]
    dataset = prepare(write("a.txt", lines), tmp_path / "data", split=(1, 0, 0), min_count=1, vocab_size=5)
    assert dataset.vocab.words == ["<pad>", "<unk>", "a", "b", "c"]
    assert rows_of(dataset, "train")[1] == (1, [2, 3, 4, 1, 1])


def test_many_words_make_wider_ids(write, tmp_path):
    lines = [
        f"__label__{1 + i % 2} " + " ".join(f"w{j}" for j in range(i * 100, i * 100 + 100))
        for i in range(700)
    ]
    dataset = prepare(write("a.txt", lines), tmp_path / "data", split=(1, 0, 0), min_count=1)
    assert dataset.split("train").tokens.dtype == np.uint32
    assert len(dataset.vocab) == 70_002


def test_text_can_be_kept(write, tmp_path):
    lines = reviews(100)
    dataset = prepare(write("a.txt", lines), tmp_path / "data", keep_text=True, block_mb=0.001, dedupe=False)
    texts = [
        text
        for split in ("train", "valid", "test")
        for part in sorted((dataset.path / "text" / split).iterdir())
        for text in pq.read_table(part)["text"].to_pylist()
    ]
    assert sorted(texts) == sorted(line.partition(" ")[2] for line in lines)


def test_labels_are_settled_over_all_files(write, tmp_path):
    """The file with nothing but 1 is positive, because another one has 0."""
    ones = write("a.csv", ["label,text", *(f"1,fine {i}" for i in range(50))])
    zeros = write("b.csv", ["label,text", *(f"0,bad {i}" for i in range(50))])
    dataset = prepare([ones, zeros], tmp_path / "data")
    assert dataset.manifest.labels == {"negative": 50, "positive": 50}


def test_dask_leaves_its_report(write, tmp_path):
    dataset = prepare(write("a.txt", reviews(50)), tmp_path / "data", report=True)
    assert dataset.manifest.digest == prepare(write("a.txt", reviews(50)), tmp_path / "plain").manifest.digest
    drawn, said = (
        (path / "reports" / "dask.html").read_text() for path in (dataset.path, tmp_path / "plain")
    )
    assert "<html" in drawn[:200].lower()
    assert "bokeh" in drawn
    assert "--report" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "data", "plain"]


# input that cannot be used


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (["__label__1 bad", "__label__1 worse"], r"it is unclear which class '1' means"),
        (
            ["plain", "lines"],
            r"no usable row is left; rejected: no_label 2\.\n.*a\.txt:1: plain\n.*--label-column",
        ),
        (["__label__9 x", "__label__1"], r"'9' \(1 row\), which are not 0/1"),
        (["__label__1 one", "__label__2 two"], r"no word occurs 2 times"),
    ],
)
def test_hopeless_input_is_refused_and_nothing_stays(write, tmp_path, lines, told):
    path = write("a.txt", lines)
    with pytest.raises(DataError, match=told):
        prepare(path, tmp_path / "data", format="fasttext", split=(1, 0, 0))
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_test_set_equal_to_the_input_leaves_nothing(write, tmp_path):
    path = write("a.txt", reviews(40))
    with pytest.raises(DataError, match="no row is left for training"):
        prepare(path, tmp_path / "data", test=path)


def test_a_file_cut_short_leaves_nothing(tmp_path):
    import gzip

    content = gzip.compress("\n".join(reviews(3000)).encode())
    (tmp_path / "a.txt.gz").write_bytes(content[:-100])
    with pytest.raises(DataError, match="cut short"):
        prepare(tmp_path / "a.txt.gz", tmp_path / "data", block_mb=0.01)
    assert os.listdir(tmp_path) == ["a.txt.gz"]


# settings and output


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"min_cuont": 3}, r"Did you mean 'min_count'"),
        ({"vocab_size": 1}, "vocab_size"),
        ({"split": (0.5, 0.5)}, "without --test it needs 3"),
        ({"split": (0.5, 0.6, 0.1)}, "add to 1"),
        ({"workers": 0}, "at least 1"),
        ({"clean": "thoroughly"}, "clean"),
    ],
)
def test_settings_are_checked_before_any_work(write, tmp_path, settings, told):
    path = write("a.txt", reviews(10))
    with pytest.raises(UsageError, match=told):
        prepare(path, tmp_path / "data", **settings)
    assert os.listdir(tmp_path) == ["a.txt"]


def test_an_existing_output_is_replaced_only_by_force(write, tmp_path):
    path = write("a.txt", reviews(60))
    first = prepare(path, tmp_path / "data")
    with pytest.raises(OutputExistsError, match="--force"):
        prepare(path, tmp_path / "data")
    second = prepare(path, tmp_path / "data", force=True)
    assert first.manifest.digest == second.manifest.digest


def test_a_failed_replacement_keeps_the_old_dataset(write, tmp_path):
    prepare(write("a.txt", reviews(60)), tmp_path / "data")
    with pytest.raises(DataError):
        prepare(write("b.txt", ["__label__1 x"]), tmp_path / "data", force=True)
    assert PreparedDataset.open(tmp_path / "data").manifest.rows["train"] > 0


def test_a_full_disk_says_so_and_leaves_nothing(write, small_disk):
    path = write("a.txt", reviews(6000))
    with pytest.raises(SentiscaleError, match=r"No space left on device.*Free some space"):
        prepare(path, small_disk / "data", block_mb=0.05)
    assert os.listdir(small_disk) == []


# Dask


def test_a_running_cluster_gives_the_same_result(write, tmp_path):
    from distributed import LocalCluster

    path = write("a.txt", reviews(300))
    expected = prepare(path, tmp_path / "alone").manifest.digest
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0", host="127.0.0.1"
    ) as cluster:
        dataset = prepare(path, tmp_path / "data", scheduler=cluster.scheduler_address, block_mb=0.002)
    assert dataset.manifest.digest == expected
    assert dataset.manifest.workers == 2


def test_no_scheduler_at_that_address(write, tmp_path, monkeypatch):
    monkeypatch.setattr("sentiscale.data.cluster.CONNECT_SECONDS", 1)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(UsageError, match=rf"no Dask scheduler answers at tcp://127\.0\.0\.1:{port}"):
        prepare(write("a.txt", reviews(20)), tmp_path / "data", scheduler=f"tcp://127.0.0.1:{port}")
    assert os.listdir(tmp_path) == ["a.txt"]


def test_the_manifest_is_readable_json(write, tmp_path):
    dataset = prepare(write("a.txt", reviews(50)), tmp_path / "data")
    document = json.loads((dataset.path / "manifest.json").read_text())
    assert document["settings"]["min_count"] == 2
    assert document["bytes_in"] == (tmp_path / "a.txt").stat().st_size
    assert document["peak_memory_mb"] > 50
