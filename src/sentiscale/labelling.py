"""Label whole files: reviews from lines or tables in, predictions out, in the same order and number."""

import json
import os
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import fsspec
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from sentiscale.atomic import disk_error
from sentiscale.config import PrepareSettings
from sentiscale.data.corpus import Corpus
from sentiscale.errors import DataError, UsageError
from sentiscale.predictor import CHUNK_ROWS, Prediction, Predictor
from sentiscale.progress import Progress
from sentiscale.records import Record

LABELS = {"__label__1": 0, "__label__2": 1, "__label__negative": 0, "__label__positive": 1}
NO_LABEL = 255

TABLES = {".csv", ".tsv", ".jsonl", ".parquet"}
COMPRESSED = {".gz", ".bz2", ".xz", ".zst"}

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
            while chunk := list(islice(reviews, chunk_rows)):
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
        accuracy=right / rows if labelled and rows else None,
        seconds=round(seconds, 3),
        rows_per_s=rows / max(seconds, 1e-9),
    )


@contextmanager
def opened_reviews(source: str, settings: PrepareSettings, labelled: bool) -> Iterator[Iterator[InputReview]]:
    """The reviews of a table, by its ending or the format setting, or else of lines."""
    stem = source.removesuffix(Path(source).suffix) if Path(source).suffix in COMPRESSED else source
    if source != "-" and (Path(stem).suffix in TABLES or settings.format not in ("auto", "fasttext")):
        yield read_table(source, settings, labelled=labelled)
        return
    with opened_input(source) as file:
        yield read_lines(file, "standard input" if source == "-" else source, labelled=labelled)


def read_lines(file: TextIO, name: str, *, labelled: bool) -> Iterator[InputReview]:
    """One review a line; with `labelled`, each begins with a fastText label.

    Raises: DataError naming file and line where a label is missing or unknown.
    """
    for number, raw in enumerate(file, 1):
        line = raw.rstrip("\r\n")
        if not labelled:
            yield InputReview(line, number)
            continue
        word, _, text = line.partition(" ")
        if word not in LABELS:
            raise DataError(f"{name}:{number} begins with '{word[:40]}'; allowed are {', '.join(LABELS)}.")
        yield InputReview(text, number, LABELS[word])


def read_table(path: str, settings: PrepareSettings, *, labelled: bool) -> Iterator[InputReview]:
    """Every row of a CSV, JSONL, Parquet or fastText file, labelled or not."""
    corpus = Corpus.find([path], settings, labels="required" if labelled else "none")
    for block in corpus.blocks():
        texts = block.text.cast(pa.large_string()).to_pylist()
        for text, line, label in zip(texts, block.line.tolist(), block.labels.tolist(), strict=True):
            yield InputReview(text, line, None if label == NO_LABEL else label)


@contextmanager
def opened_input(source: str) -> Iterator[TextIO]:
    """Standard input for `-`, else a file or URL, decompressed by its name; bad bytes become U+FFFD."""
    if source == "-":
        sys.stdin.reconfigure(encoding="utf-8", errors="replace", newline="\n")  # type: ignore[union-attr]
        yield sys.stdin
        return
    options: dict[str, Any] = {"encoding": "utf-8", "errors": "replace", "newline": "\n"}
    try:
        with fsspec.open(source, "rt", compression="infer", **options) as file:
            yield file
    except (FileNotFoundError, IsADirectoryError) as error:
        raise DataError(
            f"cannot read {source}: {error.strerror}. Give a file, or - for standard input."
        ) from error


class PredictionWriter:
    """Writes predictions to a .parquet, .csv or .jsonl file that appears when it is complete."""

    def __init__(self, path: Path) -> None:
        if path.suffix not in OUTPUT_SUFFIXES:
            raise UsageError(f"--out is {path}; it must end in {', '.join(OUTPUT_SUFFIXES)}.")
        self.path = path
        self.temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
        try:
            self.sink = open(self.temporary, "wb")  # noqa: SIM115 - closed by __exit__
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror}. Choose another --out.") from error
        self.rows: list[dict[str, Any]] = []
        self.table: Any = None

    def __enter__(self) -> "PredictionWriter":
        return self

    def add(self, review: InputReview, prediction: Prediction) -> None:
        """Take one row."""
        self.rows.append({"line": review.line, **prediction.as_dict()})
        if len(self.rows) >= CHUNK_ROWS:
            self._flush()

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        try:
            if kind is None:
                self._flush()
                if self.table is not None:
                    self.table.close()
                self.sink.flush()
                os.fsync(self.sink.fileno())
                os.replace(self.temporary, self.path)
        except OSError as problem:
            raise disk_error(self.path, problem) from problem
        finally:
            self.sink.close()
            self.temporary.unlink(missing_ok=True)

    def _flush(self) -> None:
        if self.path.suffix == ".jsonl":
            self.sink.write("".join(json.dumps(row) + "\n" for row in self.rows).encode())
        else:
            if self.table is None:
                kind = pa.csv.CSVWriter if self.path.suffix == ".csv" else pa.parquet.ParquetWriter
                self.table = kind(self.sink, OUTPUT_SCHEMA)
            self.table.write_table(pa.Table.from_pylist(self.rows, OUTPUT_SCHEMA))
        self.rows = []
