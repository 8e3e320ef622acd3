"""What a tracker is: somebody outside of the run directory who follows a training run."""

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from sentiscale.records import EpochMetrics, RunRecord

Scalar = bool | int | float | str


@dataclass(frozen=True)
class TrackedRun:
    """The run that is followed, as it begins or goes on."""

    path: Path
    """The run directory, absolute."""
    record: RunRecord
    """As things stand at the beginning."""
    resumed_at: int | None
    """The step it goes on from; None for a new run."""

    @property
    def name(self) -> str:
        """What people call it."""
        return self.path.name


class Tracker(Protocol):
    """Follows one run.

    Calls come in this order, from one thread: `begin`, `metrics` for each validation, `artefact` for each
    file, `end`. A call that raises is made again later, so each must bear being repeated.
    """

    def begin(self, settings: Mapping[str, Scalar], run: TrackedRun) -> None:
        """Open the run, or open it again where an earlier part of it was followed."""

    def metrics(self, step: int, values: Mapping[str, float], at: float) -> None:
        """Take one point of every curve; `at` is the time of the validation, in seconds since 1970."""

    def artefact(self, path: Path) -> None:
        """Take one file of the run directory."""

    def end(self, status: str, scores: Mapping[str, float]) -> None:
        """Close the run: finished, interrupted or failed, with its final figures."""


Errand = Callable[[Tracker], None]
"""One call to the tracker."""

PATIENCE_SECONDS = 120.0
"""How long the end of a run waits for one errand to be done, such as an upload."""
GIVE_UP_SECONDS = 15.0
"""How long errands may fail at the end of a run, all together, before the rest is not tried any more."""


class Courier:
    """Runs errands in order, never raises, and says at most twice that something went wrong."""

    def __init__(self, name: str, tracker: Tracker, say: Callable[[str], None]) -> None:
        self.name = name
        self.tracker = tracker
        self.say = say
        self.failed = False
        self.lost = 0
        """Errands left out for good."""
        self._new: queue.SimpleQueue[Errand | None] = queue.SimpleQueue()
        self._open: deque[Errand] = deque()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"track-{name}", daemon=True)
        self._thread.start()

    def send(self, errand: Errand) -> None:
        """Have it done; returns at once."""
        self._new.put(errand)

    def close(self, patience: float = PATIENCE_SECONDS) -> None:
        """Wait until all is done, or one errand takes longer than `patience` seconds or fails once more."""
        self._new.put(None)
        while self._thread.is_alive():
            self._done.clear()
            self._thread.join(0.02)
            if self._thread.is_alive() and not self._done.wait(patience):
                break
        left = self.lost + len(self._open) + self._new.qsize()
        if left:
            self.say(f"warning: entries missing in {self.name}: {left}; the run directory has all.")

    def _run(self) -> None:
        while not self._take_up():
            while self._open and self._try(self._open[0]):
                self._open.popleft()
        self._finish()

    def _finish(self) -> None:
        """Run what is open; what fails now is left out, so that one bad file does not keep a run open."""
        wasted = 0.0
        while self._open and wasted < GIVE_UP_SECONDS:
            began = time.monotonic()
            if not self._try(self._open[0]):
                self.lost += 1
                wasted += time.monotonic() - began
            self._open.popleft()

    def _try(self, errand: Errand) -> bool:
        """Run one errand; returns whether it worked."""
        try:
            errand(self.tracker)
        except Exception as error:  # a tracker's trouble, of whatever kind, must not end a training
            self._warn(error)
            return False
        finally:
            self._done.set()
        return True

    def _take_up(self) -> bool:
        """Wait for an errand, then take all there are; returns whether none will follow."""
        errands = [self._new.get()]
        while not self._new.empty():
            errands.append(self._new.get())
        self._open.extend(errand for errand in errands if errand is not None)
        return errands[-1] is None

    def _warn(self, error: Exception) -> None:
        if not self.failed:
            self.failed = True
            told = " ".join(str(error).split())[:300] or type(error).__name__
            self.say(
                f"warning: {self.name} cannot be written: {told.rstrip('.')}. "
                "Training goes on; what is missing there is sent once it answers."
            )


SECTIONS = ("model", "wide", "vectors", "train")
"""Of the settings: those that say what is trained and how."""
FACTS = ("layout", "world_size", "threads_per_rank", "precision", "oversubscribed", "data_digest")
FIGURES = (
    "train_seconds",
    "steps",
    "epochs",
    "best_step",
    "rows_per_s",
    "tokens_per_s",
    "flops_utilisation",
    "bytes_reduced_per_step",
)


def settings_of(record: RunRecord) -> dict[str, Scalar]:
    """What was set and what it ran on, by dotted name; what is None is left out."""
    values = {name: getattr(record, name) for name in FACTS}
    settings = {section: record.settings.get(section, {}) for section in SECTIONS}
    named = {**values, **dict(flat(settings)), **dict(flat({"host": record.host.model_dump()}))}
    return {name: value for name, value in named.items() if isinstance(value, Scalar)}


def points_of(metrics: EpochMetrics) -> dict[str, float]:
    """The values of one validation, by column of `metrics.jsonl`."""
    columns = metrics.model_dump(exclude={"step"})
    return {name: float(value) for name, value in columns.items() if value is not None}


def scores_of(record: RunRecord) -> dict[str, float]:
    """Final scores and costs; lists such as the confusion matrix stay in `record.json`."""
    scores = dict(flat({"valid": record.valid, "test": record.test or {}}))
    figures = {name: getattr(record, name) for name in FIGURES}
    if record.peak_memory_mb_per_rank:
        figures["peak_memory_mb"] = max(record.peak_memory_mb_per_rank)
    named = {**scores, **figures}
    return {name: float(value) for name, value in named.items() if isinstance(value, int | float)}


def flat(nested: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Names and values of nested mappings, names joined by dots."""
    for key, value in nested.items():
        if isinstance(value, Mapping):
            yield from ((f"{key}.{name}", inner) for name, inner in flat(value))
        else:
            yield key, value
