"""Compile grammar.toml into flat tables: fragments, choice lists, and sentence templates.

A *fragment* is an indivisible piece of text ("the old one", " is ", "."). A *choice list* contains the
fragments that can fill one position of a sentence; plain text is a list with one fragment. A *template* is a
sentence, stored as a sequence of choice lists. All text is computed here, so that generating reviews only
needs index arithmetic.
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

MISSPELLINGS = 8
"""Number of misspelt variants of each fragment."""
POLARITIES = ("-", "+")
SURFACES = ("plain", "turned", "mixed")
STARS = (1, 2, 3, 4, 5)

WORD = re.compile(r"[a-z0-9]+(?:['-][a-z0-9]+)*")
"""Pattern of a word in lower-case text; fragment boundaries never split a word."""

_STATEMENT = re.compile(r"<(\^?)([=!])>")
_SLOT = re.compile(r"(\{\^?(?:a )?[a-z]+(?:[+-]|:zipf)?\})")
_SLOT_FIELDS = re.compile(r"\{(\^?)(a )?([a-z]+[+-]?)(:zipf)?\}")
_VOWEL_SOUND = re.compile(r"(?!use|uni|one)[aeiou]", re.IGNORECASE)


@cache
def grammar_source() -> dict[str, Any]:
    text = resources.files("sentiscale.datasets").joinpath("grammar.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def split_entries(text: str) -> list[str]:
    """Split a comma-separated word list; "_" stands for the empty entry."""
    entries = [entry.strip() for entry in text.replace("\n", " ").split(",")]
    return ["" if entry == "_" else entry for entry in entries if entry]


def _rare_parts(name: str) -> list[str]:
    return split_entries(grammar_source()["rare"][name])


def names() -> list[str]:
    """Return 2**17 invented proper names, the most frequent first."""
    syllables = [onset + vowel for onset, vowel in product(_rare_parts("onsets"), "aeio")]
    codas, endings = _rare_parts("codas"), _rare_parts("endings")
    found = []
    for rank in range(2**17):
        rest, first = divmod(_scatter(rank, 2**17), len(syllables))
        rest, ending = divmod(rest, len(endings))
        middle, coda = divmod(rest, len(codas))
        # `middle` selects none or one of several second syllables, which depend on the first syllable
        second = syllables[(first * 8 + middle * 17) % len(syllables)] if middle else ""
        found.append((syllables[first] + codas[coda] + second + endings[ending]).capitalize())
    return found


def terms() -> list[str]:
    """Return 2**15 compound words such as "microfiltering", the most frequent first."""
    prefixes, stems, suffixes = (_rare_parts(name) for name in ("prefixes", "stems", "suffixes"))
    found = []
    for rank in range(2**15):
        rest, prefix = divmod(_scatter(rank, 2**15), len(prefixes))
        suffix, stem = divmod(rest, len(stems))
        silent_e = stems[stem].endswith("e") and suffixes[suffix][0] in "aei"
        found.append(prefixes[prefix] + (stems[stem][:-1] if silent_e else stems[stem]) + suffixes[suffix])
    return found


def codes() -> list[str]:
    """Return 2**16 model numbers such as "KX-402", the most frequent first."""
    letters, step = "ABCDEFGHJKLMNPRSTVWXZ", 6  # numbers from 100 to 999 for each of the 441 pairs of letters
    found = []
    for rank in range(2**16):
        number, pair = divmod(_scatter(rank, 2**16), len(letters) ** 2)
        first, second = divmod(pair, len(letters))
        found.append(f"{letters[first]}{letters[second]}-{100 + number * step + pair % step}")
    return found


RARE_WORDS: dict[str, Callable[[], list[str]]] = {"name": names, "term": terms, "code": codes}
"""Functions that return the words of `{name:zipf}`, `{term:zipf}` and `{code:zipf}`.

