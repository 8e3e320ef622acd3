"""Does `prepare` give the same dataset on two hosts, whatever happens to workers, links and the scheduler?

Run:      sudo python benchmarks/two_hosts_prepare.py REVIEWS [--cases a,b] [--rate 1gbit] [--json]
Setting:  three network namespaces on this machine, joined by veth pairs and a bridge, each with a host name
          of its own: `hub` runs the scheduler, `one` and `two` run a worker of one thread each; the command
          runs on `one`. Links are held to --rate by a token bucket. The disk is shared. Workers run in the
          restart loop that docs/how-to/prepare-on-a-cluster.md recommends.
Fixed:    input, settings (blocks of 1 MB, so that there are many tasks)      Varies: what goes wrong
Timed:    the whole process of the command; the disturbance begins when half of the shards are there
Expect:   every digest equal to that of the plain local run; about 3 min for 115 MB on 2 cores
Not for:  speed of a real network or of shared storage: both "hosts" have the same two cores and disk
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from namespaces import HUB, HUB_NUMBER, SUBNET, Network, why_not

from sentiscale.records import Host, git_commit, now, package_versions

HOSTS = {"one": 1, "two": 2}
SCHEDULER = f"tcp://{SUBNET}.{HUB_NUMBER}:8786"
BLOCKS = ("--set", "prepare.block_mb=1")
SHORT_OUTAGE, LONG_OUTAGE = 10, 45
"""Seconds: TCP rides out the first; in the second both ends give up after 30."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("reviews", type=Path)
    parser.add_argument("--cases", default=",".join(CASES), help=f"of {', '.join(CASES)}")
    parser.add_argument("--rate", default="1gbit", help="of every link, as tc takes it")
    parser.add_argument("--json", action="store_true", help="one JSON record a case instead of a table")
    arguments = parser.parse_args()
    reason = why_not()
    if reason:
        sys.exit(f"two hosts cannot be made here: {reason}")
    cases = {name: CASES[name] for name in arguments.cases.split(",")}
    records = []
    with tempfile.TemporaryDirectory(prefix="two-hosts-") as folder:
        for record in measure(arguments.reviews.absolute(), cases, arguments.rate, Path(folder)):
            records.append(record)
            print(json.dumps(record) if arguments.json else row(record), flush=True)
    if not all(record["digest_equal"] for record in records):
        sys.exit("a digest differs")


def measure(reviews: Path, cases: dict[str, "Case"], rate: str, folder: Path) -> Iterator[dict[str, object]]:
    """One record a case; the first is the plain local run."""
    about = {
        "started_at": str(now()),
        "git_commit": git_commit(),
        "host": Host.current().model_dump(),
        "versions": package_versions("sentiscale", "dask", "distributed", "numpy"),
        "input_bytes": reviews.stat().st_size,
        "rate": rate,
    }
    plain = Run(reviews, folder / "plain", None)
    code, seconds = plain.ended()
    if code:
        sys.exit(f"the plain local run failed: {plain.said()}")
    digest, half = plain.digest(), plain.partitions() // 2
    yield {"case": "plain local run", "seconds": seconds, "digest_equal": True, **about}
    for name, case in cases.items():
        with TwoHosts(folder, rate) as hosts:
            run = Run(reviews, folder / name, hosts)
            run.wait_for_shards(half)
            case(hosts)
            code, seconds = run.ended()
            equal = code == 0 and run.digest() == digest
            said = [line for line in run.said().splitlines() if "%" not in line]
            yield {"case": name, "seconds": seconds, "digest_equal": equal, "said": said, **about}
        shutil.rmtree(folder / name, ignore_errors=True)


