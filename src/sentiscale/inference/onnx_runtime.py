"""Run an exported file in ONNX Runtime: encoded rows or texts in, logits out; needs no torch."""

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sentiscale.data.batches import padded_ids, sorted_order
from sentiscale.errors import DataError, UsageError
from sentiscale.inference.onnx_facts import Facts, optional_package
from sentiscale.records import available_cores
from sentiscale.text.encode import Encoder
from sentiscale.text.tokens import NumberedRows

FloatArray = npt.NDArray[np.float32]

BATCH_ROWS = 64
"""Fewer than torch is given: the outputs of a step stay in the cache."""
ALL_TOKENS = 2**31 - 1
"""Rows are handed over whole; the graph chooses what the network reads."""
ERRORS_ONLY = 3


class OnnxPredictor:
    """An exported model, loaded.

    >>> predictor = OnnxPredictor.load("model.onnx")  # doctest: +SKIP
    >>> predictor.logits(predictor.encoder.encode(["Great screen."]))  # doctest: +SKIP
    array([2.31], dtype=float32)
    """

    def __init__(self, model: bytes | str, *, name: str = "the model", threads: int | None = None) -> None:
        """Load a file's content or, given as a string, the file of that path; `name` is for messages.

        Raises:
            UsageError: ONNX Runtime is not installed, or `threads` is below 1.
            DataError: the file is damaged or was not written by `sentiscale export`.
        """
        runtime = optional_package("onnxruntime")
        options = _options(runtime, available_cores() if threads is None else threads)
        try:
            self.session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions share no base of their own
            raise DataError(
                f"{name} cannot be loaded by ONNX Runtime: {_first_line(error)}. Copy or export it again."
            ) from error
        self.facts = Facts.read(self.session.get_modelmeta().custom_metadata_map, name)

    @classmethod
    def load(cls, path: str | Path, *, threads: int | None = None) -> "OnnxPredictor":
        """Read a file that `sentiscale export` wrote; `threads` None takes all cores.

        Raises: as the constructor; DataError when the file is missing.
        """
        if not Path(path).is_file():
            raise DataError(f"{path} is no file. Make it with: sentiscale export MODEL --out {path}")
        return cls(str(path), name=str(path), threads=threads)

    @cached_property
    def encoder(self) -> Encoder:
        """Turns texts into ids as the model wants them."""
        return Encoder(self.facts.vocab(), self.facts.cleaning, self.facts.stored_tokens)

    def logits(self, rows: NumberedRows) -> FloatArray:
        """Logits (rows,) of encoded reviews; their sigmoid is the probability of "positive"."""
        return self.token_logits(rows.ids, rows.offsets)

    def token_logits(self, tokens: npt.NDArray[Any], offsets: npt.NDArray[np.int64]) -> FloatArray:
        """The same for token ids back to back, row i being tokens[offsets[i]:offsets[i + 1]]."""
        lengths = np.asarray(offsets[1:]) - np.asarray(offsets[:-1])
        logits = np.zeros(len(lengths), np.float32)
        for rows in sorted_order(lengths, BATCH_ROWS):
            ids_BT, _ = padded_ids(tokens, offsets, rows, ALL_TOKENS)
            logits[rows] = self.session.run(["logit"], {"ids": ids_BT, "lengths": lengths[rows]})[0]
        return logits


def _options(runtime: Any, threads: int) -> Any:
    if threads < 1:
        raise UsageError(f"threads is {threads}; it must be at least 1.")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = ERRORS_ONLY
    options.enable_mem_pattern = False  # it keeps a plan for every shape, and each batch has another
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    return options


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0].rstrip(".")
