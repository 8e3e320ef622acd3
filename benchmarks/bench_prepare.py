"""How fast is `sentiscale prepare` beside the usual ways to clean reviews, and what memory do they take?

Run:      python benchmarks/bench_prepare.py FILE... --out records.jsonl [--rounds 5] [--realtime]
          python benchmarks/bench_prepare.py --table records.jsonl
Needs:    pip install 'sentiscale[bench]'  (pandas, Polars, dask[dataframe])
Fixed:    input (plain fastText; compressed files are unpacked before), cores      Varies: contestant
Timed:    each contestant in a fresh process, all once a round, the order drawn anew for each round. `process`
          is from the start of the process to its end; `work` is what the contestant's own clock says: from
          the first read to the last write, imports (and the start of Dask's processes) left out; for
          sentiscale it is the `seconds` of --json, everything but imports. Before the rounds everyone runs
          once on the first 2 MB, not recorded: compiled kernels, byte code and input are then in place
MB/s:     bytes of the plain input / 10^6 / seconds
Noise:    what other programs used of the cores is recorded with each run; beyond --others the run is done
          again. With --realtime the contestants go before all normal processes, which then cannot disturb
          them (but for caches); what the hypervisor takes is looked at all the same
Interval: order statistics around the median. Five rounds give the whole range, which holds the true median
          with chance 0.94; six give 0.97. Ratios are taken within each round, then their median
Memory:   resident memory of the whole process tree; measured.py says what that counts and what it misses
Expect:   6 min for five rounds of 115 MB on 2 cores
Not for:  comparing hosts; data larger than memory (pandas and dask keep it all)

What each does, in one table (peers: see prepare_peers.py):

                             pandas, dask   polars   polars-dedupe   alpha-N, words-N
  label and text apart            x            x           x                x
  lower-case, drop characters     x            x           x                x     (words: keeps more)
  drop empty rows                 x            x           x                x
  drop equal texts                x            -           x                x
  reject and report bad rows      -            -           -                x
  split, leak-free                -            -           -                x
  tokenise, count, vocabulary     -            -           -                x
  encode as token ids             -            -           -                x
  checksums, fsync, atomic        -            -           -                x
  can go on after a kill          -            -           -                x
  writes                       Parquet      Parquet     Parquet       ids, offsets, labels, vocabulary

alpha-N and words-N are `sentiscale prepare --clean alpha` and `--clean words` (the default) with N workers;
`alpha` drops the same characters as the peers, so its texts are theirs.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Literal

from measured import Interval, Taken, TakenT, add_options, interval, run, settle, undisturbed, use_cores
from prepare_peers import RECIPES

from sentiscale.records import Host, Record, append_jsonl, git_commit, now, package_versions
from sentiscale.study.bench.preparation import head, plain

PACKAGES = ("sentiscale", "numpy", "numba", "pyarrow", "dask", "distributed", "pandas", "polars")


class Session(Record):
    """What all measurements of one call have in common."""

    what: Literal["session"] = "session"
    started_at: datetime
    argv: list[str]
    git_commit: str | None
    modified: bool
    """Whether src/ or benchmarks/ differed from the commit."""
    host: Host
    versions: dict[str, str]
    cores: int
    realtime: bool
    seed: int
    files: dict[str, int]
    """Bytes of each plain input file."""


class Measurement(Taken):
    """One run of one contestant."""

    what: Literal["measurement"] = "measurement"
    contestant: str
    round: int
    place: int
    """Which one of the round it was, from 0."""
    bytes_in: int
    bytes_out: int
    work_seconds: float
    printed: dict[str, Any]
    """What the contestant said itself."""


def main() -> None:
    arguments = parse(sys.argv[1:])
    if arguments.table:
        print(tables(arguments.table))
        return
    use_cores(arguments.cores, realtime=arguments.realtime)
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as folder:
        measure(arguments, Path(folder))
    print(tables(arguments.out))


def parse(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", type=Path, nargs="*")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--contestants", help="comma-separated; default: all")
    add_options(parser)
    arguments = parser.parse_args(words)
    if not arguments.table and not (arguments.files and arguments.out):
        parser.error("give FILE... and --out RECORDS, or --table RECORDS")
    known = contestants(arguments.cores)
    arguments.contestants = arguments.contestants.split(",") if arguments.contestants else known
    if unknown := set(arguments.contestants) - set(known):
        parser.error(f"unknown contestants {', '.join(sorted(unknown))}; allowed: {', '.join(known)}")
    return arguments


def contestants(cores: int) -> list[str]:
    """Names of all contestants: the peers, then sentiscale's profiles with one worker and one a core."""
    own = [f"{profile}-{n}" for profile in ("alpha", "words") for n in sorted({1, cores})]
    return [*RECIPES, *own]


