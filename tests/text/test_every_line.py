"""Whatever the bytes: no crash, and every line or record is a row or a reject, never both, never lost."""

import gzip
import re
from contextlib import contextmanager
from unittest.mock import patch

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sentiscale.data import blocks
from sentiscale.data.prepare import prepare
from sentiscale.errors import DataError, UsageError
from sentiscale.text.encodings import encoding_of
from sentiscale.text.formats import base
from sentiscale.text.formats.foreign import BINARY
from sentiscale.util.storage import MAGIC
from tests.data.encoding import encode
from tests.text.plain_readers import lines_of, read_csv, read_fasttext, read_jsonl

BOM = b"\xef\xbb\xbf"
LIMIT = 300
"""In place of 16 MiB, for records that are too long."""
VALID = {
    "fasttext": [b"__label__1 bad screen\n", b"__label__2 It's good, isn't it?\n", b"__label__2 fine\r\n"],
    "csv": [
        b"1,bad screen\n",
        b'2,"good, and\n""more"" lines"\n',
        b"2,fine\r\n",
        b'1,"lines\r\nand CRs\r"\n',
    ],
    "jsonl": [
        b'{"text":"bad screen","label":"1"}\n',
        b'{"label":"2","text":"good \\u00e9"}\n',
        b'{"text":"fine","label":2}\r\n',
    ],
}
PIECES = {
    "fasttext": [b"__label__", b"__label__3 x", b"__label__2", b" __label__1 __label__2 y", b"\t", b"..."],
    "csv": [
        b'"',
        b'""',
        b",",
        b'1,"',
        b'"\n',
        b"3,so so\n",
        b"2,a,b\n",
        b"x,y\n",
        b'2,"a"b\n',
        b"1,\n",
        b'""\n',
        b'1,"oops\n' + b"2,inside\n" * 40,
    ],
    "jsonl": [
        b"{",
        b"}",
        b'{"text":',
        b'"label":"1"}',
        b'{"text":"c",\n"label":"1"}',
        b"[1]\n",
        b"null\n",
        b'{"text":"\\ud800","label":1}\n',
        b'{"text":"a","label":1} {"text":"b","label":1}\n',
        b'{"text":"a","label":1,"x":' + b"7" * 250 + b"}\n",
        b'{"text":5,"label":1}\n',
        b"[" * 290 + b"\n",
        b'{"text":{"a":1},"label":1}\n',
        b'{"text":"t","label":2.0}\n',
        b'{"text":"a","text":"b","label":2}\n',
        b'{"text":"\\u0000","label":1}\n',
    ],
}
ANYWHERE = [
    b"\n",
    b"\r",
    b"\r\n",
    b"\n\n",
    b" ",
    b"\0",
    b"\xff",
    b"\xc3",
    b"\xed\xa0\x80",
    b"\xef\xbf\xbd",
    b"x" * 320,
    b"good " * 70,
    BOM,
    b"\xe6\x97\xa5",
    b"<br />",
    b"&amp;",
    b"\x1a",
    b"\xc2\x85",
    b"\x0b",
]
READERS = {
    "fasttext": read_fasttext,
    "csv": lambda data, limit: read_csv(data, limit, header=True),
    "jsonl": read_jsonl,
}
CANNOT_BE_SPLIT = ("malformed", "blank_line", "too_long")
HEADS = {"csv": b"label,text\n", "jsonl": VALID["jsonl"][0]}
"""What must be readable for the layout to be known."""


@st.composite
def damaged(draw, kind):
    """A file of valid records with pieces put in and bytes changed or cut off."""
    valid = st.sampled_from(VALID[kind])
    odd = st.sampled_from([*PIECES[kind], *ANYWHERE]) | st.binary(max_size=12)
    data = bytearray(b"".join(draw(st.lists(valid | odd, max_size=14))))
    for place, byte in draw(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=4)):
        if place < len(data):
            data[place] = byte
    body = bytes(data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data)
    content = HEADS.get(kind, b"") + body
    if kind != "jsonl" and draw(st.integers(0, 9)) == 0:  # as old Macs wrote
        content = content.replace(b"\n", b"\r")
    return draw(st.sampled_from([b"", BOM])) + content


@contextmanager
def short_limit():
    with patch.object(base, "MAX_RECORD_BYTES", LIMIT), patch.object(blocks, "LOOK_BACK_BYTES", 20):
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("every-line")


