"""Networks, and the time of the collectives of gloo and `parallel` on them.

n members; h hosts of c members each, numbered host by host. Every host has one link, which all its members
share in each direction; members of one host reach each other through `sockets`, or through shared memory.
Ring algorithms: Patarasu & Yuan, 2009, "Bandwidth optimal all-reduce".
"""

import math
import re
from dataclasses import dataclass, replace

import numpy as np
from pydantic import Field

from sentiscale.errors import UsageError, did_you_mean
from sentiscale.records import Host, Record

PAYLOAD = 1448 / 1538
"""Share of an Ethernet link's bits that carry data: frames of 1,500 bytes, less the headers of TCP and IP."""


@dataclass(frozen=True)
class NetworkLink:
    """A connection between processes."""

    latency: float  # seconds per message
    bandwidth: float  # bytes per second

    def seconds(self, size: float, messages: float = 1.0) -> float:
        """Time of `messages` messages one after the other with `size` bytes in all."""
        return messages * self.latency + size / self.bandwidth

    def through(self, software: "NetworkLink") -> "NetworkLink":
        """This wire driven by `software`: latencies add up, the smaller bandwidth limits."""
        return NetworkLink(self.latency + software.latency, min(self.bandwidth, software.bandwidth))

    def slower(self, factor: float) -> "NetworkLink":
        return NetworkLink(self.latency * factor, self.bandwidth / factor)


@dataclass(frozen=True)
class ClusterNetwork:
    """The network between hosts: its name, and the link of one host in each direction, without software."""

    name: str
    link: NetworkLink


def _ethernet(gigabits: float, latency: float) -> NetworkLink:
    return NetworkLink(latency, gigabits * 1e9 / 8 * PAYLOAD)


NETWORKS = {
    "100mbit": _ethernet(0.1, 60e-6),
    "1gbit": _ethernet(1, 40e-6),
    "10gbit": _ethernet(10, 20e-6),
    "25gbit": _ethernet(25, 15e-6),
    "100gbit": _ethernet(100, 10e-6),
    "infiniband": NetworkLink(2e-6, 12e9),
}
"""Latencies are those of an idle switch or two; in clouds they are three to ten times as long."""

BITS = {"bit": 1 / 8, "kbit": 1e3 / 8, "mbit": 1e6 / 8, "gbit": 1e9 / 8}
BANDWIDTHS = {**BITS, "b": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9}
TIMES = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0}
QUANTITY = re.compile(r"([0-9.]+(?:[eE][+-]?[0-9]+)?)\s*([a-zA-Zµ]+)(?:/s)?")


def parse_network(text: str) -> ClusterNetwork:
    """Read a name of `NETWORKS`, or `BANDWIDTH,LATENCY` such as `2.5gbit,80us` or `300MB,0.1ms`.

    A bandwidth in numbers is what programs see of it: no headers are subtracted.

    Raises: UsageError for anything else.
    """
    name = text.strip().lower()
    if name in NETWORKS:
        return ClusterNetwork(name, NETWORKS[name])
    bandwidth, comma, latency = name.partition(",")
    speed, delay = _quantity(bandwidth, BANDWIDTHS), _quantity(latency, TIMES)
    if speed is None or delay is None or speed <= 0:
        raise UsageError(
            f"--network is '{text}'.{'' if comma else did_you_mean(name, NETWORKS)} It takes "
            f"{', '.join(NETWORKS)}, or BANDWIDTH,LATENCY such as 2.5gbit,80us or 300MB/s,0.1ms."
        )
    return ClusterNetwork(text.strip(), NetworkLink(delay, speed))


def _quantity(text: str, units: dict[str, float]) -> float | None:
    match = QUANTITY.fullmatch(text.strip())
    if match is None or match[2] not in units:
        return None
    try:
        value = float(match[1]) * units[match[2]]
    except ValueError:  # such as 1..2
        return None
    return value if math.isfinite(value) else None


DEFAULT_SOCKETS = NetworkLink(200e-6, 1.2e9)
"""gloo on one host where it was not measured: as on two cores of a virtual machine."""

DEFAULT_MEMORY = NetworkLink(150e-6, 4e9)
"""The same through shared memory: seconds of a barrier, and bytes written, read and summed per second."""


