"""Blocks of raw records to reviews: every format, and every way a record can be wrong."""

import csv
import io
import json
import re
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiscale.config import PrepareSettings
from sentiscale.text.compiled import frozen
from sentiscale.text.csv_scanner import BAD_QUOTE, NO_BYTE, Dialect, last_csv_end, split_csv
from sentiscale.text.formats import parse
from sentiscale.text.formats.base import TableFormat
from sentiscale.text.labels import (
    LEFT_OUT,
    MOST_MEANINGS,
    Reason,
    ValueRules,
    as_stars,
    label_codes,
    star_codes,
)
from sentiscale.text.reviews import judge

LINES = TableFormat("fasttext", label="label")
PLAIN = TableFormat("fasttext")
TABLE = TableFormat("csv", text="text", title="title", label="label", columns=("label", "title", "text"))
JSON = TableFormat("jsonl", text="text", label="label")


def texts(columns):
    return [text.decode() for text in columns.text.to_pylist()]


def reasons(data, layout, mode="required"):
    return [Reason(code).name.lower() for code in judge(parse(data, layout), layout, mode).reasons]


# fastText lines


def test_lines_give_label_text_and_place():
    columns = parse(b"__label__1 bad\n__label__2\tgood one \r\n", LINES)
    assert texts(columns) == ["bad", "good one"]
    assert columns.label.to_pylist() == [b"1", b"2"]
    assert columns.lines.tolist() == [0, 1]


def test_blank_lines_are_no_reviews_but_count_as_lines():
    columns = parse(b"\n__label__1 a\n \r\n\n__label__2 b", LINES)
    assert columns.lines.tolist() == [1, 4]
    assert columns.line_count == 5


def test_labels_stand_before_the_text_or_else_after_it():
    first = b"__label__2 __label__topic text __label__1\nlast __label__1\n"
    data = first + b"last __label__a __label__2\t\n__label__1\n"
    columns = parse(data, LINES)
    assert columns.label.to_pylist() == [b"2 __label__topic", b"1", b"a __label__2", b"1"]
    assert texts(columns) == ["text __label__1", "last", "last", ""]
    assert texts(parse(b"last __label__1\nno__label__1\n", PLAIN)) == ["last", "no__label__1"]


def test_plain_lines_keep_their_number():
    """One prediction a line: blank ones stay."""
    assert texts(parse(b"one\r\n\nthree", PLAIN)) == ["one", "", "three"]
    assert reasons(b"one\n\nthree\n", PLAIN, "none") == ["none", "none", "none"]


def test_carriage_returns_end_lines_only_where_the_file_says_so():
    old_mac = TableFormat("fasttext", label="label", terminator=13)
    assert texts(parse(b"__label__1 a\r__label__2 b\r", old_mac)) == ["a", "b"]
    assert texts(parse(b"__label__1 a\rb\n", LINES)) == ["a\rb"]


def test_faulty_lines_have_a_reason_each():
    lines = {
        b"no label at all": "no_label",
        b"__label__ text": "no_label",
        b"__label__7 text": "unknown_label",
        b"__label__neutral text": "neutral",
        b"__label__1": "no_text",
        b"__label__1 \xff\xfe": "invalid_utf8",
        b"__label__1 cut short \xe2\x82": "invalid_utf8",
        b"__label__1 \xed\xa0\x80 surrogate": "invalid_utf8",
        b"__label__1 \xc0\xaf overlong": "invalid_utf8",
        b"__label__1 a\0b": "nul_byte",
        b"__label__1 fine \xf0\x9f\x98\x80": "none",
    }
    assert reasons(b"\n".join(lines), LINES) == list(lines.values())


def test_without_required_labels_no_text_is_refused():
    assert reasons(b"__label__9 a\n\n\xff\nplain", PLAIN, "none") == ["none"] * 4


@given(st.binary(max_size=40))
def test_utf8_is_judged_as_python_does(data):
    data = data.replace(b"\n", b"").replace(b"\0", b"").replace(b"\r", b"").strip()
    try:
        data.decode()
        expected = "none" if data else "no_text"
    except UnicodeDecodeError:
        expected = "invalid_utf8"
    if not data.startswith(b"__label__"):
        assert reasons(b"__label__1 " + data + b"\n", LINES) == [expected]


