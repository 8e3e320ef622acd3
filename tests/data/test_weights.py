"""`--weight-column`: a weight for each row, stored next to its label."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sentiscale.data.prepare import prepare
from sentiscale.data.prepared import PreparedDataset
from sentiscale.errors import DataError, UsageError

SPLITS = ("train", "valid", "test")


def rows(count=60):
    return [{"text": f"text of number{i} here", "label": i % 2, "weight": (i % 10) / 4} for i in range(count)]


def write(path, found):
    if path.suffix == ".csv":
        lines = [f"{row['text']},{row['label']},{row['weight']}" for row in found]
        path.write_text("\n".join(["text,label,weight", *lines]) + "\n")
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in found))
    else:
        pq.write_table(pa.Table.from_pylist(found), path)
    return path


def stored(data):
    """Weight of each text, by its number."""
    found = {}
    for name in SPLITS:
        texts = pq.read_table(data.path / "text" / name)["text"].to_pylist()
        for text, weight in zip(texts, data.split(name).weights.tolist(), strict=True):
            found[int(text.split()[-2].removeprefix("number"))] = weight
    return found


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("block_mb", [8, 0.0005])
def test_each_row_keeps_its_weight(tmp_path, suffix, block_mb):
    found = [*rows(), {"text": "text of number7 here", "label": 1, "weight": 99.0}]
    path = write(tmp_path / f"a{suffix}", found)
    data = prepare(
        path, tmp_path / "data", weight_column="weight", min_count=1, block_mb=block_mb, keep_text=True
    )
    assert data.manifest.duplicates == 1
    assert data.manifest.columns["weight"] == "weight"
    assert {data.split(name).weights.dtype for name in SPLITS} == {np.dtype(np.float32)}
    assert stored(data) == {i: (i % 10) / 4 for i in range(60)}, "a duplicate has the weight of the first row"


def test_data_without_weights_have_none(tmp_path):
    data = prepare(write(tmp_path / "a.csv", rows()), tmp_path / "data", min_count=1)
    assert data.split("train").weights is None
    assert "train/weights.bin" not in data.manifest.files
    assert "weight" not in data.manifest.columns
    weighted = prepare(tmp_path / "a.csv", tmp_path / "two", min_count=1, weight_column="weight")
    assert weighted.manifest.digest != data.manifest.digest
    assert {name: digest for name, digest in weighted.manifest.files.items() if "weights" not in name} == (
        data.manifest.files
    )


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_rows_without_a_weight_are_rejected_with_their_reason(tmp_path, suffix):
    found = rows(300)
    bad = ["heavy", -1, "nan", "inf", "1,5", "1e99", None if suffix == ".jsonl" else ""]
    for place, value in enumerate(bad):
        found[place * 3]["weight"] = value
    found[200]["weight"] = "2.5"
    if suffix == ".csv":
        found[12]["weight"] = '"1,5"'
    path = write(tmp_path / f"a{suffix}", found)
    data = prepare(path, tmp_path / "data", weight_column="weight", min_count=1, keep_text=True)
    assert data.manifest.rejected["by_reason"] == {"bad_weight": len(bad)}
    assert stored(data)[200] == 2.5
    table = pq.read_table(tmp_path / "data" / "rejects.parquet").to_pylist()
    problems = [row["problem"] for row in table]
    assert problems[-1] == "no weight"
    assert problems[1].startswith("weight '-1")
    if suffix == ".csv":
        assert (table[0]["line"], problems[0]) == (2, "weight 'heavy'")


def test_columns_that_cannot_be_weights_are_refused(tmp_path):
    path = write(tmp_path / "a.csv", [{**row, "weight": 0} for row in rows()])
    with pytest.raises(DataError, match="all weights of the training rows in column 'weight' are 0"):
        prepare(path, tmp_path / "data", weight_column="weight", min_count=1)
    with pytest.raises(UsageError, match=r"no such column\. Did you mean 'weight'"):
        prepare(path, tmp_path / "data", weight_column="weigth")
    with pytest.raises(DataError, match="no usable row is left; rejected: bad_weight 60"):
        prepare(path, tmp_path / "data", weight_column="text", min_count=1)
    (tmp_path / "b.txt").write_text("__label__1 bad\n__label__2 good\n")
    with pytest.raises(UsageError, match=r"no columns\. Write the reviews as CSV"):
        prepare(tmp_path / "b.txt", tmp_path / "data", weight_column="weight")


@pytest.mark.parametrize("damage", ["short", "negative", "missing"])
def test_damaged_weights_are_named(tmp_path, damage):
    prepare(write(tmp_path / "a.csv", rows()), tmp_path / "data", weight_column="weight", min_count=1)
    path = tmp_path / "data" / "train" / "weights.bin"
    weights = np.fromfile(path, np.float32)
    if damage == "missing":
        path.unlink()
    else:
        (weights[:-1] if damage == "short" else -weights - 1).tofile(path)
    with pytest.raises(DataError, match="missing" if damage == "missing" else "was changed after"):
        PreparedDataset.open(tmp_path / "data")
    if damage != "missing":
        told = "weights for" if damage == "short" else "has the weight -"
        with pytest.raises(DataError, match=told):
            PreparedDataset.open(tmp_path / "data", verify=False).split("train")
