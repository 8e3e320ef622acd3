"""How many reviews a second does `sentiscale serve` label, how long do they take, and what if it is too much?

Run:      python benchmarks/bench_serve.py MODEL --reviews test.ft.txt.zst --out results/serve_HOST_DATE
Fixed:    real reviews (or generated ones); a worker a core, one thread each, but in the series of workers
Varies:   connections (1, 8, 64, 256), reviews a request (1, 32), gathering on or off (off: no delay, a
          forward pass for each request), workers; then a fixed rate: a quarter and half of the saturation,
          three times of it, half with the worker killed (kill -9) after a third of the time
Timed:    responses of status 200 a second, latency as the client sees it; start and a warm-up excluded.
          At a fixed rate, latency counts from when a request was due
Expect:   about 7 minutes (16 settings x 3 repeats x 5 s, in random order); --seconds 2 --repeats 1 to try
Not for:  the speed of a server with a network in between: the client shares the cores with the service,
          and takes a tenth of them or more. At a fixed rate it runs at a raised priority where that is
          allowed (root), for what it waits for a core is no latency of the service
"""

import argparse
import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from measured import provenance
from serve_load import Outcome, at_rate, closed

from sentiscale.data.sources import Stream
from sentiscale.records import Record, append_jsonl, available_cores

CONNECTIONS = (1, 8, 64, 256)
SIZES = (1, 32)
TEXTS = 2048
START_SECONDS = 120
MIB = 2**20


class Measured(Record):
    """One run."""

    series: str
    gathering: bool = True
    workers: str = "one a core"
    """Processes x threads of each."""
    connections: int | None = None
    texts: int = 1
    """Of one request."""
    rate: float | None = None
    """Requests a second that were due, where it was fixed."""
    outcome: Outcome
    memory_mib: tuple[float, ...] = ()
    """Resident memory of the service, front and workers: before, at most, after."""
    recovery_seconds: float | None = None
    provenance: dict[str, Any] | None = None


