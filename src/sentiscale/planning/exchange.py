"""Seconds that collectives take: the algorithms that gloo and `parallel` really use, on links of two numbers.

n members; h hosts of c members each, numbered host by host. Every host has one link, which all its members
share in each direction; members of one host reach each other through `sockets`, or through shared memory.
Ring algorithms: Patarasu & Yuan, 2009, "Bandwidth optimal all-reduce".
"""

from dataclasses import dataclass, replace

from sentiscale.planning.networks import Link, Network

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
            self, network=network, sockets=self.sockets.slower(factor), memory=self.memory.slower(factor),
            total_bandwidth=total,
        )  # fmt: skip

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
