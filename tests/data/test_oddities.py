"""Which reviews are noticed as odd, and which are not, wherever in the bytes the sign of it stands."""

import re
import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiscale.data.oddities import Oddity, odd_words, raw_oddities
from sentiscale.text.clean import raw_rows
from sentiscale.text.compiled import frozen

NOTHING = Oddity(0)
MARKUP, BAD_ENCODING, OTHER_SCRIPT = Oddity.MARKUP, Oddity.BAD_ENCODING, Oddity.OTHER_SCRIPT


def flags(*texts):
    return [Oddity(int(flag)) for flag in raw_oddities(*raw_rows(pa.array(texts, pa.large_string())))]


def again(text, by="latin-1"):
    """What becomes of a text that is taken for another encoding and encoded once more."""
    return text.encode().decode(by)


UNMARKED = [
    "",
    "plain",
    "I <3 you",
    "a < b > c",
    "x<y and more",
    "AT&T; fine",
    "Q&A; yes",
    "salt & pepper; oil",
    "& ;",
    "<",
    "&",
    "a<",
    "a&",
    "</",
    "&#",
    "&a",
    "<a" + "b" * 70 + ">",
    "&" + "a" * 70 + ";",
    "-->",
    "a => b",
    "\t tab\r\nlines",
]
MARKED = [
    "<br>",
    "<br />",
    "</p>",
    'see <a href="x.html">this</a>',
    "Tom &amp; Jerry",
    "it&#39;s",
    "&quot;",
    "<B>bold",
]
WELL_ENCODED = [
    "é",
    "naïve café",
    "Ärger, ÜBEL, groß",
    "« CAFÉ\u00a0» : qualité\u00a0!",
    "(été»",
    "ÉTÉ»",
    "QUALITÉ\u00a0:",
    "»heiß«",
    "Ã vous",
    "3 \u00d7 4 ÷ 5",
    "“quoted” \u2013 it\u2019s…",
    "£5 and 20 °C",
    "\u00a0",
    "ÂÃ",
    "5€",
    "à la carte",
    "Ça",
    "ÀÉ",
    "\U0001f600 fine \u2764\ufe0f",
]
BADLY_ENCODED = [
    "Ã©",
    "cafÃ©",
    again("naïve café"),
    again("it\u2019s"),
    again("it\u2019s", "cp1252"),
    again("a “b", "cp1252"),
    again("Â£5"),
    again("хорошо"),
    again("日本"),
    again("\U0001f600"),
    again("£5"),
    again("\u00a0x"),
    "\ufffd",
    "a\ufffdb",
    "bell\x07",
    "\x00",
    "\x7f",
    "\x80",
    "\x1f",
    "x\x0e",
    "\u0085",
]
LATIN = [
    "good 日本",
    "The great Ωmega and the greater Ψ",
    "Rất tốt, điện thoại đẹp",
    "\u2764\ufe0f" * 5,
    "Love it " + "\u2764\ufe0f" * 5,
    "\U0001f600" * 9,
    "“” \u2013 … €™",
    "",
    "12345",
    "é" * 20,
]
NOT_LATIN = [
    "Очень хорошо",
    "とても良い",
    "非常好",
    "رائع جدا",
    "ดีมาก",
    "좋아요",
    "πολύ καλό",
    "ok 非常好非常好",
]


@pytest.mark.parametrize(
    ("flag", "texts"),
    [
        (NOTHING, UNMARKED),
        (MARKUP, MARKED),
        (NOTHING, WELL_ENCODED),
        (BAD_ENCODING, BADLY_ENCODED),
        (NOTHING, LATIN),
        (OTHER_SCRIPT, NOT_LATIN),
    ],
)
def test_what_is_odd_and_what_is_not(flag, texts):
    assert {text: found for text, found in zip(texts, flags(*texts), strict=True) if found != flag} == {}


