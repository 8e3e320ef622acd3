"""Prediction from text: rows a second by threads, and by how many texts are handed over at once."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path

from sentiscale.bench.engines.beside import changed, record, worker_counts
from sentiscale.bench.engines.fresh import run as run_fresh
from sentiscale.bench.engines.jobs import PredictJob
from sentiscale.bench.plan import LeftOut
from sentiscale.data.prepared import PreparedDataset
from sentiscale.errors import DataError
from sentiscale.measurements import BenchRun, Case
from sentiscale.modeldir import load_model
from sentiscale.records import available_cores

BATCH_SIZES = (1, 128, 8192)
"""One text at a time, as a person asks; as a server collects them; as a file is labelled."""

DEFAULT_ROWS = 4096


@dataclass(frozen=True)
class Predicting:
    """Cases of kind `predict`."""

    model: Path
    """A model directory."""
    cell: str
    texts: Path
    """One JSON list of strings."""
    rows: int
    """How many they are."""
    digest: str
    """Of model and texts."""
    origin: str
    """Where the texts are from."""
    folder: Path
    """Where messages of a failed run are kept."""
    threads: tuple[int, ...] = ()
    """How many to try; empty is 1, 2, 4, ... up to all cores."""
    batch_sizes: tuple[int, ...] = BATCH_SIZES

    @property
    def cases(self) -> list[Case]:
        """Every number of threads with every batch size; batches beyond the texts would be the same."""
        sizes = [size for size, before in zip(self.batch_sizes, (0, *self.batch_sizes), strict=False)
                 if before < self.rows]  # fmt: skip
        return [
            Case(
                kind="predict", collectives=False, engine="sentiscale", engine_workers=count,
                threads_per_rank=count, batch_size=size, model=self.cell, precision="fp32",
            )
            for count in worker_counts(available_cores(), self.threads)
            for size in sizes
        ]  # fmt: skip

    @property
    def left_out(self) -> list[LeftOut]:
        """Nothing."""
        return []

    def run(self, case: Case, repeat: int) -> tuple[BenchRun, float]:
        """Label the texts once.

        Raises: SentiscaleError when it fails.
        """
        job = PredictJob(
            model=self.model, texts=self.texts, threads=case.engine_workers, batch_size=case.batch_size
        )
        label = f"prediction with {case.engine_workers} threads, {case.batch_size} texts at once"
        done = run_fresh(job, label, self.folder, case.engine_workers)
        return record(case, repeat, done, self.digest, self.rows, self._shape()), done.other_cores

    def differences(self, run: BenchRun) -> Iterator[str]:
        """Why a kept run was another prediction."""
        yield from changed(run, self.digest, self._shape())

    def _shape(self) -> dict[str, object]:
        return {"texts": self.origin}


def predicting(
    model: str | Path,
    data: PreparedDataset,
    raw: Sequence[str | Path],
    folder: Path,
    out: Path,
    rows: int = DEFAULT_ROWS,
) -> Predicting:
    """Get texts and model ready.

    Args:
        model: a model directory, or a run that has one.
        data: where the texts are from without raw files: its test split, put together from the tokens.
        raw: review files; their first rows are labelled.
        folder: where the texts are written; it must stay as long as the result is used.
        out: where messages of a failed run are kept.
        rows: how many texts at most.

    Raises: DataError when the model or the texts cannot be used.
    """
    model = Path(model).absolute()
    model = model / "model" if (model / "model").is_dir() else model
    found = list(islice(_raw_texts(raw) if raw else _test_texts(data), rows))
    if not found:
        raise DataError(
            f"there is no text to label in {', '.join(map(str, raw)) or data.path}. "
            "Give review files with --prepare, or data that have a test split."
        )
    cell = load_model(model).config.model.cell
    texts = folder / "texts.json"
    texts.write_text(json.dumps(found), encoding="utf-8")
    return Predicting(
        model=model,
        cell=cell,
        texts=texts,
        rows=len(found),
        digest=_digest([texts, *sorted(path for path in model.iterdir() if path.is_file())]),
        origin="as written" if raw else "put together from tokens",
        folder=out,
    )


def _digest(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _raw_texts(files: Sequence[str | Path]) -> Iterator[str]:
    import pyarrow as pa

    from sentiscale.data.corpus import Corpus

    for block in Corpus.find(list(files), labels="optional").blocks():
        yield from block.text.cast(pa.large_string()).to_pylist()


def _test_texts(data: PreparedDataset) -> Iterator[str]:
    split, words = data.split("test"), data.vocab.words
    for start, end in pairwise(split.offsets.tolist()):
        yield " ".join(words[token] for token in split.tokens[start:end].tolist())
