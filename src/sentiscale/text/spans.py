"""Where the tokens of a text stand: the cleaning kernels once more, noting what each token was read from."""

import numpy as np

from sentiscale.text.clean import LETTER_BYTES, QUOTE, SPACE, Cleaning, next_alpha, next_words
from sentiscale.text.compiled import Bytes, Offsets, frozen, kernel
from sentiscale.text.tokens import SCRATCH_BYTES

Span = tuple[str, int, int]
"""A token as cleaning writes it; its first character in the raw text, and one past the last."""


def token_spans(text: str, cleaning: Cleaning) -> list[Span]:
    """The tokens of one text in order: those that `clean` gives, and as many as an encoder numbers.

    Of a token that was cut at its 64th byte, the span is that of the part kept.
    """
    raw = text.encode("utf-8", "replace")  # a lone surrogate becomes "?", as it does when texts are encoded
    data = frozen(raw)
    out = np.empty(2 * len(raw) + SCRATCH_BYTES, np.uint8)
    spans = np.empty((len(raw) + 1, 2), np.int64)
    note = note_alpha if cleaning == "alpha" else note_words
    size, count = note(data, out, spans)
    if count == 0:
        return []
    character_of = np.concatenate([[0], np.cumsum((data & 0xC0) != 0x80)])  # characters before each byte
    characters = character_of[spans[:count]].tolist()
    tokens = out[:size].tobytes().decode().split(" ")  # only at this space: others may stand in a token
    return [(token, start, end) for token, (start, end) in zip(tokens, characters, strict=True)]


@kernel
def note_words(data: Bytes, out: Bytes, spans: Offsets) -> tuple[int, int]:
    """Clean one text by the `words` rule into `out`; `spans` (tokens, 2) gets each token's bytes in `data`.

    Returns how many bytes and tokens were written.
    """
    i, pos, count, marks = 0, 0, 0, 0
    while i < len(data):
        begin = i
        i, stop, marks = next_words(data, i, len(data), out, pos, marks)
        if stop > pos:
            count = note_pieces(data, begin, out, pos, stop, spans, count)
            out[stop] = SPACE
            pos = stop + 1
    return max(0, pos - 1), count


@kernel
def note_pieces(data: Bytes, at: int, out: Bytes, pos: int, stop: int, spans: Offsets, count: int) -> int:
    """Note the bytes of the tokens out[pos:stop], read character by character from `data[at:]` on.

    Returns the new number of tokens.
    """
    spans[count, 0] = at
    while pos < stop:
        if out[pos] != SPACE:
            pos += width(out[pos])
            at += width(data[at])
            continue
        pos += 1
        spans[count, 1] = at
        # The space was put in, unless it replaced the apostrophe between two contractions.
        if out[pos] != QUOTE and (data[at] == QUOTE or data[at] == 0xE2):
            at += width(data[at])
        count += 1
        spans[count, 0] = at
    spans[count, 1] = at
    return count + 1


@kernel
def width(first: int) -> int:
    """Bytes of the character that begins with the byte `first`."""
    return 1 if first < 0x80 else 2 if first < 0xE0 else 3 if first < 0xF0 else 4


@kernel
def note_alpha(data: Bytes, out: Bytes, spans: Offsets) -> tuple[int, int]:
    """The same by the `alpha` rule, which drops characters inside words."""
    i, pos, count = 0, 0, 0
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
