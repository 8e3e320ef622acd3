"""Opening prepared data: what it gives, and that nothing damaged is ever read."""

import json
import os
from hashlib import sha256

import numpy as np
import pytest

from sentiscale.data.prepare import prepare
from sentiscale.data.prepared import PreparedDataset, content_digest
from sentiscale.errors import DataError
from sentiscale.util.digests import file_digest

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
    with pytest.raises(DataError, match="do not cover its"):
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
    with pytest.raises(
        DataError, match=r"(format version None|not valid JSON).*\. Prepare .* again with --force\.$"
    ):
        PreparedDataset.open(copy)


def test_the_digest_of_version_1_is_that_of_data_without_a_version(copy):
    """Data prepared before there were versions stay valid, and another version is never taken for it."""
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["digest"] = content_digest(manifest["files"], "words", 1)
    del manifest["cleaning_version"]
    (copy / "manifest.json").write_text(json.dumps(manifest))
    opened = PreparedDataset.open(copy).manifest
    assert opened.cleaning_version == 1
    content = {name: digest for name, digest in opened.files.items() if not name.endswith(".parquet")}
    assert opened.digest == sha256(json.dumps(["words", content], sort_keys=True).encode()).hexdigest()
    assert content_digest(opened.files, "words", 2) != opened.digest


def test_a_cleaning_version_of_a_later_release_is_refused(copy):
    manifest = json.loads((copy / "manifest.json").read_text())
    changes = {"cleaning_version": 9, "digest": content_digest(manifest["files"], "words", 9)}
    (copy / "manifest.json").write_text(json.dumps(manifest | changes))
    with pytest.raises(DataError, match="version 9 of the cleaning profile 'words' is unknown"):
        PreparedDataset.open(copy)


def test_what_is_no_dataset_says_so(tmp_path):
    with pytest.raises(DataError, match=r"does not exist\. Create it with: sentiscale prepare"):
        PreparedDataset.open(tmp_path / "none")
    with pytest.raises(DataError, match="is not a prepared dataset"):
        PreparedDataset.open(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match=r"is a file, not a prepared dataset\. Prepare it first"):
        PreparedDataset.open(tmp_path / "file")


def change(data, file, values):
    """Overwrite the first values of a split file (or its whole content) and bring all digests up to date."""
    path = data / file
    dtype = {"tokens": np.uint16, "offsets": np.int64, "labels": np.uint8}[path.stem]
    content = np.fromfile(path, dtype)
    content[: len(values)] = np.array(values).astype(dtype)
    content.tofile(path)
    update_digests(data)


def update_digests(data, **fields):
    manifest = json.loads((data / "manifest.json").read_text()) | fields
    files = {name: file_digest(data / name) for name in manifest["files"]}
    manifest |= {
        "files": files,
        "digest": content_digest(files, manifest["cleaning"], manifest["cleaning_version"]),
    }
    (data / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("file", "values", "told"),
    [
        ("train/tokens.bin", [60_000], "its token ids are 2 to 60000; allowed are 1 to 180"),
        ("train/tokens.bin", [0], "its token ids are 0 to "),
        ("train/labels.bin", [0, 1, 2], "row 2 has the label 2; allowed are 0 to 1"),
        ("train/offsets.bin", [1], "its offsets do not cover its"),
        ("train/offsets.bin", [-5], "its offsets do not cover its"),
        ("train/offsets.bin", [0, 0], "row 0 has 0 tokens; allowed are 1 to 512"),
        ("train/offsets.bin", [0, 2**62], "row 0 has 4611686018427387904 tokens"),
        ("train/offsets.bin", [0, 2**63 - 1, -(2**63) + 4], "row 0 has 9223372036854775807 tokens"),
    ],
)
@pytest.mark.parametrize("verify", [True, False])
def test_values_that_compiled_code_cannot_use_are_refused_though_the_digests_match(
    copy, file, values, told, verify
):
    change(copy, file, values)
    with pytest.raises(DataError, match=told) as caught:
        PreparedDataset.open(copy, verify=verify).split("train")
    assert "\n" not in str(caught.value)
    PreparedDataset.open(copy).split("valid")


