"""Text in other encodings gives the reviews, line numbers and rejects of its UTF-8 copy, or is refused."""

import codecs
import gzip

import pytest

from sentiscale.config import PrepareSettings
from sentiscale.data.corpus import Corpus, read_reviews
from sentiscale.errors import DataError, UsageError
from tests.data.test_corpus import read

LINES = [
    "label,text",
    "2,gut \u2013 “sehr” schön ☺",
    '1,"zwei\nZeilen, Übel"',
    ",no label",
    "",
    "2,😀 日本語の本",
    "1,\uff08\u0a0d\u0d0a\uff09 ਊ",  # each holds the byte of a line end
]
TEXT = "\n".join(LINES) + "\n"
EXPECTED = [
    (1, "gut \u2013 “sehr” schön ☺"),
    (0, "zwei\nZeilen, Übel"),
    (1, "😀 日本語の本"),
    (0, "\uff08\u0a0d\u0d0a\uff09 ਊ"),
]
REJECTS = [(5, "no_label"), (6, "blank_line")]
MARKED = {
    "utf-8": codecs.BOM_UTF8,
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
    "utf-32-le": codecs.BOM_UTF32_LE,
    "utf-32-be": codecs.BOM_UTF32_BE,
}


def lines_read(path, **settings):
    reviews, rejects = read(path, **settings)
    return reviews, [reject for reject in rejects if reject[1] != "blank_line"]


@pytest.mark.parametrize("block_mb", [0.000_02, 8])
@pytest.mark.parametrize("squeeze", [bytes, gzip.compress])
@pytest.mark.parametrize("encoding", MARKED)
def test_a_byte_order_mark_names_the_encoding(write, encoding, squeeze, block_mb):
    path = write("a.csv", squeeze(MARKED[encoding] + TEXT.encode(encoding)))
    assert lines_read(path, block_mb=block_mb) == (EXPECTED, REJECTS[:1])


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf16_without_a_mark_is_recognised(write, encoding, line_end):
    text = "__label__1 Bad: broke\n__label__2 Good\nno label\n".replace("\n", line_end)
    assert read(write("a.txt", text.encode(encoding))) == (
        [(0, "Bad: broke"), (1, "Good")],
        [(3, "no_label")],
    )


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "shift_jis", "windows-1252"])
def test_a_named_encoding_is_used(write, encoding):
    text = (
        "label,text\n2,gut schon\n1,ubel\n"
        if encoding == "shift_jis"
        else "label,text\n2,gut schön\n1,übel\n"
    )
    expected = [(1, text[13:22]), (0, text[25:29])]
    assert read(write("a.csv", text.encode(encoding)), encoding=encoding) == (expected, [])


def test_windows_1252_is_read_if_it_is_named_and_rejected_otherwise(write):
    path = write("a.csv", "label,text\n2,caf\xe9 \x93fin\x94\n1,bad\n".encode("latin-1"))
    assert read(path) == ([(0, "bad")], [(2, "invalid_utf8")])
    assert read(path, encoding="windows-1252") == ([(1, "café “fin”"), (0, "bad")], [])
    assert read(path, encoding="latin-1")[0][0] == (1, "café \x93fin\x94")


@pytest.mark.parametrize(
    ("encoding", "broken"),
    [
        ("utf-16", b"\x00\xd8a\x00"),  # half of a pair
        ("windows-1252", b"\x81"),
        ("shift_jis", b"\xff"),
        ("utf-32", b"\xff\xff\xff\xff"),
        ("ascii", b"\xe9"),
    ],
)
def test_what_is_invalid_in_the_encoding_is_rejected_by_line(write, encoding, broken):
    before, after = ("label,text\n2,good ", "\n1,bad\n")
    marked = "".encode(encoding) if "-" in encoding else b""
    plain = {"utf-16": "utf-16-le", "utf-32": "utf-32-le"}.get(encoding, encoding)
    path = write("a.csv", marked + before.encode(plain) + broken + after.encode(plain))
    reviews, rejects = read(path, encoding=encoding)
    assert reviews == [(0, "bad")]
    assert rejects == [(2, "invalid_utf8")]


def test_a_file_cut_in_a_character_rejects_its_last_row(write):
    whole = "label,text\n2,good\n1,bad ☺".encode("utf-16")
    assert read(write("a.csv", whole[:-1])) == ([(1, "good")], [(3, "invalid_utf8")])


@pytest.mark.parametrize(
    "content",
    [
        b"__label__1 a\0b\n__label__2 fine as it is\n" * 3,
        "__label__2 日本語\n".encode() * 5,
        b"__label__1 \xe9t\xe9\n" * 5,
        b"__label__1 a \xff\xfe b\n",
        b"__label__2 " + b"x" * 5000 + b"\0\n",
    ],
)
def test_utf8_with_odd_bytes_is_not_taken_for_utf16(write, content):
    (source,) = Corpus.find(write("a.txt", content)).sources
    assert source.table.encoding is None


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_a_few_bytes_are_enough_or_refused(write, size):
    path = write("a.txt", "a☺".encode("utf-16")[:size])
    found = []
    try:
        found = [
            text for block in Corpus.find(path, labels="none").blocks() for text in block.text.to_pylist()
        ]
    except DataError:
        return
    assert all(text.decode("utf-8", "replace") in "a☺a�" for text in found)


