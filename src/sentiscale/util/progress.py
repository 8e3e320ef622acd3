"""Tell somebody how work goes on; silent unless a subclass shows it (the command line does)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[float, str], None]
"""advance(amount, note): `amount` in the task's unit since the last call; `note` such as "loss 0.31"."""


class Progress:
    """The silent default; `sentiscale.cli.progress.TerminalProgress` draws bars on stderr."""

    @contextmanager
    def task(self, name: str, total: float | None, unit: str) -> Iterator[Advance]:
        """Open a task of `total` units (None: unknown) and yield the function that advances it."""
        yield lambda amount, note: None

    def say(self, message: str) -> None:
        """Show one line to the person who waits."""
