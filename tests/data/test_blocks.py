"""Cutting files into blocks: what a block's size must not change, and records that are too long."""

from unittest.mock import patch

import pytest

from sentiscale.text.formats import base
from tests.data.encoding import encode

SIZES = pytest.mark.parametrize("block_bytes", [1, 2, 3, 10, 11, 12, 40, 1000])


@pytest.fixture
def write(tmp_path):
    def to(name, content):
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    return to


def lines_of(done):
    return [row.line for row in done.rows], [(reject.line, reject.reason) for reject in done.rejects]


# the header


@SIZES
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_a_header_may_be_longer_than_a_block(write, tmp_path, block_bytes, line_end):
    rows = [b"\xef\xbb\xbflabel,text,column that is not needed", b"1,bad,x", b"2,good,y", b"3", b"2,fine,z"]
    done = encode(write("a.csv", line_end.join(rows)), tmp_path / "work", block_bytes)
    assert [row.text for row in done.rows] == ["bad", "good", "fine"]
    assert lines_of(done) == ([2, 3, 5], [(4, "malformed")])


@SIZES
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_a_header_over_several_lines_after_blank_ones(write, tmp_path, block_bytes, line_end):
    content = line_end.join([b"", b"", b'label,text,"not', b'needed"', b"1,bad,x", b"9,odd,x", b"2,good,y"])
    done = encode(write("a.csv", content), tmp_path / "work", block_bytes)
    assert lines_of(done) == ([5, 7], [(6, "unknown_label")])


def test_a_file_that_is_all_header(write, tmp_path):
    assert lines_of(encode(write("a.csv", b"label,text\r"), tmp_path / "work", 5)) == ([], [])


# records that are too long


@pytest.fixture
def limit():
    with patch.object(base, "MAX_RECORD_BYTES", 50):
        yield


@SIZES
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.usefixtures("limit")
def test_a_csv_record_that_is_too_long_costs_its_first_line(write, tmp_path, block_bytes, line_end, in_place):
    long = [b'1,"' + b"x" * 30, b"2,inside", b"y" * 30 + b'"']
    rows = [b"label,text", b"1,bad", *long, b"2,good", b'1,"quoted', b'lines"', b"9,odd", b"2,end"]
    path = write("a.csv", line_end.join(rows))
    done = encode(path, tmp_path / "work", block_bytes, in_place=in_place)
    assert [(row.line, row.text) for row in done.rows] == [
        (2, "bad"),
        (4, "inside"),
        (6, "good"),
        (7, "quoted lines"),
        (10, "end"),
    ]
    assert lines_of(done)[1] == [(3, "too_long"), (5, "malformed"), (9, "unknown_label")]


@SIZES
@pytest.mark.parametrize("over", [False, True])
@pytest.mark.parametrize("kind", ["csv", "fasttext", "jsonl"])
@pytest.mark.usefixtures("limit")
def test_the_limit_is_the_same_for_every_block_size(write, tmp_path, kind, over, block_bytes):
    before, after = {
        "csv": (b"1,", b""),
        "fasttext": (b"__label__1 ", b""),
        "jsonl": (b'{"label":1,"text":"', b'"}'),
    }[kind]
    line = before + b"z" * (50 + over - len(before) - len(after)) + after
    head = b"label,text\n" if kind == "csv" else b""
    path = write(f"a.{kind}", head + b"\n".join([line[:20] + line[-4:], line, line[:20] + line[-4:]]))
    done = encode(path, tmp_path / "work", block_bytes, format=kind)
    assert [reject.reason for reject in done.rejects] == ["too_long"] * over
    assert len(done.rows) == 3 - over


@SIZES
@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.usefixtures("limit")
def test_the_reject_shows_how_the_long_line_begins(write, tmp_path, block_bytes, in_place):
    """Read by pieces, it must still be its beginning and not another part."""
    with patch.object(base, "SNIPPET_BYTES", 9):
        path = write(
            "a.txt", b"__label__1 ok\n" + b"".join(b"%03d " % i for i in range(50)) + b"\n__label__2 ok\n"
        )
        done = encode(path, tmp_path / "work", block_bytes, in_place=in_place)
    assert [(reject.line, reject.text) for reject in done.rejects] == [(2, "000 001 0")]
    assert lines_of(done)[0] == [1, 3]


# quotes


@SIZES
def test_quotes_are_undone_only_where_they_were_doubled_for_csv(write, tmp_path, block_bytes):
    """An unquoted field keeps its quotes, whatever fields stand beside it."""
    from sentiscale.config import PrepareSettings
    from sentiscale.data.corpus import Corpus

    path = write("a.csv", b'label,text\n1,an ""odd"" field\n2,"a ""good"" one"\n')
    found = [
        text
        for block in Corpus.find(path, PrepareSettings(block_mb=block_bytes / 1e6)).blocks()
        for text in block.text.to_pylist()
    ]
    assert found == [b'an ""odd"" field', b'a "good" one']


@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize("block_bytes", [40, 10**6])
def test_a_byte_order_mark_is_one_at_the_beginning_of_the_file_only(write, tmp_path, block_bytes, in_place):
    mark = b"\xef\xbb\xbf"
    path = write("a.txt", mark + b"__label__2 a good screen\n" + mark + b"__label__1 a bad screen\n")
    done = encode(path, tmp_path / "work", block_bytes, in_place=in_place)
    assert ([row.line for row in done.rows], [reject.line for reject in done.rejects]) == ([1], [2])
