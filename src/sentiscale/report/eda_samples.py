"""Select examples for the page: reviews of each class with telling words marked, and problematic rows."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sentiscale.data.prepared import REJECTS, Manifest, PreparedDataset, Split
from sentiscale.errors import DataError
from sentiscale.report.eda_words import TermCounts
from sentiscale.text.encode import token_spans
from sentiscale.text.vocab import PAD, UNK

SEED = 0
SHARES = {"short": (0.05, 0.15), "typical": (0.45, 0.55), "long": (0.88, 0.94)}
"""For each kind of sample, the range of quantiles of a class's lengths to draw from."""
WANTED = {2: (2, 2, 1), 8: (1, 1, 1), 100: (0, 1, 0)}
"""Number of samples of each kind by the number of classes, up to which it is for each class."""
TIMES_AS_OFTEN, FAINT_Z = 1.5, 5.0
"""Smallest ratio of a class's rate to that of the others and smallest z score for a word to be marked."""
STRONGER = (0.7, 0.95)
"""Quantiles of the marked words' z scores at which the strength of the mark increases."""
UNKNOWN_SIGN = "▢"
CLINGING = re.compile(r"n't|'\w+|[!?]")
"""Tokens that are written without a space before them."""


@dataclass(frozen=True)
class TextPiece:
    """A part of a review's text; the parts joined are the text."""

    text: str
    style: str = ""
    """CSS class of the label that it indicates, "unknown" for a word outside the vocabulary, or empty."""
    strength: int = 0
    """Strength of the mark, 1 to 3; 0 for no mark."""


@dataclass(frozen=True)
class Sample:
    label: str
    style: str
    """CSS class of the label."""
    kind: str
    """Length of the sample: "short", "typical" or "long"."""
    tokens: int
    pieces: list[TextPiece]


@dataclass(frozen=True)
class Samples:
    reviews: list[Sample]
    as_written: bool
    """Whether texts are raw; otherwise they are reconstructed from the tokens of the cleaned text."""


class Leaning(NamedTuple):
    """Which class each word indicates, and how clearly; arrays are indexed by word id."""

    codes: NDArray[np.int64]
    """Position of the class."""
    grades: NDArray[np.int64]
    """1 to 3; 0 if the word indicates no class."""
    styles: Sequence[str]
    """CSS class of each class."""

    def piece(self, text: str, word: int | None) -> TextPiece:
        """Return a word of a review with its mark, given its id."""
        if word is None or not self.grades[word]:
            return TextPiece(text)
        return TextPiece(text, self.styles[self.codes[word]], int(self.grades[word]))


def lean(counts: TermCounts, styles: Sequence[str]) -> Leaning:
    """Grade every word by the class that it indicates most."""
    codes, grades = np.zeros((2, len(counts.all)), np.int64)
    best_z, best_times = np.zeros((2, len(codes)))
    for code in range(len(styles)):
        contrast = counts.contrast(code)
        better = contrast.z > best_z
        codes[better] = code
        best_z[better], best_times[better] = contrast.z[better], contrast.times[better]
    clear = (best_times >= TIMES_AS_OFTEN) & (best_z >= FAINT_Z)
    if clear.any():
        grades[clear] = 1 + np.digitize(best_z[clear], np.quantile(best_z[clear], STRONGER))
    return Leaning(codes, grades, styles)


def draw_samples(dataset: PreparedDataset, leaning: Leaning) -> Samples:
    """Draw training reviews of each class; the same data produce the same samples."""
    split = dataset.split("train")
    names = dataset.manifest.classes
    wanted = next(wanted for most, wanted in WANTED.items() if len(names) <= most)
    raw = raw_texts(dataset.path / "text" / "train", len(split))
    words = dataset.vocab.words
    joined = dataset.manifest.cleaning == "words"
    samples = []
    for label, name in enumerate(names):
        for kind, row in _draw(split, label, wanted):
            ids = split.tokens[split.offsets[row] : split.offsets[row + 1]].tolist()
            if raw:
                known = {words[i]: i for i in ids}
                pieces = list(_marked(raw(row), dataset.manifest, known, leaning))
            else:
                pieces = list(_decoded(ids, words, leaning, joined=joined))
            samples.append(Sample(name, leaning.styles[label], kind, len(ids), pieces))
    return Samples(samples, as_written=raw is not None)


def _draw(split: Split, label: int, numbers: Sequence[int]) -> Iterator[tuple[str, int]]:
    """Draw distinct rows of one class, of each of the ranges of lengths in SHARES the given number."""
    random = np.random.default_rng([SEED, label])
    rows = np.flatnonzero(split.labels == label)
    rows = rows[np.argsort(split.lengths[rows], kind="stable")]
    taken: set[int] = set()
    for (kind, (low, high)), wanted in zip(SHARES.items(), numbers, strict=True):
        near = rows[int(low * len(rows)) : int(high * len(rows)) + 1]
        free = np.array([row for row in near.tolist() if row not in taken], np.int64)
        for row in random.choice(free, min(wanted, len(free)), replace=False).tolist():
            taken.add(row)
            yield kind, row


