"""Run commands as child processes, and configure threads and signals of this process."""

import atexit
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
"""Number of characters shown from the end of a failed process's output."""
TERMINATE_SECONDS = 10.0
KINDS = {error.exit_code: error for error in (UsageError, DataError)}
"""Errors by exit code: if a child process reports invalid usage or data, this process reports the same."""
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

Watch = Callable[[int], AbstractContextManager[object]]
"""watch(pid) returns a context manager that is active while the process runs."""


def with_threads(threads: int) -> dict[str, str]:
    """Return the environment of this process with a thread limit for numerical libraries."""
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
        log: file for standard output and standard error.
        variables: environment of the command; None for that of this process.
        watch: called with the process id; returns a context manager that is active while the command runs.
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
    """Return the error for a failed process, with the end of its output; copy all output to `kept`."""
    text = log.read_text(encoding="utf-8", errors="replace")
    kept.write_text(text, encoding="utf-8")
    ended = f"was killed by signal {-code} (out of memory?)" if code < 0 else f"ended with exit code {code}"
    kind = KINDS.get(code, SentiscaleError)
    return kind(
        f"{what} {ended}: {text.strip()[-SHOWN_CHARACTERS:]}\n"
        f"Full output: {kept}. Finished runs are kept; run the same command again to continue."
    )


def prepare_process() -> None:
    """Configure OpenMP, torch's logging and garbage collection; call it before importing torch."""
    # Limit how long OpenMP threads spin before they sleep. They synchronize hundreds of times per LSTM step.
    # If another program occupies a core, spinning costs a time slice at each synchronization (10 instead of
    # 2,000 reviews/s were measured). Sleeping immediately costs a third of the speed on an idle machine. See
    # decision 0001.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "400")
    # Under torchrun, every store that closes logs stack traces; relevant errors are raised as well.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    # With Python's default threshold of 700 new objects, collections take a quarter of a second while
    # libraries are imported, and free nothing.
    gc.set_threshold(100_000, 20, 20)
    # At exit, Python searches all objects for cycles several times, also a quarter of a second.
    atexit.register(gc.freeze)


@contextmanager
def signal_handler(
    handler: Callable[[signal.Signals], None], *numbers: signal.Signals
) -> Iterator[dict[signal.Signals, Any]]:
    """Call `handler` for the given signals inside the block; yield the replaced handlers.

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
