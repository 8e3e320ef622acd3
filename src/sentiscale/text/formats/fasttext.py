"""fastText files with lines such as `__label__2 text`, and plain text with one review per line."""

import numpy as np

from sentiscale.config import PrepareSettings
from sentiscale.text.compiled import Bytes, Offsets, check_spans, frozen, kernel
from sentiscale.text.formats import base
from sentiscale.text.formats.base import Columns, FileStart, InputFormat, LabelMode, TableFormat
from sentiscale.text.labels import LABEL_PREFIX, Reason
from sentiscale.text.lines import CR, LF, SPACE, TAB, gather, line_spans, skip_blanks

MARK = frozen(LABEL_PREFIX.encode())
LINES_LOOKED_AT = 20


class FastText(InputFormat):
    name = "fasttext"
    title = "fastText lines (__label__1 …)"
    suffixes = (".txt", ".ft")
    has_columns = False

    def recognises(self, start: bytes) -> bool:
        """Return whether most of the first lines begin with a label; a review may quote one."""
        lines = [line for line in map(bytes.strip, start.splitlines()) if line][:LINES_LOOKED_AT]
        return 2 * sum(line.startswith(LABEL_PREFIX.encode()) for line in lines) > len(lines)

    def describe(self, start: FileStart, settings: PrepareSettings, mode: LabelMode) -> TableFormat:
        labelled = mode == "required" or (mode == "optional" and LABEL_PREFIX.encode() in start.data)
        old_mac = b"\n" not in start.data and b"\r" in start.data
        return TableFormat(
            self.name,
            label="label" if labelled else None,
            stars=labelled and settings.stars_column == "label",
            terminator=CR if old_mac else LF,
        )

    def parse(self, data: Bytes, table: TableFormat) -> Columns:
        """Split lines into label and text; without labels, every line is a review, even a blank one."""
        starts, ends = line_spans(data, table.terminator)
        label_starts, label_ends, text_starts, text_ends = split_labels(data, starts, ends)
        long = ends - starts > base.MAX_RECORD_BYTES
        text_starts = np.where(long, starts, text_starts)
        text_ends = np.where(long, np.minimum(ends, starts + base.SNIPPET_BYTES), text_ends)
        faults = np.where(long, Reason.TOO_LONG, Reason.NONE).astype(np.uint8)
        if table.label is None:
            text = gather(data, text_starts, text_ends)
            return Columns(text, None, np.arange(len(starts)), len(starts), faults)
        filled = (text_ends > text_starts) | (label_starts > 0)
        lines, blank = np.flatnonzero(filled), np.flatnonzero(~filled)
        text = gather(data, text_starts[lines], text_ends[lines])
        label = gather(data, label_starts[lines], label_ends[lines])
        return Columns(text, label, lines, len(starts), faults[lines], blank)


def split_labels(data: Bytes, starts: Offsets, ends: Offsets) -> tuple[Offsets, Offsets, Offsets, Offsets]:
    """Separate labels from text.

    Labels stand before the text or, if there are none, after it. Returns the start and end of each line's
    labels, without the `__label__` prefix of the first one, and the start and end of the text. Label start
    and end are both 0 if there is no label, and equal if nothing follows the prefix.
    """
    check_spans(starts, ends, len(data))
    return _split_labels(data, starts, ends)


@kernel
def _split_labels(data: Bytes, starts: Offsets, ends: Offsets) -> tuple[Offsets, Offsets, Offsets, Offsets]:
    rows = len(starts)
    label_starts, label_ends = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
    text_starts, text_ends = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
    mark = len(MARK)
    for row in range(rows):
        end = ends[row]
        i = skip_blanks(data, starts[row], end)
        while end > i and is_blank(data[end - 1]):
            end -= 1
        while begins_with_mark(data, i, end):
            begin = i = i + mark
            while i < end and not is_blank(data[i]):
                i += 1
            if label_starts[row] == 0:
                label_starts[row] = begin
            label_ends[row] = i
            i = skip_blanks(data, i, end)
        while label_starts[row] == 0 or label_starts[row] > i:  # only labels after the text
            begin = end
            while begin > i and not is_blank(data[begin - 1]):
                begin -= 1
            if not begins_with_mark(data, begin, end):
                break
            label_starts[row] = begin + mark
            label_ends[row] = max(label_ends[row], end)
            end = begin
            while end > i and is_blank(data[end - 1]):
                end -= 1
        text_starts[row], text_ends[row] = i, end
    return label_starts, label_ends, text_starts, text_ends


@kernel
def begins_with_mark(data: Bytes, i: int, end: int) -> bool:
    k = 0
    while k < len(MARK) and i + k < end and data[i + k] == MARK[k]:
        k += 1
    return k == len(MARK)


@kernel
def is_blank(byte: int) -> bool:
    return byte in (SPACE, TAB, CR)
