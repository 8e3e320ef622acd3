"""Predict with an exported model in ONNX Runtime, without PyTorch."""

import json
from collections.abc import Mapping
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field, field_validator

from sentiscale.config import ClassKind, Cleaning
from sentiscale.data.batches import padded_ids, sorted_order
from sentiscale.errors import DataError, UsageError
from sentiscale.model.decision import Codes
from sentiscale.records import Record, available_cores
from sentiscale.text.classes import BINARY
from sentiscale.text.encode import Encoder
from sentiscale.text.tokens import NumberedRows
from sentiscale.text.vocab import PAD, UNK, Vocab

FloatArray = npt.NDArray[np.float32]

FORMAT = "sentiscale-onnx-1"
LABEL_CODE = "label_code"
"""Output with the codes of the labels, of a file whose labels are not those of two more probable classes."""
BATCH_ROWS = 64
"""Largest number of rows in a batch; fewer than with PyTorch, so that the outputs of an LSTM step stay in the
cache."""
ALL_TOKENS = 2**31 - 1
"""Rows are passed without truncation; the graph selects the tokens that the network reads."""
ERRORS_ONLY = 3


class OnnxMetadata(Record):
    """Metadata needed to turn text into ids and logits into labels.

    It is stored as the file's `metadata_props`, which are strings: lists as JSON, the vocabulary as one word
    per line.
    """

    format: str = FORMAT
    """Name and version of this set of properties."""
    labels: tuple[str, ...] = BINARY
    """Names of the classes, in the order of the outputs; of two, only the second has an output."""
    kind: ClassKind = "binary"
    """How the classes were formed: ternary, stars or labels; a file of negative and positive has no kind."""
    cleaning: Cleaning
    """Rule that splits text into words; defined in `sentiscale.text.clean`."""
    cleaning_version: int = 1
    """Version of that rule."""
    max_tokens: int = Field(ge=1)
    """Number of tokens of a row that the network reads; the graph selects them."""
    stored_tokens: int = Field(ge=1)
    """Number of tokens to pass for a review, counted from its start."""
    padding_id: int = PAD
    """Token id for padding."""
    unknown_id: int = UNK
    """Token id for words that are not in the vocabulary."""
    weights: str = "fp32"
    """Number format of the weights, "fp32" or "int8"."""
    version: str = ""
    """Version of sentiscale that wrote the file."""
    data_digest: str = ""
    """Digest of the prepared data that the model was trained on."""
    vocabulary: str
    """All words, one per line; the line number, from 0, is the word's id."""

    @field_validator("labels", mode="before")
    @classmethod
    def _from_json(cls, value: object) -> object:
        return json.loads(value) if isinstance(value, str) else value

    @classmethod
    def read(cls, properties: Mapping[str, str], name: str) -> "OnnxMetadata":
        """Parse the properties of a file.

        Raises: DataError when the file was not written by `sentiscale export`.
        """
        try:
            metadata = cls.model_validate(dict(properties))
        except (ValueError, RecursionError) as error:  # ValidationError is a ValueError
            raise DataError(
                f"{name} does not contain its vocabulary; use a file that `sentiscale export` wrote."
            ) from error
        if metadata.format != FORMAT:
            raise DataError(
                f"{name} has format '{metadata.format}'; this release reads {FORMAT}. Export again."
            )
        return metadata

    def properties(self) -> dict[str, str]:
        values = self.model_dump(exclude={"kind"} if self.kind == "binary" else None)
        return {key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}

    def vocab(self) -> Vocab:
        """Build the vocabulary.

        Raises: DataError when the stored vocabulary is invalid.
        """
        return Vocab(self.vocabulary.split("\n"))


