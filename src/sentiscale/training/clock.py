"""Where the time goes: seconds by phase, each second counted once."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sentiscale.records import PhaseTimes
from sentiscale.study.records import Span

Note = Callable[[str, int], None]
"""Is told the phase and the step that begin."""


def no_note(phase: str, step: int) -> None:
    """Tell nobody."""


class PhaseClock:
    """Adds up seconds by phase; `earlier` are those of the runs this one resumes."""

    def __init__(
        self, earlier: PhaseTimes | None = None, earlier_seconds: float = 0.0, note: Note = no_note
    ) -> None:
        self.started_at = time.perf_counter()
        self.earlier_seconds = earlier_seconds
        self.spent: defaultdict[str, float] = defaultdict(float, (earlier or PhaseTimes()).model_dump())
        self.note = note

    def reset(self) -> None:
        """Begin at zero again: what came before was warming up."""
        self.started_at, self.earlier_seconds = time.perf_counter(), 0.0
        self.spent.clear()

    @contextmanager
    def phase(self, name: str, step: int = 0) -> Iterator[None]:
        """Count the block's seconds as `name`, a field of `PhaseTimes`."""
        self.note(name, step)
        started_at = time.perf_counter()
        try:
            yield
        finally:
            self.spent[name] += time.perf_counter() - started_at

    def move(self, seconds: float, source: str, target: str) -> None:
        """Count seconds that were counted as `source` as `target` instead."""
        self.spent[source] -= seconds
        self.spent[target] += seconds

    def seconds(self) -> float:
        """Seconds of training so far, earlier runs included."""
        return self.earlier_seconds + time.perf_counter() - self.started_at

    def times(self) -> PhaseTimes:
        """Seconds by phase so far."""
        return PhaseTimes(**self.spent)


class RecordingClock(PhaseClock):
    """Also keeps when each phase of each step began and ended: for timelines and who waited for whom."""

    def __init__(self, note: Note = no_note) -> None:
        super().__init__(note=note)
        self.spans: list[Span] = []

    def reset(self) -> None:
        """Begin at zero again, and forget what was recorded."""
        super().reset()
        self.spans.clear()

    @contextmanager
    def phase(self, name: str, step: int = 0) -> Iterator[None]:
        """Count and record the block."""
        begin = time.perf_counter()
        try:
            with super().phase(name, step):
                yield
        finally:
            self.spans.append(Span(phase=name, step=step, begin=begin, end=time.perf_counter()))
