"""Reviews to read: a few of each class with telling words marked, and rows that preparation faulted."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sentiscale.data.prepared import REJECTS, PreparedDataset, Split
from sentiscale.errors import DataError
from sentiscale.report.eda_counts import CLASSES
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
class TextPiece:
    """A part of a review's text; joined they give the text."""

    text: str
    side: str = ""
    """The class the word speaks for, "unknown" for a word outside the vocabulary, else empty."""
    strength: int = 0
    """1 to 3; 0 where it speaks for no class."""


@dataclass(frozen=True)
class Sample:
    label: str
    kind: str
    """short, typical or long."""
    tokens: int
    pieces: list[TextPiece]


@dataclass(frozen=True)
class Samples:
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


def readable(ids: Sequence[int], words: Sequence[str], *, joined: bool) -> tuple[str, list[tuple[int, int]]]:
    """Tokens as a text, and where each stands in it; `joined`: word endings cling to the word before."""
    text, spans = "", []
    for number in ids:
        word = UNKNOWN_SIGN if number in (PAD, UNK) else words[number]
        text += " " if text and not (joined and CLINGING.fullmatch(word)) else ""
        spans.append((len(text), len(text) + len(word)))
        text += word
    return text, spans


def _decoded(ids: list[int], words: Sequence[str], leaning: Leaning, *, joined: bool) -> Iterator[TextPiece]:
    """The review put together from its token ids, with its words graded."""
    text, spans = readable(ids, words, joined=joined)
    at = 0
    for word, (start, end) in zip(ids, spans, strict=True):
        if start > at:
            yield TextPiece(text[at:start])
        at = end
        if word in (PAD, UNK):
            yield TextPiece(UNKNOWN_SIGN, "unknown")
        else:
            yield _graded(text[start:end], int(leaning[word]))


def _marked(text: str, known: Mapping[str, int], leaning: Leaning) -> list[TextPiece]:
    """The raw text with those of its words marked that are tokens of the review."""
    pieces = []
    for part in WORD.findall(text):
        word = known.get(part.lower())
        pieces.append(_graded(part, 0 if word is None else int(leaning[word])))
    return pieces


def _graded(text: str, grade: int) -> TextPiece:
    return TextPiece(text, CLASSES[grade > 0], abs(grade)) if grade else TextPiece(text)


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


CONFLICTS, ODDITIES = "conflicts.parquet", "oddities.parquet"
EXAMPLES, CONFLICTS_SHOWN = 3, 5
MOST_ROWS_READ = 100_000
"""Rows of one file that are looked through for examples."""
LONGEST_TEXT = 300

MEANINGS = {
    "malformed": "not in the file's format",
    "too_long": "longer than a record may be",
    "invalid_utf8": "invalid UTF-8",
    "nul_byte": "NUL bytes",
    "neutral": "three stars, neither class",
    "empty_after_cleaning": "no word left after cleaning",
    "bad_encoding": "badly encoded characters",
    "other_script": "not in Latin letters",
    "markup": "HTML tags or entities",
    "unusual_words": "hardly any usual words",
}
"""Kinds whose names do not say it all."""


@dataclass(frozen=True)
class Example:
    where: str
    """File and line."""
    text: str
    label: str = ""
    more: int = 0
    """Further rows that look the same."""


@dataclass(frozen=True)
class FaultKind:
    name: str
    count: int
    examples: list[Example] = field(default_factory=list)

    @property
    def meaning(self) -> str:
        return MEANINGS.get(self.name, self.name.replace("_", " "))


@dataclass(frozen=True)
class PreparationFaults:
    """What preparation left out or wondered about."""

    rejects: list[FaultKind]
    oddities: list[FaultKind]
    conflicts: list[list[Example]]
    """Rows with equal text and different labels, a list for each text."""


def read_faults(dataset: PreparedDataset) -> PreparationFaults:
    """Take the counts from the manifest and a few examples of each kind from the files that are there.

    Raises: DataError when one of the files is damaged.
    """
    manifest, path = dataset.manifest, dataset.path
    return PreparationFaults(
        rejects=_kinds(path / REJECTS, "reason", manifest.rejected.get("by_reason", {})),
        oddities=_kinds(path / ODDITIES, "oddity", manifest.oddities),
        conflicts=_conflicts(path / CONFLICTS),
    )


def _kinds(path: Path, column: str, counts: dict[str, int]) -> list[FaultKind]:
    """The kinds by falling count, each with the first examples in the file whose texts differ."""
    examples: dict[str, dict[str, Example]] = {name: {} for name, count in counts.items() if count}
    for row in _rows(path, ("file", "line", "text", column)):
        found = examples.setdefault(str(row[column]), {})
        if len(found) < EXAMPLES:
            example = _example(row)
            found.setdefault(example.text, example)
            if all(len(texts) == EXAMPLES for texts in examples.values()):
                break
    ordered = sorted((name for name in examples if counts.get(name)), key=lambda name: (-counts[name], name))
    return [FaultKind(name, counts[name], list(examples[name].values())) for name in ordered]


def _conflicts(path: Path) -> list[list[Example]]:
    """The first texts that occur with both labels: for each label the first row and how many more."""
    same: dict[Any, dict[str, list[Example]]] = defaultdict(lambda: defaultdict(list))
    for row in _rows(path, ("file", "line", "text", "label"), optional=("text_id",)):
        example = _example(row)
        same[row.get("text_id", row["text"])][example.label].append(example)
    both = [by_label for by_label in same.values() if len(by_label) > 1]
    return [
        [replace(rows[0], more=len(rows) - 1) for _, rows in sorted(by_label.items())]
        for by_label in both[:CONFLICTS_SHOWN]
    ]


def _rows(path: Path, columns: Sequence[str], optional: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """Rows of a Parquet file, none when it is not there."""
    if not path.is_file():
        return
    try:
        with pq.ParquetFile(path) as file:
            missing = set(columns) - set(file.schema_arrow.names)
            if missing:
                raise pa.ArrowInvalid(f"it has no column {', '.join(sorted(missing))}")
            read = 0
            for batch in file.iter_batches(batch_size=4096, columns=[*columns, *optional]):
                yield from batch.to_pylist()
                read += len(batch)
                if read >= MOST_ROWS_READ:
                    return
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise DataError(f"{path} is damaged: {reason}. Prepare {path.parent} again with --force.") from error


def _example(row: dict[str, Any]) -> Example:
    text = row["text"] or ""
    shown = text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT].rstrip() + "…"
    line = "" if row["line"] is None else f":{row['line']}"
    return Example(f"{Path(row['file'] or '?').name}{line}", shown, _label(row.get("label")))


def _label(value: Any) -> str:
    """The class of a label, whether it is stored as a name or as a number."""
    return {0: "negative", 1: "positive", None: ""}.get(value, str(value))
