"""Run: `make fuzz-inputs SECONDS=1200`, or `python -m tests.fuzz.tables SECONDS [SEED]` from the repository.

Writes random tables in random dialects, damages some, and reads them as `prepare` and `predict` do. Each line
must be in exactly one record or blank, no byte of a record may be lost, where a file is cut must not matter,
and a file that the csv module (strict) and Polars can read must give the same rows, or be refused.
"""

import csv
import io
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from sentiscale.config import resolve
from sentiscale.data.corpus import Corpus
from sentiscale.errors import SentiscaleError
from sentiscale.text.formats import parse
from sentiscale.text.labels import Reason

WORDS = ["good", "bad", "lamp", "great", "the", "a", "not", "works", "7", "5", "1", "it's", "café", "😀"]
ODD = [
    *['"', '""', '"', '" ', ' "', '\\"', "\\", "\\\\", '7"', '"Great"', "'", "`"],
    *["\n", "\r\n", "\r", "\n\n", "\n1,a\n5,b\n", '\n5\tb"', "\n1;", "\t", ",", ", ", ";", "|", "^", ", and"],
    *[
        "#",
        "# note",
        "sep=;",
        "text",
        "label,text",
        "__label__1",
        "",
        " ",
        "\\N",
        "\\n",
        "<br />",
        "[",
        "{",
        "0",
    ],
]
DELIMITERS = [*",,,,\t\t\t;;|^", "~"]
STRAY = [
    b'"',
    b'"',
    b'""',
    b'\\"',
    b"\\",
    b"\n",
    b"\r",
    b",",
    b"\t",
    b'"\n',
    b'\n"',
    b'","',
    b" ",
    b"#",
    b"\xff",
    b"\0",
]
LINE = re.compile(rb"[^\r\n]*(?:\r\n|\n|\r)|[^\r\n]+\Z")


@dataclass
class Table:
    """A file, how to read it, and the rows that it was written from."""

    content: bytes
    settings: dict[str, Any]
    truth: list[list[str]] | None = None
    """Rows without the header; None for a damaged file."""
    exact: bool = False
    """Whether the settings name the dialect, so that quotes and backslashes must be equal, too."""
    standard: bool = False
    """Whether the csv module and Polars can be asked."""
    kind: str = ""


@dataclass
class Found:
    """What was read: per record its line from 0, its fields or None for a reject; and the blank lines."""

    records: list[tuple[int, list[str] | None]] = field(default_factory=list)
    blank: list[int] = field(default_factory=list)
    lines_before: int = 0
    delimiter: str = ","
    quoting: str = "standard"

    @property
    def rows(self) -> list[list[str]]:
        return [fields for _, fields in self.records if fields is not None]


def text_of(rng: random.Random, odd: float) -> str:
    parts = [rng.choice(ODD) if rng.random() < odd else rng.choice(WORDS) for _ in range(rng.randint(1, 7))]
    return rng.choice(["", " "]).join(parts) if rng.random() < 0.3 else " ".join(parts)


def draw_table(rng: random.Random) -> Table:
    """A well-formed table in a random dialect, damaged in half of the cases, or random bytes."""
    table = _well_formed(rng)
    chance = rng.random()
    if chance < 0.45:
        return table
    content = bytearray(table.content)
    for _ in range(rng.choice([1, 1, 2, 3, 8])):
        at = rng.randint(0, len(content))
        action = rng.random()
        if action < 0.7:
            content[at:at] = rng.choice(STRAY)
        elif action < 0.85:
            del content[at : at + rng.choice([1, 1, 3, 20])]
        else:
            content[at:at] = content[rng.randint(0, at) :][: rng.randint(1, 60)]
    if chance > 0.95:
        alphabet = b'ab15",\t;\\ \n\r#'
        content = bytearray(b"stars,text\n" + bytes(rng.choice(alphabet) for _ in range(rng.randint(0, 200))))
    plain = not table.settings.keys() - {"delimiter"}
    return Table(
        bytes(content), table.settings, standard=plain and table.standard, kind=f"damaged {table.kind}"
    )


@dataclass
class Draft:
    """A table while it is being written."""

    columns: list[str]
    truth: list[list[str]]
    delimiter: str
    quoting: str
    """none, backslash or standard."""
    all_quoted: bool
    end: str
    header: str
    lines: list[str]
    settings: dict[str, Any]
    exact: bool


def _well_formed(rng: random.Random) -> Table:
    draft = _draft(rng)
    extra = rng.choice(["", "", "", *EXTRAS])
    if extra:
        EXTRAS[extra](draft)
    mark = "\ufeff" if rng.random() < 0.1 else ""
    content = (mark + draft.header + "".join(draft.lines)).encode()
    known = all(any(row) for row in draft.truth)  # without lines that hold only delimiters, or nothing
    standard = draft.quoting == "standard" and extra in ("", "cut") and not mark
    kind = f"{draft.quoting} {'named' if 'quoting' in draft.settings else 'detected'} {extra}".strip()
    return Table(content, draft.settings, draft.truth if known else None, draft.exact, standard, kind)


