"""Rows that are left out: counts by reason, each with its first row as an example and a remedy."""

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field

from sentiscale.text.labels import Reason

SHOWN_COLUMNS = 80
"""Maximum number of characters of an example's text in messages."""
REMEDIES = {
    Reason.MALFORMED: "Check that --format fits, that CSV fields with the delimiter or a quote are quoted, "
    "and that quotes inside them are doubled; if quotes are text, read the file with --quoting none.",
    Reason.TOO_LONG: "A record may have 16 MB; in CSV, a quote that is never closed also causes this.",
    Reason.NUL_BYTE: "Remove the NUL bytes: tr -d '\\000' < {file} > copy",
    Reason.NO_LABEL: "Fill in the label, or name its column with --label-column or --stars-column; fastText "
    "lines begin with __label__1 or __label__2. For a folder of each class with one review per file, add "
    "--format files.",
    Reason.UNKNOWN_LABEL: "To use the rows, name the class of every value: --label-map '{label}=CLASS,…', "
    "where CLASS is the name of a class or drop.",
    Reason.BAD_WEIGHT: "A weight is a number from 0 on, such as 2 or 0.5; --weight-column names it.",
    Reason.NO_TEXT: "Name the column that holds the reviews with --text-column, or leave these rows out.",
    Reason.EMPTY_AFTER_CLEANING: "These texts contain no word; --clean words keeps more than --clean alpha.",
}
"""The likeliest remedy for each reason; reasons that need none, such as blank lines, have no entry."""
MOST_ACCENTS = 0.5
"""Maximum ratio of bytes that are not UTF-8 to other letters in a Western text."""
OTHER_PREFIX = re.compile(r"\s*(__[a-zA-Z]+__)\w")
"""Label of another program, such as `__class__1`."""


@dataclass(frozen=True)
class Reject:
    """A row that could not be used."""

    file: str
    line: int
    """Line number from 1; for Parquet, the row number."""
    reason: str
    """Name of a `Reason`, in lower case."""
    text: str
    """Beginning of the row's text, or of the line if it could not be parsed."""
    label: str = ""
    """Label or rating of the row; empty if it has none."""
    problem: str = ""
    """Why the row could not be parsed; empty if it could, or it is not known."""

    def shown(self) -> str:
        """Return file, line, problem, label and text, as in `a.csv:7: label 'x': Works well`."""
        label = f"label '{self.label}'" if self.label else ""
        text = " ".join(self.text.split())
        text = text if len(text) <= SHOWN_COLUMNS else text[: SHOWN_COLUMNS - 1] + "…"
        return ": ".join(part for part in (f"{self.file}:{self.line}", self.problem, label, text) if part)

    def remedy(self) -> str:
        """Return the likeliest remedy; empty if none is needed."""
        other = OTHER_PREFIX.match(self.text) if self.reason == "no_label" else None
        if other is not None:
            name = shlex.quote(self.file)
            return f"fastText labels begin with __label__: sed 's/{other[1]}/__label__/g' {name} > copy.txt"
        if self.file.endswith("/") and self.reason in ("malformed", "nul_byte"):  # a file of a folder
            return ""
        if self.reason == "invalid_utf8":
            return _encoding_remedy(self)
        remedy = REMEDIES.get(Reason[self.reason.upper()], "")
        return remedy.format(file=shlex.quote(self.file), label=self.label)


def _encoding_remedy(reject: Reject) -> str:
    """Propose windows-1252 only for text in which few letters are beyond ASCII, as in Western languages."""
    if reject.file.lower().endswith(".parquet"):
        return "Text in Parquet is UTF-8: write the file again from its source, read in its encoding."
    invalid, letters = reject.text.count("\ufffd"), sum(map(str.isalpha, reject.text))
    if invalid <= MOST_ACCENTS * letters:
        return "If the file comes from Windows, add --encoding windows-1252."
    return (
        "Name the encoding with --encoding: windows-1251 is usual for Russian, gb18030 for Chinese, "
        "shift_jis for Japanese, euc-kr for Korean."
    )


@dataclass
class RejectCounts:
    """Rejected rows by reason."""

    by_reason: dict[str, int] = field(default_factory=dict)
    examples: dict[str, Reject] = field(default_factory=dict)
    """The first row of each reason."""

    @property
    def total(self) -> int:
        return sum(self.by_reason.values())

    def add(self, rejects: Iterable[Reject]) -> None:
        for reject in rejects:
            self.by_reason[reject.reason] = self.by_reason.get(reject.reason, 0) + 1
            self.examples.setdefault(reject.reason, reject)

    def lines(self) -> list[str]:
        return example_lines(self.by_reason, self.examples)


def example_lines(by_reason: dict[str, int], examples: dict[str, Reject]) -> list[str]:
    """Return two lines per reason, the most frequent first: count and example, then the remedy."""
    lines = []
    for reason, count in sorted(by_reason.items(), key=lambda item: -item[1]):
        if (example := examples.get(reason)) is not None:
            lines.append(f"  {reason} {count:,}: {example.shown()}")
            if remedy := example.remedy():
                lines.append(f"    {remedy}")
    return lines
