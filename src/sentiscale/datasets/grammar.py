"""Compile grammar.toml into flat tables: fragments, the lists they stand in, sentences made of lists.

A *fragment* is a piece of text that is drawn whole ("the old one", " is ", "."). A *choice list* is what
one place of a sentence is drawn from; plain text is a list of one. A *template* is a sentence: a run of
choice lists. Everything about the text is decided here, so that making reviews is index arithmetic.
"""

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

NAMES = 2**17
TERMS = 2**15
CODES = 2**16

_ONSETS = (
    "b",
    "br",
    "c",
    "ch",
    "d",
    "dr",
    "f",
    "fl",
    "g",
    "gr",
    "h",
    "j",
    "k",
    "kl",
    "l",
    "m",
    "n",
    "p",
    "pr",
    "r",
    "s",
    "sh",
    "st",
    "t",
    "th",
    "tr",
    "v",
    "w",
    "y",
    "z",
    "qu",
    "sk",
)
_SYLLABLES = [onset + vowel for onset, vowel in product(_ONSETS, "aeio")]
_CODAS = ("", "n", "r", "l", "s", "x", "m", "nd")
_ENDINGS = ("a", "o", "us", "ia", "ex", "on", "ar", "en", "el", "ins", "ley", "ton", "ford", "by", "is", "um")

_PREFIXES = (
    "micro",
    "multi",
    "over",
    "under",
    "semi",
    "anti",
    "pre",
    "re",
    "un",
    "non",
    "super",
    "ultra",
    "mini",
    "mono",
    "bi",
    "tri",
    "auto",
    "tele",
    "thermo",
    "hydro",
    "cross",
    "inter",
    "out",
    "up",
    "down",
    "side",
    "back",
    "fore",
    "mid",
    "counter",
    "photo",
    "audio",
)
_STEMS = (
    "filter",
    "print",
    "charge",
    "thread",
    "stitch",
    "grind",
    "mount",
    "latch",
    "switch",
    "scan",
    "track",
    "blend",
    "toast",
    "paint",
    "stack",
    "lock",
    "twist",
    "brush",
    "trim",
    "load",
    "press",
    "fold",
    "clip",
    "spin",
    "strap",
    "stream",
    "sort",
    "pack",
    "wash",
    "knit",
    "carve",
    "drill",
    "solder",
    "weld",
    "glaze",
    "roast",
    "brew",
    "plant",
    "prune",
    "dig",
    "sail",
    "row",
    "climb",
    "skate",
    "bowl",
    "draft",
    "frame",
    "bind",
    "crop",
    "blur",
    "pitch",
    "chord",
    "drum",
    "hum",
    "sync",
    "patch",
    "boot",
    "cache",
    "parse",
    "index",
    "shave",
    "rinse",
    "heat",
    "chill",
)
_SUFFIXES = (
    "ing",
    "er",
    "able",
    "less",
    "ed",
    "ery",
    "age",
    "ment",
    "ist",
    "ish",
    "ful",
    "wise",
    "like",
    "proof",
    "ready",
    "free",
)
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
        at
        for at in range(1, len(text) - 2)
        if text[at - 1 : at + 3].isalpha() and text[at - 1 : at + 3].isascii()
    ]
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


POLARITIES = ("-", "+")
SURFACES = ("plain", "turned", "mixed")
STARS = (1, 2, 3, 4, 5)
MISSPELLINGS = 8
"""Ways to misspell each fragment."""

WORD = re.compile(r"[a-z0-9]+(?:['-][a-z0-9]+)*")
"""A word of lower-cased text; fragments never cut one in two."""

_STATEMENT = re.compile(r"<(\^?)([=!])>")
_SLOT = re.compile(r"(\{\^?(?:a )?[a-z]+(?:[+-]|:zipf)?\})")
_SLOT_FIELDS = re.compile(r"\{(\^?)(a )?([a-z]+[+-]?)(:zipf)?\}")
_VOWEL_SOUND = re.compile(r"(?!use|uni|one)[aeiou]", re.IGNORECASE)


class Slot(NamedTuple):
    """A place in a sentence: the list drawn from, and how its entries are dressed."""

    name: str
    capital: bool
    article: bool
    zipf: bool


@dataclass(frozen=True)
class Tables:
    """The compiled language.

    Entry k of choice list c is fragment `choices[list_start[c] + k]`, 0 <= k < list_size[c]; a list with
    `octaves[c]` = n > 0 is a tail: the 2**n fragments from `list_start[c]` on, drawn by octaves.
    Template t in category g is the lists `parts[template_start[t] + g * parts_per_category :]`,
    `template_length[t]` of them; template t + 1 is the same sentence after a space. Group i is
    `members[group_start[i] :]`, `group_size[i]` of them: template numbers, weighted by repetition.
    """

    fragments: list[str]
    frame: dict[str, int]
    """Fragments that a file format fills in: "start/STARS", "middle", "end/CATEGORY NUMBER"."""
    misspelt: NDArray[np.int64]
    """First of a fragment's MISSPELLINGS variants; -1: it has none."""
    choices: NDArray[np.int64]
    list_start: NDArray[np.int64]
    list_size: NDArray[np.uint64]
    octaves: NDArray[np.uint64]
    parts: NDArray[np.int64]
    parts_per_category: int
    template_start: NDArray[np.int64]
    template_length: NDArray[np.int64]
    members: NDArray[np.int64]
    group_start: NDArray[np.int64]
    group_size: NDArray[np.uint64]
    groups: dict[str, int]
    """Group number by name: "evidence/mixed/+", "title/neutral", "padding", "decoys", "start", …"""
    categories: list[str]


