"""Export a model to an ONNX file and compare its predictions with the original's."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
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
from sentiscale.inference.evaluate import mapped_labels, mapped_tokens, model_positions
from sentiscale.inference.onnx_runtime import OnnxPredictor, optional_package
from sentiscale.inference.predictor import Predictor
from sentiscale.model.decision import Codes
from sentiscale.model.directory import read_record
from sentiscale.model.files import WEIGHTS, model_path
from sentiscale.model.metrics import probabilities
from sentiscale.parallel.cpu import torch_threads
from sentiscale.records import Record
from sentiscale.text.vocab import UNK
from sentiscale.util.atomic import check_output, whole_file
from sentiscale.util.progress import Progress

IntArray = npt.NDArray[np.int64]
Scorer = Callable[[npt.NDArray[Any], IntArray], npt.NDArray[np.float32]]
"""Computes logits, (rows,) or (rows, K), from concatenated token ids and offsets."""

ORIGINAL, FP32, INT8 = "torch fp32", "onnx fp32", "onnx int8"
MAX_DIFFERENCE = 1e-5
"""Largest allowed difference between the probabilities of the original and of the 32-bit file."""
CHECKED_ROWS = 10_000
"""Largest number of check rows; at a few thousand rows/s, each form of the model takes a few seconds."""
GENERATED_ROWS, RANDOM_ROWS = 1000, 256
"""Numbers of check rows when no prepared data are available."""
TIMED_ROWS, ROUNDS = 512, 5


class FormReport(Record):
    """One form of the model, compared with the original."""

    name: str
    """Name of the form: "torch fp32" (the original), "onnx fp32" or "onnx int8"."""
    megabytes: float
    """File size in units of 10^6 bytes."""
    rows_per_s: float
    """Reviews per second on one thread, from ids to logits; median of five rounds."""
    accuracy: float | None
    """Share of check rows labelled correctly, of those that are not unsure; None if they have no labels."""
    largest_difference: float
    """Largest absolute difference from the original's probabilities."""
    changed: int
    """Number of check rows whose predicted label differs from the original's."""


class ExportReport(Record):
    """Files written by an export, and their comparison with the original."""

    out: str
    """Path of the ONNX file."""
    vocabulary: str
    """Path of the vocabulary file, with one word per line; the ONNX file contains the same words."""
    weights: str
    """Number format of the weights, "fp32" or "int8"."""
    opset: int
    """Version of the ONNX operator set that the file uses."""
    ir_version: int
    """Version of the ONNX file format."""
    rows: int
    """Number of check rows."""
    checked_on: str
    """Source of the check rows."""
    max_drop: float
    """Largest allowed loss of accuracy; if it is exceeded, nothing is written."""
    forms: list[FormReport]
    """Compared forms, with the original first and the written form last."""

    @property
    def written(self) -> FormReport:
        return self.forms[-1]


def export(
    model: str | Path,
    out: str | Path,
    *,
    int8: bool = False,
    check: str | Path | None = None,
    max_drop: float = 0.002,
    thresholds: bool = True,
    full: bool = False,
    force: bool = False,
    settings: PrepareSettings | None = None,
    progress: Progress | None = None,
) -> ExportReport:
    """Write a model directory as one ONNX file, with its vocabulary next to it as `NAME.vocab.txt`.

    Args:
        model: model directory or run directory.
        out: file to write; its name must end in .onnx.
        int8: store the embedding, the LSTM weights and the tables of the n-gram model in 8 bits.
        check: prepared data or a labelled file to compare on; at most 10,000 rows are used. The default is
            the prepared data that the model was trained on. If they no longer exist, probabilities are
            compared on generated rows; `int8` requires labelled rows.
        max_drop: largest allowed loss of accuracy on the check rows.
        thresholds: let the file choose labels by the class weights and thresholds of the model, if any.
        full: let the network read every row, also if the model has a cascade.
        force: replace existing files.
        settings: how to read a labelled file (format, columns).
        progress: receives progress updates.

    Raises:
        UsageError: `out` or `max_drop` is invalid, packages are missing, or the model is too large.
        DataError: the model or the check rows cannot be used.
        SentiscaleError: the exported model is less accurate than allowed; nothing is written.
    """
    path, progress = Path(out), progress or Progress()
    vocabulary = path.with_suffix(".vocab.txt")
    record = read_record(Path(model))
    check = check or _training_data(record)
    _check_request(path, int8=int8, check=check, max_drop=max_drop)
    check_output(path, replace=force)
    check_output(vocabulary, replace=force)
    predictor = Predictor.load(model, thresholds=thresholds, full=full)
    if check is None:
        rows = generated_rows(predictor)
    else:
        rows = labelled_rows(predictor, check, settings or PrepareSettings())
    progress.say(f"comparing on {len(rows):,} rows: {rows.source}")
    from sentiscale.inference.onnx_graph import IR_VERSION, OPSET, onnx_bytes  # needs the export extra

    digest = record.get("data_digest", "")
    build = partial(onnx_bytes, predictor.model, predictor.decision, full=full, data_digest=digest)
    contents = {FP32: build()}
    if int8:
        contents[INT8] = build(int8=True)
    forms = _compare(predictor, Path(model), contents, rows)
    _check_forms(path, forms, max_drop)
    written = forms[-1].name
    with whole_file(path) as file, whole_file(vocabulary) as words:
        file.write(contents[written])
        words.write(("\n".join(predictor.model.vocab.words) + "\n").encode())
    return ExportReport(
        out=str(path),
        vocabulary=str(vocabulary),
        weights="int8" if int8 else "fp32",
        opset=OPSET,
        ir_version=IR_VERSION,
        rows=len(rows),
        checked_on=rows.source,
        max_drop=max_drop,
        forms=forms,
    )


