"""Detect the encoding of a file, and convert text in other encodings to UTF-8."""

import codecs
from collections.abc import Callable
from unicodedata import category

# UTF-32 first, because its little-endian mark begins with that of UTF-16.
MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
GUESSED = ("utf-16-le", "utf-16-be")
"""What `encoding_of` returns for text without a mark."""
LOOKED_AT = 4096
"""Number of bytes from which UTF-16 without a byte-order mark is recognised."""
ONE_SIDED, FEWEST_NULS = 50, 0.02
INVALID = "sentiscale.invalid"


def encoding_of(start: bytes) -> str | None:
    """Return utf-32 or utf-16 for a file with that byte-order mark, utf-16-le or utf-16-be for one without.

    Returns None for other encodings: UTF-8 cannot be told from them reliably.
    """
    sample = start[:LOOKED_AT]
    marked = next((encoding for mark, encoding in MARKS.items() if start.startswith(mark)), None)
    encoding = marked or _unmarked(sample)
    if encoding is None:
        return None
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(sample)
    except UnicodeDecodeError:
        return None
    unusual = set(text) - set("\r\n\t")
    return (
        encoding if marked or not any(category(letter) in ("Cc", "Cn", "Co") for letter in unusual) else None
    )


def _unmarked(sample: bytes) -> str | None:
    """Return the kind of UTF-16 in which the high byte of each ASCII character is zero, and no other byte."""
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    most, least, encoding = (odd, even, "utf-16-le") if odd > even else (even, odd, "utf-16-be")
    enough = most > FEWEST_NULS * len(sample) / 2 and most > ONE_SIDED * least
    return encoding if enough else None


def to_utf8(encoding: str) -> Callable[[bytes, bool], bytes]:
    """Return a function that converts consecutive pieces of a text; its second argument ends the text.

    What is invalid in `encoding` becomes a byte that is invalid in UTF-8, and so is counted like other text
    that is not UTF-8.
    """
    decoder = codecs.getincrementaldecoder(encoding)(INVALID)
    return lambda data, final: decoder.decode(data, final).encode("utf-8", "surrogateescape")


def _invalid(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return "\udcff", error.end


codecs.register_error(INVALID, _invalid)