# CSV


def test_quotes_commas_and_line_breaks_inside_fields():
    data = b'1,"a ""b"", c","two\nlines"\r\n2,plain,text\n'
    columns = parse(data, TABLE)
    assert texts(columns) == ['a "b", c: two\nlines', "plain: text"]
    assert columns.lines.tolist() == [0, 2]
    assert columns.line_count == 3


def test_a_title_or_a_text_alone_has_no_colon():
    assert texts(parse(b'1,,only text\n2,only title,""\n', TABLE)) == ["only text", "only title"]


def test_records_of_another_width_are_malformed_where_they_stand():
    columns = parse(b"1,a,b\nlonely\n2,c,d\n1,x,y,z\n", TABLE)
    assert columns.faults.tolist() == [Reason.NONE, Reason.MALFORMED, Reason.NONE, Reason.MALFORMED]
    assert texts(columns) == ["a: b", "lonely\n", "c: d", "1,x,y,z\n"]
    assert columns.problems.to_pylist() == [None, b"1 fields, 3 columns", None, b"4 fields, 3 columns"]


def test_a_quote_never_closed_costs_one_line():
    data = b'1,a,"never closed\n2,c,d\n1,e,f\n'
    columns = parse(data, TABLE)
    assert columns.faults.tolist() == [Reason.MALFORMED, Reason.NONE, Reason.NONE]
    assert texts(columns)[1:] == ["c: d", "e: f"]
    assert columns.lines.tolist() == [0, 1, 2]


def test_backslash_n_is_a_space_only_where_the_layout_says_so():
    escaped = TableFormat("csv", text="text", label="label", columns=("label", "text"), escapes=True)
    assert texts(parse(b'1,"one\\ntwo"\n', escaped)) == ["one two"]
    assert texts(parse(b'1,"one\\ntwo",x\n', TABLE)) == ["one\\ntwo: x"]


FIELD = st.text(st.sampled_from('ab",\n\r é'), max_size=6)


@given(
    st.lists(st.tuples(FIELD, FIELD, FIELD), min_size=1, max_size=6), st.sampled_from(["\n", "\r\n", "\r"])
)
def test_reads_what_the_standard_library_writes(rows, line_end):
    written = io.StringIO(newline="")
    csv.writer(written, lineterminator=line_end, quoting=csv.QUOTE_ALL).writerows(rows)
    data = written.getvalue().encode()
    assert texts(parse(data, TABLE)) == [
        f"{title}: {text}" if title and text else title or text for _, title, text in rows
    ]


DIALECTS = st.builds(
    Dialect,
    delimiter=st.just(ord(",")),
    quote=st.sampled_from([ord('"'), NO_BYTE]),
    escape=st.sampled_from([NO_BYTE, ord("\\")]),
    spaces=st.booleans(),
)


@given(st.text(st.sampled_from('ab",\n\r\\ '), max_size=40), DIALECTS, st.integers(0, 3))
def test_cutting_at_a_record_end_changes_no_record(text, dialect, width):
    """A block ends where the scanner says; both halves together must hold the very same records."""
    data = text.encode()
    cut = last_csv_end(frozen(data), dialect, width, len(data)).end

    def records(part):
        found = split_csv(frozen(part), dialect, width)
        spans = [part[s:e] for s, e in zip(found.starts.tolist(), found.ends.tolist(), strict=True)]
        first = found.first.tolist()
        fields = [spans[begin:end] for begin, end in pairwise(first)]
        return list(zip(fields, found.quotes.tolist(), strict=True)), found

    whole, fields = records(data)
    assert records(data[:cut])[0] + records(data[cut:])[0] == whole
    assert not cut or cut in [*fields.begins.tolist(), len(data)] or not data[cut:].strip(b"\r\n")


