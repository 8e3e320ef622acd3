"""JSON in other shapes than one object per line gives the same rows, or is refused with a command."""

import gzip
import json
import os
import subprocess
import sys
import threading

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiscale.config import PrepareSettings
from sentiscale.data.corpus import Corpus
from sentiscale.errors import DataError, UsageError
from sentiscale.text.formats.json_records import RecordLines
from tests.data.test_corpus import read

ROWS = [
    {"label": 1, "text": 'Bad, "broke" {at} [once]\\', "meta": {"tags": ["a", {"b": "]}"}], "n": None}},
    {"label": 2, "text": "Gut: \u2028 schön,\n\nwirklich ☺", "meta": {"tags": [], "n": 1e3}},
    {"label": 2, "text": "third", "meta": {}},
]
EXPECTED = [(row["label"] - 1, row["text"]) for row in ROWS]
SHAPES = {
    "array": json.dumps(ROWS),
    "array, not ASCII": json.dumps(ROWS, ensure_ascii=False),
    "pretty array": json.dumps(ROWS, indent=4),
    "pretty array, CR LF": json.dumps(ROWS, indent="\t").replace("\n", "\r\n"),
    "one object a line in an array": "[\n" + ",\n".join(map(json.dumps, ROWS)) + "\n]\n",
    "commas first": "[" + "\n, ".join(map(json.dumps, ROWS)) + "]",
    "commas, no brackets": ",\n".join(map(json.dumps, ROWS)) + ",\n",
    "pretty objects": "\n".join(json.dumps(row, indent=2) for row in ROWS),
    "pretty objects, commas": ",\n".join(json.dumps(row, indent=2) for row in ROWS),
    "objects without space": "".join(json.dumps(row, indent=1) for row in ROWS),
    "one array a row": "\n".join(json.dumps([row]) for row in ROWS),
    "spaces around": "\n\n  " + json.dumps(ROWS, indent=2) + "\n \n",
    "byte-order mark": "\ufeff" + json.dumps(ROWS, indent=2),
}


@pytest.mark.parametrize("block_mb", [0.000_05, 8])
@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "no-suffix"])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_same_rows_in_other_shapes(write, shape, name, block_mb):
    assert read(write(name, SHAPES[shape]), block_mb=block_mb) == (EXPECTED, [])


def test_encoded_compressed_and_piped_arrays(write, tmp_path):
    array = SHAPES["pretty array"]
    assert read(write("a.json.gz", gzip.compress(array.encode()))) == (EXPECTED, [])
    assert read(write("b.json", array.encode("utf-16"))) == (EXPECTED, [])
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=(array,))
    writer.start()
    corpus = Corpus.find(pipe, labels="none")
    texts = [text for block in corpus.blocks() for text in block.text.to_pylist()]
    writer.join()
    assert [text.decode() for text in texts] == [text for _, text in EXPECTED]


@given(
    rows=st.lists(
        st.dictionaries(st.text(max_size=4), st.text() | st.integers() | st.lists(st.text())), max_size=6
    ),
    indent=st.sampled_from([None, 1, "\t"]),
    sizes=st.lists(st.integers(1, 30)),
)
def test_records_do_not_depend_on_how_a_document_is_cut(rows, indent, sizes):
    data = json.dumps(rows, indent=indent, ensure_ascii=False).encode("utf-8", "surrogatepass")
    convert, lines = RecordLines(), b""
    for size in sizes:
        lines += convert(data[:size], False)
        data = data[size:]
    lines += convert(data, True)
    assert [json.loads(line) for line in lines.split(b"\n") if line.strip()] == rows


@pytest.mark.parametrize("keep", [0.4, 0.7, 0.95, 0.99])
def test_an_array_that_is_cut_short_is_noticed(write, keep):
    rows = [{"label": 1 + i % 2, "text": f"review {i}"} for i in range(50)]
    for array in (json.dumps(rows), json.dumps(rows, indent=2)):
        reviews, rejects = read(write("a.json", array[: int(keep * len(array))]))
        assert 0 < len(reviews) <= 50
        assert [reason for _, reason in rejects][-1] == "malformed"
    end_of_record = json.dumps(rows).rindex(", {")
    assert [reason for _, reason in read(write("a.json", json.dumps(rows)[:end_of_record]))[1]] == [
        "malformed"
    ]


