"""The page's reader and writer of CSV against Python's, on whatever there may be in a file."""

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.serving.page.driving import as_csv

CELLS = st.text(
    st.one_of(st.sampled_from(",;\t|\"'\r\n =a"), st.characters(exclude_categories=["Cs"])), max_size=12
)
# A record of one empty cell is an empty line, which both readers pass over; NUL is refused as "no text file".
RECORDS = (
    st.integers(1, 4)
    .flatmap(lambda width: st.lists(st.lists(CELLS, min_size=width, max_size=width), max_size=6))
    .filter(lambda records: [""] not in records and "\0" not in str(records))
)

fast = settings(max_examples=60)


@fast
@given(
    records=RECORDS,
    delimiter=st.sampled_from(",;\t|"),
    end=st.sampled_from(["\n", "\r\n"]),
    mark=st.booleans(),
)
def test_what_python_writes_is_read(kept, records, delimiter, end, mark):
    text = as_csv(records, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL)
    read = kept.call("csv.js", "parse", ("\ufeff" if mark else "") + text, delimiter)
    assert read == {"records": records, "openQuote": None}


@fast
@given(records=RECORDS)
def test_what_is_written_python_reads(kept, records):
    text = kept.call("csv.js", "write", records)
    assert text.startswith("\ufeff")
    read = list(csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline="")))
    assert read == records


@pytest.mark.parametrize(
    ("text", "records"),
    [
        ("a,b\n1,2", [["a", "b"], ["1", "2"]]),  # no line end at the end
        ('"a ""b""",c\r\n', [['a "b"', "c"]]),
        ("a,\n,b\n", [["a", ""], ["", "b"]]),
        ('12" disc,x\n', [['12" disc', "x"]]),  # a quote inside an unquoted cell
        ('"a"b,c\n', [["ab", "c"]]),
        ("a\rb\r", [["a"], ["b"]]),
        ("a\n\n\nb\n", [["a"], ["b"]]),
    ],
)
def test_records_as_files_have_them(kept, text, records):
    assert kept.call("csv.js", "parse", text)["records"] == records


def test_a_quote_that_is_never_closed_is_told(kept):
    assert kept.call("csv.js", "parse", 'a,b\n1,"two\n3,4\n')["openQuote"] == 2


@pytest.mark.parametrize(
    ("cell", "safe"),
    [
        ("=1+1", "'=1+1"),
        ("+good", "'+good"),
        ("-great", "'-great"),
        ("@me", "'@me"),
        ("\t=1", "'\t=1"),
        ("\uff1d1", "'\uff1d1"),
        ("-3.5", "-3.5"),
        ("+4e2", "+4e2"),
        ("good = bad", "good = bad"),
        ("", ""),
    ],
)
def test_formulas_are_guarded_and_numbers_are_not(kept, cell, safe):
    assert kept.call("csv.js", "guarded", cell) == safe
