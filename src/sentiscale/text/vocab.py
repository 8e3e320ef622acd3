"""The vocabulary: a list of words in id order, stored with one word per line."""

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from sentiscale.config import MAX_WORDS, Cleaning
from sentiscale.errors import DataError, quoted
from sentiscale.text.clean import MAX_TOKEN_BYTES, clean, raw_rows
from sentiscale.text.tokens import number_known, rule_for
from sentiscale.text.word_table import WordTable, build_table
from sentiscale.util.atomic import write_file
from sentiscale.util.files import read_bytes

PAD, UNK = 0, 1
SPECIAL = ("<pad>", "<unk>")
"""Words with the ids PAD and UNK; cleaning never produces these tokens."""


class Vocab:
    """Words by id; ids 0 and 1 are padding and unknown, and words follow in order of decreasing frequency."""

    def __init__(self, words: Iterable[str]) -> None:
        """Create a vocabulary from words in id order, beginning with the two special words.

        Raises: DataError when the special words are not first, or a word is empty or occurs twice.
        """
        self.words = list(words)
        self.path: Path | None = None
        """File that the words were read from."""
        if tuple(self.words[:2]) != SPECIAL:
            raise DataError(
                f"a vocabulary begins with {SPECIAL}, this one with {quoted(tuple(self.words[:2]))}."
            )
        distinct = set(self.words)
        if len(distinct) != len(self.words) or "" in distinct:
            raise DataError("the vocabulary contains an empty word or a word twice; it was edited by hand.")

    def __len__(self) -> int:
        return len(self.words)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocab) and self.words == other.words

    __hash__ = None  # type: ignore[assignment]

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.words)}

    def id_of(self, word: str) -> int:
        """Return the id of a cleaned word, or UNK if it is not in the vocabulary."""
        return self._ids.get(word, UNK)

    @cached_property
    def table(self) -> WordTable:
        """Hash table of the words, for compiled code."""
        data, offsets = raw_rows(pa.array(self.words, pa.large_string()))
        return build_table(data, offsets)

    @classmethod
    def read(cls, path: Path) -> "Vocab":
        """Read a vocabulary file, which has one word per line.

        Raises: DataError when the file is missing or is not a vocabulary.
        """
        return cls.parse(path, read_vocabulary(path))

    @classmethod
    def parse(cls, path: Path, content: bytes) -> "Vocab":
        """Parse the content of a vocabulary file; `path` is for messages."""
        try:
            vocab = cls(content.decode().removesuffix("\n").split("\n"))
        except UnicodeDecodeError as error:
            raise DataError(f"{path} cannot be read as a vocabulary: {error}.") from error
        except DataError as error:
            raise DataError(f"{path}: {error}") from error
        vocab.path = path
        return vocab

    def check_cleaning(self, cleaning: Cleaning, version: int) -> None:
        """Check that the cleaning profile produces every word; other words would never be found in a text.

        Raises: DataError naming the file, the line and the word.
        """
        words = self.words[len(SPECIAL) :]
        data = np.frombuffer("\n".join(["", *words, ""]).encode(), np.uint8)
        rule = rule_for(cleaning, 2, UNK, version=version)
        rows = number_known(data, np.flatnonzero(data == ord("\n")), rule, self.table)
        if np.array_equal(rows.ids, np.arange(len(SPECIAL), len(self))) and (rows.lengths == 1).all():
            return
        cleaned = clean(pa.array(words, pa.large_string()), cleaning, version).texts()
        for line, (word, text) in enumerate(zip(words, cleaned, strict=True), len(SPECIAL) + 1):
            if text != word or " " in word:
                place = f"{self.path}:{line}" if self.path else f"word {line} of the vocabulary"
                raise DataError(
                    f"{place} is {quoted(word)}, which the cleaning profile {cleaning} turns into "
                    f"{quoted(text)}; only words that it leaves unchanged are allowed."
                )

    def write(self, path: Path) -> None:
        write_file(path, "\n".join(self.words) + "\n")


def read_vocabulary(path: Path) -> bytes:
    """Read the content of a vocabulary file.

    Raises: DataError when the file is missing or cannot be a vocabulary.
    """
    try:
        return read_bytes(path, MAX_WORDS * (MAX_TOKEN_BYTES + 1))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(f"{path} is missing; it should be a vocabulary.") from error


def write_words(path: Path, words: pa.Array) -> None:
    """Write a vocabulary file from binaries in id order, without the special words."""
    lines = pa.concat_arrays([pa.array(SPECIAL, pa.large_string()).cast(pa.large_binary()), words])
    write_file(path, b"\n".join(lines.to_pylist()) + b"\n")


def read_table(path: Path) -> WordTable:
    """Read a vocabulary file into a table for compiled code, without creating strings."""
    data = np.fromfile(path, np.uint8)
    ends = np.flatnonzero(data == ord("\n"))
    offsets = np.concatenate([[0], ends - np.arange(len(ends))])
    return build_table(data[data != ord("\n")], offsets)