def _draft(rng: random.Random) -> Draft:
    odd = rng.choice([0, 0.1, 0.3, 0.6])
    columns = ["stars", "text", *rng.sample(["title", "id", "product"], rng.choice([0, 0, 1, 2]))]
    rng.shuffle(columns)
    makers = {"stars": lambda: rng.choice("15"), "id": lambda: f"R{rng.randint(1, 10**6)}"}
    rows: list[list[Any]] = [
        [makers[name]() if name in makers else text_of(rng, odd) for name in columns]
        for _ in range(rng.choice([1, 2, 3, 8, 20, 40]))
    ]
    delimiter = rng.choice(DELIMITERS)
    style = rng.choice([csv.QUOTE_MINIMAL] * 3 + [csv.QUOTE_ALL] * 2 + [csv.QUOTE_NONNUMERIC, csv.QUOTE_NONE])
    quoting = "none" if style == csv.QUOTE_NONE else "backslash" if rng.random() < 0.15 else "standard"
    if quoting == "none":
        rows = [[re.sub(r"[\r\n" + re.escape(delimiter) + "]", " ", value) for value in row] for row in rows]
    if style == csv.QUOTE_NONNUMERIC:
        rows = [[float(value) if value in ("1", "5") else value for value in row] for row in rows]
    end = rng.choice(["\n", "\n", "\r\n", "\r"])
    settings: dict[str, Any] = {"text_column": "text"}
    exact = rng.random() < 0.33
    if exact:
        settings |= {"delimiter": delimiter, "quoting": quoting, "header": True}
    elif delimiter in "^~":
        settings["delimiter"] = delimiter
    return Draft(
        columns=columns,
        truth=[[str(value) for value in row] for row in rows],
        delimiter=delimiter,
        quoting=quoting,
        all_quoted=style == csv.QUOTE_ALL and quoting == "standard",
        end=end,
        header=delimiter.join(columns) + end,
        lines=[_written(row, delimiter, style, quoting) + end for row in rows],
        settings=settings,
        exact=exact,
    )


def _written(row: list[Any], delimiter: str, style: int, quoting: str) -> str:
    """Return a row without its line end."""
    if quoting == "none":
        return delimiter.join(row)
    escape: dict[str, Any] = {"escapechar": "\\", "doublequote": False} if quoting == "backslash" else {}
    file = io.StringIO(newline="")
    # The module quotes line breaks that are in its own line end.
    csv.writer(file, delimiter=delimiter, quoting=style, lineterminator="\r\n", **escape).writerow(row)
    return file.getvalue().removesuffix("\r\n")


def _row_names(draft: Draft) -> None:
    draft.lines = [f"{number}{draft.delimiter}{line}" for number, line in enumerate(draft.lines, 1)]
    draft.truth = [[str(number), *row] for number, row in enumerate(draft.truth, 1)]
    if len(draft.truth) == 1:  # one number does not show that it is a name
        draft.truth = [[]]


def _trailing(draft: Draft) -> None:
    draft.lines = [line.removesuffix(draft.end) + draft.delimiter + draft.end for line in draft.lines]


def _separator(draft: Draft) -> None:
    draft.header = f"sep={draft.delimiter}{draft.end}{draft.header}"


def _comments(draft: Draft) -> None:
    draft.header = f"# exported{draft.end}# by, nobody{draft.end}{draft.header}"


def _no_header(draft: Draft) -> None:
    draft.header = ""
    draft.settings |= {"header": False, "columns": draft.columns, "delimiter": draft.delimiter}


def _spaces(draft: Draft) -> None:
    if draft.all_quoted:
        quoted = [['"' + value.replace('"', '""') + '"' for value in row] for row in draft.truth]
        draft.lines = [f"{draft.delimiter} ".join(row) + draft.end for row in quoted]
        draft.exact = False


def _cut(draft: Draft) -> None:
    draft.lines[-1] = draft.lines[-1].removesuffix(draft.end)


EXTRAS: dict[str, Callable[[Draft], None]] = {
    "row names": _row_names,
    "trailing": _trailing,
    "sep": _separator,
    "comments": _comments,
    "no header": _no_header,
    "spaces": _spaces,
    "cut": _cut,
}
"""What other programs add to a table."""


def read(path: Path, table: Table, block_bytes: int) -> Found:
    settings = resolve(base={"prepare": {"format": "csv", "encoding": "utf-8", **table.settings}}).prepare
    (source,) = Corpus.find([path], settings, labels="none").sources
    names = source.table.columns
    found = Found([], [], source.table.lines_before, source.table.delimiter, source.table.quoting)
    line = found.lines_before
    for raw in source.blocks(block_bytes):
        numbered = [f"{number}" for number in range(len(names))]
        own = replace(
            source.table,
            columns=tuple(numbered),
            text=str(names.index(source.table.text)),
            title=None,
            extra=pa.schema([(name, pa.large_string()) for name in numbered]),
        )
        columns = parse(raw.data, own)
        good = columns.faults == Reason.NONE
        assert columns.extra is not None
        for number, fields in enumerate(
            zip(*(column.to_pylist() for column in columns.extra.columns), strict=True)
        ):
            found.records.append((line + int(columns.lines[number]), list(fields) if good[number] else None))
        found.blank += (columns.blank + line).tolist()
        line += columns.line_count
    return found


