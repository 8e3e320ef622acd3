"""Report progress; silent unless a subclass shows it, as the command line does."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[float, str], None]
"""advance(amount, note): units of work since the last call; a note such as "loss 0.31"."""


class Progress:
    """The silent default; `sentiscale.util.terminal.TerminalProgress` draws bars on stderr."""

    @contextmanager
    def task(self, name: str, total: float | None, unit: str) -> Iterator[Advance]:
        """Open a task of `total` units (None: unknown) and yield the function that advances it."""
        yield lambda amount, note: None

    def say(self, message: str) -> None:
        """Show one line."""
