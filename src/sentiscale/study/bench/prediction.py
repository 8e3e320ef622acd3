"""Benchmark cases of prediction from text, by number of threads and batch size."""

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import BaseModel

from sentiscale.data.corpus import Corpus
from sentiscale.data.prepared import PreparedDataset
from sentiscale.errors import DataError
from sentiscale.inference.predictor import Predictor
from sentiscale.model.directory import load_model
from sentiscale.parallel.cpu import torch_threads
from sentiscale.records import available_cores
from sentiscale.study.bench.engines import TimedWork
from sentiscale.study.bench.plan import LeftOut, doubling
from sentiscale.study.bench.preparation import ProcessCases, TimedTexts
from sentiscale.study.records import Case

WARM_UP_TEXTS = 512
BATCH_SIZES = (1, 128, 8192)
"""Texts per batch: typical of a single user, of a server that batches requests, and of a file."""

DEFAULT_ROWS = 4096


class PredictBenchJob(BaseModel):
    """Job that labels texts with a model."""

    model: Path  # model directory
    texts: Path  # file with a JSON list of strings
    threads: int
    batch_size: int


def time_predictions(job: PredictBenchJob, folder: Path) -> TimedWork:
    """Label the texts once, after a warm-up on the first `WARM_UP_TEXTS`."""
    texts: list[str] = json.loads(job.texts.read_bytes())
    with torch_threads(job.threads):
        predictor = Predictor.load(job.model)
        began_at = time.perf_counter()
        for _ in predictor.stream(texts[:WARM_UP_TEXTS], job.batch_size):
            pass
        warm_at = time.perf_counter()
        rows = sum(1 for _ in predictor.stream(texts, job.batch_size))
        ended_at = time.perf_counter()
    return TimedWork(
        began_at=began_at, warm_up_seconds=warm_at - began_at, seconds=ended_at - warm_at, rows=rows
    )


@dataclass(frozen=True)
class LabelTexts(TimedTexts):
    """Texts to label. The digest covers the model and the texts."""

    path: Path  # file with a JSON list of strings
    origin: str


@dataclass(frozen=True)
class PredictionCases(ProcessCases):
    """Cases of kind `predict`."""

    texts: LabelTexts
    out: Path
    model: Path
    """Model directory."""
    cell: str
    threads: Sequence[int] = ()
    """Numbers of threads; empty for 1, 2, 4, ... up to all cores."""
    batch_sizes: tuple[int, ...] = BATCH_SIZES

    function = "sentiscale.study.bench.prediction:time_predictions"

    @property
    def cases(self) -> list[Case]:
        """Every combination of threads and batch sizes, up to the first batch size that holds all texts."""
        sizes = [
            size
            for size, before in zip(self.batch_sizes, (0, *self.batch_sizes), strict=False)
            if before < self.texts.rows
        ]
        return [
            Case(
                kind="predict",
                collectives=False,
                engine="sentiscale",
                engine_workers=count,
                threads_per_rank=count,
                batch_size=size,
                model=self.cell,
                precision="fp32",
            )
            for count in sorted(set(self.threads)) or doubling(available_cores())
            for size in sizes
        ]

    @property
    def left_out(self) -> list[LeftOut]:
        return []

    def job_of(self, case: Case) -> tuple[PredictBenchJob, str]:
        job = PredictBenchJob(
            model=self.model, texts=self.texts.path, threads=case.engine_workers, batch_size=case.batch_size
        )
        return job, f"prediction with {case.engine_workers} threads, {case.batch_size} texts at once"

    def shape_of(self, case: Case) -> dict[str, Any]:
        return {"texts": self.texts.origin}


def prediction_cases(
    model: str | Path,
    data: PreparedDataset,
    raw: Sequence[str | Path],
    folder: Path,
    out: Path,
    threads: Sequence[int] = (),
    rows: int = DEFAULT_ROWS,
) -> PredictionCases:
    """Load the texts and check the model.

    Args:
        model: model directory, or run directory that contains one.
        data: prepared data. Without `raw`, the texts are its test split, decoded from tokens.
        raw: review files whose first rows are labelled.
        folder: directory for the texts. It must exist as long as the result is used.
        out: directory for the messages of a failed run.
        threads: numbers of threads; empty for 1, 2, 4, ... up to all cores.
        rows: maximum number of texts.

    Raises: DataError if the model or the texts cannot be used.
    """
    model = Path(model).absolute()
    model = model / "model" if (model / "model").is_dir() else model
    selected = list(islice(_raw_texts(raw) if raw else _test_texts(data), rows))
    if not selected:
        raise DataError(
            f"there is no text to label in {', '.join(map(str, raw)) or data.path}. "
            "Give review files with --prepare, or data that have a test split."
        )
    cell = load_model(model).config.model.cell
    texts = folder / "texts.json"
    texts.write_text(json.dumps(selected), encoding="utf-8")
    digest = hashlib.sha256()
    for path in [texts, *sorted(path for path in model.iterdir() if path.is_file())]:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    origin = "as written" if raw else "put together from tokens"
    return PredictionCases(
        LabelTexts(len(selected), digest.hexdigest(), texts, origin), out, model, cell, threads
    )


def _raw_texts(files: Sequence[str | Path]) -> Iterator[str]:
    for block in Corpus.find(list(files), labels="none").blocks():
        yield from block.text.cast(pa.large_string()).to_pylist()


def _test_texts(data: PreparedDataset) -> Iterator[str]:
    split, words = data.split("test"), data.vocab.words
    for start, end in pairwise(split.offsets.tolist()):
        yield " ".join(words[token] for token in split.tokens[start:end].tolist())
