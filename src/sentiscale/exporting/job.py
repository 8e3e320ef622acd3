"""Write a model as an ONNX file, checked against the original before it is there."""

from pathlib import Path
from typing import Any

from sentiscale.atomic import check_output, whole_file
from sentiscale.config import PrepareSettings
from sentiscale.data.prepared import PreparedDataset
from sentiscale.errors import DataError, SentiscaleError, UsageError
from sentiscale.exporting.checkrows import CheckRows, generated_rows, labelled_rows
from sentiscale.exporting.figures import FormFigures, Scorer, compare_forms
from sentiscale.exporting.needs import optional_package
from sentiscale.exporting.runtime import OnnxPredictor
from sentiscale.modeldir import read_record
from sentiscale.parallel.process import torch_threads
from sentiscale.predictor import Predictor
from sentiscale.progress import Progress
from sentiscale.records import Record

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
    from sentiscale.exporting.onnxmodel import onnx_bytes  # the extra's packages are there by now

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
    from sentiscale.exporting.graph import IR_VERSION, OPSET

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
