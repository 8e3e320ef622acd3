"""Read a safetensors file that others wrote: float32 tensors of known shapes whose numbers are in range.

The header is checked before anything is allocated or mapped, so a file cannot claim more than its size holds.
"""

import hashlib
import math
import mmap
import os
import weakref
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from sentiscale.errors import DataError, quoted
from sentiscale.records import reason_of
from sentiscale.util.digests import CHUNK_BYTES, combined
from sentiscale.util.files import open_regular

LARGEST = 1e9
"""Largest magnitude of a weight. Anything larger is damage, and logits stay finite below it."""
MAX_FILE_BYTES = 2**35
MAX_HEADER_BYTES = 2**20
LENGTH_BYTES = 8
"""Size of the header's length at the start of the file; the header is padded to a multiple of this, too."""
FLOAT32_BYTES = 4
PIECE_BYTES = CHUNK_BYTES // 8
"""Read at once: small enough for the cache of a core."""

Shape = tuple[int, ...]
Tensors = dict[str, NDArray[np.float32]]


class TensorEntry(BaseModel):
    """Description of a tensor in the header."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dtype: str
    """F32 for float32."""
    shape: Shape
    """Sizes of the dimensions."""
    data_offsets: tuple[int, int]
    """Begin and end of the tensor's bytes, counted from the end of the header."""


class WeightsFile:
    """An open weights file.

    Raises: FileNotFoundError when the file does not exist; DataError when it cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with open_regular(path, MAX_FILE_BYTES) as file:
            self._descriptor = os.dup(file.fileno())
        weakref.finalize(self, os.close, self._descriptor)
        self._size = os.fstat(self._descriptor).st_size
        length = int.from_bytes(os.pread(self._descriptor, LENGTH_BYTES, 0), "little")
        self._start = LENGTH_BYTES + length
        """Position of the first number."""

    def digest(self) -> str:
        """Digest of the whole file, as `util.digests.file_digest` computes it."""
        return combined([self._chunk_digest(offset)] for offset in range(0, self._size, CHUNK_BYTES))

    @cached_property
    def header(self) -> dict[str, TensorEntry]:
        """Descriptions of the tensors by name."""
        length = self._start - LENGTH_BYTES
        if length > MAX_HEADER_BYTES or self._start > self._size or length % LENGTH_BYTES:
            raise DataError(
                f"{self.path} is damaged: it has {self._size:,} bytes and states a header of {length:,}; it "
                f"must be within the file, a multiple of {LENGTH_BYTES} and at most {MAX_HEADER_BYTES:,}."
            )
        content = os.pread(self._descriptor, length, LENGTH_BYTES)
        try:
            entries = TypeAdapter(dict[str, dict[str, Any]]).validate_json(content)
            entries.pop("__metadata__", None)
            return TypeAdapter(dict[str, TensorEntry]).validate_python(entries)
        except ValidationError as error:
            raise DataError(
                f"{self.path} is damaged: its header is not valid: {reason_of(error)}."
            ) from error

    def read(self, shapes: Mapping[str, Shape]) -> Tensors:
        """Check that the file holds exactly these tensors, and map them into memory (private, copy-on-write).

        Raises: DataError naming the tensor, what it is and what is allowed.
        """
        self._check_header(shapes)
        mapped = mmap.mmap(self._descriptor, self._size, access=mmap.ACCESS_COPY)
        numbers = np.frombuffer(mapped, np.float32, offset=self._start)
        tensors = {}
        for name, shape in shapes.items():
            begin, end = (place // FLOAT32_BYTES for place in self.header[name].data_offsets)
            tensors[name] = numbers[begin:end].reshape(shape)
        with ThreadPoolExecutor() as threads:
            if not all(threads.map(self._is_in_range, range(0, self._size, CHUNK_BYTES))):
                self._refuse_numbers(tensors)
        return tensors

    def _check_header(self, shapes: Mapping[str, Shape]) -> None:
        for name in sorted(shapes.keys() - self.header.keys()):
            raise DataError(f"{self.path} has no tensor {name}, which config.toml requires.")
        for name in sorted(self.header.keys() - shapes.keys()):
            raise DataError(f"{self.path} has a tensor {quoted(name)}, which config.toml does not allow.")
        end = 0
        for name, entry in sorted(self.header.items(), key=lambda item: item[1].data_offsets):
            if entry.dtype != "F32" or entry.shape != shapes[name]:
                raise DataError(
                    f"{self.path}: {name} is {quoted(entry.dtype)} {quoted(entry.shape)}; config.toml and "
                    f"vocab.txt require 'F32' {shapes[name]}."
                )
            begin, end = end, end + FLOAT32_BYTES * math.prod(entry.shape)
            if entry.data_offsets != (begin, end):
                raise DataError(
                    f"{self.path}: {name} has data_offsets {quoted(entry.data_offsets)}; only {(begin, end)} "
                    "is allowed."
                )
        if self._start + end != self._size:
            raise DataError(f"{self.path} has {self._size:,} bytes; {self._start + end:,} are required.")

    def _pieces(self, offset: int) -> Iterator[tuple[int, bytes]]:
        """Read a chunk from the file, not from the mapping, whose pages would stay in memory."""
        for begin in range(offset, min(offset + CHUNK_BYTES, self._size), PIECE_BYTES):
            yield begin, os.pread(self._descriptor, PIECE_BYTES, begin)

    def _chunk_digest(self, offset: int) -> bytes:
        digest = hashlib.sha256()
        for _, piece in self._pieces(offset):
            digest.update(piece)
        return digest.digest()

    def _is_in_range(self, offset: int) -> bool:
        for begin, piece in self._pieces(offset):
            skipped = min(max(self._start - begin, 0), len(piece))
            count = (len(piece) - skipped) // FLOAT32_BYTES
            if not in_range(np.frombuffer(piece, np.float32, count, skipped)):
                return False
        return True

    def _refuse_numbers(self, tensors: Tensors) -> None:
        for name, numbers in tensors.items():
            if not in_range(numbers):
                wrong = numbers[~(np.abs(numbers) <= LARGEST)].flat[0]
                raise DataError(
                    f"{self.path}: {name} contains {wrong}; allowed is -{LARGEST:g} to {LARGEST:g}."
                )
        raise DataError(f"{self.path} was changed while it was read.")


def in_range(numbers: NDArray[np.float32]) -> bool:
    """Whether all numbers are finite and of at most LARGEST magnitude; NaN fails both comparisons."""
    return not numbers.size or bool(numbers.min() >= -LARGEST and numbers.max() <= LARGEST)