def test_elements_that_are_no_objects_are_rejected_by_number(write):
    path = write("a.json", '[{"label":1,"text":"a"}, "text", 5, null, [1, 2], {"label":2,"text":"b"}]')
    reviews, rejects = read(path)
    assert reviews == [(0, "a"), (1, "b")]
    assert {reason for _, reason in rejects} == {"malformed"}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (json.dumps({"reviews": ROWS}), "jq -c '.[\"reviews\"][]'"),
        (json.dumps({"count": 3, "reviews": ROWS}, indent=2), "jq -c '.[\"reviews\"][]'"),
        (json.dumps({"data": ROWS * 20_000}), "in the list 'data'"),
        (
            "{'label': 1, 'text': 'a', 'x': None}\n{'label': 2, 'text': \"it's\", 'x': True}\n",
            "ast.literal_eval",
        ),
        ('{"label": 1, "text": "a", "ok": True}\n', "ast.literal_eval"),
        ("[[1, 2], [3, 4]]", "no JSON object"),
        ("[1, 2, 3]", "no JSON object"),
        ("[]", "no JSON object"),
        ("{}", "no column with a usual name"),
        (json.dumps([{"id": 1, "words": "x"}]), "It has: id, words"),
    ],
)
def test_other_documents_are_refused_with_the_command(write, content, told):
    with pytest.raises(DataError) as caught:
        Corpus.find(write("a.json", content))
    assert told in str(caught.value)


TABLE = [{"label": i % 2, "text": f"it's a lamp, number {i}"} for i in range(20)]
COLUMNS = {"label": [row["label"] for row in TABLE], "text": [row["text"] for row in TABLE]}
LISTS = [[row["text"], row["label"]] for row in TABLE]


@pytest.mark.parametrize(
    "content",
    [
        json.dumps({name: dict(enumerate(values)) for name, values in COLUMNS.items()}),
        json.dumps({name: dict(enumerate(values)) for name, values in COLUMNS.items()}, indent=1),
        json.dumps(dict(enumerate(TABLE))),
        json.dumps({"columns": ["text", "label"], "index": list(range(20)), "data": LISTS}),
        json.dumps(COLUMNS),
        json.dumps(LISTS),
        json.dumps([[label, text] for text, label in LISTS], indent=1),
        "".join(json.dumps([label, text]) + "\n" for text, label in LISTS),
    ],
    ids=["pandas", "indented", "index", "split", "dict of lists", "lists", "label first", "a list per line"],
)
def test_the_commands_for_tables_in_one_object_and_for_lists_work(write, tmp_path, content):
    write("it's a.json", content)
    with pytest.raises(DataError) as caught:
        Corpus.find(tmp_path / "it's a.json")
    command = str(caught.value).split("Convert it: ")[1]
    path = os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"]
    subprocess.run(command, shell=True, check=True, cwd=tmp_path, env=os.environ | {"PATH": path})
    assert read(tmp_path / "reviews.jsonl")[0] == [(row["label"], row["text"]) for row in TABLE]


def test_the_command_for_a_list_of_texts_works(write, tmp_path):
    write("a.json", json.dumps(["good\nlamp", "bad lamp"]))
    with pytest.raises(DataError) as caught:
        Corpus.find(tmp_path / "a.json")
    subprocess.run(str(caught.value).split("Convert it: ")[1], shell=True, check=True, cwd=tmp_path)
    (block,) = Corpus.find(tmp_path / "reviews.jsonl", labels="none").blocks()
    assert block.text.to_pylist() == [b"good\nlamp", b"bad lamp"]


@pytest.mark.parametrize("odd", [{"a": 1}, ["x"]])
def test_a_row_whose_text_or_label_is_an_object_is_rejected(write, odd):
    rows = [{"label": 1, "text": odd}, {"label": odd, "text": "lamp"}, *TABLE]
    found, rejects = read(write("a.jsonl", "".join(json.dumps(row) + "\n" for row in rows)))
    assert found == [(row["label"], row["text"]) for row in TABLE]
    assert [reject[:2] for reject in rejects] == [(1, "no_text"), (2, "no_label")]


def test_lines_that_end_with_a_comma(write):
    content = "".join(json.dumps(row) + ",\n" for row in TABLE[:-1]) + json.dumps(TABLE[-1])
    assert read(write("a.jsonl", content)) == ([(row["label"], row["text"]) for row in TABLE], [])


@pytest.mark.parametrize("mode", ["required", "optional"])
def test_two_parquet_columns_of_one_name_are_refused(tmp_path, mode):
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array([0]), pa.array([1])], ["text", "label", "label"])
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DataError, match="2 columns named 'label'"):
        Corpus.find(tmp_path / "a.parquet", labels=mode)


def test_the_command_for_python_dicts_works(write, tmp_path):
    rows = [{"overall": float(1 + 4 * (i % 2)), "reviewText": f"it's {i}", "vote": None} for i in range(9)]
    write("a b.json.gz", gzip.compress("".join(f"{row!r}\n" for row in rows).encode()))
    with pytest.raises(DataError) as caught:
        Corpus.find(tmp_path / "a b.json.gz")
    command = str(caught.value).split("Convert it: ")[1]
    subprocess.run(command, shell=True, check=True, cwd=tmp_path)
    assert read(tmp_path / "reviews.jsonl")[0] == [(i % 2, f"it's {i}") for i in range(9)]