@dataclass(frozen=True)
class ClusterSpec:
    """Hosts, the ranks on each, and the links between the ranks."""

    ranks_per_host: int
    network: ClusterNetwork
    sockets: NetworkLink = DEFAULT_SOCKETS  # gloo within a host; messages to other hosts pay its latency too
    memory: NetworkLink = DEFAULT_MEMORY  # collectives of ranks on one host that share memory
    total_bandwidth: float | None = None  # of all sockets of a host together; None: no common limit
    shares_memory: bool = True  # False where ranks on one host use sockets, as in the classic recipe

    def hosts(self, ranks: int) -> int:
        """Hosts that so many ranks need."""
        return -(-ranks // self.ranks_per_host)

    def slower(self, factor: float) -> "ClusterSpec":
        """The same cluster with every exchange `factor` times as long."""
        return replace(
            self,
            network=replace(self.network, link=self.network.link.slower(factor)),
            sockets=self.sockets.slower(factor),
            memory=self.memory.slower(factor),
            total_bandwidth=None if self.total_bandwidth is None else self.total_bandwidth / factor,
        )

    def between(self, members: int, hosts: int, sharing: float = 1.0) -> NetworkLink:
        """The link that limits `members` that send at once, `sharing` of them on each host's link."""
        if hosts > 1:
            wire = self.network.link.through(self.sockets)
            return replace(wire, bandwidth=wire.bandwidth / sharing)
        if self.total_bandwidth is None:
            return self.sockets
        return replace(self.sockets, bandwidth=min(self.sockets.bandwidth, self.total_bandwidth / members))


@dataclass(frozen=True)
class RankGroup:
    """Members of a collective, and the hosts they are on."""

    count: int
    hosts: int

    @property
    def on_host(self) -> float:
        """Members per host."""
        return self.count / self.hosts


POSTING = 0.1
"""Part of a message's latency that its sender pays before it can post the next one."""


def traffic(operation: str, size: float, n: int, on_host: float = 1.0) -> tuple[float, float]:
    """Bytes that a collective of n members sends one after the other, and the messages that carry them.

    `size`: bytes of one member's tensor. `on_host`: members of a host, which need not send each other theirs.
    """
    return {
        "all_reduce": (2 * (n - 1) / n * size, 2 * (n - 1)),  # a ring: each round moves 1/n of the bytes
        "all_gather": ((n - 1) * size, n - 1),  # a ring: each round moves the bytes of one member
        "all_to_all": ((n - on_host) / n * size, 1 + (n - 2) * POSTING),  # all messages leave at once
        "memory": (size, 2),
    }[operation]


def collective_seconds(
    operation: str, size: float, group: RankGroup, cluster: ClusterSpec, rings: float = 1.0
) -> float:
    """Time of a collective through sockets.

    A ring crosses each host's link once in each direction; `rings` at the same time share it. In an
    all-to-all, what leaves a host shares its link with what the other members on the host send.
    """
    if group.count == 1 or size == 0:
        return 0.0
    if operation == "all_to_all" and group.hosts > 1:
        rings = group.on_host
    return cluster.between(group.count, group.hosts, rings).seconds(
        *traffic(operation, size, group.count, rings)
    )


class CollectiveTiming(Record):
    """One operation at one size."""

    operation: str
    """all_reduce, all_gather, all_to_all over gloo; memory: all-reduce over shared memory."""
    bytes: int
    """Size of one rank's tensor."""
    seconds: float
    """On the slowest rank, median."""


class LinkTimings(Record):
    """Measured collectives between ranks of one host."""

    schema_version: int = 1
    """Of this record."""
    ranks: int
    """Number of ranks that took part."""
    host: Host
    """The host of the ranks."""
    timings: list[CollectiveTiming] = Field(min_length=1)
    """Each operation at several sizes."""

    def fitted_link(self, *, memory: bool) -> NetworkLink:
        """The link through shared memory, or gloo's sockets, that fits the timings best.

        By least squares of relative errors, so that short and long operations count alike.
        """
        timings = [each for each in self.timings if (each.operation == "memory") == memory]
        if len({timing.bytes for timing in timings}) < 2:
            return DEFAULT_MEMORY if memory else DEFAULT_SOCKETS
        rows = np.array([traffic(each.operation, each.bytes, self.ranks)[::-1] for each in timings])
        seconds = np.array([timing.seconds for timing in timings])
        (latency, per_byte), *_ = np.linalg.lstsq(rows / seconds[:, None], np.ones(len(seconds)), rcond=None)
        return NetworkLink(max(float(latency), 1e-7), 1 / max(float(per_byte), 1e-13))