def check(table: Table, folder: Path) -> str:
    """Check one file; return what became of it. Raises: AssertionError."""
    path = folder / "r.csv"
    path.write_bytes(table.content)
    try:
        found = read(path, table, 10**6)
    except SentiscaleError:
        return "refused"
    try:
        assert read(path, table, 16) == found, "where the file is cut matters"
    except SentiscaleError as error:
        raise AssertionError(f"refused only if cut: {error}") from error
    check_conserved(table.content, found)
    if table.truth is not None:
        check_rows(found, table.truth, exact=table.exact)
    if table.standard:
        check_peers(table, found)
    return "read" if len(found.rows) == len(found.records) else "read in part"


def check_conserved(content: bytes, found: Found) -> None:
    """Every line is a blank line, a reject or part of one row, and no byte of a row is lost."""
    lines = LINE.findall(content.removeprefix("\ufeff".encode()))
    begins = [line for line, _ in found.records]
    owners = sorted([*begins, *found.blank])
    assert len(set(owners)) == len(owners)
    assert owners[:1] == ([found.lines_before] if found.lines_before < len(lines) else [])
    ends = dict(zip(owners, [*owners[1:], len(lines)], strict=False))
    for line in found.blank:
        assert (lines[line].strip(b"\r\n"), ends[line]) == (b"", line + 1)
    for line, fields in found.records:
        raw = b"".join(lines[line : ends[line]])
        if fields is None:
            assert ends[line] == line + 1, f"a reject of several lines: {raw!r}"
        else:
            written = essence(raw.decode("utf-8", "replace"), found.delimiter)
            assert written == essence("".join(fields), found.delimiter), f"{raw!r} became {fields}"


def essence(text: str, delimiter: str) -> str:
    """Everything that is not syntax."""
    return re.sub(r'["\\\s' + re.escape(delimiter) + "]", "", text)


def check_rows(found: Found, written: list[list[str]], *, exact: bool) -> None:
    """Rows must be those that were written.

    Unless `exact`, quotes and backslashes may be kept as text, and a quote that is text may reject a row.
    """

    def plain(values: list[str]) -> list[str]:
        return values if exact else [re.sub(r'["\\]', "", value).strip() for value in values]

    rows = [fields for _, fields in found.records]
    assert len(rows) == len(written), f"read {len(rows)} records, written {len(written)}"
    for number, (own, expected) in enumerate(zip(rows, written, strict=True)):
        if own is not None or exact:
            assert plain(own or []) == plain(expected), f"row {number}: read {own}, written {expected}"


def check_peers(table: Table, found: Found) -> None:
    """Compare with the csv module and with Polars, where they read the file."""
    try:
        text = table.content.decode()
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=found.delimiter, strict=True))
    except (csv.Error, UnicodeDecodeError):
        return
    rows = [row for row in rows if row]
    width = len(rows[0]) if rows else 0
    headed = table.settings.get("header") is not False
    if found.lines_before != int(headed) or width < 2 or any(len(row) != width for row in rows):
        return
    if found.quoting == "standard" and len(found.rows) == len(found.records):
        assert found.rows == rows[headed:], f"csv: {rows[headed:]}, here: {found.rows}"
        check_polars(table, found, rows[headed:])


def check_polars(table: Table, found: Found, expected: list[list[str]]) -> None:
    if b"\r" in table.content or found.blank or not table.settings.get("header", True):
        return
    try:
        frame = pl.read_csv(table.content, separator=found.delimiter, infer_schema=False)
    except pl.exceptions.PolarsError:
        return
    rows = [[value or "" for value in row] for row in frame.rows()]
    assert rows == expected, f"polars: {rows}, here: {expected}"


def main(seconds: float, seed: int) -> None:
    counts: Counter[tuple[str, str]] = Counter()
    started_at, rng = time.monotonic(), random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        while time.monotonic() - started_at < seconds:
            table = draw_table(rng)
            try:
                counts[table.kind, check(table, Path(folder))] += 1
            except Exception:
                Path("crash-table.csv").write_bytes(table.content)
                sys.stderr.write(f"{table} breaks a property; its content is in crash-table.csv\n")
                raise
    outcomes = ("read", "read in part", "refused")
    lines = [f"| {' | '.join(('table', *outcomes))} |", "|---|" + "---:|" * len(outcomes)]
    for kind in sorted({kind for kind, _ in counts}):
        lines.append(f"| {kind} | {' | '.join(f'{counts[kind, outcome]:,}' for outcome in outcomes)} |")
    totals = [sum(count for (_, own), count in counts.items() if own == outcome) for outcome in outcomes]
    lines.append(
        f"| all {sum(totals):,}, seed {seed}, {seconds:.0f} s | {' | '.join(f'{n:,}' for n in totals)} |"
    )
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else int(time.time()))
