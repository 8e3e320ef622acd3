"""Convert parsed columns to reviews: assign label codes, and reasons to reject records."""

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sentiscale.text.bytes8 import WIDTH, load_eight, plain_ascii
from sentiscale.text.clean import raw_rows
from sentiscale.text.compiled import Bytes, Offsets, check_array, check_offsets, kernel
from sentiscale.text.formats import base
from sentiscale.text.formats.base import Columns, LabelMode, TableFormat, no_lines
from sentiscale.text.labels import LEFT_OUT, NO_LABEL, LabelCounts, Reason, label_codes, star_codes
from sentiscale.text.rejects import Reject

MISSING_TEXTS = pa.array([b"NaN", b"nan", b"NULL", rb"\N", b"<NA>", b"#N/A"], pa.large_binary())
"""Texts that pandas, databases and Excel write for missing values; words such as None may be reviews."""
MISSING_TEXTS_LENGTH = 4
NUMBER = r"^[0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?$"
"""Numbers from 0 on. One with a comma may have thousands or decimals."""


@dataclass(frozen=True)
class Reviews:
    """Records of a block with their label codes and reasons to reject them."""

    text: pa.Array
    """Texts as large binaries, including those of rejected rows."""
    codes: NDArray[np.uint8]
    """Label codes as defined in `sentiscale.text.labels`."""
    lines: NDArray[np.int64]
    line_count: int
    reasons: NDArray[np.uint8]
    """Reason to reject each row; `Reason.NONE` if there is none so far."""
    blank: NDArray[np.int64] = field(default_factory=no_lines)
    """Line numbers of the block's blank lines, which are not rows."""
    label: pa.Array | None = None
    """Raw label values of any type; None if the file has no labels."""
    problems: pa.Array | None = None
    """Why records could not be parsed, as large binaries with nulls; None if that is not known."""
    values: LabelCounts = field(default_factory=LabelCounts)
    """Rows by label value, including those of rejected rows."""
    meanings: tuple[str, ...] = ()
    """What each label code stands for; see `label_codes`."""
    weights: NDArray[np.float32] | None = None
    """Weight of each row; None if the file has none."""

    def snippets(self, rows: NDArray[np.int64]) -> pa.Array:
        """Return the first bytes of the given rows' texts as valid strings, for rejects.parquet."""
        return _snippets(self.text.take(pa.array(rows)))

    def label_snippets(self, rows: NDArray[np.int64]) -> pa.Array:
        """Return the first bytes of the given rows' labels as valid strings; empty if there is none."""
        return _optional_snippets(self.label, rows)

    def problem_snippets(self, rows: NDArray[np.int64]) -> pa.Array:
        """Return why the given rows could not be parsed; empty if they could, or it is not known."""
        return _optional_snippets(self.problems, rows)

    def rejects(self, file: str, first_line: int) -> tuple[Reject, ...]:
        """Return the rejected rows of a block of `file` that begins on line `first_line`."""
        bad = np.flatnonzero(self.reasons != Reason.NONE)
        places = zip((self.lines[bad] + first_line).tolist(), self.reasons[bad].tolist(), strict=True)
        snippets = (self.snippets(bad), self.label_snippets(bad), self.problem_snippets(bad))
        values = zip(*(each.to_pylist() for each in snippets), strict=True)
        return tuple(
            Reject(file, line, Reason(reason).name.lower(), *value)
            for (line, reason), value in zip(places, values, strict=True)
        )


def _snippets(values: pa.Array) -> pa.Array:
    cut = [value[: base.SNIPPET_BYTES] for value in values.to_pylist()]
    return pa.array([value.decode("utf-8", "replace").replace("\0", "\ufffd") for value in cut], pa.string())


def _optional_snippets(values: pa.Array | None, rows: NDArray[np.int64]) -> pa.Array:
    if values is None:
        return pa.array([""] * len(rows), pa.string())
    return _snippets(base.as_binary(values.take(pa.array(rows))))


def judge(columns: Columns, table: TableFormat, mode: LabelMode) -> Reviews:
    """Assign each record its label code and, if it cannot be used, the reason.

    In mode "required", invalid texts and labels are reasons to reject a record. In other modes, only records
    that cannot be parsed are rejected, so that every review gets a prediction, and invalid UTF-8 becomes
    U+FFFD.
    """
    text = columns.text
    reasons = columns.faults.copy()
    _note(reasons, np.asarray(pc.binary_length(text)) > base.MAX_RECORD_BYTES, Reason.TOO_LONG)
    codes, values, meanings = np.full(len(text), NO_LABEL, np.uint8), LabelCounts(), table.rules.names
    if columns.label is not None and mode != "none":
        if table.stars:
            codes, values.stars, meanings = star_codes(columns.label, table.rules)
        else:
            codes, values.labels, meanings = label_codes(columns.label, table.rules)
    data, offsets = raw_rows(text)
    faults = text_faults(data, offsets)
    if mode != "required":
        text = _repaired(text, faults != 0) if faults.any() else text
    else:
        _note(reasons, faults != 0, faults)
        for reason, code in LEFT_OUT.items():
            _note(reasons, codes == code, reason)
        _note(reasons, _missing(text, np.diff(offsets), table), Reason.NO_TEXT)
    problems, weights = columns.problems, None
    if table.weight is not None and columns.extra is not None:
        written = columns.extra[table.weight].combine_chunks()
        weights = weights_of(written)
        _note(reasons, ~np.isfinite(weights), Reason.BAD_WEIGHT)
        problems = _weight_problems(written, np.flatnonzero(reasons == Reason.BAD_WEIGHT), problems)
    own = columns.lines, columns.line_count, reasons, columns.blank, columns.label, problems
    return Reviews(text, codes, *own, values, meanings, weights)


