"""Hosts made of network namespaces of this machine, joined by a bridge with limited links; for benchmarks.

Each host has an address and a name of its own, which the others can look up. Cores, memory, clock and disk
are those of the machine.
"""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

SUBNET = "10.213.77"
HUB = "hub"
HUB_NUMBER = 254
BURST = "64kb"
"""What a link lets through at once: the largest packet the kernel makes. More would let short messages pass
at any speed."""


class Network:
    """Namespaces, bridge and links; a context manager that leaves nothing.

    Args:
        hosts: last number of the address of each host, by name; `hub`, where the bridge is, is added.
        rate: of every link in each direction, as tc takes it (`1gbit`); None leaves them unlimited.
        burst: of the token bucket that holds links to the rate.
    """

    def __init__(self, hosts: Mapping[str, int], rate: str | None, burst: str = BURST) -> None:
        self.hosts = dict(hosts)
        self.rate = rate
        self.burst = burst
        self._folder = tempfile.TemporaryDirectory(prefix="sentiscale-network-")
        self._names = Path(self._folder.name, "hosts")
        self.namespaces = {name: f"sentiscale-{os.getpid()}-{name}" for name in (HUB, *hosts)}

    def __enter__(self) -> "Network":
        try:
            self._make()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for host, namespace in self.namespaces.items():
            self.kill_all(host)
            subprocess.run(["ip", "netns", "delete", namespace], capture_output=True)
        self._folder.cleanup()

    def address(self, host: str) -> str:
        """The host's address, reachable from all hosts."""
        return f"{SUBNET}.{self.hosts.get(host, HUB_NUMBER)}"

    def on(self, host: str, command: Sequence[str]) -> list[str]:
        """The command that runs `command` on a host."""
        named = f'mount --bind {self._names} /etc/hosts && hostname {host} && exec "$@"'
        inside = ["ip", "netns", "exec", self.namespaces[host], "unshare", "--uts", "--mount"]
        return [*inside, "sh", "-c", named, "sh", *command]

    def pids(self, host: str) -> list[int]:
        """All processes that run on a host."""
        listed = subprocess.run(
            ["ip", "netns", "pids", self.namespaces[host]], capture_output=True, text=True
        )
        return [int(pid) for pid in listed.stdout.split()]

    def kill_all(self, host: str) -> None:
        """Kill every process on a host."""
        for pid in self.pids(host):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def set_link(self, host: str, state: str) -> None:
        """Take a host's link `down` or `up`."""
        ip("-n", self.namespaces[HUB], "link", "set", f"port-{host}", state)

    @contextmanager
    def link_down(self, host: str) -> Iterator[None]:
        """A host without a network while the block runs."""
        self.set_link(host, "down")
        try:
            yield
        finally:
            self.set_link(host, "up")

    def _make(self) -> None:
        names = [f"{self.address(name)} {name}" for name in self.namespaces]
        self._names.write_text("\n".join(["127.0.0.1 localhost", *names, ""]))
        hub = self.namespaces[HUB]
        for namespace in self.namespaces.values():
            ip("netns", "add", namespace)
            ip("-n", namespace, "link", "set", "lo", "up")
        ip("-n", hub, "link", "add", "bridge", "type", "bridge")
        ip("-n", hub, "address", "add", f"{self.address(HUB)}/24", "dev", "bridge")
        ip("-n", hub, "link", "set", "bridge", "up")
        for host in self.hosts:
            own, port = self.namespaces[host], f"port-{host}"
            ip("link", "add", port, "netns", hub, "type", "veth", "peer", "name", "eth0", "netns", own)
            ip("-n", hub, "link", "set", port, "master", "bridge", "up")
            ip("-n", own, "address", "add", f"{self.address(host)}/24", "dev", "eth0")
            ip("-n", own, "link", "set", "eth0", "up")
            if self.rate is not None:
                self._limit(own, "eth0")
                self._limit(hub, port)

    def _limit(self, namespace: str, device: str) -> None:
        limit = ["root", "tbf", "rate", str(self.rate), "burst", self.burst, "latency", "50ms"]
        subprocess.run(["tc", "-n", namespace, "qdisc", "add", "dev", device, *limit], check=True)


def why_not() -> str | None:
    """Why network namespaces cannot be made; None when they can."""
    for program in ("ip", "tc", "unshare"):
        if shutil.which(program) is None:
            return f"there is no program `{program}` (Debian: apt-get install iproute2 util-linux)"
    probe = f"probe-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True)
    subprocess.run(["ip", "netns", "delete", probe], capture_output=True)
    return made.stderr.strip() or "`ip netns add` failed" if made.returncode else None


def ip(*arguments: str) -> None:
    """Run `ip`; raises CalledProcessError."""
    subprocess.run(["ip", *arguments], check=True)
