"""Texts to token ids by a fixed vocabulary, with the very rule that preparation uses."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from sentiscale.text.clean import MAX_TOKEN_BYTES, Cleaning, clean, raw_rows
from sentiscale.text.tokens import NumberedRows, number_known, rule_for
from sentiscale.text.vocab import UNK, Vocab

NO_LIMIT = np.iinfo(np.int64).max


class Encoder:
    """Turns raw texts into ids; equal to what `prepare` stores for the same text."""

    def __init__(self, vocab: Vocab, cleaning: Cleaning, max_tokens: int | None) -> None:
        """Keep what encoding depends on; `max_tokens` None keeps texts whole."""
        self.vocab = vocab
        self.cleaning = cleaning
        self.max_tokens = max_tokens

    def encode(self, texts: Sequence[str] | pa.Array | pa.ChunkedArray) -> NumberedRows:
        """Clean, tokenise and number texts; an empty text gives an empty row.

        Args:
            texts: strings (lone surrogates are replaced), or an Arrow array of strings or binaries.
        """
        limit = NO_LIMIT if self.max_tokens is None else self.max_tokens
        data, offsets = raw_rows(as_array(texts))
        return number_known(data, offsets, rule_for(self.cleaning, limit, UNK), self.vocab.table)

    def words_of(self, text: str) -> list[tuple[str, int, int]]:
        """The tokens of one text and where they stand: (token, first character, one past the last)."""
        cleaned = clean(as_array([text]), self.cleaning).texts()[0]
        spans, i = [], 0
        for token in cleaned.split():
            find = _with_gaps if self.cleaning == "alpha" else _in_one_piece
            start, i = find(text, i, token)
            spans.append((token, start, i))
            if len(token.encode()) > MAX_TOKEN_BYTES - 4:  # it may have been cut: skip what was dropped
                while i < len(text) and text[i].isalnum():
                    i += 1
        return spans


def as_array(texts: Sequence[str] | pa.Array | pa.ChunkedArray) -> pa.Array:
    """One Arrow array of strings or binaries."""
    if isinstance(texts, pa.ChunkedArray):
        return texts.combine_chunks() if texts.num_chunks != 1 else texts.chunk(0)
    if isinstance(texts, pa.Array):
        return texts
    try:
        return pa.array(texts, pa.large_string())
    except UnicodeEncodeError:  # lone surrogates, as JSON escapes can make them
        return pa.array([text.encode("utf-8", "replace") for text in texts], pa.large_binary())


def _in_one_piece(text: str, begin: int, token: str) -> tuple[int, int]:
    """Span of the next characters of `text` that cleaning turns into `token`."""
    for start in range(begin, len(text) - len(token) + 1):
        if all(_becomes(text[start + k], wanted) for k, wanted in enumerate(token)):
            return start, start + len(token)
    return _with_gaps(text, begin, token)


def _with_gaps(text: str, begin: int, token: str) -> tuple[int, int]:
    """The same where cleaning drops characters inside words."""
    start, i = -1, begin
    for wanted in token:
        while i < len(text) and not _becomes(text[i], wanted):
            i += 1
        start = i if start < 0 else start
        i += 1
    return start, min(i, len(text))


def _becomes(character: str, wanted: str) -> bool:
    return wanted in (character, character.lower()) or (wanted == "'" and character == "\u2019")
