"""Run commands as child processes: with a limit on threads, messages in a file, ended with this process."""

import gc
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Any

from sentiscale.errors import DataError, SentiscaleError, UsageError

SHOWN_CHARACTERS = 400
"""Characters shown of a failed process's messages, from their end."""
TERMINATE_SECONDS = 10.0
KINDS = {error.exit_code: error for error in (UsageError, DataError)}
"""A wrong setting or file that the process refuses is the user's mistake here, too."""
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

Watch = Callable[[int], AbstractContextManager[object]]
"""watch(pid) is a context manager that is open while the process runs."""


def with_threads(threads: int) -> dict[str, str]:
    """The environment of this process, with a limit on the threads of numerical libraries."""
    return {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(threads))}


def call(
    command: Sequence[str],
    log: Path,
    variables: Mapping[str, str] | None = None,
    watch: Watch = lambda _: nullcontext(),
) -> int:
    """Run a command and return its exit code; terminate it when this process is interrupted.

    Args:
        command: program and arguments.
        log: file for its output and messages.
        variables: its environment; None is that of this process.
        watch: measures it while it runs.
    """
    with open(log, "wb") as messages:
        process = subprocess.Popen(
            command, env=variables, stdin=subprocess.DEVNULL, stdout=messages, stderr=messages
        )
        try:
            with watch(process.pid):
                return process.wait()
        except BaseException:
            process.terminate()
            try:
                process.wait(TERMINATE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            raise


def failure(what: str, code: int, log: Path, kept: Path) -> SentiscaleError:
    """The error of a failed process, with the end of its messages; all of them go to the file `kept`."""
    text = log.read_text(encoding="utf-8", errors="replace")
    kept.write_text(text, encoding="utf-8")
    ended = f"was killed by signal {-code} (out of memory?)" if code < 0 else f"ended with exit code {code}"
    kind = KINDS.get(code, SentiscaleError)
    return kind(
        f"{what} {ended}: {text.strip()[-SHOWN_CHARACTERS:]}\n"
        f"All of its messages: {kept}. Finished runs are kept; the same command continues after them."
    )


def prepare_process() -> None:
    """Adjust threads, messages and garbage collection of this process; call it before torch is loaded."""
    # Bound how long OpenMP threads spin before they sleep. They meet hundreds of times in one LSTM step: when
    # another program holds a core, spinning costs a time slice at each meeting (10 instead of 2,000 reviews/s
    # were measured); sleeping at once costs a third of the speed on an idle machine. See decision 0001.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "400")
    # Under torchrun every store that closes writes stack traces; what matters is raised as well.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    # Python's default of 700 new objects costs a quarter second of every start, while libraries are loaded,
    # and finds nothing.
    gc.set_threshold(100_000, 20, 20)


@contextmanager
def signal_handler(
    handler: Callable[[signal.Signals], None], *numbers: signal.Signals
) -> Iterator[dict[signal.Signals, Any]]:
    """Call `handler` for these signals inside the block; yield the handlers that were replaced.

    Does nothing outside the main thread, where Python allows no signal handlers.
    """
    if threading.current_thread() is not threading.main_thread():
        yield {}
        return

    def call_handler(number: int, frame: FrameType | None) -> None:
        handler(signal.Signals(number))

    replaced = {number: signal.signal(number, call_handler) for number in numbers}
    try:
        yield replaced
    finally:
        for number, earlier in replaced.items():
            signal.signal(number, earlier)
