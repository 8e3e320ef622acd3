"""Tables and weights in 8 bits: what is kept, and what brings the numbers back."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
Int8Array = npt.NDArray[np.int8]

MOST = 127
MOST_OF_WEIGHTS = 63
"""Weights take 7 of the 8 bits: without VNNI, x86 processors add two products in 16 bits, and two of 8 bits
overflow there. So a file answers alike on all of them."""


class QuantisedWeights(NamedTuple):
    """Weights of an LSTM in the form that ONNX Runtime's quantised operator takes."""

    numbers: Int8Array
    """(1, inputs, gates)."""
    scales: tuple[FloatArray, Int8Array]
    """Scale and zero point of each gate's unit, (1, gates) each; zero points are 0."""


def int8_rows(table: FloatArray) -> tuple[Int8Array, FloatArray]:
    """Numbers (rows, width) and scales (rows,) with `table` about numbers * scales[:, None]."""
    numbers, scales = _scaled(table, MOST)
    return numbers, scales[:, 0]


def int8_columns(weights: FloatArray) -> QuantisedWeights:
    """Weights (gates, inputs), with one scale for each row of them."""
    numbers, scales = _scaled(weights, MOST_OF_WEIGHTS)
    zeros = np.zeros((1, len(weights)), np.int8)
    return QuantisedWeights(np.ascontiguousarray(numbers.T)[None], (scales.T.copy(), zeros))


def square_roots(table: FloatArray) -> tuple[Int8Array, FloatArray]:
    """Numbers (rows, columns) and steps (columns,) with `table` about numbers * abs(numbers) * steps.

    Square roots spend the 255 numbers on small values, which most of a linear model's are.
    """
    largest = np.maximum(np.abs(table).max(axis=0), np.finfo(np.float32).tiny)
    numbers = np.rint(np.sign(table) * np.sqrt(np.abs(table) / largest) * MOST).astype(np.int8)
    return numbers, (largest / MOST**2).astype(np.float32)


def _scaled(table: FloatArray, most: int) -> tuple[Int8Array, npt.NDArray[Any]]:
    scales = np.abs(table).max(axis=1, keepdims=True) / most
    scales[scales == 0] = 1.0
    return np.rint(table / scales).astype(np.int8), scales.astype(np.float32)