@cache
def compile_grammar() -> Tables:
    """Read and compile the grammar that comes with the package; the result is shared, do not change it."""
    text = resources.files("sentiscale.datasets").joinpath("grammar.toml").read_text(encoding="utf-8")
    source = tomllib.loads(text)
    compiler = _Compiler(source)
    for group, weight, sentence in _sentences(source):
        compiler.add_sentence(group, weight, sentence)
    compiler.add_frame()
    return compiler.tables()


def _sentences(source: Mapping[str, Any]) -> Iterator[tuple[str, int, str]]:
    """Every sentence with its group and weight; polar ones once for each class."""
    statements = source["statements"]["sentences"]
    for kind in source["evidence"]:
        written = [full for sentence in kind["sentences"] for full in _with_statements(sentence, statements)]
        # the kind's weight is shared out among its sentences, however many it has
        weight = max(1, round(200 * kind["weight"] / len(written)))
        for polarity in POLARITIES:
            for sentence in written:
                yield f"evidence/{kind['surface']}/{polarity}", weight, _with_polarity(sentence, polarity)
    for surface in SURFACES:
        for polarity in POLARITIES:
            for sentence in source["titles"][surface]:
                yield f"title/{surface}/{polarity}", 1, _with_polarity(sentence, polarity)
    for sentence in source["titles"]["neutral"]:
        yield "title/neutral", 1, sentence
    for sentence in source["padding"]["sentences"]:
        yield "padding", 1, sentence
    for polarity in POLARITIES:
        for sentence in source["decoys"]["sentences"]:
            yield "decoys", 1, sentence.replace("?}", polarity + "}")


def _with_statements(sentence: str, statements: Sequence[str]) -> Iterator[str]:
    """Put statements into the places left for them: every statement once into every place."""
    places = _STATEMENT.findall(sentence)
    if not places:
        yield sentence
        return
    for number in range(len(statements)):
        full = sentence
        for order, (capital, role) in enumerate(places):
            # 5 is coprime to most counts, so two places hardly ever get the same statement
            statement = statements[(number * (1 + 4 * order) + 3 * order) % len(statements)]
            full = full.replace(f"<{capital}{role}>", _begin(statement, capital).replace("*}", role + "}"), 1)
        yield full


def _begin(statement: str, capital: str) -> str:
    if not capital:
        return statement
    return statement.replace("{", "{^", 1) if statement[0] == "{" else statement[0].upper() + statement[1:]


def _with_polarity(sentence: str, polarity: str) -> str:
    other = "+" if polarity == "-" else "-"
    return sentence.replace("=}", polarity + "}").replace("!}", other + "}")


def split_entries(text: str) -> list[str]:
    """Split a word list at its commas; "_" is the empty entry."""
    found = [entry.strip() for entry in text.replace("\n", " ").split(",")]
    return ["" if entry == "_" else entry for entry in found if entry]


def parse(sentence: str) -> list[str | Slot]:
    """Cut a sentence of the grammar into plain text and slots.

    Raises: ValueError when a brace is left that no slot explains (a slip in grammar.toml).
    """
    found: list[str | Slot] = []
    for piece in _SLOT.split(sentence):
        fields = _SLOT_FIELDS.fullmatch(piece)
        if fields:
            capital, article, name, zipf = fields.groups()
            found.append(Slot(name, bool(capital), bool(article), bool(zipf)))
        elif "{" in piece or "}" in piece:
            raise ValueError(f"grammar.toml: '{piece}' in '{sentence}' is not a slot.")
        elif piece:
            found.append(piece)
    return found


def dress(entry: str, slot: Slot) -> str:
    """Give an entry the article and the capital letter that its slot asks for."""
    if slot.article:
        entry = ("an " if _VOWEL_SOUND.match(entry) else "a ") + entry
    return entry[:1].upper() + entry[1:] if slot.capital else entry


