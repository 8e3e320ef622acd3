"""Run a command in a process of its own: its threads limited, its messages kept, ended when we are."""

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from sentiscale.errors import DataError, SentiscaleError, UsageError

LAST_WORDS = 400
"""Characters of a failed process's messages that are shown."""
PATIENCE_SECONDS = 10.0
KINDS = {error.exit_code: error for error in (UsageError, DataError)}
"""A process that refuses its settings or data was given a user's mistake, which it is here too."""
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

Watch = Callable[[int], AbstractContextManager[object]]
"""Given the number of the process, a block that is open while it runs."""


def with_threads(threads: int) -> dict[str, str]:
    """Our environment, for a process whose libraries shall take so many threads."""
    return {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(threads))}


def call(
    command: Sequence[str],
    log: Path,
    variables: Mapping[str, str] | None = None,
    watch: Watch = lambda _: nullcontext(),
) -> int:
    """Run a command to its end, or end it when this process is interrupted; returns its exit code.

    Args:
        command: program and arguments.
        log: where its messages and output go.
        variables: its environment; None is ours.
        watch: looks at it meanwhile.
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
                process.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            raise


def failure(what: str, code: int, log: Path, kept: Path) -> SentiscaleError:
    """The error of a process that failed, with its last words; all its messages are kept in `kept`."""
    text = log.read_text(encoding="utf-8", errors="replace")
    kept.write_text(text, encoding="utf-8")
    ended = f"was killed by signal {-code} (out of memory?)" if code < 0 else f"ended with exit code {code}"
    kind = KINDS.get(code, SentiscaleError)
    return kind(
        f"{what} {ended}: {text.strip()[-LAST_WORDS:]}\n"
        f"All of its messages: {kept}. Finished runs are kept; the same command goes on after them."
    )