def command(contestant: str, files: Sequence[Path], out: Path, arguments: argparse.Namespace) -> list[str]:
    """What is run for a contestant."""
    if contestant in RECIPES:
        script = Path(__file__).with_name("prepare_peers.py")
        words = [script, contestant, out, *files, "--cores", arguments.cores]
    else:
        profile, _, workers = contestant.partition("-")
        words = ["-m", "sentiscale", "prepare", *files, "--out", out, "--clean", profile]
        words += ["--workers", workers, "--json", "--quiet", *arguments.prepare_args.split()]
    return [sys.executable, *map(str, words)]


def measure(arguments: argparse.Namespace, folder: Path) -> None:
    """Run the rounds; each record is written as soon as it is known."""
    files = [plain(path, folder / f"input-{number}.txt") for number, path in enumerate(arguments.files)]
    append_jsonl(arguments.out, describe(arguments, files))
    for contestant in arguments.contestants:
        measure_one(contestant, [head(files[0], folder / "head.txt")], folder / "scratch", arguments)
    order = random.Random(arguments.seed)
    for number in range(arguments.rounds):
        shuffled = order.sample(arguments.contestants, len(arguments.contestants))
        for place, contestant in enumerate(shuffled):
            attempt = partial(measure_one, contestant, files, folder / "scratch", arguments)
            for found in undisturbed(attempt, arguments):
                record = found.model_copy(update={"round": number, "place": place})
                append_jsonl(arguments.out, record)
                print(line(record), file=sys.stderr)


def measure_one(
    contestant: str, files: Sequence[Path], scratch: Path, arguments: argparse.Namespace
) -> Measurement:
    """Run one contestant once, into an empty folder."""
    settle(scratch)
    out = scratch / "out"
    taken, text = run(command(contestant, files, out, arguments), realtime=arguments.realtime)
    printed = json.loads(text)
    printed.pop("out", None)
    return Measurement(
        **taken.model_dump(),
        contestant=contestant,
        round=0,
        place=0,
        bytes_in=sum(path.stat().st_size for path in files),
        bytes_out=sum(path.stat().st_size for path in (out, *out.rglob("*")) if path.is_file()),
        work_seconds=printed["seconds"],
        printed=printed,
    )


def describe(arguments: argparse.Namespace, files: Sequence[Path]) -> Session:
    repository = Path(__file__).resolve().parent.parent
    status = ["git", "-C", repository, "status", "--porcelain", "--", "src", "benchmarks"]
    changed = subprocess.run(status, capture_output=True, text=True, check=False).stdout
    names = [path.name for path in arguments.files]
    return Session(
        started_at=now(),
        argv=sys.argv,
        git_commit=git_commit(),
        modified=bool(changed.strip()),
        host=Host.current(),
        versions=package_versions(*PACKAGES),
        cores=arguments.cores,
        realtime=arguments.realtime,
        seed=arguments.seed,
        files={name: path.stat().st_size for name, path in zip(names, files, strict=True)},
    )


def line(found: Measurement) -> str:
    """One measurement for a person who waits."""
    return (
        f"{found.contestant:14} process {found.seconds:7.2f} s  work {found.work_seconds:7.2f} s "
        f"{found.bytes_in / 1e6 / found.work_seconds:6.1f} MB/s  {found.peak_mib:6.0f} MiB"
        + disturbance(found)
    )


def disturbance(found: Taken) -> str:
    """What others did during a run, if it is repeated for that."""
    return "" if found.kept else f"  others used {found.others:.2f} cores, {found.stolen:.2f} stolen: again"


