"""What else the machine does: looked at before each run, and noted during it."""

import time

from sentiscale.training.load import Meter

LIMIT_CORES = 0.25
"""Cores that others may keep busy; a run with more is repeated."""

LOOK_SECONDS = 0.2
"""How long is looked before a run; the kernel counts processor time in hundredths of a second."""

PATIENCE_LOOKS = 10
"""How often is looked again before a run is begun on a machine that is not quiet."""


def cores_busy(seconds: float = LOOK_SECONDS) -> float:
    """Cores that other processes keep busy right now; this one sleeps meanwhile."""
    meter = Meter()
    time.sleep(seconds)
    everybody, own = meter.read()
    return max(0.0, everybody - own)


def wait_for_quiet(limit: float, looks: int = PATIENCE_LOOKS) -> float:
    """Look until others are within the limit, but not for ever; returns what they did last."""
    for _ in range(looks):
        busy = cores_busy()
        if busy <= limit:
            break
    return busy