def weights_of(values: pa.Array) -> NDArray[np.float32]:
    """Return weights as numbers; NaN for values that are no finite numbers from 0 on."""
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if not pa.types.is_primitive(values.type) and not pa.types.is_decimal(values.type):
        text = pc.utf8_trim_whitespace(base.as_text(values))
        values = pc.if_else(pc.match_substring_regex(text, NUMBER), text, None)
    numbers = values.cast(pa.float64(), safe=False).fill_null(np.nan).to_numpy(zero_copy_only=False)
    with np.errstate(over="ignore"):
        weights: NDArray[np.float32] = numbers.astype(np.float32)
    weights[~(np.isfinite(weights) & (weights >= 0))] = np.nan
    return weights


def _weight_problems(written: pa.Array, bad: NDArray[np.int64], problems: pa.Array | None) -> pa.Array | None:
    """Add to `problems` why the weights of the `bad` rows cannot be used."""
    if not len(bad):
        return problems
    found = problems.to_pylist() if problems is not None else [None] * len(written)
    for row, value in zip(bad.tolist(), written.take(pa.array(bad)).to_pylist(), strict=True):
        problem = "no weight" if value in (None, "") else f"weight '{value}'"
        found[row] = problem.encode("utf-8", "replace")
    return pa.array(found, pa.large_binary())


def _missing(text: pa.Array, lengths: NDArray[np.int64], table: TableFormat) -> NDArray[np.bool_]:
    """Return which texts are empty or, in a table, stand for a missing value."""
    missing: NDArray[np.bool_] = lengths == 0
    short = np.flatnonzero((lengths > 0) & (lengths <= MISSING_TEXTS_LENGTH) & bool(table.columns))
    if len(short):
        missing[short] = pc.is_in(text.take(pa.array(short)), value_set=MISSING_TEXTS)
    return missing


def _note(reasons: NDArray[np.uint8], where: NDArray[np.bool_], reason: int | NDArray[np.uint8]) -> None:
    """Set the reason of the rows selected by `where` that have none yet."""
    where = where & (reasons == Reason.NONE)
    reasons[where] = reason[where] if isinstance(reason, np.ndarray) else reason


def _repaired(text: pa.Array, faulty: NDArray[np.bool_]) -> pa.Array:
    """Replace invalid UTF-8 with U+FFFD."""
    mask = pa.array(faulty)
    repaired = [value.decode("utf-8", "replace").encode() for value in text.filter(mask).to_pylist()]
    return pc.replace_with_mask(text, mask, pa.array(repaired, pa.large_binary()))


def too_long(snippet: bytes) -> Reviews:
    """Return a single rejected row for a record that exceeds the size limit."""
    text = pa.array([snippet], pa.large_binary())
    code, reason = np.array([NO_LABEL], np.uint8), np.array([Reason.TOO_LONG], np.uint8)
    return Reviews(text, code, np.zeros(1, np.int64), 1, reason)


def text_faults(data: Bytes, offsets: Offsets) -> NDArray[np.uint8]:
    """Return NUL_BYTE or INVALID_UTF8 for each text that contains such bytes, and NONE for all others."""
    check_array("data", data, np.uint8, (-1,))
    check_offsets(offsets, len(data))
    faults = np.full(len(offsets) - 1, Reason.NONE, np.uint8)
    if len(data) and not 0 < data.min() <= data.max() < 0x80:
        _text_faults(data, offsets, Reason.NUL_BYTE, Reason.INVALID_UTF8, faults)
    return faults


@kernel
def _text_faults(data: Bytes, offsets: Offsets, nul: int, invalid: int, faults: NDArray[np.uint8]) -> None:
    for row in range(len(offsets) - 1):
        i, end = offsets[row], offsets[row + 1]
        while i < end:
            if i + WIDTH <= end and plain_ascii(load_eight(data, i)):
                i += WIDTH
                continue
            byte = data[i]
            if byte != 0 and byte < 0x80:
                i += 1
                continue
            length = utf8_length(data, i, end)
            if length == 0:
                faults[row] = nul if byte == 0 else invalid
                break
            i += length


@kernel
def utf8_length(data: Bytes, i: int, end: int) -> int:
    """Return the length in bytes of the non-ASCII character at `i`; 0 if it is not valid UTF-8."""
    byte = data[i]
    if byte < 0xC2 or byte > 0xF4:
        return 0
    length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
    if i + length > end:
        return 0
    for k in range(1, length):
        if data[i + k] & 0xC0 != 0x80:
            return 0
    second = data[i + 1]
    overlong = (byte == 0xE0 and second < 0xA0) or (byte == 0xF0 and second < 0x90)
    beyond = (byte == 0xED and second >= 0xA0) or (byte == 0xF4 and second >= 0x90)
    return 0 if overlong or beyond else length
