"""The vocabulary: the words by id, one per line on disk."""

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from sentiscale.errors import DataError
from sentiscale.text.clean import raw_rows
from sentiscale.text.word_table import WordTable, build_table
from sentiscale.util.atomic import write_file

PAD, UNK = 0, 1
SPECIAL = ("<pad>", "<unk>")
"""Words of the ids PAD and UNK; cleaning never produces such tokens."""


class Vocab:
    """Words by id; ids 0 and 1 are padding and unknown, real words follow by falling frequency."""

    def __init__(self, words: Iterable[str]) -> None:
        """Words in id order, the two special ones first.

        Raises: DataError when the special words are not first or a word is empty or occurs twice.
        """
        self.words = list(words)
        if tuple(self.words[:2]) != SPECIAL:
            raise DataError(f"a vocabulary begins with {SPECIAL}, this one with {tuple(self.words[:2])}.")
        if len(self._ids) != len(self.words) or "" in self._ids:
            raise DataError("the vocabulary holds a word twice or an empty one; it has been changed by hand.")

    def __len__(self) -> int:
        return len(self.words)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocab) and self.words == other.words

    __hash__ = None  # type: ignore[assignment]

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.words)}

    def id_of(self, word: str) -> int:
        """The id of a cleaned word, UNK when it is not in the vocabulary."""
        return self._ids.get(word, UNK)

    @cached_property
    def table(self) -> WordTable:
        """The words as a table for compiled code."""
        data, offsets = raw_rows(pa.array(self.words, pa.large_string()))
        return build_table(data, offsets)

    @classmethod
    def read(cls, path: Path) -> "Vocab":
        """Read a file with one word per line.

        Raises: DataError when the file is missing or not a vocabulary.
        """
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError as error:
            raise DataError(f"{path} is missing: a vocabulary belongs there.") from error
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{path} cannot be read as a vocabulary: {error}.") from error
        try:
            return cls(text.removesuffix("\n").split("\n"))
        except DataError as error:
            raise DataError(f"{path}: {error}") from error

    def write(self, path: Path) -> None:
        write_file(path, "\n".join(self.words) + "\n")


def write_words(path: Path, words: pa.Array) -> None:
    """Write a vocabulary file: `words` are binaries in id order, without the special ones."""
    lines = pa.concat_arrays([pa.array(SPECIAL, pa.large_string()).cast(pa.large_binary()), words])
    write_file(path, b"\n".join(lines.to_pylist()) + b"\n")


def read_table(path: Path) -> WordTable:
    """Read a vocabulary file as a table for compiled code, without the words as strings."""
    data = np.fromfile(path, np.uint8)
    ends = np.flatnonzero(data == ord("\n"))
    offsets = np.concatenate([[0], ends - np.arange(len(ends))])
    return build_table(data[data != ord("\n")], offsets)
