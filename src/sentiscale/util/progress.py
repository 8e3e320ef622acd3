"""Interface for reporting progress, with an implementation that displays nothing."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[float, str], None]
"""advance(amount, note) adds `amount` units of work and shows `note`, such as "loss 0.31"."""


class Progress:
    """Displays nothing; `sentiscale.util.terminal.TerminalProgress` draws progress bars on stderr."""

    @contextmanager
    def task(self, name: str, total: float | None, unit: str) -> Iterator[Advance]:
        """Start a task of `total` units (None if unknown) and yield the function that advances it."""
        yield lambda amount, note: None

    def say(self, message: str) -> None:
        """Display a one-line message."""