def test_nan_and_big_numbers(write):
    lines = [
        '{"label": 1, "text": "a", "x": NaN}',
        '{"label": NaN, "text": "b"}',
        '{"label": 2, "text": "c", "x": -Infinity}',
    ]
    reviews, rejects = read(write("a.jsonl", "\n".join(lines)))
    assert reviews == [(0, "a"), (1, "c")]
    assert rejects == [(2, "no_label")]


# fields of objects


NESTED = [
    {"review": {"body": "good", "by": {"stars": 5}}, "id": 1},
    {"review": {"body": "bad", "by": {"stars": 1}}, "id": 2},
    {"review": {"by": {"stars": 4}}, "id": 3},
    {"review": None, "id": 4},
    {"review": "text", "id": 5},
    {"review": {"body": "fine", "by": {"stars": "4"}}, "id": 6},
]
NAMED = {"text_column": "review.body", "stars_column": "review.by.stars"}


@pytest.mark.parametrize("rows", [NESTED, NESTED[:2], NESTED[:3]])
@pytest.mark.parametrize(
    "shape", [lambda rows: "\n".join(map(json.dumps, rows)), lambda rows: json.dumps(rows, indent=1)]
)
def test_a_field_is_named_with_dots(write, rows, shape):
    reviews, rejects = read(write("a.json", shape(rows)), **NAMED)
    assert (
        reviews
        == [(1, "good"), (0, "bad"), (1, "fine")][: len([row for row in rows if row["id"] in (1, 2, 6)])]
    )
    assert len(reviews) + len(rejects) == len(rows)


def test_a_key_with_a_dot_comes_first(write):
    rows = [{"review.body": "outer", "review": {"body": "inner"}, "label": "negative"}]
    assert read(write("a.jsonl", json.dumps(rows[0])), text_column="review.body")[0] == [(0, "outer")]


def test_an_object_as_text_is_refused_with_its_fields(write, tmp_path):
    flat = [{"label": "negative", "review": {"body": "good", "lang": "en"}}]
    path = write("a.jsonl", json.dumps(flat[0]))
    with pytest.raises(DataError, match=r"column 'review'.*contains objects.*review\.body, review\.lang"):
        read(path)
    pq.write_table(pa.Table.from_pylist(flat), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"column 'review'.*struct.*review\.body, review\.lang"):
        read(tmp_path / "a.parquet")
    assert read(path, text_column="review.body")[0] == [(0, "good")]
    assert read(tmp_path / "a.parquet", text_column="review.body")[0] == [(0, "good")]
    with pytest.raises(UsageError, match=r"Did you mean 'review\.body'"):
        read(path, text_column="review.bod")
    listed = write("b.jsonl", json.dumps({"label": 1, "text": ["good", "bad"]}))
    with pytest.raises(DataError, match="contains objects or lists"):
        read(listed)


def test_nested_parquet_with_nulls(tmp_path):
    kind = pa.struct([("body", pa.string()), ("by", pa.struct([("stars", pa.int64())]))])
    rows = [NESTED[0]["review"], NESTED[1]["review"], {"body": None, "by": {"stars": 1}}, None]
    pq.write_table(pa.table({"review": pa.array(rows, kind)}), tmp_path / "a.parquet")
    reviews, rejects = read(tmp_path / "a.parquet", **NAMED)
    assert reviews == [(1, "good"), (0, "bad")]
    assert len(rejects) == 2


def test_predictions_copy_the_records(write, cli, model):
    write("a.json", json.dumps(NESTED[:2], indent=2))
    for suffix in ("jsonl", "parquet"):
        done = cli("predict", model, "a.json", "--text-column", "review.body", "--out", f"p.{suffix}")
        assert done.returncode == 0, done.stderr
    done = cli("predict", model, "a.json", "--text-column", "review.body")
    assert done.stdout == cli("predict", model, stdin="good\nbad\n").stdout
    assert (
        Corpus.find(write("p2.jsonl", b'{"text":"a"}'), PrepareSettings(), labels="none").has_labels is False
    )


@pytest.mark.parametrize("value", ["NaN", "null", '"NaN"', '"NULL"', r'"\\N"', '"<NA>"', '"#N/A"', '""'])
def test_a_missing_text_is_rejected(write, value):
    lines = [
        '{"text": "good", "label": 1}',
        f'{{"text": {value}, "label": 1}}',
        '{"text": "bad", "label": 0}',
    ]
    assert read(write("r.jsonl", lines)) == ([(1, "good"), (0, "bad")], [(2, "no_text")])


@pytest.mark.parametrize("value", ["None", "na", "n/a", "null", "N/A", "NULL!", "nano"])
def test_a_word_is_a_review(write, value):
    lines = ["label,text", f"1,{value}", "0,NULL", "0,bad"]
    assert read(write("r.csv", lines)) == ([(1, value), (0, "bad")], [(3, "no_text")])
