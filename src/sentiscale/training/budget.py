"""How a time limit is divided among n-gram model, word vectors, network and scoring."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

WIDE_SHARE, VECTOR_SHARE, SCORING_SHARE = 0.5, 0.25, 0.1
"""Shares of the time left that the n-gram model and then the word vectors may take, and share of the limit
that scoring a split may take."""

LEAST_SECONDS = 0.5
"""Time in which the n-gram model and the word vectors can read some rows."""

LEAST_SCORED = 1000
"""Minimum number of rows in a sample; accuracies of fewer rows say little."""

WRITING_SECONDS = 2.0
"""Time after the last score: checkpoint, model directory, plots and the end of all processes."""


@dataclass
class TimeBudget:
    """Time that is left of a limit. Decisions are made on rank 0, because every rank has its own clock."""

    limit: float | None
    """Seconds from the start of the command; None for no limit."""
    started_at: float
    """Start of the command, as a value of `now`."""
    earlier: float = 0.0
    """Seconds that earlier parts of a resumed run have used."""
    now: Callable[[], float] = time.monotonic
    scoring: float | None = None
    """Measured seconds of the scores after the last step; None before they have been measured."""

    def used(self) -> float:
        """Seconds used so far."""
        return self.earlier + self.now() - self.started_at

    def left(self) -> float:
        """Seconds left, below 0 after the limit; infinite without a limit."""
        return math.inf if self.limit is None else self.limit - self.used()

    @property
    def reserve(self) -> float:
        """Seconds that scoring and writing take after the last step."""
        if self.limit is None:
            return 0.0
        scoring = 2 * SCORING_SHARE * self.limit if self.scoring is None else self.scoring
        return scoring + WRITING_SECONDS

    def wide_seconds(self) -> float:
        """Time for the n-gram model, infinite without a limit; 0, once the limit has passed, leaves it out.

        The reserve is not subtracted: in a few seconds, n-grams gain more accuracy than anything else.
        """
        left = self.left()
        return max(WIDE_SHARE * left, LEAST_SECONDS) if left > 0 else 0.0

    def vector_seconds(self) -> float:
        """Time for word vectors, infinite without a limit; 0 leaves them out."""
        seconds = VECTOR_SHARE * (self.left() - self.reserve)
        return seconds if seconds >= LEAST_SECONDS else 0.0

    def stopwatch(self, seconds: float) -> Callable[[], float]:
        """Return a function for the share of the next `seconds` that has passed; at once 1 if they are 0."""
        started_at = self.now()
        return lambda: (self.now() - started_at) / seconds if seconds > 0 else 1.0

    def scored_rows(self, seconds_per_row: float) -> int | None:
        """Maximum number of rows of a split to score; None without a limit."""
        if self.limit is None:
            return None
        return max(LEAST_SCORED, int(SCORING_SHARE * self.limit / max(seconds_per_row, 1e-9)))

    def over(self) -> bool:
        """Whether training must stop, so that the rest of the run ends in time."""
        return self.left() <= self.reserve
