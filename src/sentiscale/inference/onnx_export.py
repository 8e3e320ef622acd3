"""Write a model as an ONNX file, checked against the original before it is there."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sentiscale.config import PrepareSettings
from sentiscale.data.corpus import Corpus
from sentiscale.data.prepared import MANIFEST, SPLITS, PreparedDataset
from sentiscale.datasets.output import blocks
from sentiscale.errors import DataError, SentiscaleError, UsageError
from sentiscale.inference.onnx_facts import optional_package
from sentiscale.inference.onnx_runtime import OnnxPredictor
from sentiscale.inference.predictor import Predictor
from sentiscale.model.directory import SavedModel, read_record
from sentiscale.model.metrics import count, probabilities
from sentiscale.parallel.cpu import torch_threads
from sentiscale.records import Record
from sentiscale.text.vocab import UNK
from sentiscale.util.atomic import check_output, whole_file
from sentiscale.util.progress import Progress

IntArray = npt.NDArray[np.int64]
LabelArray = npt.NDArray[np.uint8]

MOST_ROWS = 10_000
"""Rows looked at: at a few thousand a second, seconds for each form of the model."""
GENERATED_ROWS = 1000
DRAWN_ROWS = 256


@dataclass(frozen=True)
class CheckRows:
    """Token ids back to back, row i being tokens[offsets[i]:offsets[i + 1]], and what is known of them."""

    tokens: npt.NDArray[Any]
    """Ids of all rows."""
    offsets: IntArray
    """Where each begins (rows + 1)."""
    labels: LabelArray | None
    """0 negative, 1 positive; None for generated rows, whose labels are not those the model learnt."""
    source: str
    """Where they come from, in words."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def spread(self, most: int) -> "CheckRows":
        """At most so many of them, evenly spaced."""
        if len(self) <= most:
            return self
        rows = np.linspace(0, len(self) - 1, most).astype(np.int64)
        tokens, offsets = gathered([self.tokens[self.offsets[row] : self.offsets[row + 1]] for row in rows])
        labels = None if self.labels is None else self.labels[rows]
        return CheckRows(tokens, offsets, labels, self.source)


def labelled_rows(predictor: Predictor, source: str | Path, settings: PrepareSettings) -> CheckRows:
    """Rows of prepared data (the test split, else the next one that has rows) or of a labelled file.

    Raises: DataError when it cannot be read, holds no labelled row, or was cleaned by another rule.
    """
    if (Path(source) / MANIFEST).exists():
        return _of_prepared(predictor.model, PreparedDataset.open(source)).spread(MOST_ROWS)
    return _of_files(predictor, str(source), settings).spread(MOST_ROWS)


def generated_rows(predictor: Predictor) -> CheckRows:
    """Generated reviews, and ids drawn at random of all lengths, the empty row and the longest included."""
    reviews = [line.partition(b" ")[2] for block in blocks(GENERATED_ROWS) for line in block.splitlines()]
    encoded = predictor.encoder.encode(pa.array(reviews, pa.large_binary()))
    config, generator = predictor.model.config, np.random.default_rng(0)
    lengths = generator.integers(0, config.stored_tokens + 1, DRAWN_ROWS)
    lengths[:4] = 0, 1, config.stored_tokens, min(config.max_tokens + 1, config.stored_tokens)
    drawn = [generator.integers(UNK, len(predictor.model.vocab), length) for length in lengths]
    drawn[1][:] = UNK  # a row without a known word
    rows = [encoded.ids[start:end] for start, end in pairwise(encoded.offsets)]
    return CheckRows(*gathered([*rows, *drawn]), None, f"{len(rows) + len(drawn):,} generated rows")


def gathered(rows: list[npt.NDArray[Any]]) -> tuple[npt.NDArray[Any], IntArray]:
    """Rows back to back and where each begins."""
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    return np.concatenate([np.zeros(0, np.int32), *rows]), offsets


def _of_prepared(model: SavedModel, dataset: PreparedDataset) -> CheckRows:
    wanted = model.config.cleaning
    if dataset.manifest.cleaning != wanted:
        raise DataError(
            f"{dataset.path} was cleaned with '{dataset.manifest.cleaning}', the model reads '{wanted}'. "
            "Check on a raw labelled file, or on data prepared with that rule."
        )
    name = next((name for name in reversed(SPLITS) if dataset.manifest.rows.get(name)), "test")
    split = dataset.split(name)
    tokens = np.asarray(split.tokens)
    if dataset.vocab != model.vocab:
        known = [model.vocab.id_of(word) for word in dataset.vocab.words]
        known[:2] = [0, UNK]
        tokens = np.array(known, np.int32)[tokens]
    return CheckRows(
        tokens, np.asarray(split.offsets), np.asarray(split.labels), f"split '{name}' of {dataset.path}"
    )


