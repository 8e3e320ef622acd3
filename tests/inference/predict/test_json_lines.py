"""Tables become JSON lines that read back as the same values."""

import json

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from sentiscale.inference.outputs import json_lines

values = {
    "text": st.none() | st.text(),
    "whole": st.none() | st.integers(-(2**63), 2**63 - 1),
    "number": st.none() | st.floats(allow_nan=False, allow_infinity=False),
    "truth": st.none() | st.booleans(),
    "list": st.none() | st.lists(st.text(max_size=3), max_size=2),
    'odd "name"': st.none() | st.fixed_dictionaries({"a": st.none() | st.integers(0, 9)}),
}
types = dict(
    zip(
        values,
        [
            pa.string(),
            pa.int64(),
            pa.float64(),
            pa.bool_(),
            pa.list_(pa.string()),
            pa.struct({"a": pa.int64()}),
        ],
        strict=True,
    )
)
rows = st.lists(st.fixed_dictionaries(values), max_size=6)


@given(rows=rows, start=st.integers(0, 3))
def test_values_survive(rows, start):
    table = pa.Table.from_pylist(rows, pa.schema(list(types.items()))).slice(start)
    lines = json_lines(table).decode()
    found = [json.loads(line) for line in lines.split("\n")[:-1]]
    assert found == rows[start:]
    assert all(isinstance(row["number"], float | None) for row in found)


@given(rows=rows, given=st.lists(st.dictionaries(st.text(), st.text()), min_size=6, max_size=6))
def test_columns_are_put_at_the_end_of_objects(rows, given):
    table = pa.Table.from_pylist(rows, pa.schema(list(types.items())))
    texts = [json.dumps(each, indent=1).replace("\n", " ") for each in given[: len(rows)]]
    objects = pa.array(texts, pa.large_string())
    found = [json.loads(line) for line in json_lines(table, objects).decode().split("\n")[:-1]]
    assert found == [{**before, **row} for before, row in zip(given, rows, strict=False)]


def test_numbers_that_json_does_not_have_become_null():
    table = pa.table({"x": [1.0, float("nan"), float("inf"), None]})
    assert [json.loads(line)["x"] for line in json_lines(table).splitlines()] == [1.0, None, None, None]
