"""Read somebody's table of workers and seconds: `workers,seconds[,strategy]`, one run a line."""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sentiscale.errors import DataError, did_you_mean
from sentiscale.study.analysis.words import joined, many

COLUMNS = ("workers", "seconds", "strategy")
REQUIRED = COLUMNS[:2]
UNNAMED = "all runs"
MOST_DIGITS = 8


@dataclass(frozen=True)
class Timing:
    """One line of the table."""

    workers: int
    """Cores, or whatever was added."""
    seconds: float
    """Of the run."""
    strategy: str
    """Runs with the same one are compared."""


def read_timings(path: Path) -> list[Timing]:
    """Read `workers,seconds[,strategy]`; a repeat is another line, lines that begin with # are comments.

    Raises: DataError naming file and line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}. --timings takes a CSV file.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text. --timings takes a CSV file.") from error
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if _speaks(line)]
    if not lines:
        raise DataError(f"{path} is empty. It takes a line '{','.join(REQUIRED)}' and one line a run.")
    cells = [[cell.strip() for cell in row] for row in csv.reader(line for _, line in lines)]
    numbers = [number for number, _ in lines]
    header = _header(f"{path}:{numbers[0]}", cells[0])
    found = [
        _timing(f"{path}:{number}", header, row) for number, row in zip(numbers[1:], cells[1:], strict=False)
    ]
    if not found:
        raise DataError(f"{path} has a header and no runs. Add one line a run, such as '8,120.5'.")
    return found


def _speaks(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _header(where: str, cells: Sequence[str]) -> list[str]:
    names = [cell.lower() for cell in cells]
    for name in REQUIRED:
        if name not in names:
            close = next((found for got in names if (found := did_you_mean(got, [name]))), "")
            raise DataError(
                f"{where} has the columns '{','.join(cells)}' and no '{name}'; the first line must be "
                f"'workers,seconds' or 'workers,seconds,strategy'.{close}"
            )
    unknown = [name for name in names if name not in COLUMNS]
    if unknown or len(set(names)) < len(names):
        raise DataError(
            f"{where} has the columns '{','.join(cells)}'; allowed, once each: {joined(list(COLUMNS))}."
        )
    return names


def _timing(where: str, header: Sequence[str], cells: Sequence[str]) -> Timing:
    if len(cells) != len(header):
        raise DataError(
            f"{where} has {many(len(cells), 'column')}; the header has {len(header)}. "
            "Complete the line, or take it out."
        )
    row = dict(zip(header, cells, strict=True))
    return Timing(
        workers=_workers(where, row["workers"]),
        seconds=_seconds(where, row["seconds"]),
        strategy=row.get("strategy") or UNNAMED,
    )


def _workers(where: str, text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= MOST_DIGITS and int(text) > 0):
        raise DataError(f"{where}: workers is '{text}'; it must be a whole number from 1 on.")
    return int(text)


def _seconds(where: str, text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise DataError(f"{where}: seconds is '{text}'; it must be a number above 0, such as 120.5.")
    return seconds
