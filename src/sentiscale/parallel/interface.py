"""Which network interface gloo shall use: the one that leads to the master address."""

import os
import socket

import psutil

GLOO_VARIABLE = "GLOO_SOCKET_IFNAME"


def choose_gloo_interface(master_address: str) -> str | None:
    """Set GLOO_SOCKET_IFNAME to the interface that reaches `master_address`, unless it is set already.

    Gloo would otherwise resolve this host's own name, which in containers often leads to 127.0.1.1 or to
    nothing. Returns the variable's value; None when no interface could be found, and gloo then decides.
    """
    if not os.environ.get(GLOO_VARIABLE):
        found = interface_towards(master_address)
        if found is None:
            return None
        os.environ[GLOO_VARIABLE] = found
    return os.environ[GLOO_VARIABLE]


def interface_towards(address: str) -> str | None:
    """Name of the local interface that packets to `address` leave by; None when there is none."""
    own = _own_address_towards(address)
    for name, addresses in psutil.net_if_addrs().items():
        # An IPv6 address that is valid on one link only is listed with that link behind a percent sign.
        if any(entry.address.partition("%")[0] == own for entry in addresses):
            return str(name)
    return None


def _own_address_towards(address: str) -> str | None:
    """Connecting a UDP socket sends nothing; it only makes the kernel choose a route."""
    try:
        found = socket.getaddrinfo(address, 9, type=socket.SOCK_DGRAM)
    except OSError:
        return None
    for family, kind, protocol, _, target in found:
        try:
            with socket.socket(family, kind, protocol) as probe:
                probe.connect(target)
                return str(probe.getsockname()[0]).partition("%")[0]
        except OSError:
            continue
    return None