def test_ids_are_checked_in_every_part_of_a_file(copy, monkeypatch):
    monkeypatch.setattr("sentiscale.data.prepared.PART_TOKENS", 7)
    PreparedDataset.open(copy).split("train")
    tokens = np.fromfile(copy / "train" / "tokens.bin", np.uint16)
    for place in (0, 6, 7, len(tokens) - 1):
        changed = tokens.copy()
        changed[place] = 50_000
        changed.tofile(copy / "train" / "tokens.bin")
        update_digests(copy)
        with pytest.raises(DataError, match="2 to 50000"):
            PreparedDataset.open(copy).split("train")


def test_a_vocabulary_of_another_size_than_the_manifest_says_is_refused(copy):
    size = json.loads((copy / "manifest.json").read_text())["vocab_size"]
    update_digests(copy, vocab_size=size + 1)
    with pytest.raises(DataError, match=rf"vocab.txt has {size} lines; manifest.json says {size + 1}"):
        PreparedDataset.open(copy)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"rows": {"train": -1, "valid": 20, "test": 20}}, "rows.train"),
        ({"rows": {"train": 160}}, "rows: the keys must be train, valid, test"),
        ({"labels": {}}, "labels: "),
        ({"labels_per_split": {"train": {}, "valid": {}, "test": {}}}, "labels_per_split.train"),
        ({"vocab_size": 2**40}, "vocab_size"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"tokens": -1}, "tokens"),
        ({"seconds": float("nan")}, "seconds"),
        ({"mb_per_s": float("inf")}, "mb_per_s"),
        ({"phases": {"encode": -1.0}}, "phases.encode"),
        ({"settings": {"vocab_size": "many"}}, "settings: vocab_size"),
        ({"rejected": {"total": 0}}, "rejected: the keys must include total, by_reason"),
        ({"length_histogram": {"many": 3}}, "length_histogram.many"),
        ({"cleaning": ["words"]}, "cleaning"),
        ({"schema_version": ["2" * 10_000] * 3}, "has format version"),
    ],
)
def test_impossible_numbers_in_the_manifest_are_refused(copy, fields, told):
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps(manifest | fields))
    with pytest.raises(DataError) as caught:
        PreparedDataset.open(copy, verify=False)
    assert told in str(caught.value)
    assert len(str(caught.value)) < 500
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "names",
    [
        [],
        ["train/tokens.bin"],
        ["../../secret"],
        ["/etc/passwd"],
        ["train/../vocab.txt"],
        ["train/tokens.bin\0"],
    ],
)
def test_the_files_of_a_dataset_cannot_be_others(copy, names):
    manifest = json.loads((copy / "manifest.json").read_text())
    files = {"vocab.txt": manifest["files"]["vocab.txt"]} | dict.fromkeys(names, "0" * 64)
    manifest |= {
        "files": files,
        "digest": content_digest(files, manifest["cleaning"], manifest["cleaning_version"]),
    }
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match="files: the keys must be train/tokens"):
        PreparedDataset.open(copy, verify=False)


@pytest.mark.parametrize("name", ["manifest.json", "vocab.txt", "train/tokens.bin", "rejects.parquet"])
def test_what_is_not_a_regular_file_is_refused_at_once(copy, name):
    (copy / name).unlink()
    os.mkfifo(copy / name)
    with pytest.raises(DataError, match="is a FIFO"):
        PreparedDataset.open(copy)
    (copy / name).unlink()
    (copy / name).symlink_to("/dev/zero")
    with pytest.raises(DataError, match="is a device"):
        PreparedDataset.open(copy)


def test_a_link_to_a_file_is_a_file(copy, tmp_path):
    (copy / "train" / "tokens.bin").rename(tmp_path / "elsewhere")
    (copy / "train" / "tokens.bin").symlink_to(tmp_path / "elsewhere")
    assert len(PreparedDataset.open(copy).split("train")) > 0


@pytest.mark.parametrize(
    "content", ["[" * 100_000, '{"a":' * 100_000, '{"schema_version": 2, "a": ' + "[" * 99]
)
def test_a_deeply_nested_manifest_is_refused(copy, content):
    (copy / "manifest.json").write_text(content)
    with pytest.raises(DataError, match="manifest"):
        PreparedDataset.open(copy)


def test_a_file_larger_than_the_manifest_says_is_refused_before_it_is_read(copy):
    os.truncate(copy / "train/tokens.bin", 2**40)  # a sparse file: hashing a terabyte would take half an hour
    with pytest.raises(DataError, match=r"tokens\.bin has 1,099,511,627,776 bytes; at most"):
        PreparedDataset.open(copy)
