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
FEWEST_SINGLES = 80
"""Number of bytes from 0x80 that are characters in every 8-bit encoding; shift_jis and cp932 have fewer."""
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


def encoding_for(start: bytes, named: str | None) -> str | None:
    """Return the encoding of a file that the user said to be in `named`; None for UTF-8.

    Text with characters beyond ASCII that are all valid UTF-8 is never text in an encoding with one byte per
    character, such as windows-1252. If several files were given, only others may have that encoding.
    """
    if named is None:
        return encoding_of(start)
    singles = sum(bool(bytes([byte]).decode(named, "ignore")) for byte in range(0x80, 0x100))
    return None if singles >= FEWEST_SINGLES and _is_utf8(start) else named


def no_mark(path: str, encoding: str) -> str:
    """Return the message about a file in utf-16 or utf-32 whose byte order is unknown."""
    name = codecs.lookup(encoding).name
    return (
        f"{path} has no byte-order mark, which {name} needs. Leave out --encoding if it is UTF-8; "
        f"otherwise add --encoding {name}-le or --encoding {name}-be."
    )


def _is_utf8(start: bytes) -> bool:
    """Whether the text has characters beyond ASCII in UTF-8; the last one may be cut off."""
    try:
        return not codecs.getincrementaldecoder("utf-8")().decode(start).isascii()
    except UnicodeDecodeError:
        return False


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

    Raises: UnicodeError, by that function, when the encoding is utf-16 or utf-32 and the byte-order mark is
    missing.
    """
    decoder = codecs.getincrementaldecoder(encoding)(INVALID)
    return lambda data, final: decoder.decode(data, final).encode("utf-8", "surrogateescape")


def _invalid(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return "\udcff", error.end


codecs.register_error(INVALID, _invalid)
