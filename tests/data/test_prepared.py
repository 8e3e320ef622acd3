"""Opening prepared data: what it gives, and that nothing damaged is ever read."""

import json

import numpy as np
import pytest

from sentiscale.data.prepare import prepare
from sentiscale.data.prepared import PreparedDataset
from sentiscale.errors import DataError

ROWS = "".join(
    f"__label__{1 + i % 2} review number {i} is {'bad' if i % 2 == 0 else 'fine'}\n" for i in range(200)
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared")
    (folder / "reviews.txt").write_text(ROWS)
    prepare(folder / "reviews.txt", folder / "data", min_count=1)
    return folder / "data"


@pytest.fixture
def copy(made, tmp_path):
    """A copy to damage."""
    import shutil

    return shutil.copytree(made, tmp_path / "data")


def test_splits_are_mapped_not_read(made):
    dataset = PreparedDataset.open(made)
    train = dataset.split("train")
    assert isinstance(train.tokens, np.memmap)
    assert train.tokens.dtype == np.uint16
    assert len(train) == dataset.manifest.rows["train"] == len(train.labels) == len(train.lengths)
    assert train.offsets[-1] == len(train.tokens)
    assert train.lengths.min() >= 1


def test_rows_read_back_as_text(made):
    dataset = PreparedDataset.open(made)
    read = []
    for name in ("train", "valid", "test"):
        split = dataset.split(name)
        for row in range(len(split)):
            words = [
                dataset.vocab.words[i] for i in split.tokens[split.offsets[row] : split.offsets[row + 1]]
            ]
            read.append(f"__label__{split.labels[row] + 1} {' '.join(words)}\n")
    known = [line for line in read if "<unk>" not in line]  # numbers that only occur outside training
    assert len(read) == 200
    assert len(known) > 150
    assert set(known) <= set(ROWS.splitlines(keepends=True))


@pytest.mark.parametrize(
    ("name", "told"), [("tset", "Did you mean 'test'"), ("all", "Splits with rows: train, valid, test")]
)
def test_a_wrong_split_lists_the_right_ones(made, name, told):
    with pytest.raises(DataError, match=told):
        PreparedDataset.open(made).split(name)


def every_file(folder):
    return sorted(name for name in json.loads((folder / "manifest.json").read_text())["files"])


def test_one_flipped_byte_anywhere_is_found(copy):
    for name in every_file(copy):
        path = copy / name
        content = path.read_bytes()
        damaged = bytearray(content)
        damaged[len(content) // 2] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="was changed after it was written") as caught:
            PreparedDataset.open(copy)
        assert name in str(caught.value)
        path.write_bytes(content)
    PreparedDataset.open(copy)


def test_a_missing_file_is_named(copy):
    for name in [*every_file(copy), "manifest.json"]:
        content = (copy / name).read_bytes()
        (copy / name).unlink()
        with pytest.raises(DataError, match=name):
            PreparedDataset.open(copy, verify=False)
        (copy / name).write_bytes(content)


def test_a_file_cut_short_is_found_even_without_digests(copy):
    path = copy / "train" / "tokens.bin"
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(DataError, match="are inconsistent"):
        PreparedDataset.open(copy, verify=False).split("train")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"schema_version": 99}, "format version 99"),
        ({"schema_version": None}, "format version None"),
        ({"cleaning": "alpha"}, "was changed by hand"),
        ({"rows": "many"}, "is damaged"),
    ],
)
def test_another_version_or_a_changed_manifest_is_refused(copy, change, told):
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps(manifest | change))
    with pytest.raises(DataError, match=told):
        PreparedDataset.open(copy)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff"])
def test_a_broken_manifest_is_refused(copy, content):
    (copy / "manifest.json").write_bytes(content)
    with pytest.raises(DataError, match="damaged"):
        PreparedDataset.open(copy)


def test_what_is_no_dataset_says_so(tmp_path):
    with pytest.raises(DataError, match=r"does not exist\. Create it with: sentiscale prepare"):
        PreparedDataset.open(tmp_path / "none")
    with pytest.raises(DataError, match="is not a prepared dataset"):
        PreparedDataset.open(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match=r"is a file, not a prepared dataset\. Prepare it first"):
        PreparedDataset.open(tmp_path / "file")
