"""Model networks, and the time of collectives (gloo and shared memory) on them.

A collective has n members on one or more hosts, with the same number of members on each and consecutive ranks
on the same host. Every host has one link to the network, which its members share in each direction. Members
on the same host communicate through sockets or shared memory. The ring algorithms are those of Patarasu &
Yuan (2009), "Bandwidth optimal all-reduce algorithms for clusters of workstations".
"""

import math
import re
from dataclasses import dataclass, replace

import numpy as np
from pydantic import Field

from sentiscale.errors import UsageError, did_you_mean
from sentiscale.records import Count, Host, Record

PAYLOAD = 1448 / 1538
"""Share of the bits of an Ethernet link that carry data: packets of 1,500 bytes with TCP and IP headers."""


@dataclass(frozen=True)
class NetworkLink:
    """A connection between processes, described by its latency and bandwidth."""

    latency: float  # seconds per message
    bandwidth: float  # bytes per second

    def seconds(self, size: float, messages: float = 1.0) -> float:
        """Time to send `messages` consecutive messages with a total of `size` bytes."""
        return messages * self.latency + size / self.bandwidth

    def with_software(self, software: "NetworkLink") -> "NetworkLink":
        """Combine this wire with the software that drives it: latencies add up, bandwidth is the minimum."""
        return NetworkLink(self.latency + software.latency, min(self.bandwidth, software.bandwidth))

    def slower(self, factor: float) -> "NetworkLink":
        return NetworkLink(self.latency * factor, self.bandwidth / factor)


@dataclass(frozen=True)
class ClusterNetwork:
    """Network between hosts: its name, and the link of one host in each direction, without software."""

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
"""Named networks. Latencies are those of one or two idle switches; in clouds they are three to ten times as
high."""

BITS = {"bit": 1 / 8, "kbit": 1e3 / 8, "mbit": 1e6 / 8, "gbit": 1e9 / 8}
BANDWIDTHS = {**BITS, "b": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9}
TIMES = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0}
QUANTITY = re.compile(r"([0-9.]+(?:[eE][+-]?[0-9]+)?)\s*([a-zA-Zµ]+)(?:/s)?")


def parse_network(text: str) -> ClusterNetwork:
    """Parse a name in `NETWORKS`, or `BANDWIDTH,LATENCY` such as `2.5gbit,80us` or `300MB,0.1ms`.

    A bandwidth given as a number is the bandwidth available to programs, without packet headers.

    Raises: UsageError if the text is neither.
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
"""gloo on one host, used if it was not measured. Values of two cores of a virtual machine."""

DEFAULT_MEMORY = NetworkLink(150e-6, 4e9)
"""Shared memory on one host, used if it was not measured: seconds per barrier, and bytes that are written,
read and summed per second."""


@dataclass(frozen=True)
class ClusterSpec:
    """Hosts, the ranks on each, and the links between the ranks."""

    ranks_per_host: int
    network: ClusterNetwork
    sockets: NetworkLink = DEFAULT_SOCKETS  # gloo within a host; its latency also applies between hosts
    memory: NetworkLink = DEFAULT_MEMORY  # collectives through shared memory within a host
    total_bandwidth: float | None = None  # of all sockets of a host together; None for no common limit
    shares_memory: bool = True  # False if ranks on one host use sockets, as in the classic recipe

    def hosts(self, ranks: int) -> int:
        """Number of hosts needed for `ranks` ranks."""
        return -(-ranks // self.ranks_per_host)

    def slower(self, factor: float) -> "ClusterSpec":
        """Copy in which every exchange takes `factor` times as long."""
        return replace(
            self,
            network=replace(self.network, link=self.network.link.slower(factor)),
            sockets=self.sockets.slower(factor),
            memory=self.memory.slower(factor),
            total_bandwidth=None if self.total_bandwidth is None else self.total_bandwidth / factor,
        )

    def between(self, members: int, hosts: int, sharing: float = 1.0) -> NetworkLink:
        """Link that limits `members` concurrent senders, of which `sharing` use the link of the same host."""
        if hosts > 1:
            wire = self.network.link.with_software(self.sockets)
            return replace(wire, bandwidth=wire.bandwidth / sharing)
        if self.total_bandwidth is None:
            return self.sockets
        return replace(self.sockets, bandwidth=min(self.sockets.bandwidth, self.total_bandwidth / members))


@dataclass(frozen=True)
class RankGroup:
    """Number of members of a collective, and of the hosts on which they run."""

    count: int
    hosts: int

    @property
    def on_host(self) -> float:
        """Members per host."""
        return self.count / self.hosts


POSTING = 0.1
"""Share of the latency of a message that passes before its sender can post the next message."""


def traffic(operation: str, size: float, n: int, on_host: float = 1.0) -> tuple[float, float]:
    """Bytes that a collective of n members sends one after the other, and the number of messages.

    Args:
        operation: all_reduce, all_gather, all_to_all, or memory for an all-reduce through shared memory.
        size: bytes of the tensor of one member.
        n: number of members.
        on_host: members per host, which do not send to each other over the network.
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

    A ring uses the link of each host once in each direction; `rings` concurrent rings share it. In an
    all-to-all, all members on a host share its link.
    """
    if group.count == 1 or size == 0:
        return 0.0
    if operation == "all_to_all" and group.hosts > 1:
        rings = group.on_host
    return cluster.between(group.count, group.hosts, rings).seconds(
        *traffic(operation, size, group.count, rings)
    )


class CollectiveTiming(Record):
    """Measured time of one operation at one size."""

    operation: str = Field(pattern="^(all_reduce|all_gather|all_to_all|memory)$")
    """Operation: all_reduce, all_gather or all_to_all over gloo, or memory for an all-reduce through shared
    memory."""
    bytes: Count
    """Size of the tensor of one rank."""
    seconds: float = Field(gt=1e-12, le=1e15)
    """Time of the slowest rank, median over repeats."""


class LinkTimings(Record):
    """Measured collectives between ranks of one host."""

    schema_version: int = 1
    """Version of this record."""
    ranks: int = Field(ge=2, lt=2**31)
    """Number of ranks in the measurement."""
    host: Host
    """Host of the ranks."""
    timings: list[CollectiveTiming] = Field(min_length=1)
    """Timings of each operation at several sizes."""

    def fitted_link(self, *, memory: bool) -> NetworkLink:
        """Fit latency and bandwidth of shared memory, or of gloo's sockets, to the timings.

        The fit minimizes squared relative errors, so that short and long operations have equal weight.
        """
        timings = [each for each in self.timings if (each.operation == "memory") == memory]
        if len({timing.bytes for timing in timings}) < 2:
            return DEFAULT_MEMORY if memory else DEFAULT_SOCKETS
        rows = np.array([traffic(each.operation, each.bytes, self.ranks)[::-1] for each in timings])
        seconds = np.array([timing.seconds for timing in timings])
        (latency, per_byte), *_ = np.linalg.lstsq(rows / seconds[:, None], np.ones(len(seconds)), rcond=None)
        return NetworkLink(max(float(latency), 1e-7), 1 / max(float(per_byte), 1e-13))