def read(root, kind, data, block_bytes, *, compressed=False, in_place=True):
    """Rows and rejects as (line, reason, meaning of the label, cleaned text), in the order of their lines."""
    path = root / ("a.data.gz" if compressed else "a.data")
    path.write_bytes(gzip.compress(data, 1) if compressed else data)
    columns = {} if kind == "fasttext" else {"text_column": "text", "label_column": "label"}
    if kind == "csv":
        columns |= {"delimiter": ",", "quoting": "standard", "header": True}
    with short_limit():
        done = encode(path, root / "work", block_bytes, format=kind, in_place=in_place, **columns)
    found = [(row.line, None, row.meaning, row.text) for row in done.rows]
    found += [(reject.line, reject.reason, "", "") for reject in done.rejects]
    assert sum(partition.summary.rows for partition in done.partitions) == len(done.rows)
    assert sum(int(partition.summary.rejects.sum()) for partition in done.partitions) == len(done.rejects)
    return sorted(found, key=lambda record: record[0])


def expected(kind, data):
    records = READERS[kind](data.removeprefix(BOM), LIMIT)
    return [tuple(record) for record in records]


KINDS = pytest.mark.parametrize("kind", VALID)
WAYS = st.fixed_dictionaries(
    {
        "block_bytes": st.sampled_from([1, 7, 31, 64, 301, 1000, 10**6]),
        "compressed": st.booleans(),
        "in_place": st.booleans(),
    }
)


@KINDS
@settings(max_examples=150)
@given(st.data())
def test_every_record_becomes_what_a_plain_reader_says(root, kind, data):
    content = data.draw(damaged(kind))
    assume(encoding_of(content) is None)
    text = content.removeprefix(BOM)
    refused = not text.strip() or content.startswith((b"\xff\xfe", b"\xfe\xff", *MAGIC))
    refused |= any(re.match(pattern, text, re.DOTALL | re.IGNORECASE) for pattern in BINARY)
    try:
        found = read(root, kind, content, **data.draw(WAYS))
    except DataError:
        records = READERS[kind](content.removeprefix(BOM), LIMIT)
        none_fits = kind == "csv" and all(record.reason in CANNOT_BE_SPLIT for record in records)
        objects = kind == "jsonl" and content.count(b'{"text":{"a":1}') > 1  # more than half of the rows
        assert refused or none_fits or objects, (
            "only what is empty, UTF-16, or begins as if it were compressed or no text"
        )
    else:
        assert found == expected(kind, content)
        assert len({record[0] for record in found}) == len(found), "a line is there twice"


@settings(max_examples=150)
@given(st.binary(max_size=200) | damaged("csv") | damaged("fasttext") | damaged("jsonl"), WAYS, WAYS)
def test_where_a_file_is_cut_changes_nothing_whatever_it_holds(root, content, one_way, other_way):
    """Here the format is guessed, headers may be missing, and any bytes may come."""
    outcomes = []
    for way in (one_way, other_way):
        try:
            outcomes.append(read(root, "auto", content, **way))
        except (DataError, UsageError):
            outcomes.append(None)
    assert outcomes[0] == outcomes[1]
    lines = len(lines_of(content.replace(b"\r", b"\n"), b"\n")) if content else 0
    assert all(1 <= record[0] <= lines for record in outcomes[0] or [])


@pytest.fixture
def messy(tmp_path):
    """Files with a bit of everything, and how many lines or records each has."""
    lines = [*VALID["fasttext"], *PIECES["fasttext"], *ANYWHERE] * 2
    fasttext = b"".join(piece + b"\n" for piece in lines)
    csv = HEADS["csv"] + b"".join([*VALID["csv"], *PIECES["csv"], *ANYWHERE, *VALID["csv"]])
    jsonl = HEADS["jsonl"] + b"".join([*VALID["jsonl"], *PIECES["jsonl"], *ANYWHERE, *VALID["jsonl"]])
    contents = {"fasttext": fasttext, "csv": csv, "jsonl": jsonl}
    for kind, content in contents.items():
        (tmp_path / f"messy.{kind}").write_bytes(content)
    return {tmp_path / f"messy.{kind}": len(expected(kind, content)) for kind, content in contents.items()}


@pytest.mark.parametrize("block_mb", [0.00005, 1])
def test_the_sums_of_a_dataset_are_all_lines_there_were(messy, tmp_path, block_mb):
    for path, lines in messy.items():
        kind = path.suffix[1:]
        with short_limit():
            made = prepare(
                path,
                tmp_path / "data",
                format=kind,
                block_mb=block_mb,
                quoting="standard",
                split=(1, 0, 0),
                min_count=1,
                force=True,
                label_map={"1": "negative", "2": "positive"},
            )
        manifest = made.manifest
        rejected = manifest.rejected["total"]
        assert manifest.duplicates > 0
        assert sum(manifest.rows.values()) + manifest.duplicates + rejected == lines
        assert rejected == sum(
            record.reason is not None for record in READERS[kind](path.read_bytes(), LIMIT)
        )