class Service:
    """A running service."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self.process, self.log = process, log
        self.port = 0
        self.wanted = available_cores()
        """Workers."""

    def events(self, name: str) -> list[dict[str, Any]]:
        """What it has logged under that name."""
        lines = self.log.read_text().splitlines()
        return [json.loads(line) for line in lines if f'"event": "{name}"' in line]

    def memory(self) -> float:
        """Resident MiB of all its processes."""
        tree = psutil.Process(self.process.pid)
        total = 0
        for process in (tree, *tree.children(recursive=True)):
            try:
                total += process.memory_info().rss
            except psutil.Error:
                continue
        return total / MIB


@contextmanager
def serving(model: Path, folder: Path, *options: object) -> Iterator[Service]:
    """Run the service until the block ends."""
    log = folder / f"{time.monotonic_ns()}.log"
    command = [sys.executable, "-m", "sentiscale", "serve", str(model), "--port", "0", "--log-format", "json"]
    with open(log, "wb") as messages:
        process = subprocess.Popen([*command, *map(str, options)], stderr=messages)
    service = Service(process, log)
    if "--workers" in options:
        service.wanted = int(str(options[options.index("--workers") + 1]))
    try:
        until = time.monotonic() + START_SECONDS
        while not service.events("listening"):
            if process.poll() is not None or time.monotonic() > until:
                sys.exit(f"the service did not start:\n{log.read_text()}")
            time.sleep(0.05)
        service.port = int(service.events("listening")[0]["url"].rpartition(":")[2])
        yield service
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def all_started(service: Service) -> None:
    """Wait until no worker is being started any more."""
    metrics = ""
    while f"sentiscale_workers_up {service.wanted:.1f}" not in metrics:
        time.sleep(0.1)
        with urllib.request.urlopen(f"http://127.0.0.1:{service.port}/metrics", timeout=30) as response:
            metrics = response.read().decode()


def read_texts(source: str | None, folder: Path) -> list[str]:
    """Reviews without their labels."""
    if source is None:
        from sentiscale.datasets.output import synth

        source = str(folder / "reviews.txt")
        synth(TEXTS, 1, out=Path(source))
    with Stream.detected(source) as stream:
        lines = stream.read(8 * MIB).decode("utf-8", "replace").split("\n")
    return [re.sub(r"^__label__\S+ ", "", line) for line in lines[:-1][:TEXTS]]


def bodies_of(texts: Sequence[str], size: int) -> list[bytes]:
    """Requests of `size` texts each."""
    cut = [texts[start : start + size] for start in range(0, len(texts) - size + 1, size)]
    return [json.dumps({"texts": part}).encode() for part in cut]


def settings_of(size: int, *, gathering: bool) -> tuple[object, ...]:
    """Options that switch gathering off: each request is a forward pass of its own."""
    return () if gathering else ("--batch-delay-ms", 0, "--max-batch", size)


def closed_series(arguments: argparse.Namespace, texts: list[str], folder: Path) -> Iterator[Measured]:
    """Every number of connections, size of requests, with and without gathering, in random order."""
    with ExitStack() as stack:
        kinds = [(True, 1), (False, 1), (False, 32)]
        services = {
            (gathering, size): stack.enter_context(
                serving(arguments.model, folder, *settings_of(size, gathering=gathering))
            )
            for gathering, size in kinds
        }
        services[True, 32] = services[True, 1]
        cases = [
            (connections, size, gathering)
            for connections in arguments.connections
            for size in SIZES
            for gathering in (True, False)
        ] * arguments.repeats
        random.Random(0).shuffle(cases)
        for service in set(services.values()):
            all_started(service)
            closed(service.port, bodies_of(texts, 1), 8, 2)  # warm-up
        for connections, size, gathering in cases:
            service = services[gathering, size]
            outcome = closed(service.port, bodies_of(texts, size), connections, arguments.seconds)
            yield Measured(
                series="closed", gathering=gathering, connections=connections, texts=size, outcome=outcome
            )


def workers_series(arguments: argparse.Namespace, texts: list[str], folder: Path) -> Iterator[Measured]:
    """Processes against threads."""
    for shape in arguments.workers:
        workers, threads = (int(part) for part in shape.split("x"))
        options = ("--workers", workers, "--set", f"serve.threads={threads}")
        with serving(arguments.model, folder, *options) as service:
            bodies = bodies_of(texts, 1)
            all_started(service)
            closed(service.port, bodies, 8, 2)
            for connections in (1, 8, 64):
                outcome = closed(service.port, bodies, connections, arguments.seconds)
                yield Measured(
                    series="workers",
                    workers=shape,
                    connections=connections,
                    outcome=outcome,
                    memory_mib=(service.memory(),),
                )


def rate_series(
    arguments: argparse.Namespace, texts: list[str], folder: Path, saturation: float
) -> Iterator[Measured]:
    """A quarter and a half of the saturation rate, three times of it, and half with the worker killed."""
    bodies, seconds = bodies_of(texts, 1), 2 * arguments.seconds
    with serving(arguments.model, folder) as service:
        all_started(service)
        closed(service.port, bodies, 8, 2)
        for name, share in (("quarter", 0.25), *(("half", 0.5),) * arguments.repeats, ("three times", 3.0)):
            rate = share * saturation
            before = service.memory()
            with watching(service) as most:
                outcome = load_in_process(service.port, texts, rate, seconds)
            recovery = recovered(service.port)
            memory = (before, max(most), service.memory())
            yield Measured(
                series=name, rate=rate, outcome=outcome, memory_mib=memory, recovery_seconds=recovery
            )
        yield killed(service, texts, 0.5 * saturation, seconds)


def killed(service: Service, texts: list[str], rate: float, seconds: float) -> Measured:
    """The load at a fixed rate; after a third of it, the worker is killed."""
    before = service.memory()
    with load_started(service.port, texts, rate, seconds) as load:
        time.sleep(seconds / 3)
        psutil.Process(service.process.pid).children()[0].kill()
        outcome = finished(load)
    lost, started = service.events("worker_lost")[-1], service.events("worker_started")[-1]
    return Measured(
        series="kill -9",
        rate=rate,
        outcome=outcome,
        memory_mib=(before, service.memory()),
        recovery_seconds=_clock(started) - _clock(lost),
    )


@contextmanager
def watching(service: Service) -> Iterator[list[float]]:
    """Look at the memory four times a second, in a thread: oftener would cost the service its cores."""
    import threading

    seen, ended = [service.memory()], threading.Event()

    def look() -> None:
        while not ended.wait(0.25):
            seen.append(service.memory())

    thread = threading.Thread(target=look)
    thread.start()
    yield seen
    ended.set()
    thread.join()


def recovered(port: int) -> float:
    """Seconds from the end of a load until a request is answered within 100 ms again."""
    started_at = time.perf_counter()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/predict",
        data=b'{"texts": ["good"]}',
        headers={"Content-Type": "application/json"},
    )
    while True:
        sent_at = time.perf_counter()
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                response.read()
            if time.perf_counter() - sent_at < 0.1:
                return round(time.perf_counter() - started_at, 3)
        except OSError:
            time.sleep(0.02)


def load_in_process(port: int, texts: list[str], rate: float, seconds: float) -> Outcome:
    """The load at a fixed rate, from a process of its own."""
    with load_started(port, texts, rate, seconds) as load:
        return finished(load)


@contextmanager
def load_started(
    port: int, texts: list[str], rate: float, seconds: float
) -> Iterator["subprocess.Popen[str]"]:
    """Start it."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(texts, file)
        file.flush()
        command = [sys.executable, __file__, "--load", file.name, str(port), str(rate), str(seconds)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            yield process


def finished(load: "subprocess.Popen[str]") -> Outcome:
    """What it was answered."""
    output, _ = load.communicate()
    return Outcome.model_validate_json(output)


def _clock(event: dict[str, Any]) -> float:
    from datetime import datetime

    return datetime.fromisoformat(event["time"]).timestamp()


def table(records: Sequence[Measured]) -> str:
    """All runs as Markdown: medians over repeats, of 200s a second and of the latencies."""
    lines = [
        "| series | gathering | workers | connections | reviews a request | due/s | reviews/s "
        "| p50 ms | p95 ms | p99 ms | statuses | lost | memory MiB | recovery s |",
        "|" + "---|" * 14,
    ]
    cases: dict[tuple[Any, ...], list[Measured]] = {}
    for record in records:
        key = (record.series, record.gathering, record.workers, record.connections, record.texts, record.rate)
        cases.setdefault(key, []).append(record)
    for (series, gathering, workers, connections, texts, rate), runs in sorted(cases.items(), key=str):
        outcomes = [run.outcome for run in runs]

        def middle(name: str, outcomes: Sequence[Outcome] = outcomes) -> float:
            return statistics.median(getattr(outcome, name) for outcome in outcomes)

        statuses: dict[str, int] = {}
        for outcome in outcomes:
            for status, count in outcome.statuses.items():
                statuses[status] = statuses.get(status, 0) + count
        cells = [
            series,
            "on" if gathering else "off",
            workers,
            connections or "",
            texts,
            f"{rate:,.0f}" if rate else "",
            f"{middle('rate') * texts:,.0f}",
            *(f"{middle(name):.1f}" for name in ("p50_ms", "p95_ms", "p99_ms")),
            ", ".join(f"{count:,} x {status}" for status, count in sorted(statuses.items())),
            sum(outcome.lost for outcome in outcomes),
            " / ".join(f"{mib:.0f}" for mib in runs[-1].memory_mib),
            "" if runs[-1].recovery_seconds is None else f"{runs[-1].recovery_seconds:.2f}",
        ]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def saturation_of(records: Sequence[Measured]) -> float:
    """Most single reviews a second, median over repeats, with gathering, at any number of connections."""
    rates: dict[int | None, list[float]] = {}
    for record in records:
        if record.series == "closed" and record.gathering and record.texts == 1:
            rates.setdefault(record.connections, []).append(record.outcome.rate)
    return max(statistics.median(found) for found in rates.values())


def main() -> None:
    """Run the series, print the table."""
    if sys.argv[1:2] == ["--load"]:
        with suppress(PermissionError):
            os.nice(-15)
        texts = json.loads(Path(sys.argv[2]).read_text())
        port, rate, seconds = int(sys.argv[3]), float(sys.argv[4]), float(sys.argv[5])
        sys.stdout.write(at_rate(port, bodies_of(texts, 1), rate, seconds).model_dump_json())
        return
    arguments = read_arguments()
    records: list[Measured] = []
    file = arguments.out.with_suffix(".jsonl") if arguments.out else None
    if file and file.exists():
        records = [Measured.model_validate_json(line) for line in file.read_text().splitlines()]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        texts = read_texts(arguments.reviews, folder)

        def keep(found: Iterator[Measured]) -> None:
            for record in found:
                record = record.model_copy(update={"provenance": provenance()})
                records.append(record)
                if file:
                    append_jsonl(file, record)
                print(record.model_dump_json(exclude={"provenance"}), file=sys.stderr)

        if "closed" in arguments.series:
            keep(closed_series(arguments, texts, folder))
        if "workers" in arguments.series:
            keep(workers_series(arguments, texts, folder))
        if "rate" in arguments.series:
            keep(rate_series(arguments, texts, folder, saturation_of(records)))
    print(table(records))
    if arguments.out:
        arguments.out.with_suffix(".md").write_text(table(records) + "\n")


def read_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, help="model directory")
    parser.add_argument("--reviews", help="reviews, one a line, labels are dropped; default: generated ones")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each run")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--connections", type=_numbers, default=CONNECTIONS, help="such as 1,8")
    parser.add_argument("--workers", type=_words, default=("1x1", "1x2", "2x1"), help="such as 1x2,2x1")
    parser.add_argument(
        "--series",
        type=_words,
        default=("closed", "workers", "rate"),
        help="rate needs closed, or an OUT with it",
    )
    parser.add_argument("--out", type=Path, help="write OUT.jsonl (appended) and OUT.md")
    return parser.parse_args()


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


if __name__ == "__main__":
    main()