def readable(ids: Sequence[int], words: Sequence[str], *, joined: bool) -> tuple[str, list[tuple[int, int]]]:
    """Join tokens to a text; returns it with the span of each token.

    With `joined`, tokens such as "n't" are appended to the previous word without a space.
    """
    text, spans = "", []
    for number in ids:
        word = UNKNOWN_SIGN if number in (PAD, UNK) else words[number]
        text += " " if text and not (joined and CLINGING.fullmatch(word)) else ""
        spans.append((len(text), len(text) + len(word)))
        text += word
    return text, spans


def _decoded(ids: list[int], words: Sequence[str], leaning: Leaning, *, joined: bool) -> Iterator[TextPiece]:
    """Reconstruct a review from its token ids, with its words graded."""
    text, spans = readable(ids, words, joined=joined)
    at = 0
    for word, (start, end) in zip(ids, spans, strict=True):
        if start > at:
            yield TextPiece(text[at:start])
        at = end
        if word in (PAD, UNK):
            yield TextPiece(UNKNOWN_SIGN, "unknown")
        else:
            yield leaning.piece(text[start:end], word)


def _marked(text: str, manifest: Manifest, known: Mapping[str, int], leaning: Leaning) -> Iterator[TextPiece]:
    """Split the raw text into pieces; words that are tokens of the review are graded."""
    at = 0
    for token, start, end in token_spans(text, manifest.cleaning, manifest.cleaning_version):
        if start > at:
            yield TextPiece(text[at:start])
        yield leaning.piece(text[start:end], known.get(token))
        at = end
    yield TextPiece(text[at:])


def raw_texts(folder: Path, rows: int) -> Callable[[int], str] | None:
    """Return a function that reads the raw text of a row, or None if the raw text was not kept.

    Args:
        folder: text/SPLIT of the prepared data.
        rows: number of rows in the split.

    Raises: DataError when the files are damaged.
    """
    parts = sorted(part for part in folder.glob("*.parquet") if part.is_file())
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
"""Largest number of rows of a file that are searched for examples."""
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
    "unusual_words": "few usual words",
}
"""Descriptions of the kinds whose names are not self-explanatory."""


@dataclass(frozen=True)
class Example:
    where: str
    """File name and line."""
    text: str
    label: str = ""
    more: int = 0
    """Number of further rows with the same text and label."""


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
    """Rows that preparation rejected or reported as unusual."""

    rejects: list[FaultKind]
    oddities: list[FaultKind]
    conflicts: list[list[Example]]
    """Rows with equal text and different labels, one list per text."""


def read_faults(dataset: PreparedDataset) -> PreparationFaults:
    """Read the counts from the manifest and a few examples of each kind from the files that exist.

    Raises: DataError when a file is damaged.
    """
    manifest, path = dataset.manifest, dataset.path
    return PreparationFaults(
        rejects=_kinds(path / REJECTS, "reason", manifest.rejected.get("by_reason", {})),
        oddities=_kinds(path / ODDITIES, "oddity", manifest.oddities),
        conflicts=_conflicts(path / CONFLICTS, manifest.classes),
    )


def _kinds(path: Path, column: str, counts: dict[str, int]) -> list[FaultKind]:
    """Kinds by decreasing count, each with the first examples in the file that have different texts."""
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


def _conflicts(path: Path, classes: Sequence[str]) -> list[list[Example]]:
    """First texts with several labels: for each label, the first row and the number of other rows."""
    same: dict[Any, dict[str, list[Example]]] = defaultdict(lambda: defaultdict(list))
    for row in _rows(path, ("file", "line", "text", "label"), optional=("text_id",)):
        example = _example(row, classes)
        same[row.get("text_id", row["text"])][example.label].append(example)
    both = [by_label for by_label in same.values() if len(by_label) > 1]
    return [
        [replace(rows[0], more=len(rows) - 1) for _, rows in sorted(by_label.items())]
        for by_label in both[:CONFLICTS_SHOWN]
    ]


def _rows(path: Path, columns: Sequence[str], optional: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """Yield the rows of a Parquet file, or none if it does not exist."""
    if not path.is_file():
        return
    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            missing = set(columns) - set(schema.names)
            if missing:
                raise pa.ArrowInvalid(f"it has no column {', '.join(sorted(missing))}")
            wanted = [name for name in [*columns, *optional] if name in schema.names]
            for name in wanted:
                if not _is_usual(name, schema.field(name).type):
                    raise pa.ArrowInvalid(f"column {name} has the type {schema.field(name).type}")
            read = 0
            for batch in file.iter_batches(batch_size=4096, columns=wanted):
                yield from batch.to_pylist()
                read += len(batch)
                if read >= MOST_ROWS_READ:
                    return
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise DataError(f"{path} is damaged: {reason}. Prepare {path.parent} again with --force.") from error


def _is_usual(column: str, kind: pa.DataType) -> bool:
    """Whether a column has a type that `prepare` writes."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    number, text = pa.types.is_integer(kind), pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return number if column in ("line", "text_id") else text or (number and column == "label")


def _example(row: dict[str, Any], classes: Sequence[str] = ()) -> Example:
    """Return a row for display; its label is stored as a name or as a position in `classes`."""
    text = row["text"] or ""
    shown = text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT].rstrip() + "…"
    line = "" if row["line"] is None else f":{row['line']}"
    label = row.get("label")
    name = "" if label is None else str(label)
    if isinstance(label, int) and 0 <= label < len(classes):
        name = classes[label]
    return Example(f"{Path(row['file'] or '?').name}{line}", shown, name)
