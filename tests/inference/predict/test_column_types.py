"""Columns of every type are copied to every output, and file names of any bytes."""

import csv
import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

COLUMNS = {
    "string_view": pa.array(["a", None], pa.string_view()),
    "binary": pa.array([b"a", b"caf\xe9"]),
    "binary_view": pa.array([b"a", b"caf\xe9"], pa.binary_view()),
    "large_binary": pa.array([b"a", None], pa.large_binary()),
    "large_string": pa.array(["a", "b"], pa.large_string()),
    "fixed": pa.array([b"ab", b"\xff\xfe"], pa.binary(2)),
    "dictionary": pa.array(["a", "b"]).dictionary_encode(),
    "dictionary_of_bytes": pa.array([b"a", b"\xff"]).dictionary_encode(),
    "decimal": pa.array([1, None], pa.decimal128(5, 2)),
    "nothing": pa.nulls(2),
    "half": pa.array([1.5, None], pa.float16()),
    "time": pa.array([1, None], pa.timestamp("s", "UTC")),
    "duration": pa.array([1, None], pa.duration("s")),
    "truth": pa.array([True, None]),
}
TEXTS = {
    "string_view": pa.array(["good film", "bad"], pa.string_view()),
    "binary_view": pa.array([b"good film", b"bad"], pa.binary_view()),
    "binary": pa.array([b"good film", b"bad"]),
    "large_string": pa.array(["good film", "bad"], pa.large_string()),
    "dictionary": pa.array(["good film", "bad"]).dictionary_encode(),
    "fixed": pa.array([b"good film", b"bad      "], pa.binary(9)),
}


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
@pytest.mark.parametrize("name", COLUMNS)
def test_every_column_is_copied(cli, model, tmp_path, name, suffix):
    pq.write_table(pa.table({"text": ["good", "bad"], "x": COLUMNS[name]}), tmp_path / "in.parquet")
    done = cli("predict", model, "in.parquet", "--out", f"p.{suffix}", "--quiet")
    assert done.returncode == 0, done.stderr
    out = tmp_path / f"p.{suffix}"
    if suffix == "parquet":
        assert pq.read_table(out)["x"].to_pylist() == COLUMNS[name].to_pylist()
        return
    if suffix == "jsonl":
        values = [json.loads(line)["x"] for line in out.read_text().splitlines()]
    else:
        with open(out, newline="") as file:
            values = [row["x"] for row in csv.DictReader(file, delimiter="\t" if suffix == "tsv" else ",")]
    wanted = [
        value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        for value in COLUMNS[name].to_pylist()
    ]
    if all(isinstance(value, str | None) for value in wanted):
        assert values == [value if suffix == "jsonl" else value or "" for value in wanted]
    replaced = any("\ufffd" in value for value in wanted if isinstance(value, str))
    assert ("bytes of column 'x'" in done.stderr) == replaced


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("kind", TEXTS)
def test_text_of_every_type_is_read(cli, model, tmp_path, kind, suffix):
    pq.write_table(
        pa.table({"text": TEXTS[kind], "label": pa.array(["1", "0"], pa.string_view())}),
        tmp_path / "in.parquet",
    )
    assert (
        cli("predict", model, "in.parquet").stdout == cli("predict", model, stdin="good film\nbad\n").stdout
    )
    done = cli("predict", model, "in.parquet", "--out", f"p.{suffix}", "--prefix", "p_")
    assert done.returncode == 0, done.stderr
    assert cli("evaluate", model, "in.parquet").returncode == 0


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_file_names_that_are_not_utf8(cli, model, tmp_path, suffix):
    name = os.fsdecode(b"caf\xe9.csv")
    (tmp_path / name).write_bytes(b"text,label\ngood,1\nbad,0\nx,y,z\n")
    (tmp_path / "b.csv").write_bytes(b"text,label\ngood,1\nbad,0\n")
    assert cli("predict", model, name, "b.csv", "--out", f"p.{suffix}", "--prefix", "p_").returncode == 0
    assert "caf\ufffd.csv" in (tmp_path / f"p.{suffix}.rejects.jsonl").read_text().encode().decode(
        "unicode_escape"
    )
    if suffix == "parquet":
        assert pq.read_table(tmp_path / "p.parquet")["p_file"].to_pylist()[0].endswith("caf\ufffd.csv")
    done = cli("evaluate", model, name, "--json")
    assert json.loads(done.stdout)["rows"] == 2


def test_prepare_with_file_names_that_are_not_utf8(cli, tmp_path):
    name = os.fsdecode(b"caf\xe9.csv")
    rows = "".join(f"review {n} is fine,{n % 2}\n" for n in range(60))
    (tmp_path / name).write_text("text,label\n" + rows + "x,y,z\nx,\n")
    done = cli("prepare", name, "--out", "d", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rejected"]["total"] == 2
    manifest = json.loads((tmp_path / "d" / "manifest.json").read_text())
    assert manifest["inputs"] == ["caf\ufffd.csv"]
    rejects = pq.read_table(tmp_path / "d" / "rejects.parquet")
    assert set(map(str, rejects["file"].to_pylist())) == {"caf\ufffd.csv"}
    done = cli("prepare", name, "--out", os.fsdecode(b"d\xe9"))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    done = cli("prepare", os.fsdecode(b"no\xff.csv"), "--out", "x")
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
