"""Seconds of a training run by phase; each second is counted once."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sentiscale.records import PhaseTimes

OnPhase = Callable[[str, int], None]
"""Called with a phase and step when they begin."""


def ignore_phase(phase: str, step: int) -> None:
    """Do nothing; default of `on_phase`."""


class PhaseClock:
    """Adds up seconds by phase; `earlier` are the seconds of the run that is being resumed."""

    def __init__(
        self,
        earlier: PhaseTimes | None = None,
        earlier_seconds: float = 0.0,
        on_phase: OnPhase = ignore_phase,
    ) -> None:
        self.started_at = time.perf_counter()
        self.earlier_seconds = earlier_seconds
        self.spent: defaultdict[str, float] = defaultdict(float, (earlier or PhaseTimes()).model_dump())
        self.on_phase = on_phase

    def reset(self) -> None:
        """Restart at zero, after a warm-up."""
        self.started_at, self.earlier_seconds = time.perf_counter(), 0.0
        self.spent.clear()

    @contextmanager
    def phase(self, name: str, step: int = 0) -> Iterator[None]:
        """Count the block's seconds as `name`, a field of `PhaseTimes`."""
        self.on_phase(name, step)
        started_at = time.perf_counter()
        try:
            yield
        finally:
            self.spent[name] += time.perf_counter() - started_at

    def move(self, seconds: float, source: str, target: str) -> None:
        """Move seconds that were counted as `source` to `target`."""
        self.spent[source] -= seconds
        self.spent[target] += seconds

    def seconds(self) -> float:
        """Seconds of training so far, including earlier parts of the run."""
        return self.earlier_seconds + time.perf_counter() - self.started_at

    def times(self) -> PhaseTimes:
        # Rounding may leave a phase slightly below 0 after `move`.
        return PhaseTimes(**{name: max(0.0, seconds) for name, seconds in self.spent.items()})