The lengths of these lists are powers of two.
"""


def _scatter(rank: int, size: int) -> int:
    """Permute 0 … size - 1, where `size` is a power of two, so that consecutive ranks get unrelated words."""
    code = (rank * 0x9E3779B1 + 0x5BD1) % size
    code ^= code >> 7
    return (code * 0x85EBCA6B) % size


_NEIGHBOURS = dict(zip("abcdefghijklmnopqrstuvwxyz", "svxfrghjokklnmioptayibwzux", strict=True))
"""An adjacent keyboard key for each letter."""


def misspellings(text: str, count: int) -> list[str]:
    """Return `count` misspelt variants of `text`, with one swapped, dropped, doubled or replaced letter each.

    Returns an empty list if `text` has no four consecutive letters.
    """
    windows = [text[at - 1 : at + 3] for at in range(1, len(text) - 2)]
    spots = [at for at, letters in enumerate(windows, 1) if letters.isalpha() and letters.isascii()]
    found = []
    for number in range(count if spots else 0):
        at = spots[(number * 7919 + len(text)) % len(spots)]
        first, second = text[at], text[at + 1]
        mistyped = (second + first, second, first + first + second, _NEIGHBOURS[first.lower()] + second)
        found.append(text[:at] + mistyped[number % 4] + text[at + 2 :])
    return found


class Slot(NamedTuple):
    """A position in a sentence: the word list that fills it, and how its entries are inflected."""

    name: str
    capital: bool
    article: bool
    zipf: bool


@dataclass(frozen=True)
class Grammar:
    """The compiled grammar.

    Entry k of choice list c is fragment `choices[list_start[c] + k]`, where 0 <= k < list_size[c]. A list
    with `octaves[c]` = n > 0 contains 2**n rare words, which are drawn by octaves. Template t in category g
    consists of the `template_length[t]` lists in `parts` from `template_start[t] + g * parts_per_category`;
    template t + 1 is the same sentence preceded by a space. Group i consists of the `group_size[i]` template
    numbers in `members` from `group_start[i]`; a template's weight is the number of times it is repeated.
    """

    fragments: list[str]
    frame: dict[str, int]
    """Numbers of the fragments filled in by a file format: "start/STARS", "middle", "end/CATEGORY NUMBER"."""
    misspelt: NDArray[np.int64]
    """Number of the first of a fragment's MISSPELLINGS variants; -1 if it has none."""
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
def compile_grammar() -> Grammar:
    """Compile the package's grammar. The result is cached, so it must not be modified."""
    compiler = _Compiler(grammar_source())
    for group, weight, sentence in _sentences(grammar_source()):
        compiler.add_sentence(group, weight, sentence)
    compiler.add_frame()
    return compiler.grammar()


def _sentences(source: Mapping[str, Any]) -> Iterator[tuple[str, int, str]]:
    """Yield every sentence with its group and weight; polar sentences are yielded once per class."""
    statements = source["statements"]["sentences"]
    for kind in source["evidence"]:
        written = [full for sentence in kind["sentences"] for full in _with_statements(sentence, statements)]
        # the weight of a kind is divided among its sentences
        weight = max(1, round(200 * kind["weight"] / len(written)))
        for polarity in POLARITIES:
            for sentence in written:
                yield f"evidence/{kind['surface']}/{polarity}", weight, _with_polarity(sentence, polarity)
    for surface in SURFACES:
        for polarity in POLARITIES:
            for sentence in source["titles"][surface]:
                yield f"title/{surface}/{polarity}", 1, _with_polarity(sentence, polarity)
    yield from (("title/neutral", 1, sentence) for sentence in source["titles"]["neutral"])
    yield from (("padding", 1, sentence) for sentence in source["padding"]["sentences"])
    for polarity in POLARITIES:
        for sentence in source["decoys"]["sentences"]:
            yield "decoys", 1, sentence.replace("?}", polarity + "}")


def _with_statements(sentence: str, statements: Sequence[str]) -> Iterator[str]:
    """Yield the sentence with its placeholders filled, so that each takes every statement once."""
    places = _STATEMENT.findall(sentence)
    if not places:
        yield sentence
        return
    for number in range(len(statements)):
        full = sentence
        for order, (capital, role) in enumerate(places):
            # 5 is coprime to most counts, so two placeholders rarely get the same statement
            statement = statements[(number * (1 + 4 * order) + 3 * order) % len(statements)]
            if capital and statement[0] == "{":
                statement = statement.replace("{", "{^", 1)
            elif capital:
                statement = statement[0].upper() + statement[1:]
            full = full.replace(f"<{capital}{role}>", statement.replace("*}", role + "}"), 1)
        yield full


