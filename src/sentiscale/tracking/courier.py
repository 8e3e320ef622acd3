"""Carry what happens in a run to one tracker on a thread of its own, so that training never waits for it.

A tracker that fails (its server is down, its disk full) is named once. What it missed is kept in order and
tried again whenever there is something new, and once more at the end: there, what fails is left out.
"""

import queue
import threading
import time
from collections import deque
from collections.abc import Callable

from sentiscale.tracking.seam import Tracker

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