def _training_data(record: dict[str, Any]) -> Path | None:
    """Path of the prepared data that the model was trained on; None if they are missing or have changed."""
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
            "--int8 changes predictions slightly, and only labelled reviews show by how much. "
            "Pass some with --check: the prepared data used for training, or a labelled file."
        )
    for package in ("onnx", "onnxruntime"):
        optional_package(package)


def _check_forms(path: Path, forms: list[FormReport], max_drop: float) -> None:
    """Raise SentiscaleError if the form to write differs too much from the original."""
    original, fp32, written = forms[0], forms[1], forms[-1]
    if not fp32.largest_difference <= MAX_DIFFERENCE:  # written so that NaN fails too
        raise SentiscaleError(
            f"{path} was not written: ONNX Runtime's probabilities differ by up to "
            f"{fp32.largest_difference:.1e} from the model's; at most {MAX_DIFFERENCE:.0e} is allowed. "
            "Another version of onnxruntime may work. Please report this with the versions of onnx and "
            "onnxruntime."
        )
    if original.accuracy is None or written.accuracy is None:
        return
    drop = original.accuracy - written.accuracy
    if drop > max_drop:
        raise SentiscaleError(
            f"{path} was not written: accuracy on the check rows falls by {drop:.4f}, from "
            f"{original.accuracy:.4f} to {written.accuracy:.4f}; --max-drop allows {max_drop}. "
            "Export without --int8, or raise --max-drop."
        )


# Rows to compare on


