"""Share out the memory a preparation may use: partitions under way, equal texts, words."""

from dataclasses import dataclass

import psutil

from sentiscale.errors import UsageError

MB = 10**6
BASE_MB = 330
"""An interpreter with all libraries and the client's work."""
PROCESS_MB = 200
"""A worker that is a process of its own."""
PER_BYTE = 12
"""Bytes in memory for each byte of a partition that is worked on."""
LEAST_STATE_MB = 32
LEAST_BLOCK_MB = 0.5
DEFAULT_MB = 700
DEFAULT_PER_WORKER_MB = 100


@dataclass(frozen=True)
class Budget:
    """What each part may use."""

    block_bytes: int
    """Raw bytes of a partition."""
    repeats_bytes: int
    """Records of texts, to find the equal ones; more goes to disk."""
    words_bytes: int
    """The table of words; more goes to disk."""


def share_out(memory: int | None, workers: int, block_mb: float, *, processes: bool) -> Budget:
    """Divide `memory` bytes; None is 0.7 GB and 0.1 a worker, at most half of the machine's.

    Partitions become smaller where there is too little for the wanted size; that does not change the result.

    Raises: UsageError when it cannot be enough.
    """
    fixed = BASE_MB + (PROCESS_MB * workers if processes else 0)
    if memory is None:
        own = min(DEFAULT_MB + DEFAULT_PER_WORKER_MB * workers, psutil.virtual_memory().total / MB / 2)
        total = max(own, fixed + LEAST_STATE_MB + workers * LEAST_BLOCK_MB * PER_BYTE)
    else:
        total = memory / MB
    left = total - fixed
    least = LEAST_STATE_MB + workers * LEAST_BLOCK_MB * PER_BYTE
    if left < least:
        raise UsageError(
            f"--memory is {total:.0f} MB; {workers} workers need at least {fixed + least:.0f} MB. "
            f"Allow more, or use fewer --workers."
        )
    block = min(block_mb, max(left / 2, left - 4 * LEAST_STATE_MB) / workers / PER_BYTE)
    state = left - block * workers * PER_BYTE
    return Budget(max(1, int(block * MB)), int(state / 2 * MB), int(state / 2 * MB))