class _Compiler:
    """Collects fragments, lists and templates under numbers; `tables` makes arrays of them."""

    def __init__(self, source: Mapping[str, Any]) -> None:
        self.categories: list[dict[str, str]] = source["category"]
        self.lists: dict[str, list[str]] = {
            name: split_entries(text) for part in ("words", "polar") for name, text in source[part].items()
        }
        self.lists |= {
            # an optional word brings its own space, so that its absence leaves none behind
            name: [f"{entry} " if entry else "" for entry in split_entries(text)]
            for name, text in source["optional"].items()
        }
        self.lists |= {
            name: [f" {entry}" if entry else "" for entry in split_entries(text)]
            for name, text in source["trailing"].items()
        }
        self.fragments: list[str] = []
        self.fragment_number: dict[str, int] = {}
        self.frame: dict[str, int] = {}
        self.choices: list[int] = []
        self.list_rows: list[tuple[int, int, int]] = []  # start, size, octaves
        self.list_number: dict[tuple[str | Slot, int], int] = {}
        self.templates: list[list[list[int]]] = []  # template, category, choice list
        self.groups: dict[str, list[int]] = {}

    def add_sentence(self, group: str, weight: int, sentence: str) -> None:
        """Add a sentence, and its twin that follows a space, to a group."""
        for text in (sentence, " " + sentence):
            pieces = parse(text)
            self.templates.append(
                [[self._list(piece, g) for piece in pieces] for g in range(len(self.categories))]
            )
        self.groups.setdefault(group, []).extend([len(self.templates) - 2] * weight)

    def add_frame(self) -> None:
        """Add what a file format puts around title and text, as templates of one reserved fragment."""
        for stars in STARS:
            self._add_reserved("start", [f"start/{stars}"] * len(self.categories))
        self._add_reserved("middle", ["middle"] * len(self.categories))
        self._add_reserved("end", [f"end/{g}" for g in range(len(self.categories))])

    def _add_reserved(self, group: str, names: list[str]) -> None:
        lists = []
        for name in names:
            if name not in self.frame:
                self.frame[name] = len(self.fragments)
                self.fragments.append("")
                self._new_list([self.frame[name]])
            lists.append([self.list_number.setdefault((name, -1), len(self.list_rows) - 1)])
        self.groups.setdefault(group, []).append(len(self.templates))
        self.templates += [lists, lists]

    def _list(self, piece: str | Slot, category: int) -> int:
        own = isinstance(piece, Slot) and not piece.zipf and piece.name in self.categories[category]
        key = (piece, category if own else -1)
        if key not in self.list_number:
            if isinstance(piece, str):
                self._new_list([self._fragment(piece)])
            elif piece.zipf:
                self._new_tail(TAILS[piece.name]())
            else:
                named = self.categories[category][piece.name] if own else ""
                self._new_weighted(split_entries(named) if own else self.lists[piece.name], piece)
            self.list_number[key] = len(self.list_rows) - 1
        return self.list_number[key]

    def _new_weighted(self, listed: list[str], slot: Slot) -> None:
        """A list whose entries are about as frequent as one over their rank."""
        numbers: list[int] = []
        for rank, entry in enumerate(listed):
            numbers += [self._fragment(dress(entry, slot))] * (24 // (rank + 4) + 1)
        self._new_list(numbers)

    def _new_list(self, numbers: list[int]) -> None:
        self.list_rows.append((len(self.choices), len(numbers), 0))
        self.choices += numbers

    def _new_tail(self, words: list[str]) -> None:
        octaves = len(words).bit_length() - 1
        self.list_rows.append((len(self.choices), len(words), octaves))
        self.choices += range(len(self.fragments), len(self.fragments) + len(words))
        self.fragments += words

    def _fragment(self, text: str) -> int:
        if text not in self.fragment_number:
            self.fragment_number[text] = len(self.fragments)
            self.fragments.append(text)
        return self.fragment_number[text]

    def _misspell(self) -> list[int]:
        first = [-1] * len(self.fragments)
        for text, number in self.fragment_number.items():
            variants = misspellings(text, MISSPELLINGS)
            if variants:
                first[number] = len(self.fragments)
                self.fragments += variants
        return first + [-1] * (len(self.fragments) - len(first))

    def tables(self) -> Tables:
        """Lay everything out flat."""
        by_category = [
            [number for template in self.templates for number in template[g]]
            for g in range(len(self.categories))
        ]
        lengths = np.array([len(template[0]) for template in self.templates])
        rows = np.array(self.list_rows)
        sizes = np.array([len(numbers) for numbers in self.groups.values()])
        return Tables(
            misspelt=np.array(self._misspell()),  # first, since it adds fragments
            fragments=self.fragments,
            frame=self.frame,
            choices=np.array(self.choices),
            list_start=rows[:, 0],
            list_size=rows[:, 1].astype(np.uint64),
            octaves=rows[:, 2].astype(np.uint64),
            parts=np.array(by_category).ravel(),
            parts_per_category=len(by_category[0]),
            template_start=np.cumsum(lengths) - lengths,
            template_length=lengths,
            members=np.concatenate([np.array(numbers) for numbers in self.groups.values()]),
            group_start=np.cumsum(sizes) - sizes,
            group_size=sizes.astype(np.uint64),
            groups={name: number for number, name in enumerate(self.groups)},
            categories=[category["name"] for category in self.categories],
        )
