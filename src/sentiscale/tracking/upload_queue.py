"""A thread between training and a tracker, so that training neither waits for a server nor fails with it."""

import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

Task = Callable[[Any], None]
"""One call to the tracker, which is its argument."""

TASK_SECONDS = 120.0
"""Time the end of a run waits for one task, such as an upload."""
FAILURES_SECONDS = 15.0
"""Total time tasks may fail at the end of a run before the remaining ones are dropped."""


class UploadQueue:
    """Runs tasks in order. A failed task is retried when the next one arrives; the user is warned once."""

    def __init__(self, name: str, tracker: Any, say: Callable[[str], None]) -> None:
        self.name = name
        self.tracker = tracker
        self.say = say
        self.warned = False
        self.dropped = 0
        self._new: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._pending: deque[Task] = deque()
        self._tried = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"track-{name}", daemon=True)
        self._thread.start()

    def send(self, task: Task) -> None:
        """Queue a task without waiting."""
        self._new.put(task)

    def close(self, task_seconds: float = TASK_SECONDS) -> None:
        """Wait until all tasks are done or dropped, or until one takes longer than `task_seconds`."""
        self._new.put(None)
        while self._thread.is_alive():
            self._tried.clear()
            self._thread.join(0.02)
            if self._thread.is_alive() and not self._tried.wait(task_seconds):
                break
        missing = self.dropped + len(self._pending) + self._new.qsize()
        if missing:
            self.say(f"warning: entries missing in {self.name}: {missing}; the run directory has all.")

    def _run(self) -> None:
        while not self._receive():
            while self._pending and self._try(self._pending[0]):
                self._pending.popleft()
        failing = 0.0
        while self._pending and failing < FAILURES_SECONDS:
            started_at = time.monotonic()
            if not self._try(self._pending[0]):  # not retried: one bad file must not keep the run open
                self.dropped += 1
                failing += time.monotonic() - started_at
            self._pending.popleft()

    def _receive(self) -> bool:
        """Wait for a task, then take all queued ones; return whether the queue was closed."""
        tasks = [self._new.get()]
        while not self._new.empty():
            tasks.append(self._new.get())
        self._pending.extend(task for task in tasks if task is not None)
        return tasks[-1] is None

    def _try(self, task: Task) -> bool:
        try:
            task(self.tracker)
        except Exception as error:  # a failing tracker must not end training
            if not self.warned:
                self.warned = True
                reason = " ".join(str(error).split())[:300] or type(error).__name__
                self.say(
                    f"warning: {self.name} cannot be written: {reason.rstrip('.')}. "
                    "Training continues; missing entries are sent when it answers."
                )
            return False
        finally:
            self._tried.set()
        return True
