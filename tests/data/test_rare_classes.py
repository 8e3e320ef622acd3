"""Splits of rare classes: every split has rows of every class, whatever the partitions."""

import random

import numpy as np
import pyarrow.parquet as pq
import pytest

from sentiscale.data.placement import split_of
from sentiscale.data.prepare import prepare
from sentiscale.data.rare_classes import RareClasses, divided


@pytest.mark.parametrize(
    ("rows", "shares", "expected"),
    [
        (100, (0.8, 0.1, 0.1), [80, 10, 10]),
        (10, (0.8, 0.1, 0.1), [8, 1, 1]),
        (3, (0.8, 0.1, 0.1), [1, 1, 1]),
        (2, (0.8, 0.1, 0.1), [1, 1, 0]),
        (1, (0.8, 0.1, 0.1), [1, 0, 0]),
        (9, (0.95, 0.05), [8, 1]),
        (7, (0.5, 0.0, 0.5), [3, 0, 4]),
        (5, (0.0, 0.5, 0.5), [0, 3, 2]),
    ],
)
def test_shares_of_few_rows(rows, shares, expected):
    assert divided(rows, shares) == expected


def test_only_classes_with_few_texts_are_divided_by_rank():
    rng = np.random.default_rng(0)
    shares = (0.8, 0.1, 0.1)
    rare = RareClasses(3, shares)
    assert rare.limit == 100
    hashes = rng.integers(0, 2**64 - 1, 1000, dtype=np.uint64)
    labels = np.repeat(np.array([0, 1, 2], np.uint8), [850, 99, 51])
    for part in np.array_split(rng.permutation(1000), 7):
        rare.add(hashes[part], labels[part])
    found, splits = rare.splits()
    assert np.array_equal(found, np.sort(hashes[labels > 0]))
    for label, counts in ((1, [79, 10, 10]), (2, [41, 5, 5])):
        own = hashes[labels == label]
        parts = splits[np.searchsorted(found, own)]
        assert np.bincount(parts).tolist() == counts
        by_fraction = np.argsort(own & np.uint64(2**32 - 1))
        assert np.all(np.diff(parts[by_fraction].astype(int)) >= 0), "not in the order of the hash"
        assert (parts == split_of(own, shares)).mean() > 0.8


def lines(seed=0):
    """9 rows of a class, 30 of another, 400 of a third; every tenth text occurs again with another class."""
    rng = random.Random(seed)
    rows = [("few", 9), ("some", 30), ("many", 400)]
    found = [f"__label__{label} words of {label} number {i}" for label, count in rows for i in range(count)]
    found += [line.replace("__label__many", "__label__some") for line in found[60::10]]
    rng.shuffle(found)
    return found


@pytest.mark.parametrize("dedupe", [True, False])
def test_every_split_has_every_class_for_any_partitions(tmp_path, dedupe):
    path = tmp_path / "a.txt"
    path.write_text("\n".join(lines()))
    results = [
        prepare(
            path,
            tmp_path / str(block_mb),
            classes="labels",
            min_class_rows=9,
            min_count=1,
            dedupe=dedupe,
            block_mb=block_mb,
            keep_text=True,
        )
        for block_mb in (8, 0.002)
    ]
    one, other = (result.manifest for result in results)
    assert one.files["test/tokens.bin"] == other.files["test/tokens.bin"]
    assert one.digest == other.digest
    assert [one.labels_per_split[split]["few"] for split in ("train", "valid", "test")] == [7, 1, 1]
    assert all(rows for counts in one.labels_per_split.values() for rows in counts.values())
    texts = [
        set(pq.read_table(results[0].path / "text" / split)["text"].to_pylist())
        for split in ("train", "valid", "test")
    ]
    assert sum(map(len, texts)) == len(set().union(*texts)) == 439, "equal texts are in several splits"


def test_two_classes_are_divided_by_the_hash_alone(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("\n".join(f"__label__{1 + (i < 200)} text number {i}" for i in range(203)))
    binary = prepare(path, tmp_path / "two", min_count=1).manifest
    labels = prepare(path, tmp_path / "labels", classes="labels", min_class_rows=3, min_count=1).manifest
    assert labels.labels_per_split["valid"]["1"] == labels.labels_per_split["test"]["1"] == 1
    assert binary.labels["negative"] == 3
    assert 0 in {binary.labels_per_split[split]["negative"] for split in ("valid", "test")}
