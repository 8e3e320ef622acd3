"""JSON lines that one reader takes and another does not: neighbours in a block must not matter."""

import pytest

from sentiscale.text.formats import parse
from sentiscale.text.formats.base import TableFormat
from sentiscale.text.labels import Reason
from sentiscale.text.reviews import judge

TABLE = TableFormat("jsonl", text="text", label="label")
GOOD = b'{"text":"fine","label":"2"}\n'


def judged(data, table=TABLE):
    reviews = judge(parse(data, table), table, "required")
    names = [Reason(reason).name.lower() for reason in reviews.reasons]
    return list(zip(reviews.lines.tolist(), names, reviews.text.to_pylist(), strict=True))


def test_half_of_a_surrogate_pair_is_rejected_and_harms_no_other_line():
    assert judged(b'{"text":"\\ud800","label":"1"}\n' + GOOD) == [
        (0, "invalid_utf8", b"\xed\xa0\x80"),
        (1, "none", b"fine"),
    ]
    assert judged(b'{"text":"a","label":"\\udfff"}\n' + GOOD)[0] == (0, "unknown_label", b"a")


def test_objects_over_several_lines_do_not_make_up_for_several_on_one():
    """Three lines and three objects, yet no line is an object."""
    lines = [b'{"text":"a","label":"1"} {"text":"b","label":"1"}', b'{"text":"c",', b'"label":"1"}']
    found = judged(b"\n".join(lines) + b"\n")
    assert found == [(number, "malformed", line) for number, line in enumerate(lines)]


@pytest.mark.parametrize("beyond", [b"7" * 5000, b"[" * 100_000 + b"]" * 100_000], ids=["digits", "nesting"])
def test_what_only_arrow_can_read_is_read_beside_a_faulty_line_too(beyond):
    line = b'{"text":"fine","label":"2","other":' + beyond + b"}\n"
    assert judged(line) == judged(line + b"garbage\n")[:1] == [(0, "none", b"fine")]
    assert judged(line + b"[" * 100_000 + b"\n")[1][1] == "malformed"


@pytest.mark.parametrize("kind", ["int64", "double", "bool", "string"])
@pytest.mark.parametrize(
    "label",
    [b"1", b"1.0", b"true", b'"1"', b'"positive"', b"null", b"-0", b"1e0", b"10000000000000000000000"],
)
def test_a_label_means_the_same_beside_a_faulty_line(kind, label):
    table = TableFormat("jsonl", text="text", label="label", label_type=kind)
    data = b'{"text":"a","label":' + label + b"}\n"
    alone = judge(parse(data, table), table, "required")
    beside = judge(parse(data + b"garbage\n", table), table, "required")
    assert alone.codes[0] == beside.codes[0]
    assert alone.reasons[0] == beside.reasons[0]
