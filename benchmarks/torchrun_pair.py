"""One training under `torchrun` on two hosts, `one` and `two`: start it, disturb it, see how it ends."""

import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import psutil
from namespaces import Network

HOSTS = {"one": 1, "two": 2}
PORT = 29400
PRIORITY = 10
POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Ending:
    """How torchrun ended on one host."""

    code: int
    seconds: float
    """From the fault, or from the start where there was none."""


class Pair:
    """torchrun on both hosts, one rank each; a context manager that leaves nothing.

    Args:
        network: with the hosts `one` and `two`.
        folder: where logs go.
        restarts: torchrun's --max-restarts.
        static: with --master-addr and node ranks instead of a c10d rendezvous.
        realtime: with priority over other programs of this machine.
    """

    def __init__(
        self,
        network: Network,
        folder: Path,
        *,
        restarts: int = 0,
        static: bool = False,
        realtime: bool = False,
    ) -> None:
        self.network = network
        self.folder = folder
        self.restarts = restarts
        self.static = static
        self.realtime = realtime
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.started_at = self.fault_at = 0.0

    def __enter__(self) -> "Pair":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for host, process in self.processes.items():
            self.network.kill_all(host)
            process.wait()

    def start(self, module: str, arguments: Sequence[str | Path]) -> "Pair":
        """Start `python -m module arguments` as a rank of each host."""
        self.started_at = self.fault_at = time.monotonic()
        for host in HOSTS:
            command = [*self.torchrun(host), "-m", module, *map(str, arguments)]
            if self.realtime:
                command = ["chrt", "--rr", str(PRIORITY), *command]
            with open(self._log(host, "out"), "wb") as out, open(self._log(host, "err"), "wb") as err:
                self.processes[host] = subprocess.Popen(
                    self.network.on(host, command), stdout=out, stderr=err, start_new_session=True
                )
        return self

    def torchrun(self, host: str) -> list[str]:
        """The command of a host, up to the program."""
        one = self.network.address("one")
        meeting = (
            ["--node-rank", str(HOSTS[host] - 1), "--master-addr", one, "--master-port", str(PORT)]
            if self.static
            else ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"{one}:{PORT}", "--rdzv-id", "training"]
        )
        restarts = ["--max-restarts", str(self.restarts)]
        return [
            *[sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"],
            *restarts,
            *meeting,
        ]

    def rank_on(self, host: str) -> psutil.Process:
        """The process of the rank on a host."""
        for pid in self.network.pids(host):
            process = psutil.Process(pid)
            if "RANK" in process.environ():
                return process
        raise ProcessLookupError(f"no rank runs on {host}")

    def wait_for(self, condition: Callable[[], bool], seconds: float = 120) -> None:
        """Return when the condition is true; SystemExit when torchrun ends before, or in vain."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline or any(p.poll() is not None for p in self.processes.values()):
                sys.exit(f"what was waited for did not happen: {self.said('one')} {self.said('two')}")
            time.sleep(POLL_SECONDS)

    def fault_now(self) -> None:
        """Count seconds from here."""
        self.fault_at = time.monotonic()

    def ended(self, seconds: float = 300) -> Mapping[str, Ending]:
        """Wait until torchrun has ended on both hosts; those that have not by then are left out."""
        endings: dict[str, Ending] = {}
        while len(endings) < len(HOSTS) and time.monotonic() < self.fault_at + seconds:
            for host, process in self.processes.items():
                if host not in endings and process.poll() is not None:
                    endings[host] = Ending(process.returncode, round(time.monotonic() - self.fault_at, 1))
            time.sleep(POLL_SECONDS)
        return endings

    def left(self, seconds: float = 10) -> tuple[int, float]:
        """Processes that are left on both hosts, and after how many seconds the last one had gone."""
        deadline = time.monotonic() + seconds
        while (number := sum(len(self.network.pids(host)) for host in HOSTS)) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        return number, round(time.monotonic() - self.fault_at, 1)

    def messages(self, host: str) -> list[str]:
        """Lines that the command line printed for a user on a host."""
        lines = self._log(host, "err").read_text(errors="replace").splitlines()
        return [line for line in lines if line.startswith("sentiscale: ")]

    def said(self, host: str) -> str:
        """Everything that was printed on a host."""
        return "".join(self._log(host, kind).read_text(errors="replace") for kind in ("out", "err"))

    def _log(self, host: str, kind: str) -> Path:
        return self.folder / f"{host}.{kind}"
