"""Parse labels and stars, and define the reasons for which a row is rejected.

Whether "1" is the negative class of 1/2 or the positive class of 0/1 depends on the other labels in the data.
Each row therefore gets the code of what its label means as far as one value tells: a class, or the value
itself. After all rows have been read, `text.label_reading` decides which class each code stands for.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sentiscale.config import DEFAULT_SCALE, ClassKind, PrepareSettings, StarsScale
from sentiscale.text.classes import BINARY, DROP, FIXED_NAMES, TERNARY, star_names

NUMBERS = ("0", "1", "2", "-1", "4")
NUMBER_PAIRS = (("0", "1"), ("1", "2"), ("-1", "1"), ("0", "4"))
"""Numbers that mean negative and positive."""
NUMBER_TRIPLES = (("-1", "0", "1"), ("0", "2", "4"))
"""Numbers that mean negative, neutral and positive. 0, 1, 2 is missing: some data sets begin with neutral."""
WORD_PAIRS = (
    (("negative", "neg"), ("positive", "pos")),
    (("n",), ("p",)),
    (("n",), ("y",)),
    (("no",), ("yes",)),
    (("f",), ("t",)),
    (("false",), ("true",)),
    (("bad",), ("good",)),
    (("not recommended",), ("recommended",)),
)
"""Words that mean negative and positive, where no word of another pair occurs."""
WORDS = {
    **{word: "negative" for negative, _ in WORD_PAIRS for word in negative},
    **{word: "positive" for _, positive in WORD_PAIRS for word in positive},
    **dict.fromkeys(("neutral", "neu", "mixed"), "neutral"),
}
MISSING = {"", "nan", "null", "none", "n/a", "na", "-", "?"}
BYTES = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view, pa.types.is_fixed_size_binary)
LABEL_PREFIX = "__label__"
MOST_VALUES = 1000
"""Number of distinct label values that are counted separately, to bound memory."""
NEGATIVE_NAME = re.compile(
    r"neg|bad|complain|spam|hate|toxic|abus|dislike|unhappy|(?:dis|un)satisf|refund|(?<![a-z])not?(?![a-z])"
)
"""Names of columns in which yes may mean negative."""
COMMON = 0.01
"""Share of the labelled rows from which an unknown value is a class of its own, not an error in the data."""
MOST_UNKNOWN = 0.1
"""Share of the labelled rows up to which unknown values of any kind are left out."""
OTHER_WORDS = "(other words)"
"""Stands for the values that are not counted separately."""

WHOLE_NUMBER = re.compile(r"([+-]?\d+)(?:[.,]0+)?")
NUMBER = re.compile(r"[+-]?(?:\d+[.,]?\d*|[.,]\d+)(?:e[+-]?\d+)?")
STARS = re.compile(
    r"(?P<stars>[+-]?\d*[.,]?\d+(?:e[+-]?\d+)?)"
    r"(?:\s*(?:/|out of|of)\s*(?P<top>\d+)(?:[.,]0+)?)?"
    r"[\s-]*(?:stars?|★|⭐)?"
)
QUOTES = "\"'\u201c\u201d\u2018\u2019\u200b\ufeff"
"""Quotes and invisible characters around a value."""
FULL_STARS, EMPTY_STARS = "★⭐*", "☆✩"


class Reason(IntEnum):
    """Why a row is rejected; rejects.parquet stores the names in lower case."""

    NONE = 0
    MALFORMED = 1
    TOO_LONG = 2
    INVALID_UTF8 = 3
    NUL_BYTE = 4
    NO_LABEL = 5
    UNKNOWN_LABEL = 6
    NEUTRAL = 7
    NO_TEXT = 8
    EMPTY_AFTER_CLEANING = 9
    BLANK_LINE = 10
    DROPPED = 11
    BAD_WEIGHT = 12


NO_LABEL, UNKNOWN, MIDDLE, DROPPED = 255, 254, 253, 252
LEFT_OUT = {
    Reason.NO_LABEL: NO_LABEL,
    Reason.UNKNOWN_LABEL: UNKNOWN,
    Reason.NEUTRAL: MIDDLE,
    Reason.DROPPED: DROPPED,
}
"""Codes of rows without a class, by reason."""
MOST_MEANINGS = 250
"""Number of different meanings that have a code of their own; an input with more than 100 is refused."""


@dataclass
class LabelCounts:
    """Rows by distinct value, as written in the input, for label columns and for columns of stars."""

    labels: Counter[str] = field(default_factory=Counter)
    stars: Counter[str] = field(default_factory=Counter)

    @classmethod
    def total(cls, parts: Iterable["LabelCounts"]) -> "LabelCounts":
        counts = cls()
        for part in parts:
            counts.add(part)
        return counts

    def add(self, other: "LabelCounts") -> None:
        self.labels = bounded(self.labels + other.labels)
        self.stars = bounded(self.stars + other.stars)


def bounded(counts: Counter[str]) -> Counter[str]:
    """Return the most frequent values, at most MOST_VALUES, and the rows of other words as OTHER_WORDS.

    Numbers come first, because they decide more.
    """
    if len(counts) <= MOST_VALUES:
        return counts
    ordered = sorted(counts.items(), key=lambda item: (as_number(item[0]) is None, -item[1], item[0]))
    words = sum(rows for value, rows in ordered[MOST_VALUES:] if as_number(value) is None)
    return Counter(dict(ordered[:MOST_VALUES])) + Counter({OTHER_WORDS: words})


def is_common(unknown: Counter[str], total: int) -> bool:
    """Whether unknown values are more than errors in the data; `total` is the number of labelled rows."""
    single = max((rows for token, rows in unknown.items() if token != OTHER_WORDS), default=0)
    return single > max(1, COMMON * total) or unknown.total() > max(1, MOST_UNKNOWN * total)


def total_of(files: Mapping[str, Counter[Any]]) -> Counter[Any]:
    """Return the rows of each value over all files."""
    return sum(files.values(), Counter())


def number_readings(numbers: Collection[str], kind: ClassKind = "binary") -> list[dict[str, str]]:
    """Return the different meanings that these numbers can have as labels of two or three classes.

    Two classes may lack one of the numbers; three must all occur, because two numbers may be two classes.
    """
    if kind == "ternary":
        return [dict(zip(each, TERNARY, strict=True)) for each in NUMBER_TRIPLES if set(each) == set(numbers)]
    readings = [
        {number: BINARY[pair.index(number)] for number in numbers}
        for pair in NUMBER_PAIRS
        if set(numbers) <= set(pair)
    ]
    return [reading for place, reading in enumerate(readings) if reading not in readings[:place]]


@dataclass(frozen=True)
class ValueRules:
    """What single values mean, as far as that does not depend on other rows."""

    classes: Mapping[str, str] = field(default_factory=dict)
    """Class of each token, as returned by `label_token` or `stars_token`, or "drop"."""
    scale: StarsScale = DEFAULT_SCALE
    """Lowest and highest number of stars."""
    kind: ClassKind = "binary"
    names: tuple[str, ...] = BINARY
    """Names of the classes in order; empty if they follow from the values of all rows."""

    @classmethod
    def given(cls, settings: PrepareSettings, *, stars: bool) -> "ValueRules":
        """Return the rules that follow from the settings alone."""
        kind, token = settings.classes, stars_token if stars else label_token
        scale = settings.stars_scale or DEFAULT_SCALE
        classes = {token(value): name for value, name in (settings.label_map or {}).items()}
        names = star_names(scale) if kind == "stars" else FIXED_NAMES.get(kind, ())
        return cls(classes, scale, kind, names)

    @property
    def complete(self) -> bool:
        """Whether all other tokens are unknown; if `classes` only drops tokens, others keep their class."""
        if self.kind == "labels":
            return bool(self.names)
        return self.kind != "stars" and any(name != DROP for name in self.classes.values())

    def label_meaning(self, value: str) -> str | Reason:
        """Return the class of a label or, if that depends on other rows, its token; or why it has none."""
        if self.kind == "labels" and has_several(value):
            return Reason.UNKNOWN_LABEL
        return self._meaning(label_token(value), self._label_class)

    def stars_meaning(self, value: str) -> str | Reason:
        """Return the class of a number of stars, or why it has none."""
        return self._meaning(stars_token(value), lambda _: self._star_class(value))

    def _meaning(self, token: str, otherwise: Callable[[str], str | Reason]) -> str | Reason:
        if token in self.classes:
            name = self.classes[token]
            if name == DROP:
                return Reason.NEUTRAL if self.kind == "binary" else Reason.DROPPED
            return name if self.names else label_token(name)
        if token in MISSING:
            return Reason.NO_LABEL
        return Reason.UNKNOWN_LABEL if self.complete else otherwise(token)

    def _label_class(self, token: str) -> str | Reason:
        if self.kind == "labels":
            return token
        meaning = WORDS.get(token, token if token in NUMBERS else Reason.UNKNOWN_LABEL)
        return Reason.NEUTRAL if meaning == "neutral" and self.kind == "binary" else meaning

    def _star_class(self, value: str) -> str | Reason:
        """Return the class of a number of stars.

        From 1 to 5 stars, only 3 is in the middle. On other scales, the lower 40 % are negative, the upper
        40 % positive, and both limits belong to their class.
        """
        low, high = self.scale
        stars, top = as_stars(value) or (low - 1, None)
        if not low <= stars <= high or top not in (None, high):
            return Reason.UNKNOWN_LABEL
        if self.kind == "stars":
            return str(int(stars)) if stars.is_integer() else Reason.UNKNOWN_LABEL
        share = (stars - low) / (high - low)
        below, above = (0.5, 0.5) if self.scale == DEFAULT_SCALE else (0.4, 0.6)
        if below < share < above or share == 0.5:
            return Reason.NEUTRAL if self.kind == "binary" else "neutral"
        return "negative" if share <= below else "positive"


def label_codes(
    values: pa.Array, rules: ValueRules | None = None
) -> tuple[NDArray[np.uint8], Counter[str], tuple[str, ...]]:
    """Return code and meaning of labels: strings, binaries, numbers or booleans.

    Returns: the code of each row, the rows by distinct value, and the meaning of each code: the rules' names
        of classes, and then the tokens whose class depends on other rows. Other codes are those of LEFT_OUT.
    """
    rules = rules or ValueRules()
    return _code_distinct(values, rules.label_meaning, rules.names)


def star_codes(
    values: pa.Array, rules: ValueRules | None = None
) -> tuple[NDArray[np.uint8], Counter[str], tuple[str, ...]]:
    """Return the same for numbers of stars."""
    rules = rules or ValueRules()
    return _code_distinct(values, rules.stars_meaning, rules.names)


def _code_distinct(
    values: pa.Array, meaning: Callable[[str], str | Reason], names: tuple[str, ...]
) -> tuple[NDArray[np.uint8], Counter[str], tuple[str, ...]]:
    """Compute the code of each distinct value once, in Python, and assign the codes to the rows."""
    meanings = {name: code for code, name in enumerate(names)}

    def code(value: str) -> int:
        found = meaning(value)
        if isinstance(found, Reason):
            return LEFT_OUT[found]
        if found not in meanings and len(meanings) == MOST_MEANINGS:
            return UNKNOWN
        return meanings.setdefault(found, len(meanings))

    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if not any(check(values.type) for check in BYTES):
        values = pc.cast(values, pa.large_string())
    encoded = values.cast(pa.large_binary()).dictionary_encode()
    distinct = [value.decode("utf-8", "replace").strip() for value in encoded.dictionary.to_pylist()]
    table = np.array([*map(code, distinct), NO_LABEL], np.uint8)
    numbers = encoded.indices.fill_null(len(table) - 1).to_numpy(zero_copy_only=False)
    codes: NDArray[np.uint8] = table[numbers]
    counts: Counter[str] = Counter()
    for value, rows in zip(distinct, np.bincount(numbers, minlength=len(table)).tolist(), strict=False):
        counts[value] += rows
    return codes, bounded(counts), tuple(meanings)


def label_token(value: str) -> str:
    """Return what decides the class of a label: in lower case, without quotes, prefix and decimal zeros.

    Of several fastText labels, this is the one that has a meaning, if it is the only one; otherwise it is all
    of them, separated by spaces.
    """
    tokens = [token for part in value.split(LABEL_PREFIX) if (token := _token(part))]
    if len(tokens) < 2:
        return tokens[0] if tokens else ""
    known = {token for token in tokens if token in WORDS or as_number(token) is not None}
    return known.pop() if len(known) == 1 else " ".join(tokens)


def has_several(value: str) -> bool:
    """Whether a value holds several fastText labels."""
    return LABEL_PREFIX in value and sum(bool(_token(part)) for part in value.split(LABEL_PREFIX)) > 1


def label_name(value: str) -> str:
    """Return a label as written, without spaces and quotes around it, prefix and decimal zeros."""
    name = value.strip().removeprefix(LABEL_PREFIX).strip(QUOTES).strip()
    whole = WHOLE_NUMBER.fullmatch(name)
    return str(int(whole[1])) if whole else name


def _token(value: str) -> str:
    token = value.strip().strip(QUOTES).strip().lower().removeprefix("label_")
    whole = WHOLE_NUMBER.fullmatch(token)
    return str(int(whole[1])) if whole else token


def stars_token(value: str) -> str:
    """Return the number of stars as text, or the value in lower case if it is not a number."""
    stars = as_stars(value)
    return f"{stars[0]:g}" if stars else _token(value)


def as_number(value: str) -> float | None:
    """Return the number that a label stands for; None for words."""
    token = label_token(value) if LABEL_PREFIX in value else _token(value)
    return float(token.replace(",", ".")) if NUMBER.fullmatch(token) else None


def as_stars(value: str) -> tuple[float, float | None] | None:
    """Parse a rating such as `4`, `4,5`, `4.0 out of 5 stars`, `4/5` or `★★★★☆`.

    Returns: the rating, and the highest possible rating if it is given; None if there is no number.
    """
    token = value.strip().strip(QUOTES).strip().lower()
    if token and set(token) <= set(FULL_STARS + EMPTY_STARS):
        full = sum(sign in FULL_STARS for sign in token)
        return float(full), float(len(token)) if full < len(token) else None
    found = STARS.fullmatch(token)
    if found is None:
        return None
    return float(found["stars"].replace(",", ".")), float(found["top"]) if found["top"] else None