@pytest.mark.parametrize("name", ["utf-eight", "hex", "", "base64"])
def test_an_unknown_encoding_is_refused(name):
    with pytest.raises((UsageError, ValueError), match="no encoding of text"):
        PrepareSettings(encoding=name)


def test_predict_and_evaluate_read_what_prepare_reads(cli, model, tmp_path):
    text = "__label__2 good film\n__label__1 bad — never again\n"
    wanted = None
    for encoding in ("utf-8", "utf-16", "utf-16-le", "utf-32"):
        (tmp_path / "r.txt").write_bytes(text.encode(encoding))
        done = cli("predict", model, "r.txt")
        scores = cli("evaluate", model, "r.txt", "--json")
        assert (done.returncode, scores.returncode) == (0, 0), done.stderr + scores.stderr
        assert wanted in (None, (done.stdout, scores.stdout))
        wanted = done.stdout, scores.stdout
    (tmp_path / "r.txt").write_bytes(b"caf\xe9 good\n")
    assert "--encoding" in cli("predict", model, "r.txt").stderr
    done = cli("predict", model, "r.txt", "--encoding", "windows-1252")
    assert done.stdout == cli("predict", model, stdin="café good\n").stdout
    assert "\ufffd" not in done.stderr


@pytest.mark.parametrize("content", [TEXT.encode(), TEXT.encode("utf-16-le"), TEXT.encode("utf-16-be")])
@pytest.mark.parametrize("encoding", ["utf-16", "UTF32"])
def test_an_encoding_with_a_mark_is_refused_without_it(write, encoding, content):
    with pytest.raises(DataError, match=r"no byte-order mark.*--encoding utf-(16|32)-le or"):
        read(write("a.csv", content), encoding=encoding)
    assert read(write("b.csv", "label,text\n1,a\n2,b\n".encode("utf-16")), encoding="utf-16") == (
        [(0, "a"), (1, "b")],
        [],
    )


@pytest.mark.parametrize("encoding", ["idna", "punycode", "undefined", "base64", "latin-15"])
def test_encodings_that_are_not_of_text_are_refused(encoding):
    with pytest.raises(ValueError, match="is no encoding of text"):
        PrepareSettings(encoding=encoding)


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
@pytest.mark.parametrize("encoding", ["windows-1252", "cp1251", "latin-1", "iso8859-8", "cp874"])
def test_utf8_stays_utf8_under_an_encoding_of_one_byte(write, encoding, mark):
    other = "label,text\n2,le café\n1,b\n".encode("cp1252")
    corpus = Corpus.find(
        write("a.csv", mark + "label,text\n1,un café\n2,b\n".encode()), PrepareSettings(encoding=encoding)
    )
    assert [text for block in corpus.blocks() for text in block.text.to_pylist()] == [
        "un café".encode(),
        b"b",
    ]
    assert "was read as such" in corpus.notes[0]
    assert read(write("b.csv", other), encoding="windows-1252") == ([(1, "le café"), (0, "b")], [])


@pytest.mark.parametrize("encoding", ["gb18030", "shift_jis", "cp932", "euc-kr", "big5"])
def test_encodings_of_several_bytes_are_used_as_named(write, encoding):
    text = {"gb18030": "联通", "shift_jis": "悪い", "cp932": "悪い", "euc-kr": "나쁜", "big5": "壞"}[encoding]
    path = write("a.csv", f"label,text\n1,{text}\n2,b\n".encode(encoding))
    assert read(path, encoding=encoding) == ([(0, text), (1, "b")], [])


@pytest.mark.parametrize(
    ("text", "encoding", "proposed"),
    [
        ("Un très bon café; déjà goûté", "cp1252", "windows-1252"),
        ("Отличная лампа", "cp1251", "windows-1251"),
        ("很好的书", "gb18030", "gb18030"),
        ("とても良い本です", "shift_jis", "shift_jis"),
    ],
)
def test_the_proposed_encoding_fits_the_text(write, text, encoding, proposed):
    path = write("a.csv", f"label,text\n1,{text}\n2,good\n".encode(encoding))
    (source,) = Corpus.find(path).sources
    (raw,) = source.blocks(10**6)
    (reject,) = read_reviews(raw.data, source.table, "required").rejects(source.name, 2)
    assert reject.reason == "invalid_utf8"
    assert proposed in reject.remedy()
    assert ("windows-1252" in reject.remedy()) == (encoding == "cp1252")
    assert read(path, encoding=encoding)[0] == [(0, text), (1, "good")]