def _with_polarity(sentence: str, polarity: str) -> str:
    other = "+" if polarity == "-" else "-"
    return sentence.replace("=}", polarity + "}").replace("!}", other + "}")


def parse(sentence: str) -> list[str | Slot]:
    """Split a sentence of the grammar into plain text and slots.

    Raises: ValueError when a brace is not part of a slot, which is an error in grammar.toml.
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


def inflect(entry: str, slot: Slot) -> str:
    """Add the article and the capital letter that the slot requires."""
    if slot.article:
        entry = ("an " if _VOWEL_SOUND.match(entry) else "a ") + entry
    return entry[:1].upper() + entry[1:] if slot.capital else entry


class _Compiler:
    """Collects and numbers fragments, lists and templates; `grammar` converts them to arrays."""

    def __init__(self, source: Mapping[str, Any]) -> None:
        self.categories: list[dict[str, str]] = source["category"]
        entries = {
            section: {name: split_entries(text) for name, text in source[section].items()}
            for section in ("words", "polar", "optional", "trailing")
        }
        # an optional word includes its space, so that no extra space remains without it
        optional = {
            name: [entry and f"{entry} " for entry in listed] for name, listed in entries["optional"].items()
        }
        trailing = {
            name: [entry and f" {entry}" for entry in listed] for name, listed in entries["trailing"].items()
        }
        self.lists = entries["words"] | entries["polar"] | optional | trailing
        self.fragments: list[str] = []
        self.fragment_number: dict[str, int] = {}
        self.frame: dict[str, int] = {}
        self.choices: list[int] = []
        self.list_rows: list[tuple[int, int, int]] = []  # start, size, octaves
        self.list_number: dict[tuple[str | Slot, int], int] = {}
        self.templates: list[list[list[int]]] = []  # template, category, choice list
        self.groups: dict[str, list[int]] = {}

    def add_sentence(self, group: str, weight: int, sentence: str) -> None:
        """Add two templates: the sentence, which joins the group, and the same sentence after a space."""
        for text in (sentence, " " + sentence):
            pieces = parse(text)
            self.templates.append(
                [[self._list(piece, g) for piece in pieces] for g in range(len(self.categories))]
            )
        self.groups.setdefault(group, []).extend([len(self.templates) - 2] * weight)

    def add_frame(self) -> None:
        """Add templates with one empty fragment each, for the text that a format puts around a review."""
        categories = len(self.categories)
        for stars in STARS:
            self._add_empty("start", [f"start/{stars}"] * categories)
        self._add_empty("middle", ["middle"] * categories)
        self._add_empty("end", [f"end/{g}" for g in range(categories)])

    def _add_empty(self, group: str, names: list[str]) -> None:
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
                self._new_rare(RARE_WORDS[piece.name]())
            else:
                named = self.categories[category][piece.name] if own else ""
                self._new_weighted(split_entries(named) if own else self.lists[piece.name], piece)
            self.list_number[key] = len(self.list_rows) - 1
        return self.list_number[key]

    def _new_weighted(self, listed: list[str], slot: Slot) -> None:
        """Add a list whose entries are drawn with frequencies roughly inverse to their ranks."""
        numbers: list[int] = []
        for rank, entry in enumerate(listed):
            numbers += [self._fragment(inflect(entry, slot))] * (24 // (rank + 4) + 1)
        self._new_list(numbers)

    def _new_list(self, numbers: list[int]) -> None:
        self.list_rows.append((len(self.choices), len(numbers), 0))
        self.choices += numbers

    def _new_rare(self, words: list[str]) -> None:
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

    def grammar(self) -> Grammar:
        by_category = [
            [number for template in self.templates for number in template[g]]
            for g in range(len(self.categories))
        ]
        lengths = np.array([len(template[0]) for template in self.templates])
        rows = np.array(self.list_rows)
        sizes = np.array([len(numbers) for numbers in self.groups.values()])
        return Grammar(
            misspelt=np.array(self._misspell()),  # must come first, because it adds fragments
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