def _of_files(predictor: Predictor, source: str, settings: PrepareSettings) -> CheckRows:
    rows: list[npt.NDArray[Any]] = []
    labels = [np.zeros(0, np.uint8)]
    for block in Corpus.find([source], settings).blocks():
        encoded = predictor.encoder.encode(block.text)
        rows += [encoded.ids[start:end] for start, end in pairwise(encoded.offsets)]
        labels.append(block.labels)
    if not rows:
        raise DataError(f"{source} holds no labelled review. Give a file with labels, or prepared data.")
    return CheckRows(*gathered(rows), np.concatenate(labels), source)


FloatArray = npt.NDArray[np.float32]
Scorer = Callable[[npt.NDArray[Any], npt.NDArray[np.int64]], FloatArray]
"""Logits (rows,) of token ids back to back and offsets."""

TIMED_ROWS = 512
ROUNDS = 5


class FormFigures(Record):
    """One form of the model beside the original."""

    name: str
    """torch fp32, which is the original; onnx fp32 or onnx int8."""
    megabytes: float
    """10^6 bytes of the file that holds it."""
    rows_per_s: float
    """Reviews a second of one thread, ids in, logits out: median of five rounds."""
    accuracy: float | None
    """Share of the check rows labelled rightly; None where these have no labels."""
    largest_difference: float
    """Largest distance of a probability from the original's."""
    changed: int
    """Rows whose label differs from the original's."""


def compare_forms(
    scorers: Mapping[str, Scorer], bytes_of: Mapping[str, int], rows: CheckRows
) -> list[FormFigures]:
    """Figures of every form; the first is the original. Each scorer should keep to one thread."""
    logits = {name: score(rows.tokens, rows.offsets) for name, score in scorers.items()}
    original = next(iter(logits.values()))
    rates = rows_per_second(scorers, rows.spread(TIMED_ROWS))
    return [
        FormFigures(
            name=name,
            megabytes=round(bytes_of[name] / 1e6, 2),
            rows_per_s=round(rates[name], 1),
            accuracy=None if rows.labels is None else count(found, rows.labels).accuracy,
            largest_difference=float(np.max(np.abs(probabilities(found) - probabilities(original)))),
            changed=int(np.sum((found > 0) != (original > 0))),
        )
        for name, found in logits.items()
    ]


def rows_per_second(scorers: Mapping[str, Scorer], rows: CheckRows) -> dict[str, float]:
    """Median speed of each over five rounds that take turns, so that a busy moment harms all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in scorers}
    for _ in range(ROUNDS):
        for name, score in scorers.items():
            started_at = time.perf_counter()
            score(rows.tokens, rows.offsets)
            seconds[name].append(time.perf_counter() - started_at)
    return {name: len(rows) / statistics.median(times) for name, times in seconds.items()}


ORIGINAL, FP32, INT8 = "torch fp32", "onnx fp32", "onnx int8"

MOST_DIFFERENCE = 1e-5
"""Between probabilities of the original and of the 32-bit file; more is a fault."""


class ExportReport(Record):
    """What was written, and how it compares with the original."""

    out: str
    """The ONNX file."""
    vocabulary: str
    """File with one word a line; the same words are inside the ONNX file."""
    weights: str
    """fp32 or int8."""
    opset: int
    """Version of ONNX' operators that the file uses."""
    ir_version: int
    """Version of ONNX' file format."""
    rows: int
    """Rows checked."""
    checked_on: str
    """Where the check rows come from."""
    max_drop: float
    """Most accuracy that may be lost; beyond it nothing is written."""
    forms: list[FormFigures]
    """The original first, the written one last."""

    @property
    def written(self) -> FormFigures:
        """Figures of the form that was written."""
        return self.forms[-1]


