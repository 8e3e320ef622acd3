"""Tasks that real worker processes do, some of them fatal."""

import os
import signal
import time
from pathlib import Path

from sentiscale.errors import DataError


def square(number: int) -> int:
    return number * number


def slow_square(number: int) -> int:
    time.sleep(0.1)
    return number * number


def process_id(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def die_if_bad(task: str) -> str:
    """End the worker as the out-of-memory killer would."""
    if task == "bad":
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.02)
    return task.upper()


def die_once(mark: str) -> str:
    """End the worker the first time."""
    try:
        Path(mark).touch(exist_ok=False)
    except FileExistsError:
        return "done"
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("not reached")


def blocked_signals(_: int) -> set[int]:
    return {int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, [])}


def refuse(message: str) -> None:
    raise DataError(message)


def divide_by(number: int) -> float:
    return 1 / number
