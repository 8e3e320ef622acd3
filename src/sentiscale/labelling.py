"""Label whole files: reviews from lines or tables in, predictions out, in the same order and number."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from sentiscale.atomic import check_output, whole_file
from sentiscale.config import PrepareSettings
from sentiscale.data.corpus import Corpus
from sentiscale.data.sources import Stream, compression_of
from sentiscale.errors import DataError, UsageError
from sentiscale.predictor import CHUNK_ROWS, Prediction, Predictor
from sentiscale.progress import Progress
from sentiscale.records import Record

LABELS = {"__label__1": 0, "__label__2": 1, "__label__negative": 0, "__label__positive": 1}
NO_LABEL = 255

TABLES = {".csv", ".tsv", ".jsonl", ".parquet"}
COMPRESSED = {".gz", ".bz2", ".xz", ".zst"}

READ_BYTES = 2**20

OUTPUT_SUFFIXES = (".parquet", ".csv", ".jsonl")
OUTPUT_SCHEMA = pa.schema(
    {
        "line": pa.int64(),
        "label": pa.string(),
        "probability": pa.float64(),
        "positive_probability": pa.float64(),
        "truncated": pa.bool_(),
        "unknown_share": pa.float64(),
    }
)


@dataclass(frozen=True)
class InputReview:
    """One review to label and where it stands."""

    text: str
    line: int
    """Line (Parquet: row) from 1."""
    label: int | None = None
    """0 or 1 where the input says so."""


class LabelSummary(Record):
    """What was labelled."""

    rows: int
    positive: int
    negative: int
    rejected: int
    """Rows of a table that could not be read and have no prediction."""
    accuracy: float | None
    """Share of right labels where the input has labels, else None."""
    seconds: float
    rows_per_s: float


Sink = Callable[[InputReview, Prediction], None]
"""Takes every review with its prediction, in input order."""


def label_file(
    predictor: Predictor,
    source: str,
    sink: Sink,
    *,
    settings: PrepareSettings,
    labelled: bool,
    progress: Progress,
) -> LabelSummary:
    """Label all reviews of a file or of standard input (`-`), handing each to `sink`.

    A table is read by its columns; anything else has one review a line. Memory does not grow with length.

    Raises: DataError when the input is missing or damaged, or, `labelled`, has a row without a label.
    """
    started_at, rows, positive, right = time.perf_counter(), 0, 0, 0
    with opened_reviews(source, settings, labelled) as reviews:
        chunk_rows = 1 if source == "-" and sys.stdin.isatty() else CHUNK_ROWS
        with progress.task("predict", None, "rows") as advance:
            for chunk in reviews.chunks(chunk_rows):
                predictions = predictor.predict([review.text for review in chunk])
                for review, prediction in zip(chunk, predictions, strict=True):
                    sink(review, prediction)
                    positive += prediction.label == "positive"
                    right += review.label == int(prediction.label == "positive")
                rows += len(chunk)
                advance(len(chunk), "")
    seconds = time.perf_counter() - started_at
    return LabelSummary(
        rows=rows,
        positive=positive,
        negative=rows - positive,
        rejected=reviews.rejected,
        accuracy=right / rows if labelled and rows else None,
        seconds=round(seconds, 3),
        rows_per_s=rows / max(seconds, 1e-9),
    )


class Reviews:
    """Reviews to label, in input order; `rejected` counts the rows met that could not be read."""

    def __init__(self, items: Iterator[InputReview]) -> None:
        self.items = items
        self.rejected = 0

    def chunks(self, rows: int) -> Iterator[list[InputReview]]:
        """Lists of at most `rows` reviews."""
        while chunk := list(islice(self.items, rows)):
            yield chunk


@contextmanager
def opened_reviews(source: str, settings: PrepareSettings, labelled: bool) -> Iterator[Reviews]:
    """The reviews of a table, by its ending or the format setting, or else of lines."""
    stem = source.removesuffix(Path(source).suffix) if Path(source).suffix in COMPRESSED else source
    if source != "-" and (Path(stem).suffix in TABLES or settings.format not in ("auto", "fasttext")):
        reviews = Reviews(iter(()))
        reviews.items = read_table(source, settings, reviews, labelled=labelled)
        yield reviews
        return
    with opened_input(source) as lines:
        yield Reviews(read_lines(lines, "standard input" if source == "-" else source, labelled=labelled))


def read_lines(lines: Iterator[str], name: str, *, labelled: bool) -> Iterator[InputReview]:
    """One review a line; with `labelled`, each begins with a fastText label.

    Raises: DataError naming file and line where a label is missing or unknown.
    """
    for number, raw in enumerate(lines, 1):
        line = raw.removesuffix("\r")
        if not labelled:
            yield InputReview(line, number)
            continue
        word, _, text = line.partition(" ")
        if word not in LABELS:
            raise DataError(f"{name}:{number} begins with '{word[:40]}'; allowed are {', '.join(LABELS)}.")
        yield InputReview(text, number, LABELS[word])


def read_table(
    path: str, settings: PrepareSettings, reviews: Reviews, *, labelled: bool
) -> Iterator[InputReview]:
    """Every readable row of a CSV, JSONL, Parquet or fastText file; the others are counted in `reviews`."""
    corpus = Corpus.find([path], settings, labels="required" if labelled else "none")
    for block in corpus.blocks():
        reviews.rejected += len(block.rejects.lines)
        texts = block.text.cast(pa.large_string()).to_pylist()
        for text, line, label in zip(texts, block.line.tolist(), block.labels.tolist(), strict=True):
            yield InputReview(text, line, None if label == NO_LABEL else label)


@contextmanager
def opened_input(source: str) -> Iterator[Iterator[str]]:
    """Lines of standard input for `-`, else of a file or URL, decompressed; bad bytes become U+FFFD.

    Raises: DataError when the file is missing, cut short or damaged.
    """
    if source == "-":
        yield lines_of(sys.stdin.buffer.read1)  # type: ignore[union-attr]
        return
    compression = compression_of(source) if Path(source).suffix in COMPRESSED else None
    with Stream(source, compression) as stream:
        yield lines_of(stream.read)


def lines_of(read: Callable[[int], bytes]) -> Iterator[str]:
    """Cut what `read` gives into lines at LF."""
    rest = b""
    while chunk := read(READ_BYTES):
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (line.decode("utf-8", "replace") for line in lines)
    if rest:
        yield rest.decode("utf-8", "replace")


class PredictionWriter:
    """Writes predictions to an open .parquet, .csv or .jsonl file."""

    def __init__(self, file: BinaryIO, suffix: str) -> None:
        self.file = file
        self.rows: list[dict[str, Any]] = []
        kinds = {".csv": pyarrow.csv.CSVWriter, ".parquet": pyarrow.parquet.ParquetWriter}
        self.table = kinds[suffix](file, OUTPUT_SCHEMA) if suffix in kinds else None

    def add(self, review: InputReview, prediction: Prediction) -> None:
        """Take one row."""
        self.rows.append({"line": review.line, **prediction.as_dict()})
        if len(self.rows) >= CHUNK_ROWS:
            self.flush()

    def flush(self) -> None:
        """Hand on what is held."""
        if self.table is None:
            self.file.write("".join(json.dumps(row) + "\n" for row in self.rows).encode())
        else:
            self.table.write_table(pa.Table.from_pylist(self.rows, OUTPUT_SCHEMA))
        self.rows = []


@contextmanager
def opened_output(path: Path) -> Iterator[Sink]:
    """A sink that writes predictions to a file; it appears when it is complete.

    Raises: UsageError for another ending than .parquet, .csv or .jsonl, or a place that cannot be written.
    """
    if path.suffix not in OUTPUT_SUFFIXES:
        raise UsageError(f"--out is {path}; it must end in {', '.join(OUTPUT_SUFFIXES)}.")
    check_output(path, replace=True)
    with whole_file(path) as file:
        writer = PredictionWriter(file, path.suffix)
        yield writer.add
        writer.flush()
        if writer.table is not None:
            writer.table.close()
