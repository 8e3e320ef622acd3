"""Tables in, tables out: every column of the input is there again, beside the predictions."""

import datetime as dt
import json

import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest

ADDED = ["line", "label", "probability", "positive_probability", "truncated", "unknown_share"]


def written(path, columns):
    pq.write_table(pa.table(columns), path)
    return path


def json_rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def done(result):
    assert result.returncode == 0, result.stderr
    return result


@pytest.fixture
def rich(tmp_path):
    """A Parquet file with columns of many types, in two row groups."""
    table = pa.table(
        {
            "id": pa.array([1, None, 3], pa.int32()),
            "text": pa.array(["good film", None, "not good"]).dictionary_encode(),
            "at": pa.array([dt.datetime(2020, 1, 2, tzinfo=dt.UTC), None, None]),
            "tags": [["a", 'b"'], [], None],
            "shop": [{"city": "Bern", "n": 1.5}, None, {"city": None, "n": float("nan")}],
        }
    )
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=2)
    return table


def test_parquet_keeps_every_column_and_its_type(cli, model, tmp_path, rich):
    done(cli("predict", model, "in.parquet", "--out", "out.parquet"))
    found = pq.read_table(tmp_path / "out.parquet")
    assert found.column_names == [*rich.column_names, *ADDED]
    assert str(found.select(rich.column_names).to_pylist()) == str(
        rich.to_pylist()
    )  # as text: NaN is not NaN
    assert [field.type for field in found.schema][: len(rich.schema)] == rich.schema.types
    assert found.column("unknown_share").to_pylist()[1] == 1, "a null is an empty review"


def test_parquet_to_json_lines(cli, model, tmp_path, rich):
    done(cli("predict", model, "in.parquet", "--out", "out.jsonl"))
    rows = json_rows(tmp_path / "out.jsonl")
    assert [row["tags"] for row in rows] == [["a", 'b"'], [], None]
    assert rows[0]["shop"] == {"city": "Bern", "n": 1.5}
    assert rows[2]["shop"] == {"city": None, "n": None}
    assert [row["line"] for row in rows] == [1, 2, 3]


def test_nested_columns_have_no_place_in_csv(cli, model, tmp_path, rich):
    failed = cli("predict", model, "in.parquet", "--out", "out.csv")
    assert failed.returncode == 2
    assert "column 'tags'" in failed.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.parquet"]


CSV = 'id,comment,note\n007,"good, really\ngood",x\n2,too,many,fields\n3,bad,\n'


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
def test_csv_columns_stay_text_and_unreadable_rows_are_named(cli, model, tmp_path, suffix):
    (tmp_path / "in.csv").write_text(CSV)
    result = done(cli("predict", model, "in.csv", "--text-column", "comment", "--out", f"out.{suffix}"))
    path = tmp_path / f"out.{suffix}"
    if suffix == "jsonl":
        rows = json_rows(path)
    elif suffix == "parquet":
        rows = pq.read_table(path).to_pylist()
    else:
        options = pc.ConvertOptions(
            column_types={"id": pa.string(), "note": pa.string()}, strings_can_be_null=False
        )
        parsing = pc.ParseOptions(delimiter="\t" if suffix == "tsv" else ",", newlines_in_values=True)
        rows = pc.read_csv(path, convert_options=options, parse_options=parsing).to_pylist()
    assert [(row["id"], row["comment"], row["note"]) for row in rows] == [
        ("007", "good, really\ngood", "x"),
        ("3", "bad", ""),
    ]
    assert [row["line"] for row in rows] == [2, 5]
    assert list(rows[0]) == ["id", "comment", "note", *ADDED]
    assert "1 rows could not be read" in result.stderr
    assert "in.csv:4: malformed" in result.stderr
    (reject,) = json_rows(tmp_path / f"out.{suffix}.rejects.jsonl")
    assert (reject["line"], reject["reason"], reject["text"].strip()) == (4, "malformed", "2,too,many,fields")


def test_a_list_of_rejects_does_not_outlive_its_output(cli, model, tmp_path):
    (tmp_path / "in.csv").write_text("id,text\n1,good,bad\n2,bad\n3,good\n4,bad\n")
    done(cli("predict", model, "in.csv", "--out", "out.csv"))
    assert (tmp_path / "out.csv.rejects.jsonl").exists()
    (tmp_path / "in.csv").write_text("id,text\n2,bad\n")
    done(cli("predict", model, "in.csv", "--out", "out.csv"))
    assert not (tmp_path / "out.csv.rejects.jsonl").exists()


