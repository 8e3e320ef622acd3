"""The formats read again, slowly and plainly: what every line must become, for comparison."""

import json
import re
from typing import NamedTuple

from sentiscale.text.labels import MISSING, NUMBER, NUMBERS, WHOLE_NUMBER, WORDS
from tests.data.encoding import cleaned

BLANKS = b" \t\r"
MEANINGS = WORDS | {number: number for number in NUMBERS}
REASONS = ("no_label", "unknown_label", "neutral")


class Record(NamedTuple):
    """A line or CSV record: its number from 1, and what it is; `reason` is None for a usable one."""

    line: int
    reason: str | None
    meaning: str = ""
    """Class of the label, or a number, whose class depends on other rows."""
    text: str = ""


def judged(line: int, label: bytes | None, text: bytes, limit: int) -> Record:
    """What becomes of a record that could be parsed."""
    meaning = _meaning(label)
    if len(text) > limit:
        return Record(line, "too_long")
    if fault := _fault(text):
        return Record(line, fault)
    if meaning in REASONS:
        return Record(line, meaning)
    if not text:
        return Record(line, "no_text")
    (clean,) = cleaned([text])
    return Record(line, None, meaning, clean) if clean else Record(line, "empty_after_cleaning")


def _meaning(label: bytes | None) -> str:
    plain = (label or b"").decode("utf-8", "replace").lower()
    split = (part.strip().strip("\"'\ufeff").strip() for part in plain.split("__label__"))
    words = [part for part in split if part]
    if not words or (words[0] in MISSING and len(words) == 1):
        return "no_label"
    parts = [str(int(whole[1])) if (whole := WHOLE_NUMBER.fullmatch(part)) else part for part in words]
    if len(parts) > 1:  # a label that is known or a number, if there is exactly one
        parts = list({part for part in parts if part in MEANINGS or NUMBER.fullmatch(part)})
        return MEANINGS.get(parts[0], "unknown_label") if len(parts) == 1 else "unknown_label"
    return MEANINGS.get(parts[0], "unknown_label")


def _fault(text: bytes) -> str | None:
    """The first NUL byte or fault of encoding."""
    try:
        text.decode()
        end = len(text)
    except UnicodeDecodeError as error:
        end = error.start
    if b"\0" in text[:end]:
        return "nul_byte"
    return "invalid_utf8" if end < len(text) else None


def lines_of(data: bytes, terminator: bytes) -> list[bytes]:
    """Lines without their ends; a last one without any counts."""
    lines = data.split(terminator)
    return lines if lines[-1] else lines[:-1]


def read_fasttext(data: bytes, limit: int) -> list[Record]:
    """Labelled lines."""
    records = []
    terminator = b"\r" if b"\n" not in data and b"\r" in data else b"\n"
    for number, line in enumerate(lines_of(data, terminator), 1):
        if len(line) > limit:
            records.append(Record(number, "too_long"))
            continue
        rest = line.strip(BLANKS)
        label, trailing = None, False
        while rest.startswith(b"__label__"):
            own, rest = re.fullmatch(rb"__label__([^ \t\r]*)[ \t\r]*(.*)", rest, re.DOTALL).groups()
            label = own if label is None else label + b" __label__" + own
        while label is None or trailing:
            last = re.fullmatch(rb"(.*?)(?:^|[ \t\r]+)__label__([^ \t\r]*)", rest, re.DOTALL)
            if last is None:
                break
            rest, own = last.groups()
            label, trailing = own if label is None else own + b" __label__" + label, True
        blank = not rest and label is None
        records.append(Record(number, "blank_line") if blank else judged(number, label, rest, limit))
    return records


def read_jsonl(data: bytes, limit: int) -> list[Record]:
    """Objects with the keys text and label."""
    records = []
    for number, line in enumerate(lines_of(data, b"\n"), 1):
        if len(line) > limit:
            records.append(Record(number, "too_long"))
        elif not line.strip(BLANKS):
            records.append(Record(number, "blank_line"))
        else:
            records.append(_json_record(number, line, limit))
    return records


def _json_record(number: int, line: bytes, limit: int) -> Record:
    try:
        document = json.loads(line.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError):
        return Record(number, "malformed")
    if not isinstance(document, dict):
        return Record(number, "malformed")
    label, text = (_json_value(document.get(key)) for key in ("label", "text"))
    return judged(number, label, text or b"", limit)


def _json_value(value: object) -> bytes | None:
    if value is None or isinstance(value, dict | list):
        return None
    plain = value if isinstance(value, str) else json.dumps(value)
    try:
        return plain.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return plain.encode("utf-8", "surrogatepass")


def read_csv(data: bytes, limit: int, header: bool) -> list[Record]:
    """Records of two fields, label and text; a first line that names them is left out."""
    at, line, records = 0, 1, []
    while at < len(data):
        end, fields = _csv_record(data, at, 2)
        first_line = re.compile(rb"[^\r\n]*(\r\n|\n|\r|)").match(data, at).end()
        if header:
            header, end = not data[at:first_line].strip(b"\r\n"), first_line
        elif len(_ended(data[at:end])) > limit:
            records.append(Record(line, "too_long"))
            end = first_line
        elif fields is None:
            records.append(Record(line, "malformed"))
            end = first_line
        elif not _ended(data[at:end]):
            records.append(Record(line, "blank_line"))
        elif len(fields) != 2:
            records.append(Record(line, "malformed"))
        else:
            records.append(judged(line, *fields, limit))
        line += len(re.findall(rb"\r\n|\n|\r", data[at:end]))
        at = end
    return records


def _ended(record: bytes) -> bytes:
    """A record without its line end."""
    return re.sub(rb"(\r\n|\n|\r)\Z", b"", record)


def _csv_record(data: bytes, at: int, width: int) -> tuple[int, list[bytes] | None]:
    """Where the record at `at` ends and its fields; None if only its first line is to be rejected."""
    fields: list[bytes] = []
    begin, odd = at, False
    while True:
        if data[at : at + 1] == b'"':
            found = re.compile(rb'"((?:[^"]|"")*)"(?!")([^,\r\n]*)', re.DOTALL).match(data, at)
            if not found:
                return len(data), None
            inner, after = found.groups()
            odd |= after.count(b'"') % 2 == 1
            if after and re.search(rb"[\r\n]", inner):
                return found.start(2), None
            fields.append(found.group() if after else inner.replace(b'""', b'"'))
        else:
            found = re.compile(rb"[^,\r\n]*").match(data, at)
            fields.append(found.group())
        at = found.end()
        several_lines = re.search(rb"[\r\n]", data[begin:at])
        if several_lines and (odd or any(fields[width:])):
            return at, None
        if data[at : at + 1] != b",":
            break
        at += 1
    fields = fields[:width] if not any(fields[width:]) else fields
    if (several_lines and len(fields) != width) or (odd and at == len(data)):
        return at, None
    end = at + len(re.compile(rb"\r\n|\n|\r|\Z").match(data, at).group())
    return end, [] if odd else fields
