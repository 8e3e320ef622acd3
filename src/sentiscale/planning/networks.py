"""Networks by name or by numbers: what one host's link carries, and what a message on it costs."""

import math
import re
from dataclasses import dataclass, replace

from sentiscale.errors import UsageError, did_you_mean

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

UNITS = {"bit": 1 / 8, "kbit": 1e3 / 8, "mbit": 1e6 / 8, "gbit": 1e9 / 8,
         "b": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9}  # fmt: skip
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
