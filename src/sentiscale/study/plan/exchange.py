"""Seconds that collectives take: the algorithms that gloo and `parallel` really use, on links of two numbers.

n members; h hosts of c members each, numbered host by host. Every host has one link, which all its members
share in each direction; members of one host reach each other through `sockets`, or through shared memory.
Ring algorithms: Patarasu & Yuan, 2009, "Bandwidth optimal all-reduce".
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from pydantic import Field

from sentiscale.errors import UsageError, did_you_mean
from sentiscale.records import Host, Record

PAYLOAD = 1448 / 1538
"""Share of an Ethernet link's bits that carry data: frames of 1,500 bytes, less the headers of TCP and IP."""


@dataclass(frozen=True)
class Link:
    """A way between processes: seconds a message takes at least, and bytes a second."""

    latency: float
    """Seconds."""
    bandwidth: float
    """Bytes a second."""

    def seconds(self, size: float, messages: float = 1.0) -> float:
        """Time of `messages` messages one after the other with `size` bytes in all."""
        return messages * self.latency + size / self.bandwidth

    def through(self, software: "Link") -> "Link":
        """This wire driven by `software`: both cost each message, the slower of them sets the bytes' pace."""
        return Link(self.latency + software.latency, min(self.bandwidth, software.bandwidth))

    def slower(self, factor: float) -> "Link":
        """The same where everything takes `factor` times as long."""
        return replace(self, latency=self.latency * factor, bandwidth=self.bandwidth / factor)


@dataclass(frozen=True)
class Network:
    """What joins hosts."""

    name: str
    """As it was asked for."""
    link: Link
    """Of one host, each direction for itself; latency is one way, of the wire alone."""


def _ethernet(gigabits: float, latency: float) -> Link:
    return Link(latency, gigabits * 1e9 / 8 * PAYLOAD)


NETWORKS = {
    "100mbit": _ethernet(0.1, 60e-6),
    "1gbit": _ethernet(1, 40e-6),
    "10gbit": _ethernet(10, 20e-6),
    "25gbit": _ethernet(25, 15e-6),
    "100gbit": _ethernet(100, 10e-6),
    "infiniband": Link(2e-6, 12e9),
}
"""Usual ones. Latencies are those of an idle switch or two; clouds have three to ten times as much."""

UNITS = {
    "bit": 1 / 8,
    "kbit": 1e3 / 8,
    "mbit": 1e6 / 8,
    "gbit": 1e9 / 8,
    "b": 1.0,
    "kb": 1e3,
    "mb": 1e6,
    "gb": 1e9,
}
TIMES = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0}
NUMBER = re.compile(r"([0-9.]+(?:[eE][+-]?[0-9]+)?)\s*([a-zA-Zµ]+)(?:/s)?")


def parse_network(text: str) -> Network:
    """Read a name of `NETWORKS`, or `BANDWIDTH,LATENCY` such as `2.5gbit,80us` or `300MB,0.1ms`.

    A bandwidth in numbers is what programs see of it: nothing is taken off for headers.

    Raises: UsageError saying what was got and what is allowed.
    """
    wanted = text.strip().lower()
    if wanted in NETWORKS:
        return Network(wanted, NETWORKS[wanted])
    bandwidth, comma, latency = wanted.partition(",")
    if not comma:
        raise _refusal(text, did_you_mean(wanted, NETWORKS))
    speed, delay = _quantity(bandwidth, UNITS), _quantity(latency, TIMES)
    if speed is None or delay is None or speed <= 0:
        raise _refusal(text, "")
    return Network(text.strip(), Link(delay, speed))


def _quantity(text: str, units: dict[str, float]) -> float | None:
    match = NUMBER.fullmatch(text.strip())
    if match is None or match[2] not in units:
        return None
    try:
        value = float(match[1]) * units[match[2]]
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _refusal(text: str, hint: str) -> UsageError:
    return UsageError(
        f"--network is '{text}'.{hint} It takes {', '.join(NETWORKS)}, or BANDWIDTH,LATENCY such as "
        "2.5gbit,80us or 300MB/s,0.1ms."
    )