class OnnxPredictor:
    """Predictor for an exported model.

    >>> predictor = OnnxPredictor.load("model.onnx")  # doctest: +SKIP
    >>> predictor.logits(predictor.encoder.encode(["Great screen."]))  # doctest: +SKIP
    array([2.31], dtype=float32)
    """

    def __init__(self, model: bytes | str, *, name: str = "the model", threads: int | None = None) -> None:
        """Load a model from the content of a file or from a path; `name` is used in messages.

        Raises:
            UsageError: ONNX Runtime is not installed, or `threads` is below 1.
            DataError: the file is damaged or was not written by `sentiscale export`.
        """
        runtime = optional_package("onnxruntime")
        options = _session_options(runtime, available_cores() if threads is None else threads)
        try:
            self.session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's exceptions have no base class of their own
            reason = str(error).strip().split("\n")[0].rstrip(".")
            raise DataError(
                f"{name} cannot be loaded by ONNX Runtime: {reason}. Copy or export it again."
            ) from error
        self.metadata = OnnxMetadata.read(self.session.get_modelmeta().custom_metadata_map, name)

    @classmethod
    def load(cls, path: str | Path, *, threads: int | None = None) -> "OnnxPredictor":
        """Load a file written by `sentiscale export`; with `threads=None`, all cores are used.

        Raises:
            UsageError: ONNX Runtime is not installed, or `threads` is below 1.
            DataError: the file is missing, damaged or was not written by `sentiscale export`.
        """
        if not Path(path).is_file():
            raise DataError(f"{path} does not exist. Create it with: sentiscale export MODEL --out {path}")
        return cls(str(path), name=str(path), threads=threads)

    @cached_property
    def encoder(self) -> Encoder:
        """Encoder from texts to the token ids of this model."""
        metadata = self.metadata
        return Encoder(metadata.vocab(), metadata.cleaning, metadata.stored_tokens, metadata.cleaning_version)

    def logits(self, rows: NumberedRows) -> FloatArray:
        """Logits of encoded reviews, (rows,) for two labels or (rows, K); see `metrics.probabilities`."""
        return self.token_logits(rows.ids, rows.offsets)

    def codes(self, rows: NumberedRows) -> Codes:
        """Position of each encoded review's label in `metadata.labels`, (rows,); K means unsure."""
        return self.token_codes(rows.ids, rows.offsets)

    def token_logits(self, tokens: npt.NDArray[Any], offsets: npt.NDArray[np.int64]) -> FloatArray:
        """Logits of concatenated token ids; row i is tokens[offsets[i]:offsets[i + 1]]."""
        rows, labels = len(offsets) - 1, len(self.metadata.labels)
        name, shape = ("logit", (rows,)) if labels == 2 else ("logits", (rows, labels))
        return self._fill(np.zeros(shape, np.float32), name, tokens, offsets)

    def token_codes(self, tokens: npt.NDArray[Any], offsets: npt.NDArray[np.int64]) -> Codes:
        """Codes of the labels of concatenated token ids; see `codes`."""
        if LABEL_CODE not in (output.name for output in self.session.get_outputs()):
            return (self.token_logits(tokens, offsets) > 0).astype(np.int64)
        return self._fill(np.zeros(len(offsets) - 1, np.int64), LABEL_CODE, tokens, offsets)

    def _fill(
        self, values: npt.NDArray[Any], output: str, tokens: npt.NDArray[Any], offsets: npt.NDArray[np.int64]
    ) -> npt.NDArray[Any]:
        """Fill `values` with an output of the graph; its first axis is that of the rows."""
        lengths = np.diff(offsets)
        for rows in sorted_order(lengths, BATCH_ROWS):
            ids_BT, _ = padded_ids(tokens, offsets, rows, ALL_TOKENS)
            values[rows] = self.session.run([output], {"ids": ids_BT, "lengths": lengths[rows]})[0]
        return values


def _session_options(runtime: Any, threads: int) -> Any:
    if threads < 1:
        raise UsageError(f"threads is {threads}; it must be at least 1.")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = ERRORS_ONLY
    options.enable_mem_pattern = False  # would store a plan for every shape, and shapes rarely recur
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    return options


def optional_package(name: str) -> Any:
    """Import a package of the `export` extra.

    Raises: UsageError when the package is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise UsageError(
            f"the package {name} is not installed. Install it with: pip install 'sentiscale[export]'"
        ) from error
