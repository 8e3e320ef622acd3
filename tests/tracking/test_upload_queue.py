"""The thread between training and a tracker: order, retries, one warning, never an error."""

import threading

from hypothesis import given
from hypothesis import strategies as st

from sentiscale.tracking.upload_queue import UploadQueue


class Notebook:
    """A tracker that keeps what it is told, unless it is broken."""

    def __init__(self, broken_at: set[int] = frozenset(), never: set[int] = frozenset()) -> None:
        self.kept: list[int] = []
        self.calls = 0
        self.broken_at, self.never = broken_at, never

    def metrics(self, step: int, values, at) -> None:
        self.calls += 1
        if self.calls in self.broken_at or step in self.never:
            raise ConnectionError("server gone")
        self.kept.append(step)


def carried(notebook: Notebook, steps: int, *, patience: float = 30.0) -> list[str]:
    told: list[str] = []
    queue = UploadQueue("notebook", notebook, told.append)
    for step in range(steps):
        queue.send(lambda tracker, step=step: tracker.metrics(step, {}, 0.0))
    queue.close(patience)
    return told


def left_out(entries: int) -> str:
    return f"warning: entries missing in notebook: {entries}; the run directory has all."


@given(broken_at=st.sets(st.integers(1, 12), max_size=3), steps=st.integers(4, 12))
def test_what_fails_for_a_while_is_told_once_and_keeps_its_order(broken_at, steps):
    notebook = Notebook(broken_at)
    told = carried(notebook, steps)
    assert notebook.kept == sorted(set(notebook.kept))
    warned = bool(broken_at & set(range(1, notebook.calls + 1)))
    assert sum("cannot be written" in line for line in told) == warned
    missing = steps - len(notebook.kept)
    assert [line for line in told if "entries missing" in line] == [left_out(missing)] * bool(missing)


def test_an_entry_that_never_works_does_not_keep_the_others_away():
    notebook = Notebook(never={2})
    told = carried(notebook, 6)
    assert notebook.kept == [0, 1, 3, 4, 5]
    assert told[0].startswith("warning: notebook cannot be written: server gone. Training continues")
    assert told[1] == left_out(1)


def test_what_was_missed_comes_once_the_tracker_answers():
    """The first entry fails, and nothing else is sent until it has: the second one carries it along."""
    tried = threading.Event()

    class Slow(Notebook):
        def metrics(self, step, values, at):
            try:
                super().metrics(step, values, at)
            finally:
                tried.set()

    notebook, told = Slow(broken_at={1}), []
    queue = UploadQueue("notebook", notebook, told.append)
    queue.send(lambda tracker: tracker.metrics(0, {}, 0.0))
    assert tried.wait(30)
    queue.send(lambda tracker: tracker.metrics(1, {}, 0.0))
    queue.close()
    assert notebook.kept == [0, 1]
    assert len(told) == 1


def test_a_tracker_that_hangs_is_left_behind():
    gone, told = threading.Event(), []
    queue = UploadQueue("notebook", Notebook(), told.append)
    queue.send(lambda tracker: gone.wait())
    queue.close(task_seconds=0.05)
    gone.set()
    assert told == [left_out(1)]