DEFAULT_SOCKETS = Link(200e-6, 1.2e9)
"""gloo on one host where it was not measured: as on two cores of a virtual machine."""

DEFAULT_MEMORY = Link(150e-6, 4e9)
"""The same through memory that ranks share: a barrier, and bytes written, read and added up."""


@dataclass(frozen=True)
class Cluster:
    """Hosts, how many ranks each carries, and what joins the ranks."""

    ranks_per_host: int
    """Ranks that a host has cores for."""
    network: Network
    """Between hosts."""
    sockets: Link = DEFAULT_SOCKETS
    """gloo within a host; its cost of a message is also paid on the way to other hosts."""
    memory: Link = DEFAULT_MEMORY
    """Collectives of ranks on one host that share memory."""
    total_bandwidth: float | None = None
    """Bytes a second that all sockets of one host carry together; None: each as many as alone."""
    shares_memory: bool = True
    """False where ranks on one host use sockets as well, as the classic recipe does."""

    def hosts(self, ranks: int) -> int:
        """Hosts that so many ranks fill."""
        return -(-ranks // self.ranks_per_host)

    def wire(self) -> Link:
        """The way from one host to another."""
        return self.network.link.through(self.sockets)

    def slower(self, factor: float) -> "Cluster":
        """The same with every exchange `factor` times as long."""
        network = replace(self.network, link=self.network.link.slower(factor))
        total = None if self.total_bandwidth is None else self.total_bandwidth / factor
        return replace(
            self,
            network=network,
            sockets=self.sockets.slower(factor),
            memory=self.memory.slower(factor),
            total_bandwidth=total,
        )

    def between(self, members: int, hosts: int, sharing: float = 1.0) -> Link:
        """The link that limits `members` at work at the same time, `sharing` of them on each host's link."""
        if hosts > 1:
            wire = self.wire()
            return replace(wire, bandwidth=wire.bandwidth / sharing)
        if self.total_bandwidth is None:
            return self.sockets
        return replace(self.sockets, bandwidth=min(self.sockets.bandwidth, self.total_bandwidth / members))


@dataclass(frozen=True)
class Members:
    """A group: how many members, and on how many hosts."""

    count: int
    hosts: int

    @property
    def on_host(self) -> float:
        """Members a host."""
        return self.count / self.hosts


def all_reduce_seconds(size: float, members: Members, cluster: Cluster, rings: float = 1.0) -> float:
    """Sum `size` bytes over the group: a ring of 2 (n - 1) rounds, each moving 1/n of them.

    A ring crosses each host's link once in each direction; `rings` at the same time share it.
    """
    n = members.count
    if n == 1 or size == 0:
        return 0.0
    link = cluster.between(n, members.hosts, rings)
    return link.seconds(2 * (n - 1) / n * size, 2 * (n - 1))


def all_gather_seconds(size: float, members: Members, cluster: Cluster, rings: float = 1.0) -> float:
    """Give `size` bytes of each member to all: a ring of n - 1 rounds, each moving `size` bytes."""
    n = members.count
    if n == 1:
        return 0.0
    return cluster.between(n, members.hosts, rings).seconds((n - 1) * size, n - 1)


def all_to_all_seconds(size: float, members: Members, cluster: Cluster) -> float:
    """Hand out `size` bytes of each member, 1/n to everyone: all messages leave at once.

    What leaves a host shares its link with what its other members send.
    """
    n = members.count
    if n == 1:
        return 0.0
    sharing = members.on_host if members.hosts > 1 else 1.0
    leaving = (n - members.on_host) / n if members.hosts > 1 else (n - 1) / n
    link = cluster.between(n, members.hosts, sharing)
    return link.seconds(leaving * size, 1 + (n - 2) * POSTING)


POSTING = 0.1
"""Of a message's cost, the part that its sender pays before it can post the next one."""


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
