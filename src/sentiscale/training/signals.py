"""Turn SIGINT and SIGTERM into a wish that the loop grants at the next step."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopWish:
    """Which signal asked to stop, if any."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def __bool__(self) -> bool:
        return self.signal is not None


@contextmanager
def stop_on_signals() -> Iterator[StopWish]:
    """Collect SIGINT and SIGTERM while the block runs; a second one acts at once, as it usually would.

    Outside the main thread, where handlers cannot be set, the wish is never made.
    """
    wish = StopWish()
    if threading.current_thread() is not threading.main_thread():
        yield wish
        return
    earlier = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: FrameType | None) -> None:
        wish.signal = signal.Signals(number)
        signal.signal(number, earlier[signal.Signals(number)])

    for number in earlier:
        signal.signal(number, note)
    try:
        yield wish
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
