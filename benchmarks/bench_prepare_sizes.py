"""Does `sentiscale prepare` stay as fast, and flat in memory, on large inputs? What does a worker add?

Run:      python benchmarks/bench_prepare_sizes.py SOURCE --out records.jsonl [--gb 0.2,0.5,1,1.5,3]
          python benchmarks/bench_prepare_sizes.py SOURCE --out records.jsonl --gb 15 --pipe --rounds 1
          python benchmarks/bench_prepare_sizes.py --table records.jsonl
Fixed:    settings of `prepare`, cores      Varies: size of the input, workers
Input:    SOURCE itself (plain fastText or compressed), and what grow_reviews.py makes of it; each size is
          the beginning of the next. With --pipe it comes through a named pipe while it is made, so it need
          not fit on the disk; making it takes a part of the same cores, so then only the memory means much
Timed:    as in bench_prepare.py. In each round of each size SOURCE is prepared as well, so that speeds are
          compared within minutes; the order in a round is drawn anew
Expect:   15 min for three rounds up to 1.5 GB on 2 cores; about 3 times the largest size on the disk
Not for:  comparing hosts, or peers: pandas and Dask would need several times the input in memory
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

from bench_prepare import describe, disturbance, disturbances, head, plain, read_records, rows, show
from measured import Taken, add_options, at_priority, interval, run, settle, undisturbed, use_cores

from sentiscale.records import append_jsonl

GROW = Path(__file__).with_name("grow_reviews.py")


class SizeMeasurement(Taken):
    """One preparation."""

    what: Literal["size"] = "size"
    gb: float
    """Size asked for, in GB of 10^9 bytes; 0 is the source itself."""
    beside: float
    """The size in whose rounds it was taken; differs from `gb` where the source was prepared to compare."""
    workers: int
    round: int
    place: int
    piped: bool
    bytes_in: int
    work_seconds: float
    distinct_words: int
    """Different words of the training reviews, as the manifest counts them."""
    printed: dict[str, Any]
    """What --json printed."""

    @property
    def speed(self) -> float:
        """MB of input a second, by the work clock."""
        return self.bytes_in / 1e6 / self.work_seconds


class Task(NamedTuple):
    """What is prepared once."""

    source: Path
    large: Path
    """The grown input or, with --pipe, the pipe through which it comes."""
    gb: float
    """0 for the source."""
    workers: int


def main() -> None:
    arguments = parse(sys.argv[1:])
    if not arguments.table:
        use_cores(arguments.cores, realtime=arguments.realtime)
        with tempfile.TemporaryDirectory(dir=arguments.scratch) as folder:
            measure(arguments, Path(folder))
    _, found = read_records(arguments.table or arguments.out, SizeMeasurement)
    print("\n".join(table([m for m in found if m.kept])))
    print(f"\n{disturbances([m for m in found if not m.piped])}")


def parse(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, nargs="?")
    parser.add_argument("--gb", type=numbers(float), default=[0.2, 0.5, 1.0, 1.5], help="sizes, in GB")
    parser.add_argument("--workers", type=numbers(int), default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pipe", action="store_true", help="through a named pipe instead of a file")
    add_options(parser)
    arguments = parser.parse_args(words)
    if not arguments.table and not (arguments.source and arguments.out):
        parser.error("give SOURCE and --out RECORDS, or --table RECORDS")
    arguments.files = [arguments.source]
    return arguments


def numbers(kind: type) -> Any:
    """A parser of comma-separated numbers."""

    def values(text: str) -> list[Any]:
        return [kind(part) for part in text.split(",")]

    return values


def measure(arguments: argparse.Namespace, folder: Path) -> None:
    """Prepare every size with every number of workers; each record is written as soon as it is known."""
    source = plain(arguments.source, folder / "source.txt")
    append_jsonl(arguments.out, describe(arguments, [source]))
    few = head(source, folder / "head.txt")
    for workers in arguments.workers:
        prepare(Task(few, few, 0.0, workers), folder / "scratch", arguments)
    order = random.Random(arguments.seed)
    for gb in arguments.gb:
        with large_input(source, gb, folder, arguments) as large:
            for number in range(arguments.rounds):
                tasks = [Task(source, large, size, n) for size in (0.0, gb) for n in arguments.workers]
                for place, task in enumerate(order.sample(tasks, len(tasks))):
                    where = {"beside": gb, "round": number, "place": place}
                    attempt = partial(prepare, task, folder / "scratch", arguments)
                    for found in undisturbed(attempt, arguments):
                        record = found.model_copy(update=where)
                        append_jsonl(arguments.out, record)
                        print(line(record), file=sys.stderr)


def prepare(task: Task, scratch: Path, arguments: argparse.Namespace) -> SizeMeasurement:
    """Prepare one input in a fresh process, into an empty folder."""
    settle(scratch)
    with arriving(task, arguments) as path:
        words = ["prepare", path, "--out", scratch / "out", "--workers", task.workers, "--json", "--quiet"]
        command = [sys.executable, "-m", "sentiscale", *map(str, words), *arguments.prepare_args.split()]
        taken, text = run(command, realtime=arguments.realtime)
    manifest = json.loads((scratch / "out" / "manifest.json").read_bytes())
    settle(scratch)
    printed = json.loads(text)
    printed.pop("out")
    piped = task.large.is_fifo() and task.gb > 0
    found = SizeMeasurement(
        **taken.model_dump(),
        gb=task.gb,
        beside=task.gb,
        workers=task.workers,
        round=0,
        place=0,
        piped=piped,
        bytes_in=printed["bytes_in"],
        work_seconds=printed["seconds"],
        printed=printed,
        distinct_words=manifest.get("distinct_words", 0),
    )
    return found.model_copy(update={"others": 0.0}) if piped else found  # the pipe's writer does not disturb


@contextmanager
def large_input(source: Path, gb: float, folder: Path, arguments: argparse.Namespace) -> Iterator[Path]:
    """Make an input of that size, or the pipe that it will come through; gone afterwards."""
    path = folder / "large.txt"
    if arguments.pipe:
        os.mkfifo(path)
    else:
        subprocess.run(grow(source, gb, path, arguments), check=True)
        os.sync()
    try:
        yield path
    finally:
        path.unlink()


@contextmanager
def arriving(task: Task, arguments: argparse.Namespace) -> Iterator[Path]:
    """What is to be read; a pipe is written to meanwhile."""
    if task.gb == 0 or not arguments.pipe:
        yield task.source if task.gb == 0 else task.large
        return
    command = grow(task.source, task.gb, task.large, arguments)
    writer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        if not writer.stderr.readline():  # it says a line when it has read its source and waits for a reader
            sys.exit(f"{GROW.name} ended with {writer.wait()} before it wrote anything")
        yield task.large
    finally:
        writer.kill()
        writer.communicate()


def grow(source: Path, gb: float, out: Path, arguments: argparse.Namespace) -> list[str]:
    """The command that makes an input; of equal priority, so that it takes no more than its share."""
    words = [GROW, source, "--mb", 1000 * gb, "--out", out, "--seed", arguments.seed]
    return at_priority([sys.executable, *map(str, words)], realtime=arguments.realtime)


def line(found: SizeMeasurement) -> str:
    """One measurement for a person who waits."""
    size = f"{found.bytes_in / 1e9:.2f} GB, {found.workers} workers"
    return (
        f"{size:20} process {found.seconds:7.2f} s  work {found.work_seconds:7.2f} s "
        f"{found.speed:6.1f} MB/s  {found.peak_mib:6.0f} MiB" + disturbance(found)
    )


def table(found: Sequence[SizeMeasurement]) -> Iterator[str]:
    """Yield Markdown: a line for each size and number of workers, and how memory grows."""
    yield (
        "| GB | reviews | different words | workers | process s | work s | work MB/s "
        "| times the source's speed | times one worker's | peak memory MiB (without mapped files) |"
    )
    yield "|---" * 10 + "|"
    counts = sorted({m.workers for m in found})
    for gb in sorted({m.gb for m in found}):
        for workers in counts:
            yield size_line([m for m in found if (m.gb, m.workers) == (gb, workers)], found)
    for workers in counts:
        yield ""
        yield memory_slope([m for m in found if m.workers == workers])


def size_line(runs: Sequence[SizeMeasurement], found: Sequence[SizeMeasurement]) -> str:
    """One line of the table."""
    first = runs[0]
    fewest = min(m.workers for m in found)
    memory = f"{max(m.peak_mib for m in runs):.0f} ({max(m.anonymous_mib for m in runs):.0f})"
    cells = [
        f"{first.bytes_in / 1e9:.2f}",
        f"{rows(first.printed):,}",
        f"{first.distinct_words:,}",
        str(first.workers),
        show(interval([m.seconds for m in runs])),
        show(interval([m.work_seconds for m in runs])),
        show(interval([m.speed for m in runs]), ".1f"),
        ratios([(m, partner(m, found, gb=0.0)) for m in runs]) if first.gb else "1",
        ratios([(m, partner(m, found, workers=fewest)) for m in runs]) if first.workers > fewest else "1",
        memory,
    ]
    return f"| {' | '.join(cells)} |"


def partner(
    one: SizeMeasurement, found: Sequence[SizeMeasurement], **changed: float
) -> SizeMeasurement | None:
    """The measurement of the same round that differs in what is given only."""
    wanted = {"gb": one.gb, "beside": one.beside, "workers": one.workers, "round": one.round, **changed}
    return next((m for m in found if all(getattr(m, key) == value for key, value in wanted.items())), None)


def ratios(pairs: Sequence[tuple[SizeMeasurement, SizeMeasurement | None]]) -> str:
    """How many times as fast the first of each pair is."""
    speeds = [one.speed / other.speed for one, other in pairs if other is not None]
    return show(interval(speeds)) if speeds else ""


def memory_slope(runs: Sequence[SizeMeasurement]) -> str:
    """How the peak grows with the input: a straight line through the peaks of all sizes."""
    import numpy as np

    sizes = np.array([m.bytes_in / 1e9 for m in runs])
    workers = runs[0].workers
    if len(set(sizes)) < 2:
        return f"Workers {workers}: one size only, no slope."
    parts = []
    for name, kind in (("peak", "peak_mib"), ("without mapped files", "anonymous_mib")):
        slope, start = np.polyfit(sizes, [getattr(m, kind) for m in runs], 1)
        parts.append(f"{name} {start:.0f} MiB + {slope:.0f} MiB a GB")
    return f"Workers {workers}, straight line through all: {'; '.join(parts)}."


if __name__ == "__main__":
    main()