@given(st.text(st.sampled_from('ab",\n\r\\ '), max_size=40), DIALECTS, st.integers(0, 3))
def test_every_line_is_in_one_record_or_blank(text, dialect, width):
    data = text.encode()
    found = split_csv(frozen(data), dialect, width)
    lines = [line for line in re.split(rb"(?<=\n)|(?<=\r)(?!\n)", data) if line]
    starts = np.cumsum([0] + [len(line) for line in lines])[:-1]
    assert found.begins.tolist() == starts[found.lines].tolist()
    assert not set(found.blank.tolist()) & set(found.lines.tolist())
    owner = sorted([*found.blank.tolist(), *found.lines.tolist(), len(lines)])
    assert owner[0] == 0
    for number, (begin, end) in enumerate(pairwise(owner)):
        if end - begin > 1:  # a record of several lines
            record = found.lines.tolist().index(owner[number])
            assert found.quotes[record] != BAD_QUOTE
            assert width == 0 or found.first[record + 1] - found.first[record] == width


# JSON lines


def test_objects_one_a_line():
    columns = parse(b'{"text":"a","label":"1","other":[1]}\n\n{"label":"2","text":"b\\nc"}', JSON)
    assert texts(columns) == ["a", "b\nc"]
    assert columns.lines.tolist() == [0, 2]


def test_numbers_truth_values_and_missing_keys():
    lines = [
        {"text": "a", "label": 1},
        {"text": "b", "label": True},
        {"text": None, "label": "2"},
        {"label": 2.0},
    ]
    data = "\n".join(json.dumps(line) for line in lines).encode()
    judged = judge(parse(data, JSON), JSON, "required")
    assert judged.reasons.tolist() == [Reason.NONE, Reason.NONE, Reason.NO_TEXT, Reason.NO_TEXT]
    assert [judged.meanings[code] for code in judged.codes] == ["1", "positive", "2", "2"]


def test_a_bad_line_costs_only_itself():
    data = (
        b'{"text":"a","label":"1"}\n{"text": nonsense\n[1]\n"str"\n{"text":"b","label":"2"}\n' + b"[" * 9999
    )
    columns = parse(data, JSON)
    assert [Reason(fault).name for fault in columns.faults] == [
        "NONE",
        *["MALFORMED"] * 3,
        "NONE",
        "MALFORMED",
    ]
    assert [texts(columns)[i] for i in (0, 4)] == ["a", "b"]


def test_blank_lines_between_objects_are_no_records():
    columns = parse(b' {"text":"a","label":"1"} \r\n \t\r\n\r\n{"text":"b","label":"2"}\r\n\r\n', JSON)
    assert texts(columns) == ["a", "b"]
    assert columns.lines.tolist() == [0, 3]
    assert not columns.faults.any()


def test_an_object_is_no_text():
    assert reasons(b'{"text":{"a":1},"label":"1"}\n{"text":["a"],"label":"1"}\n', JSON) == [
        "no_text",
        "no_text",
    ]


def test_bad_bytes_in_json_are_found():
    data = b'{"text":"a\\u0000b","label":"1"}\n{"text":"\xff","label":"1"}\n{"text":"ok","label":"1"}\n'
    assert reasons(data, JSON) == ["nul_byte", "invalid_utf8", "none"]
    assert reasons(b"garbage\n" + data, JSON) == ["malformed", "nul_byte", "invalid_utf8", "none"]


# labels


def test_labels_by_name_and_by_number():
    import pyarrow as pa

    values = ["Negative", " pos ", "__label__2", "0", "2.0", "", None, "maybe", "'bad'", "LABEL_1", "nan"]
    expected = "negative positive 2 0 2 no_label no_label unknown_label negative 1 no_label"
    assert meanings(label_codes(pa.array(values))) == expected.split()
    assert meanings(label_codes(pa.array([True, False, None]))) == ["positive", "negative", "no_label"]
    assert meanings(label_codes(pa.array([0, 1]))) == ["0", "1"]
    assert meanings(label_codes(pa.array([0.0, 4.0]))) == ["0", "4"]
    assert meanings(label_codes(pa.array(["neg"]).dictionary_encode())) == ["negative"]
    assert meanings(label_codes(pa.nulls(1))) == ["no_label"]


def meanings(found):
    """What the code of each row stands for."""
    codes, _, names = found
    reasons = {code: reason.name.lower() for reason, code in LEFT_OUT.items()}
    return [names[code] if code < len(names) else reasons[code] for code in codes.tolist()]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("ternary", "negative positive neutral 0 unknown_label unknown_label no_label"),
        ("labels", "bad positive neutral 0 4.5 sports no_label"),
    ],
)
def test_labels_of_other_classes(kind, expected):
    import pyarrow as pa

    values = ["Bad", "positive", "Neutral", "0", "4.5", "Sports", None]
    rules = ValueRules.given(PrepareSettings(classes=kind), stars=False)
    assert meanings(label_codes(pa.array(values), rules)) == expected.split()


