"""Texts to token ids by a fixed vocabulary, with the very rule that preparation uses."""

import numpy as np

from sentiscale.text.clean import Cleaning, raw_rows
from sentiscale.text.column import Texts
from sentiscale.text.column import as_array as as_array
from sentiscale.text.spans import Span, token_spans
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

    def encode(self, texts: Texts) -> NumberedRows:
        """Clean, tokenise and number texts; an empty text, or a null, gives an empty row.

        Args:
            texts: strings (lone surrogates are replaced), or a column of strings or binaries.

        Raises: DataError for anything but texts.
        """
        limit = NO_LIMIT if self.max_tokens is None else self.max_tokens
        data, offsets = raw_rows(as_array(texts))
        return number_known(data, offsets, rule_for(self.cleaning, limit, UNK), self.vocab.table)

    def words_of(self, text: str) -> list[Span]:
        """The tokens of one text and where they stand: (token, first character, one past the last)."""
        return token_spans(text, self.cleaning)
