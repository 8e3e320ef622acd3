"""Progress bars on stderr with rate and ETA, or plain lines if stderr is not a terminal."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress
from rich.text import Text

from sentiscale.util.progress import Advance, Progress

LINE_EVERY_SECONDS = 10.0


class TerminalProgress(Progress):
    """Shows tasks on stderr: a live bar on a terminal, otherwise a line every ten seconds."""

    def __init__(self) -> None:
        self.console = Console(file=sys.stderr, highlight=False)

    @contextmanager
    def task(self, name: str, total: float | None, unit: str) -> Iterator[Advance]:
        draw = self._bar if self.console.is_terminal else self._lines
        with draw(name, total, unit) as advance:
            yield advance

    def say(self, message: str) -> None:
        self.console.print(message, markup=False, soft_wrap=True)

    @contextmanager
    def _bar(self, name: str, total: float | None, unit: str) -> Iterator[Advance]:
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            RateColumn(unit),
            TimeElapsedColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
        )
        # By default, Rich also replaces sys.stdout, which would send results of the command to stderr.
        with RichProgress(*columns, console=self.console, redirect_stdout=False) as bars:
            task = bars.add_task(name, total=total, note="")
            yield lambda amount, note: bars.update(task, advance=amount, note=note)

    @contextmanager
    def _lines(self, name: str, total: float | None, unit: str) -> Iterator[Advance]:
        started_at = shown_at = time.monotonic()
        done = 0.0

        def advance(amount: float, note: str) -> None:
            nonlocal done, shown_at
            done += amount
            now = time.monotonic()
            if now - shown_at >= LINE_EVERY_SECONDS:
                shown_at = now
                self.say(progress_line(name, done, total, unit, now - started_at, note))

        yield advance


class RateColumn(ProgressColumn):
    """Column with units per second, or a question mark before the first measurement."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f} {self.unit}/s" if task.speed else f"? {self.unit}/s")


def progress_line(name: str, done: float, total: float | None, unit: str, seconds: float, note: str) -> str:
    """Format one line of progress: percentage, units done, rate, time left and the task's note."""
    rate = done / seconds if seconds > 0 else 0.0
    share = f" {100 * done / total:.0f} %" if total else ""
    left = f", {(total - done) / rate:.0f} s left" if total and rate > 0 else ""
    return f"{name}{share}: {done:,.0f} {unit}, {rate:,.0f} {unit}/s{left}{', ' + note if note else ''}"


def make_progress(quiet: bool) -> Progress:
    return Progress() if quiet else TerminalProgress()
