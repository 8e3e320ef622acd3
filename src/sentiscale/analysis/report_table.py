"""The full table of a family: columns with units, shared by the page and its Markdown twin."""

from collections.abc import Callable
from typing import NamedTuple

from sentiscale.analysis.page import percent, size
from sentiscale.analysis.report_words import (
    case_detail,
    case_name,
    figure,
    interval,
    is_bare,
    is_other_work,
    per_cent,
)  # fmt: skip
from sentiscale.analysis.study import Family, StudyRow


class Cell(NamedTuple):
    """A value and what stands beside it in small letters, such as its interval."""

    text: str
    note: str = ""

    def __str__(self) -> str:
        return f"{self.text} ({self.note})" if self.note else self.text


Column = tuple[str, str, Callable[[StudyRow], Cell]]
"""Heading, unit, and how to fill it."""


class Line(NamedTuple):
    """One row of the table."""

    name: str
    detail: str
    oversubscribed: bool
    cells: list[Cell]


class Table(NamedTuple):
    """Headings with units, and lines; columns without any value are left out."""

    headings: list[tuple[str, str]]
    lines: list[Line]


EMPTY = Cell("-")


def full_table(family: Family) -> Table:
    """All numbers of a family."""
    bare = all(is_bare(row.case) for row in family.rows) or is_other_work(family)
    columns: list[Column] = [
        ("workers" if bare else "cores", "", lambda row: Cell(str(row.workers))),
        *COLUMNS,
    ]
    grid = [[cell(row) for row in family.rows] for _, _, cell in columns]
    kept = [number for number, cells in enumerate(grid) if any(cell != EMPTY for cell in cells)]
    lines = [
        Line(
            case_name(row.case), case_detail(row.case), row.oversubscribed,
            [grid[number][place] for number in kept],
        )
        for place, row in enumerate(family.rows)
    ]  # fmt: skip
    return Table([columns[number][:2] for number in kept], lines)


def _workers(row: StudyRow) -> Cell:
    return Cell(str(row.workers))


def _seconds(row: StudyRow) -> Cell:
    return Cell(figure(row.seconds_median), interval(row.seconds_ci95))


def _rate(row: StudyRow) -> Cell:
    return Cell(figure(row.rows_per_s)) if row.rows_per_s else EMPTY


def _speedup(row: StudyRow) -> Cell:
    return EMPTY if row.speedup is None else Cell(figure(row.speedup), interval(row.speedup_ci95))


def _efficiency(row: StudyRow) -> Cell:
    return EMPTY if row.efficiency is None else Cell(per_cent(row.efficiency))


def _karp_flatt(row: StudyRow) -> Cell:
    return EMPTY if row.karp_flatt is None else Cell(figure(row.karp_flatt))


def _waiting(row: StudyRow) -> Cell:
    return EMPTY if row.waiting_share is None else Cell(per_cent(row.waiting_share))


def _sent(row: StudyRow) -> Cell:
    return Cell(size(row.bytes_per_step)) if row.bytes_per_step else EMPTY


def _memory(row: StudyRow) -> Cell:
    return Cell(figure(max(row.peak_memory_mb_per_rank))) if row.peak_memory_mb_per_rank else EMPTY


def _accuracy(row: StudyRow) -> Cell:
    if row.accuracy is None:
        return EMPTY
    reached = "" if row.reached is None else f"reached {row.reached} of {row.repeats}"
    return Cell(percent(row.accuracy, 2), reached)


def _repeats(row: StudyRow) -> Cell:
    return Cell(str(row.repeats), f"{row.disturbed} disturbed" if row.disturbed else "")


COLUMNS: list[Column] = [
    ("time", "s", _seconds),
    ("rate", "rows/s", _rate),
    ("speedup", "times", _speedup),
    ("efficiency", "", _efficiency),
    ("Karp-Flatt", "serial share", _karp_flatt),
    ("exchange, waiting", "of a step", _waiting),
    ("sent", "a step, most", _sent),
    ("memory", "MB, largest rank", _memory),
    ("accuracy", "validation", _accuracy),
    ("repeats", "", _repeats),
]
