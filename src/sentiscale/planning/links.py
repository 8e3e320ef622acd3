"""Timed collectives, and the two numbers of a link that explain them: latency and bandwidth."""

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from sentiscale.planning.exchange import DEFAULT_MEMORY, DEFAULT_SOCKETS, POSTING
from sentiscale.planning.networks import Link
from sentiscale.records import Host, Record

SCHEMA_VERSION = 1


class Timing(Record):
    """One operation at one size."""

    operation: str
    """all_reduce, all_gather, all_to_all over gloo; memory: all-reduce over memory that ranks share."""
    bytes: int
    """Of one rank's tensor."""
    seconds: float
    """On the slowest rank, median."""


class LinkTimes(Record):
    """What was measured between ranks."""

    schema_version: int = SCHEMA_VERSION
    """Of this record."""
    ranks: int
    """How many took part, all on one host."""
    host: Host
    """That host."""
    timings: list[Timing] = Field(min_length=1)
    """Each operation at several sizes."""

    def sockets(self) -> Link:
        """gloo's link that explains the timings best."""
        return fitted(
            [each for each in self.timings if each.operation != "memory"], self.ranks, DEFAULT_SOCKETS
        )

    def memory(self) -> Link:
        """The same of shared memory."""
        return fitted(
            [each for each in self.timings if each.operation == "memory"], self.ranks, DEFAULT_MEMORY
        )


def messages_and_bytes(timing: Timing, ranks: int) -> tuple[float, float]:
    """How many messages an operation waits for one after the other, and how many bytes they carry."""
    size, n = timing.bytes, ranks
    return {
        "all_reduce": (2.0 * (n - 1), 2 * (n - 1) / n * size),
        "all_gather": (n - 1.0, (n - 1.0) * size),
        "all_to_all": (1 + (n - 2) * POSTING, (n - 1) / n * size),
        "memory": (2.0, float(size)),
    }[timing.operation]


def fitted(timings: Sequence[Timing], ranks: int, default: Link) -> Link:
    """Least squares of the relative errors, so that short and long operations count alike."""
    if len({timing.bytes for timing in timings}) < 2:
        return default
    rows = np.array([messages_and_bytes(timing, ranks) for timing in timings])
    seconds = np.array([timing.seconds for timing in timings])
    (latency, per_byte), *_ = np.linalg.lstsq(rows / seconds[:, None], np.ones(len(seconds)), rcond=None)
    return Link(max(float(latency), 1e-7), 1 / max(float(per_byte), 1e-13))