def test_stars_of_other_classes():
    import pyarrow as pa

    values = ["1", "2.0", "★★★", "4/5", "2.5", "6", "many", ""]
    for kind, expected in (
        ("ternary", "negative negative neutral positive negative unknown_label unknown_label no_label"),
        ("stars", "1 2 3 4 unknown_label unknown_label unknown_label no_label"),
    ):
        rules = ValueRules.given(PrepareSettings(classes=kind), stars=True)
        assert meanings(star_codes(pa.array(values), rules)) == expected.split()


def test_values_without_end_have_no_code():
    import pyarrow as pa

    rules = ValueRules.given(PrepareSettings(classes="labels"), stars=False)
    codes, _, names = label_codes(pa.array([f"w{number}" for number in range(300)]), rules)
    assert len(names) == MOST_MEANINGS
    assert codes.tolist() == [*range(MOST_MEANINGS), *[LEFT_OUT[Reason.UNKNOWN_LABEL]] * 50]


def test_values_are_counted_as_written():
    import pyarrow as pa

    _, counts, _ = label_codes(pa.array(["Pos", "pos ", None, "Pos", ""]))
    assert counts == {"Pos": 2, "pos": 1, "": 1}


def test_of_several_labels_the_known_one_counts():
    import pyarrow as pa

    values = [
        "en __label__2",
        "1 __label__news",
        "1 __label__2",
        "en __label__fr",
        "7 __label__1",
        "2 __label__2",
    ]
    unknown = "unknown_label"
    assert meanings(label_codes(pa.array(values))) == ["2", "1", unknown, unknown, unknown, "2"]


def test_stars():
    import pyarrow as pa

    values = ["1", "2.0", "3", "4", "5", "2.5", "6", "0", "many", "", None]
    assert meanings(star_codes(pa.array(values))) == [
        *("negative", "negative", "neutral", "positive", "positive", "negative"),
        *("unknown_label", "unknown_label", "unknown_label", "no_label", "no_label"),
    ]


@pytest.mark.parametrize(
    ("value", "stars"),
    [
        ("5.0 out of 5 stars", (5, 5)),
        ("1/5", (1, 5)),
        ("8 / 10", (8, 10)),
        ("4 stars", (4, None)),
        ("1 star", (1, None)),
        ("4-star", (4, None)),
        ("4,5", (4.5, None)),
        ("\u2605\u2605\u2606\u2606\u2606", (2, 5)),
        ("\u2605\u2605\u2605\u2605\u2605", (5, None)),
        ("****", (4, None)),
        (' "3" ', (3, None)),
        ("-1", (-1, None)),
        ("five", None),
        ("2013-05-01", None),
        ("", None),
        ("1 2", None),
    ],
)
def test_ratings_as_people_write_them(value, stars):
    assert as_stars(value) == stars


@pytest.mark.parametrize(
    ("scale", "negative", "middle", "positive"),
    [
        ((1, 5), "1 2 2.9", "3", "3.1 4 5"),
        ((0, 10), "0 3.9 4", "4.1 5 5.9", "6 10"),
        ((1, 10), "1 4", "5 6", "7 10"),
        ((0, 5), "0 2", "2.5", "3 5"),
        ((0, 1), "0 0.4", "0.5", "0.6 1"),
        ((-1, 1), "-1 -0.2", "0 0.1", "0.2 1"),
        ((0, 100), "0 40", "41 59", "60 100"),
    ],
)
def test_where_a_scale_is_cut(scale, negative, middle, positive):
    rules = ValueRules(scale=scale)
    for meaning, values in (("negative", negative), (Reason.NEUTRAL, middle), ("positive", positive)):
        assert {rules.stars_meaning(value) for value in values.split()} == {meaning}
    for outside in (scale[1] + 0.1, scale[0] - 0.1):
        assert rules.stars_meaning(str(outside)) is Reason.UNKNOWN_LABEL
