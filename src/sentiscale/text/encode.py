"""Encode texts as token ids of a fixed vocabulary, by the same rules as preparation."""

import numpy as np

from sentiscale.config import Cleaning
from sentiscale.text.characters import APOSTROPHE, FACE
from sentiscale.text.clean import (
    ALPHA,
    LETTER_BYTES,
    QUOTE,
    SPACE,
    character,
    check_version,
    folded_size,
    kernel_rule,
    next_alpha,
    next_words,
    raw_rows,
)
from sentiscale.text.column import Texts, as_array
from sentiscale.text.compiled import ZERO, Bytes, Offsets, frozen, kernel
from sentiscale.text.normal import normal_text
from sentiscale.text.tokens import SCRATCH_BYTES, NumberedRows, number_known, rule_for
from sentiscale.text.vocab import UNK, Vocab

Span = tuple[str, int, int]
"""A cleaned token, the position of its first character in the raw text, and the position after its last."""


def token_spans(text: str, cleaning: Cleaning, version: int | None = None) -> list[Span]:
    """Return the tokens of one text with their positions; the tokens equal those of `clean` and `Encoder`.

    The span of a truncated token ends where the token was truncated.
    """
    rule = kernel_rule(cleaning, version)
    raw = text.encode("utf-8", "replace")  # a lone surrogate becomes "?", as in `as_array`
    data = frozen(raw)
    normal, sources = normal_text(data) if rule > 1 else (data, None)
    out = np.empty(2 * len(normal) + SCRATCH_BYTES, np.uint8)
    spans = np.empty((len(normal) + 1, 2), np.int64)
    if rule == ALPHA:
        size, count = alpha_with_spans(normal, out, spans)
    else:
        size, count = words_with_spans(normal, out, spans, rule)
    if count == 0:
        return []
    spans = spans[:count]
    if sources is not None:
        spans = np.column_stack([sources[spans[:, 0], 0], sources[spans[:, 1] - 1, 1]])
    character_of = np.concatenate([[0], np.cumsum((data & 0xC0) != 0x80)])  # characters before each byte
    characters = character_of[spans].tolist()
    tokens = out[:size].tobytes().decode().split(" ")  # other white space may be part of a token
    return [(token, start, end) for token, (start, end) in zip(tokens, characters, strict=True)]


@kernel
def words_with_spans(data: Bytes, out: Bytes, spans: Offsets, version: int) -> tuple[int, int]:
    """Clean a text by the `words` rule into `out`; write each token's place in `data` to `spans` (tokens, 2).

    Returns the numbers of bytes and tokens written.
    """
    i, pos, count, marks = ZERO, ZERO, 0, ZERO
    while i < len(data):
        begin = i
        i, stop, marks = next_words(data, (0, len(data)), i, out, pos, marks, version)
        if stop > pos:
            if character(data, begin, len(data), version)[0] == FACE:
                spans[count, 0], spans[count, 1] = begin, i
                count += 1
            else:
                count = add_spans(data, begin, out, (pos, stop), spans, count, version)
            out[stop] = SPACE
            pos = stop + 1
    return max(0, pos - 1), count


@kernel
def add_spans(
    data: Bytes, at: int, out: Bytes, written: tuple[int, int], spans: Offsets, count: int, version: int
) -> int:
    """Add the spans of the tokens in the range `written` of `out`, copied by character from `data[at:]`.

    Returns the new number of tokens.
    """
    pos, stop = written
    spans[count, 0] = at
    while pos < stop:
        kind, length = character(data, at, len(data), version)
        if out[pos] != SPACE:
            pos += 1 if kind == APOSTROPHE else folded_size(data, at, length, version)
            at += length
            continue
        pos += 1
        spans[count, 1] = at
        # The space was inserted, unless it replaced the apostrophe between two contractions.
        if out[pos] != QUOTE and kind == APOSTROPHE:
            at += length
        count += 1
        spans[count, 0] = at
    spans[count, 1] = at
    return count + 1


@kernel
def alpha_with_spans(data: Bytes, out: Bytes, spans: Offsets) -> tuple[int, int]:
    """Like `words_with_spans`, but by the `alpha` rule, which drops characters inside words."""
    i, pos, count = ZERO, ZERO, 0
    while i < len(data):
        begin = i
        i, stop = next_alpha(data, i, len(data), out, pos)
        if stop == pos:
            continue
        letters = 0
        for k in range(begin, i):
            low = LETTER_BYTES[data[k]]
            if low != 0 and low != SPACE and letters < stop - pos:
                if letters == 0:
                    spans[count, 0] = k
                letters += 1
                spans[count, 1] = k + 1
        count += 1
        out[stop] = SPACE
        pos = stop + 1
    return max(0, pos - 1), count


class Encoder:
    """Encode raw texts as ids, identical to those that `prepare` stores for the same texts."""

    def __init__(
        self, vocab: Vocab, cleaning: Cleaning, max_tokens: int | None, version: int | None = None
    ) -> None:
        self.vocab = vocab
        self.cleaning = cleaning
        self.version = check_version(cleaning, version)
        self.max_tokens = max_tokens
        """Number of tokens to which texts are truncated; None keeps all tokens."""

    def encode(self, texts: Texts) -> NumberedRows:
        """Clean and tokenise texts and encode them as ids; an empty text or a null becomes an empty row.

        Args:
            texts: strings (lone surrogates are replaced), or a column of strings or binaries.

        Raises: DataError when `texts` is not a column of texts.
        """
        limit = np.iinfo(np.int64).max if self.max_tokens is None else self.max_tokens
        data, offsets = raw_rows(as_array(texts))
        return number_known(
            data, offsets, rule_for(self.cleaning, limit, UNK, version=self.version), self.vocab.table
        )

    def spans(self, text: str) -> list[Span]:
        """Return the tokens of one text with their positions, as (token, start, end) in characters."""
        return token_spans(text, self.cleaning, self.version)
