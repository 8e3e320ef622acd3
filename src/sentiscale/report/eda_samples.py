"""A few reviews of each class, short, typical and long, with their telling words marked."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sentiscale.data.prepared import PreparedDataset, Split
from sentiscale.errors import DataError
from sentiscale.report.eda_counting import CLASSES
from sentiscale.report.eda_words import WordScores
from sentiscale.text.vocab import PAD, UNK

Leaning = NDArray[np.int64]
"""Grade of each word by id, as `lean` gives it."""

SEED = 0
SHARES = {"short": (0.05, 0.15, 2), "typical": (0.45, 0.55, 2), "long": (0.88, 0.94, 1)}
"""Which part of a class, ordered by length, samples are drawn from, and how many."""
TIMES_AS_OFTEN, FAINT_Z = 1.5, 5.0
"""A word is marked when one class uses it this much more often, beyond doubt."""
STRONGER = (0.7, 0.95)
"""Of the marked words these shares are marked faintly, and faintly or clearly."""
UNKNOWN_SIGN = "▢"
WORD = re.compile(r"\w+|\W", re.UNICODE)
CLINGING = re.compile(r"n't|'\w+|[!?]")
"""Tokens that are written without a space before them."""


@dataclass(frozen=True)
class Piece:
    """A part of a review's text; joined they give the text."""

    text: str
    side: str = ""
    """The class the word speaks for, "unknown" for a word outside the vocabulary, else empty."""
    strength: int = 0
    """1 to 3; 0 where it speaks for no class."""


@dataclass(frozen=True)
class Sample:
    """One review."""

    label: str
    kind: str
    """short, typical or long."""
    tokens: int
    pieces: list[Piece]


@dataclass(frozen=True)
class Samples:
    """The reviews that were drawn."""

    reviews: list[Sample]
    as_written: bool
    """Whether their text is the raw one; otherwise it is the cleaned one, put together from the tokens."""


def lean(scores: WordScores) -> Leaning:
    """Grade every word by id: -3 to -1 it speaks for negative, 1 to 3 for positive, 0 for neither."""
    z, ratio = np.abs(scores.z), scores.ratio
    clear = (np.abs(np.log(ratio)) >= np.log(TIMES_AS_OFTEN)) & (z >= FAINT_Z)
    grades = np.zeros(len(z), np.int64)
    if clear.any():
        grades[clear] = 1 + np.digitize(z[clear], np.quantile(z[clear], STRONGER))
    return np.where(ratio > 1, grades, -grades)


def draw_samples(dataset: PreparedDataset, leaning: Leaning) -> Samples:
    """Draw training reviews of each class; the same ones for the same data."""
    split = dataset.split("train")
    raw = raw_texts(dataset.path / "text" / "train", len(split))
    words = dataset.vocab.words
    joined = dataset.manifest.cleaning == "words"
    samples = []
    for label, name in enumerate(CLASSES):
        for kind, row in _draw(split, label):
            ids = split.tokens[split.offsets[row] : split.offsets[row + 1]].tolist()
            if raw:
                pieces = _marked(raw(row), {words[i]: i for i in ids}, leaning)
            else:
                pieces = list(_decoded(ids, words, leaning, joined=joined))
            samples.append(Sample(name, kind, len(ids), pieces))
    return Samples(samples, as_written=raw is not None)


def _draw(split: Split, label: int) -> Iterator[tuple[str, int]]:
    """Choose rows of one class near the lengths asked for, none twice."""
    random = np.random.default_rng([SEED, label])
    rows = np.flatnonzero(split.labels == label)
    rows = rows[np.argsort(split.lengths[rows], kind="stable")]
    taken: set[int] = set()
    for kind, (low, high, wanted) in SHARES.items():
        near = rows[int(low * len(rows)) : int(high * len(rows)) + 1]
        free = np.array([row for row in near.tolist() if row not in taken], np.int64)
        for row in random.choice(free, min(wanted, len(free)), replace=False).tolist():
            taken.add(row)
            yield kind, row


def _decoded(ids: list[int], words: Sequence[str], leaning: Leaning, *, joined: bool) -> Iterator[Piece]:
    """The review as its token ids tell it, with word endings and marks joined to the word before."""
    for place, word in enumerate(ids):
        text = words[word]
        if place and not (joined and CLINGING.fullmatch(text)):
            yield Piece(" ")
        if word in (PAD, UNK):
            yield Piece(UNKNOWN_SIGN, "unknown")
        else:
            yield _graded(text, int(leaning[word]))


def _marked(text: str, known: Mapping[str, int], leaning: Leaning) -> list[Piece]:
    """The raw text with those of its words marked that are tokens of the review."""
    pieces = []
    for part in WORD.findall(text):
        word = known.get(part.lower())
        pieces.append(_graded(part, 0 if word is None else int(leaning[word])))
    return pieces


def _graded(text: str, grade: int) -> Piece:
    return Piece(text, CLASSES[grade > 0], abs(grade)) if grade else Piece(text)


def raw_texts(folder: Path, rows: int) -> Callable[[int], str] | None:
    """A function that reads the raw text of a row of a split; None where the text was not kept.

    Args:
        folder: text/SPLIT of the prepared data.
        rows: of the split.

    Raises: DataError when the files are damaged.
    """
    parts = sorted(folder.glob("*.parquet"))
    try:
        ends = np.cumsum([pq.read_metadata(part).num_rows for part in parts])
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{folder} is damaged: {error}. Prepare the data again with --force.") from error
    if not parts or ends[-1] != rows:
        return None

    def read(row: int) -> str:
        number = int(np.searchsorted(ends, row, side="right"))
        before = int(ends[number - 1]) if number else 0
        return str(pq.read_table(parts[number], columns=["text"])["text"][row - before].as_py())

    return read