class Run:
    """The command, on host `one` or, without hosts, in the plain way."""

    def __init__(self, reviews: Path, out: Path, hosts: "TwoHosts | None") -> None:
        self.out = out
        self.log = out.with_suffix(".log")
        command = [sys.executable, "-m", "sentiscale", "prepare", str(reviews), "--out", str(out), *BLOCKS]
        self.started_at = time.perf_counter()
        with open(self.log, "w") as log:
            if hosts is None:
                self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log)
            else:
                self.process = hosts.start("one", [*command, "--scheduler", SCHEDULER], log)

    def wait_for_shards(self, number: int) -> None:
        """Return when so many shards are there; fails when the command has ended before."""
        shards = self.out.with_name(f".{self.out.name}.partial") / "shards"
        while not shards.exists() or len(list(shards.iterdir())) < number:
            if self.process.poll() is not None:
                sys.exit(f"{self.out.name}: it ended before half of the work was done: {self.said()}")
            time.sleep(0.005)

    def ended(self) -> tuple[int, float]:
        """Exit code and seconds, when it is over."""
        code = self.process.wait(timeout=600)
        return code, round(time.perf_counter() - self.started_at, 1)

    def digest(self) -> str:
        return self._manifest()["digest"]

    def partitions(self) -> int:
        return self._manifest()["partitions"]["count"]

    def said(self) -> str:
        return self.log.read_text()

    def _manifest(self) -> dict:
        return json.loads((self.out / "manifest.json").read_text())


class TwoHosts:
    """A network with scheduler and workers; a context manager that leaves nothing."""

    def __init__(self, folder: Path, rate: str) -> None:
        self.folder = folder
        self.network = Network(HOSTS, rate, burst="1mb")
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> "TwoHosts":
        self.network.__enter__()
        try:
            self.start_scheduler()
            for name in HOSTS:
                self.start_worker(name)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self.processes):
            self.kill(name)
        self.network.__exit__(None, None, None)

    def start(self, host: str, command: list[str], log: object) -> "subprocess.Popen[bytes]":
        """Start a program on a host, in a session of its own."""
        return subprocess.Popen(
            self.network.on(host, command), stdout=subprocess.DEVNULL, stderr=log, start_new_session=True
        )

    def start_scheduler(self) -> None:
        address = self.network.address(HUB)
        self._start_dask(HUB, "scheduler", "--host", address, "--port", "8786", "--no-dashboard")

    def start_worker(self, name: str) -> None:
        """A worker that is started again whenever it ends."""
        options = (
            "--nthreads",
            "1",
            "--no-dashboard",
            "--local-directory",
            str(self.folder / f"dask-{name}"),
        )
        self._start_dask(name, "worker", SCHEDULER, "--host", self.network.address(name), *options)

    def kill(self, name: str) -> None:
        """Kill all of a host's Dask at once, the restart loop included."""
        process = self.processes.pop(name)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def cut(self, name: str, seconds: float) -> None:
        """Take a host's link down for some seconds."""
        with self.network.link_down(name):
            time.sleep(seconds)

    def _start_dask(self, host: str, *arguments: str) -> None:
        loop = 'while true; do "$@"; sleep 0.5; done'
        command = ["sh", "-c", loop, "sh", sys.executable, "-m", "dask", *arguments]
        with open(self.folder / f"dask-{host}.log", "a") as log:
            self.processes[host] = self.start(host, command, log)


def row(record: dict[str, object]) -> str:
    """A line of the table; the first one comes with the head."""
    said = "; ".join(record.get("said", ()))  # type: ignore[arg-type]
    line = (
        f"| {record['case']} | {record['seconds']} | {'yes' if record['digest_equal'] else 'NO'} | {said} |"
    )
    head = "| case | seconds | digest equal | said on stderr |\n|---|---|---|---|\n"
    return head + line if record["case"] == "plain local run" else line


def nothing(hosts: TwoHosts) -> None:
    """Leave it alone."""


def kill_scheduler(hosts: TwoHosts) -> None:
    """Kill the scheduler; it is started again after three seconds, and so are the workers, by their loops."""
    hosts.kill(HUB)
    time.sleep(3)
    hosts.start_scheduler()


Case = Callable[[TwoHosts], None]
CASES: dict[str, Case] = {
    "undisturbed": nothing,
    "worker-killed": lambda hosts: hosts.kill("two"),
    "worker-link-down-10s": lambda hosts: hosts.cut("two", SHORT_OUTAGE),
    "worker-link-down-45s": lambda hosts: hosts.cut("two", LONG_OUTAGE),
    "client-link-down-10s": lambda hosts: hosts.cut("one", SHORT_OUTAGE),
    "client-link-down-45s": lambda hosts: hosts.cut("one", LONG_OUTAGE),
    "scheduler-restarted": kill_scheduler,
}

if __name__ == "__main__":
    main()