def read_records(path: Path, kind: type[TakenT]) -> tuple[Session, list[TakenT]]:
    """The last session of a file and its measurements."""
    session, found = None, []
    for text in path.read_text(encoding="utf-8").splitlines():
        if json.loads(text)["what"] == "session":
            session, found = Session.model_validate_json(text), []
        else:
            found.append(kind.model_validate_json(text))
    if session is None:
        sys.exit(f"{path} holds no session; give the --out of an earlier run")
    return session, found


def disturbances(found: Sequence[Taken]) -> str:
    """How quiet the machine was."""
    kept = [m for m in found if m.kept]
    return (
        f"Cores that other programs used during a run: median {median(m.others for m in kept):.2f}, at most "
        f"{max(m.others for m in kept):.2f}; that the hypervisor took: at most "
        f"{max(m.stolen for m in kept):.2f}. {len(found) - len(kept)} runs were repeated for that."
    )


def tables(path: Path) -> str:
    """Markdown: what each contestant took, and how sentiscale compares with each peer."""
    session, everything = read_records(path, Measurement)
    found = [m for m in everything if m.kept]
    names = [name for name in contestants(session.cores) if any(m.contestant == name for m in found)]
    own = [name for name in names if name not in RECIPES]
    return "\n".join(
        [
            *summary(names, found),
            "",
            disturbances(everything),
            "",
            *comparison("work", names, own, found),
            "",
            *comparison("process", names, own, found),
        ]
    )


def summary(names: Sequence[str], found: Sequence[Measurement]) -> Iterator[str]:
    """Yield the lines of the main table."""
    rounds = len({m.round for m in found})
    chance = interval(range(rounds)).coverage
    yield f"Median of {rounds} rounds; in brackets an interval that holds it with chance {chance:.2f}."
    yield ""
    yield (
        "| contestant | process s | work s | work MB/s | CPU s | peak memory MiB (without mapped files) "
        "| written MB | rows |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    for name in names:
        runs = [m for m in found if m.contestant == name]
        speed = interval([m.bytes_in / 1e6 / m.work_seconds for m in runs])
        memory = f"{max(m.peak_mib for m in runs):.0f} ({max(m.anonymous_mib for m in runs):.0f})"
        cells = [
            name,
            show(interval([m.seconds for m in runs])),
            show(interval([m.work_seconds for m in runs])),
            show(speed, ".1f"),
            f"{interval([m.cpu_seconds for m in runs]).median:.1f}",
            memory,
            f"{runs[0].bytes_out / 1e6:.0f}",
            f"{rows(runs[0].printed):,}",
        ]
        yield f"| {' | '.join(cells)} |"


def comparison(
    clock: Literal["work", "process"], names: Sequence[str], own: Sequence[str], found: Sequence[Measurement]
) -> Iterator[str]:
    """Yield the lines of a table of ratios: seconds of each contestant over those of sentiscale."""
    yield f"How many times as fast, by the {clock} clock; ratios within a round, median and interval:"
    yield ""
    yield f"| against | {' | '.join(own)} |"
    yield "|---|" + "---|" * len(own)
    times: dict[tuple[str, int], float] = {
        (m.contestant, m.round): m.work_seconds if clock == "work" else m.seconds for m in found
    }
    rounds = sorted({m.round for m in found})
    for name in names:
        ratios = [
            [times[name, n] / times[mine, n] for n in rounds if {(name, n), (mine, n)} <= times.keys()]
            for mine in own
        ]
        cells = [show(interval(ratio)) if ratio else "" for ratio in ratios]
        yield f"| {name} | {' | '.join(cells)} |"


def show(found: Interval, form: str = ".2f") -> str:
    """`median (low-high)`, or a single value."""
    if found.low == found.high:
        return f"{found.median:{form}}"
    return f"{found.median:{form}} ({found.low:{form}}-{found.high:{form}})"


def rows(printed: dict[str, Any]) -> int:
    """Rows written, by what the contestant printed."""
    count = printed["rows"]
    return sum(count.values()) if isinstance(count, dict) else count


if __name__ == "__main__":
    main()
