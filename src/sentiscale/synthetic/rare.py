"""The long tail: names, compound terms and model codes that hardly ever occur, and misspelt words."""

from collections.abc import Callable
from itertools import product

NAMES = 2**17
TERMS = 2**15
CODES = 2**16

_ONSETS = (
    "b", "br", "c", "ch", "d", "dr", "f", "fl", "g", "gr", "h", "j", "k", "kl", "l", "m", "n", "p", "pr",
    "r", "s", "sh", "st", "t", "th", "tr", "v", "w", "y", "z", "qu", "sk",
)  # fmt: skip
_SYLLABLES = [onset + vowel for onset, vowel in product(_ONSETS, "aeio")]
_CODAS = ("", "n", "r", "l", "s", "x", "m", "nd")
_ENDINGS = ("a", "o", "us", "ia", "ex", "on", "ar", "en", "el", "ins", "ley", "ton", "ford", "by", "is", "um")

_PREFIXES = (
    "micro", "multi", "over", "under", "semi", "anti", "pre", "re", "un", "non", "super", "ultra", "mini",
    "mono", "bi", "tri", "auto", "tele", "thermo", "hydro", "cross", "inter", "out", "up", "down", "side",
    "back", "fore", "mid", "counter", "photo", "audio",
)  # fmt: skip
_STEMS = (
    "filter", "print", "charge", "thread", "stitch", "grind", "mount", "latch", "switch", "scan", "track",
    "blend", "toast", "paint", "stack", "lock", "twist", "brush", "trim", "load", "press", "fold", "clip",
    "spin", "strap", "stream", "sort", "pack", "wash", "knit", "carve", "drill", "solder", "weld",
    "glaze", "roast", "brew", "plant", "prune", "dig", "sail", "row", "climb", "skate", "bowl", "draft",
    "frame", "bind", "crop", "blur", "pitch", "chord", "drum", "hum", "sync", "patch", "boot", "cache",
    "parse", "index", "shave", "rinse", "heat", "chill",
)  # fmt: skip
_SUFFIXES = (
    "ing", "er", "able", "less", "ed", "ery", "age", "ment", "ist", "ish", "ful", "wise", "like", "proof",
    "ready", "free",
)  # fmt: skip
_LETTERS = "ABCDEFGHJKLMNPRSTVWXZ"
_CODE_STEP = 6  # numbers from 100 to 999 for each of the 441 pairs of letters

_NEIGHBOURS = dict(zip("abcdefghijklmnopqrstuvwxyz", "svxfrghjokklnmioptayibwzux", strict=True))
"""A key beside each key."""


def names() -> list[str]:
    """Made-up proper names, `NAMES` of them, the commonest first."""
    found = []
    for rank in range(NAMES):
        rest, first = divmod(_scatter(rank, NAMES), len(_SYLLABLES))
        rest, ending = divmod(rest, len(_ENDINGS))
        middle, coda = divmod(rest, len(_CODAS))
        # eight middles remain; the first syllable decides which eight of the syllables they are
        second = _SYLLABLES[(first * 8 + middle * 17) % len(_SYLLABLES)] if middle else ""
        found.append((_SYLLABLES[first] + _CODAS[coda] + second + _ENDINGS[ending]).capitalize())
    return found


def terms() -> list[str]:
    """Compound words such as "microfiltering", `TERMS` of them, the commonest first."""
    found = []
    for rank in range(TERMS):
        rest, prefix = divmod(_scatter(rank, TERMS), len(_PREFIXES))
        suffix, stem = divmod(rest, len(_STEMS))
        found.append(_PREFIXES[prefix] + _join(_STEMS[stem], _SUFFIXES[suffix]))
    return found


def _join(stem: str, suffix: str) -> str:
    silent_e = stem.endswith("e") and suffix[0] in "aei"
    return (stem[:-1] if silent_e else stem) + suffix


def codes() -> list[str]:
    """Model numbers such as "KX-402", `CODES` of them, the commonest first."""
    found = []
    for rank in range(CODES):
        number, letters = divmod(_scatter(rank, CODES), len(_LETTERS) ** 2)
        first, second = divmod(letters, len(_LETTERS))
        found.append(
            f"{_LETTERS[first]}{_LETTERS[second]}-{100 + number * _CODE_STEP + letters % _CODE_STEP}"
        )
    return found


TAILS: dict[str, Callable[[], list[str]]] = {"name": names, "term": terms, "code": codes}
"""What `{name:zipf}` and its kin in the grammar stand for; list lengths are powers of two."""


def misspellings(text: str, count: int) -> list[str]:
    """`count` ways to mistype one word of `text`: swapped, dropped, doubled or neighbouring letters.

    Returns an empty list when no word has four letters in a row.
    """
    spots = [
        at for at in range(1, len(text) - 2)
        if text[at - 1 : at + 3].isalpha() and text[at - 1 : at + 3].isascii()
    ]  # fmt: skip
    if not spots:
        return []
    found = []
    for number in range(count):
        at = spots[(number * 7919 + len(text)) % len(spots)]
        found.append(text[:at] + _mistype(text[at], text[at + 1], number % 4) + text[at + 2 :])
    return found


def _mistype(first: str, second: str, way: int) -> str:
    return (second + first, second, first + first + second, _NEIGHBOURS[first.lower()] + second)[way]


def _scatter(rank: int, size: int) -> int:
    """A one-to-one map of 0 … size - 1 (a power of two) onto itself, so that neighbours look unlike."""
    code = (rank * 0x9E3779B1 + 0x5BD1) % size
    code ^= code >> 7
    return (code * 0x85EBCA6B) % size