def export(
    model: str | Path,
    out: str | Path,
    *,
    int8: bool = False,
    check: str | Path | None = None,
    max_drop: float = 0.002,
    force: bool = False,
    settings: PrepareSettings | None = None,
    progress: Progress | None = None,
) -> ExportReport:
    """Write a model directory as one ONNX file, and its vocabulary beside it as `NAME.vocab.txt`.

    Args:
        model: a model directory.
        out: the file to write; its name ends in .onnx.
        int8: keep embedding, LSTM and the wide part's tables in 8 bits.
        check: prepared data or a labelled file to compare on, at most 10,000 rows of it. Without it, the
            prepared data of the training if they are still there, else generated rows, on which
            probabilities are compared; `int8` needs labelled ones.
        max_drop: the most that accuracy on the check rows may fall.
        force: replace what is there.
        settings: how a labelled file is read (format, columns).
        progress: who is told how it goes.

    Raises:
        UsageError: `out` or `max_drop` cannot be used, packages are missing, or the model is too large.
        DataError: the model or the check rows cannot be used.
        SentiscaleError: the file would be worse than the model; nothing is written.
    """
    path, progress = Path(out), progress or Progress()
    vocabulary = path.with_suffix(".vocab.txt")
    record = read_record(Path(model))
    check = check or _training_data(record)
    _check_request(path, int8=int8, check=check, max_drop=max_drop)
    check_output(path, replace=force)
    check_output(vocabulary, replace=force)
    predictor = Predictor.load(model)
    if check is None:
        rows = generated_rows(predictor)
    else:
        rows = labelled_rows(predictor, check, settings or PrepareSettings())
    progress.say(f"comparing on {len(rows):,} rows: {rows.source}")
    contents = _contents(predictor, record.get("data_digest", ""), int8=int8)
    forms = _compare(predictor, Path(model), contents, rows)
    _refuse_worse(path, forms, max_drop)
    with whole_file(path) as file, whole_file(vocabulary) as words:
        file.write(contents[forms[-1].name])
        words.write(("\n".join(predictor.model.vocab.words) + "\n").encode())
    return _report(path, vocabulary, rows, max_drop, forms)


def _training_data(record: dict[str, Any]) -> Path | None:
    """The prepared data that the model was trained on, if they still lie where they were."""
    path = Path((record.get("data") or {}).get("path", ""))
    try:
        same = PreparedDataset.open(path).manifest.digest == record.get("data_digest")
    except DataError:
        return None
    return path if same else None


def _check_request(path: Path, *, int8: bool, check: str | Path | None, max_drop: float) -> None:
    if path.suffix != ".onnx":
        raise UsageError(f"--out is {path}; it must end in .onnx.")
    if not 0 <= max_drop < 1:
        raise UsageError(f"--max-drop is {max_drop}; it must be at least 0 and below 1, as in 0.002.")
    if int8 and check is None:
        raise UsageError(
            "--int8 changes the answers a little, and how much can be seen on labelled reviews only. "
            "Give some with --check: the prepared data of the training, or a labelled file."
        )
    for package in ("onnx", "onnxruntime"):
        optional_package(package)


def _contents(predictor: Predictor, digest: str, *, int8: bool) -> dict[str, bytes]:
    """The files to compare by name, the one to be written last."""
    from sentiscale.inference.onnx_graph import onnx_bytes  # the extra's packages are there by now

    contents = {FP32: onnx_bytes(predictor.model, data_digest=digest)}
    if int8:
        contents[INT8] = onnx_bytes(predictor.model, int8=True, data_digest=digest)
    return contents


def _compare(
    predictor: Predictor, model: Path, contents: dict[str, bytes], rows: CheckRows
) -> list[FormFigures]:
    scorers: dict[str, Scorer] = {ORIGINAL: predictor.token_logits}
    bytes_of = {ORIGINAL: (model / "weights.safetensors").stat().st_size}
    for name, content in contents.items():
        scorers[name] = OnnxPredictor(content, name=name, threads=1).token_logits
        bytes_of[name] = len(content)
    with torch_threads(1):
        return compare_forms(scorers, bytes_of, rows)


def _refuse_worse(path: Path, forms: list[FormFigures], max_drop: float) -> None:
    """Raise unless the form to be written is as good as it has to be."""
    original, plain, written = forms[0], forms[1], forms[-1]
    if not plain.largest_difference <= MOST_DIFFERENCE:  # NaN is refused as well
        raise SentiscaleError(
            f"{path} was not written: ONNX Runtime gives probabilities that differ by up to "
            f"{plain.largest_difference:.1e} from the model's, allowed are {MOST_DIFFERENCE:.0e}. "
            "Please report this with the versions of onnx and onnxruntime; another version may do."
        )
    if original.accuracy is None or written.accuracy is None:
        return
    drop = original.accuracy - written.accuracy
    if drop > max_drop:
        raise SentiscaleError(
            f"{path} was not written: accuracy on the check rows falls by {drop:.4f}, from "
            f"{original.accuracy:.4f} to {written.accuracy:.4f}; --max-drop allows {max_drop}. "
            "Export without --int8, or allow more."
        )


def _report(
    path: Path, vocabulary: Path, rows: CheckRows, max_drop: float, forms: list[FormFigures]
) -> ExportReport:
    from sentiscale.inference.onnx_graph import IR_VERSION, OPSET

    return ExportReport(
        out=str(path),
        vocabulary=str(vocabulary),
        weights=forms[-1].name.rpartition(" ")[2],
        opset=OPSET,
        ir_version=IR_VERSION,
        rows=len(rows),
        checked_on=rows.source,
        max_drop=max_drop,
        forms=forms,
    )