@dataclass(frozen=True)
class CheckRows:
    """Encoded rows; row i is tokens[offsets[i]:offsets[i + 1]]."""

    tokens: npt.NDArray[Any]
    offsets: IntArray
    labels: npt.NDArray[np.uint8] | None
    """Position of each row's class; None for generated rows, which do not resemble the training reviews."""
    source: str
    """Description of where the rows come from."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def sample(self, size: int) -> "CheckRows":
        """Select at most `size` evenly spaced rows."""
        if len(self) <= size:
            return self
        rows = np.linspace(0, len(self) - 1, size).astype(np.int64)
        chosen = [self.tokens[self.offsets[row] : self.offsets[row + 1]] for row in rows]
        labels = None if self.labels is None else self.labels[rows]
        return CheckRows(*concatenated(chosen), labels, self.source)


def labelled_rows(predictor: Predictor, source: str | Path, settings: PrepareSettings) -> CheckRows:
    """Read check rows from the last nonempty split of prepared data, or from a labelled file.

    Raises: DataError when the source cannot be read, has no labelled row, has a class that the model does not
        have, or was cleaned with a different rule than the model's.
    """
    if (Path(source) / MANIFEST).exists():
        dataset = PreparedDataset.open(source)
        name = next((name for name in reversed(SPLITS) if dataset.manifest.rows.get(name)), "test")
        tokens, labels = mapped_tokens(predictor, dataset, name), mapped_labels(predictor, dataset, name)
        offsets, place = np.asarray(dataset.split(name).offsets), f"split '{name}' of {dataset.path}"
        return CheckRows(tokens, offsets, labels, place).sample(CHECKED_ROWS)
    rows: list[npt.NDArray[Any]] = []
    parts = [np.zeros(0, np.uint8)]
    corpus = Corpus.find([str(source)], settings, known=predictor.model.config.label_reading).decided()
    positions = model_positions(predictor, corpus.classes.names, source)
    for block in corpus.blocks():
        encoded = predictor.encoder.encode(block.text)
        rows += [encoded.ids[start:end] for start, end in pairwise(encoded.offsets)]
        parts.append(positions[block.labels])
    if not rows:
        raise DataError(f"{source} contains no labelled review. Pass a file with labels, or prepared data.")
    return CheckRows(*concatenated(rows), np.concatenate(parts), str(source)).sample(CHECKED_ROWS)


def generated_rows(predictor: Predictor) -> CheckRows:
    """Generate reviews, and rows of random ids with lengths from 0 to the largest possible."""
    reviews = [line.partition(b" ")[2] for block in blocks(GENERATED_ROWS) for line in block.splitlines()]
    encoded = predictor.encoder.encode(pa.array(reviews, pa.large_binary()))
    config, generator = predictor.model.config, np.random.default_rng(0)
    lengths = generator.integers(0, config.stored_tokens + 1, RANDOM_ROWS)
    lengths[:4] = 0, 1, config.stored_tokens, min(config.max_tokens + 1, config.stored_tokens)
    drawn = [generator.integers(UNK, len(predictor.model.vocab), length) for length in lengths]
    drawn[1][:] = UNK  # a row without a known word
    rows = [encoded.ids[start:end] for start, end in pairwise(encoded.offsets)] + drawn
    return CheckRows(*concatenated(rows), None, f"{len(rows):,} generated rows")


def concatenated(rows: list[npt.NDArray[Any]]) -> tuple[npt.NDArray[Any], IntArray]:
    """Concatenate the tokens of all rows; returns them with the offsets (rows + 1,)."""
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    return np.concatenate([np.zeros(0, np.int32), *rows]), offsets


# The comparison


def _compare(
    predictor: Predictor, model: Path, contents: dict[str, bytes], rows: CheckRows
) -> list[FormReport]:
    """Compare every form with the original; each uses one thread."""
    loaded = {name: OnnxPredictor(content, name=name, threads=1) for name, content in contents.items()}
    scorers: dict[str, Scorer] = {ORIGINAL: predictor.token_logits}
    scorers |= {name: form.token_logits for name, form in loaded.items()}
    sizes = {name: len(content) for name, content in contents.items()}
    sizes[ORIGINAL] = (model_path(model) / WEIGHTS).stat().st_size
    with torch_threads(1):
        chances = {name: probabilities(score(rows.tokens, rows.offsets)) for name, score in scorers.items()}
        rates = rows_per_second(scorers, rows.sample(TIMED_ROWS))
    codes = {name: form.token_codes(rows.tokens, rows.offsets) for name, form in loaded.items()}
    codes[ORIGINAL] = predictor.decision.codes(chances[ORIGINAL])
    return [
        FormReport(
            name=name,
            megabytes=round(sizes[name] / 1e6, 2),
            rows_per_s=round(rates[name], 1),
            accuracy=accuracy(codes[name], rows.labels, len(predictor.classes)),
            largest_difference=float(np.max(np.abs(chances[name] - chances[ORIGINAL]))),
            changed=int(np.sum(codes[name] != codes[ORIGINAL])),
        )
        for name in scorers
    ]


def accuracy(codes: Codes, labels: npt.NDArray[np.uint8] | None, unsure: int) -> float | None:
    """Share of right labels among those that are not unsure; None without labels, 0 if all are unsure."""
    if labels is None:
        return None
    return int(np.sum(codes == labels)) / max(int(np.sum(codes != unsure)), 1)


def rows_per_second(scorers: Mapping[str, Scorer], rows: CheckRows) -> dict[str, float]:
    """Median speed of each scorer; rounds alternate so that other load slows all scorers alike."""
    seconds: dict[str, list[float]] = {name: [] for name in scorers}
    for _ in range(ROUNDS):
        for name, score in scorers.items():
            started_at = time.perf_counter()
            score(rows.tokens, rows.offsets)
            seconds[name].append(time.perf_counter() - started_at)
    return {name: len(rows) / statistics.median(times) for name, times in seconds.items()}