JSON = (
    '{"text": "good", "n": 12345678901234567890123, "deep": {"b": [1, {"c": null}]}}\n'
    "{}\n"
    "no object\n"
    ' {"n":1.10 ,"text":"b\\u00e4d \\"film\\"", "when": "2020-01-02 03:04:05"} \n'
)


def test_json_objects_stay_as_they_are_written(cli, model, tmp_path):
    (tmp_path / "in.jsonl").write_text(JSON)
    done(cli("predict", model, "in.jsonl", "--out", "out.jsonl"))
    lines = (tmp_path / "out.jsonl").read_text().splitlines()
    originals = [line.strip() for line in JSON.splitlines()]
    assert lines[0].startswith(originals[0].removesuffix("}") + ', "line": 1, "label": ')
    assert lines[1].startswith('{"line": 2')
    assert lines[2].startswith(originals[3].removesuffix("}").rstrip() + ', "line": 4')
    assert len(lines) == 3
    assert [json.loads(line)["line"] for line in lines] == [1, 2, 4]


def test_json_columns_take_the_type_that_holds_all_values(cli, model, tmp_path, monkeypatch):
    """The blocks are tiny, so that each has types of its own."""
    monkeypatch.setattr("sentiscale.data.inputs.BLOCK_BYTES", 64)
    rows = [
        {"text": "good", "a": 1, "b": None, "c": 1, "when": "2020-01-02"},
        {"text": "bad", "a": 2.5, "b": "x", "c": "one", "d": {"x": 1}},
        {"text": "not good", "a": None, "c": [1], "d": {"y": "z"}, "when": None},
    ]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done(cli("predict", model, "in.jsonl", "--out", "out.parquet"))
    found = pq.read_table(tmp_path / "out.parquet")
    assert found.column("a").to_pylist() == [1.0, 2.5, None]
    assert found.column("b").to_pylist() == [None, "x", None]
    assert found.column("c").to_pylist() == ["1", "one", "[1]"]
    assert found.column("d").to_pylist() == [None, {"x": 1, "y": None}, {"x": None, "y": "z"}]
    assert found.column("when").to_pylist() == ["2020-01-02", None, None]


def test_a_column_of_the_same_name_is_refused_with_the_remedy(cli, model, tmp_path):
    (tmp_path / "in.csv").write_text("label,text\n2,good\n")
    failed = cli("predict", model, "in.csv", "--out", "out.csv")
    assert failed.returncode == 2
    assert "column 'label'" in failed.stderr
    assert "--prefix predicted_" in failed.stderr
    done(cli("predict", model, "in.csv", "--out", "out.csv", "--prefix", "predicted_"))
    assert pc.read_csv(tmp_path / "out.csv").column_names == [
        "label",
        "text",
        *(f"predicted_{name}" for name in ADDED),
    ]


def test_folders_of_mixed_tables_and_lines(cli, model, tmp_path):
    folder = tmp_path / "many"
    folder.mkdir()
    (folder / "a.csv").write_text("id,text\n1,good\n")
    (folder / "b.txt").write_text("bad\nnot good\n")
    written(folder / "c.parquet", {"text": ["great"], "stars": [5]})
    done(cli("predict", model, "many", "--out", "out.parquet"))
    rows = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert [(row["file"].rsplit("/", 1)[-1], row["line"], row["id"], row["stars"]) for row in rows] == [
        ("a.csv", 2, "1", None),
        ("b.txt", 1, None, None),
        ("b.txt", 2, None, None),
        ("c.parquet", 1, None, 5),
    ]
    assert done(cli("predict", model, "many/*.txt")).stdout.count("\n") == 2


def test_an_input_is_never_overwritten(cli, model, tmp_path):
    (tmp_path / "in.csv").write_text("text\ngood\n")
    failed = cli("predict", model, "in.csv", "--out", "in.csv")
    assert failed.returncode == 2
    assert "is also an input" in failed.stderr
    assert (tmp_path / "in.csv").read_text() == "text\ngood\n"


def test_two_columns_of_one_name_are_refused(cli, model, tmp_path):
    (tmp_path / "in.csv").write_text("x,text,x\n1,good,2\n")
    failed = cli("predict", model, "in.csv", "--out", "out.csv")
    assert failed.returncode == 2
    assert "two columns named 'x'" in failed.stderr


def test_bytes_that_are_no_utf8_are_replaced(cli, model, tmp_path):
    (tmp_path / "in.csv").write_bytes(b"id,text\n\xff1,good \xe9\n")
    done(cli("predict", model, "in.csv", "--out", "out.jsonl"))
    (row,) = json_rows(tmp_path / "out.jsonl")
    assert (row["id"], row["text"]) == ("\ufffd1", "good \ufffd")