@pytest.mark.parametrize("before", range(18))
@pytest.mark.parametrize("after", [0, 1, 7, 8, 17])
@pytest.mark.parametrize(
    ("sign", "flag"),
    [
        ("<i>", MARKUP),
        ("&lt;", MARKUP),
        ("\x01", BAD_ENCODING),
        ("\x7f", BAD_ENCODING),
        ("Ã©", BAD_ENCODING),
        ("\ufffd", BAD_ENCODING),
        ("\x1f", BAD_ENCODING),
        ("~", NOTHING),
        (" ", NOTHING),
        ("\n", NOTHING),
    ],
)
def test_a_sign_is_seen_wherever_it_stands(sign, flag, before, after):
    """Eight bytes are looked at together: their edges must not matter."""
    assert flags("a" * before + sign + "b" * after) == [flag]


def test_each_row_is_judged_by_its_own_bytes():
    """Tags, entities and characters do not go on in the next row, nor the flags."""
    assert flags("a <b", "r> &am", "p; \u00c3", "\u00a9", "<p>", "fine", "\ufffd") == [
        NOTHING,
        NOTHING,
        NOTHING,
        NOTHING,
        MARKUP,
        NOTHING,
        BAD_ENCODING,
    ]


@pytest.mark.parametrize(
    "text", ["a" * 7 + "<", "&", "x &", "</", "Ã", "Ãa", "â", "\u00e2\u20ac"[:1], "&#", "abcdefg&a", "<b" * 4]
)
def test_nothing_is_read_beyond_the_last_row(text):
    """What lies behind the data would complete a tag, an entity or a character."""
    own = text.encode()
    for behind in (b">", b";", b"amp;", "\u00a9".encode(), b"\x82\xac", b"/b>"):
        data = frozen(own + behind)[: len(own)]
        assert raw_oddities(data, np.array([0, len(own)])).tolist() == [0]


def judged(text):
    """The rules again, by regular expressions and Unicode's own categories."""
    found = NOTHING
    raw = text.encode().decode("latin-1")
    tags = re.finditer(r"<(?=/?[A-Za-z])[^>]*>", raw)
    entities = re.finditer(r"&[A-Za-z0-9#]{2,};", raw)
    starts = [match for match in (*tags, *entities) if len(match.group()) <= 64]
    starts += [
        match for match in re.finditer(r"(?=(<(?=/?[A-Za-z])[^>]*>))", raw) if len(match.group(1)) <= 64
    ]
    if starts:
        found |= MARKUP
    control = any(unicodedata.category(c) == "Cc" and c not in "\t\n\v\f\r" for c in text)
    two, three = (
        "[\u00c2\u00c3][\x80-\xbf]|[\u00c4-\u00df](?![\u00a0\u00ab\u00bb])[\x80-\xbf]",
        "[\u00e0-\u00ef][\x80-\xbf]{2}",
    )
    four = "[\u00f0-\u00f4][\x80-\xbf]{3}"
    if control or "\ufffd" in text or re.search(f"{two}|{three}|{four}|\u00e2\u20ac", text):
        found |= BAD_ENCODING
    latin = sum(c < "\x80" for c in text)
    other = sum("\u0340" <= c < "\u2000" or "\u3000" <= c < "\uf000" for c in text)
    return found | OTHER_SCRIPT if 2 * other > latin else found


@given(
    st.lists(
        st.text(
            st.sampled_from(
                list("aZ <>/&;#1\u00c2\u00c3\u00a9\u00e9\u00a0\u00e2\u20ac\u0436\u3042\U0001f600\x7f\x01\n")
            )
            | st.characters(exclude_categories=["Cs"]),
            max_size=90,
        ),
        min_size=1,
        max_size=4,
    )
)
def test_equals_plain_rules(texts):
    assert flags(*texts) == [judged(text) for text in texts]


# the words


@pytest.mark.parametrize(
    ("length", "common", "flag"),
    [
        (0, 0, Oddity.NEARLY_EMPTY),
        (2, 2, Oddity.NEARLY_EMPTY),
        (3, 0, NOTHING),
        (9, 0, NOTHING),
        (10, 0, Oddity.UNUSUAL_WORDS),
        (10, 1, NOTHING),
        (11, 1, Oddity.UNUSUAL_WORDS),
        (500, 49, Oddity.UNUSUAL_WORDS),
        (500, 50, NOTHING),
    ],
)
def test_few_words_or_unusual_ones(length, common, flag):
    assert odd_words(np.array([length]), np.array([common])).tolist() == [flag]
