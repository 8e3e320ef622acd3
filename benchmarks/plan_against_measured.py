"""Does `sentiscale plan` predict the steps of two hosts from what was measured on one?

Run:      sudo python benchmarks/plan_against_measured.py DATA... --out RECORDS.jsonl [--repeats 3]
          python benchmarks/plan_against_measured.py --table RECORDS.jsonl
          python benchmarks/plan_against_measured.py --earlier parallel_….jsonl two-hosts-….jsonl
ParallelSetup:  first this machine alone: serial steps of 64 and 128 rows, two serial trainings at once, two
          replicas and two stages; the collectives between two ranks. From these, predictions for two hosts.
          Then two network namespaces with limited links and one rank each, by torchrun, which is measured.
          DATA are prepared data, one or several with different vocabularies.
Fixed:    default network, 128 rows a step over both hosts, seed, one thread a rank
Varies:   rate of the links; rows of the embedding's gradient or all of it on the wire; vocabulary
Load:     each run waits for a quiet machine (--others cores, at most --wait seconds), and says how many cores
          others used meanwhile; of the repeats of a case the least disturbed one counts, not the fastest
Timed:    training steps alone, each as long as its slowest rank; not the start, validation or checkpoints
Expect:   about 4 min a data set and repeat; median error at most 15 %
Not for:  real hosts: these share cores, caches and memory, so the prediction takes the slowing down of two
          trainings at once, which two real hosts would not have
"""

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import psutil
from two_hosts_train import network, timed

from sentiscale.config import resolve
from sentiscale.data.prepared import PreparedDataset
from sentiscale.records import Host, git_commit, now, package_versions
from sentiscale.study.bench.steps import StepTimes, measure_steps
from sentiscale.study.plan.costs import ParallelSetup, TrainingCosts
from sentiscale.study.plan.measured import costs_of
from sentiscale.study.plan.network import ClusterSpec, LinkTimings, parse_network
from sentiscale.study.plan.prediction import checks_of
from sentiscale.study.plan.probe import measure_links
from sentiscale.study.plan.simulate import simulate
from sentiscale.study.records import BenchRun, Case, RankTimes

BATCH = 128
LOCAL = [
    Case(layout="1x1", collectives=False, batch_size=64),
    Case(layout="1x1", collectives=False, batch_size=128),
    Case(kind="copies", copies=2, collectives=False, batch_size=128),
    Case(layout="2x1", batch_size=128),
    Case(layout="1x2", batch_size=64),
    Case(layout="1x2", batch_size=128),
]
"""What is measured on this machine alone."""

HOSTS = [("2x1", "sparse"), ("2x1", "dense"), ("1x2", "sparse")]
RATES = ("10gbit", "1gbit", "100mbit")
STEPS = {"sparse": 40, "dense": 12}
SLOW_STEPS = 4
"""Where a step sends 10 MB and more over 100 Mbit."""

Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="*", help="prepared data")
    parser.add_argument("--out", type=Path, help="JSON lines; new ones are appended")
    parser.add_argument("--table", type=Path, metavar="RECORDS", help="print the table of an earlier run")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rates", default=",".join(RATES))
    parser.add_argument("--others", type=float, default=0.2, help="cores that others may use before a run")
    parser.add_argument("--wait", type=float, default=120, help="seconds for that, before each run")
    parser.add_argument("--again", type=int, default=1, help="how often to repeat a disturbed run")
    parser.add_argument("--layouts", default="2x1,1x2")
    parser.add_argument("--earlier", type=Path, nargs=2, help="records of bench_parallel, two_hosts_train")
    arguments = parser.parse_args()
    if arguments.earlier:
        records = earlier(*arguments.earlier)
        print(f"{table(records)}\n\n{one_host(records)}")
        if arguments.out:
            arguments.out.write_text("".join(json.dumps(row) + "\n" for row in compared(records)))
        return
    if arguments.table:
        print(table([json.loads(line) for line in arguments.table.read_text().splitlines()]))
        return
    arguments.realtime = False
    with tempfile.TemporaryDirectory(prefix="plan-") as folder:
        for record in measured(arguments, Path(folder)):
            print(json.dumps({key: record[key] for key in record if key != "run"}), flush=True)
            if arguments.out:
                with open(arguments.out, "a") as out:
                    out.write(json.dumps(record) + "\n")


def measured(arguments: argparse.Namespace, folder: Path) -> Iterator[Row]:
    """Everything that is measured, one record each."""
    for _ in range(2):
        yield quietly(arguments, lambda: {"part": "links", "links": measure_links().model_dump()})
    for repeat in range(arguments.repeats):
        for data in arguments.data:
            dataset = PreparedDataset.open(data)
            about = {"repeat": repeat, "vocab": dataset.manifest.vocab_size}
            for gradients in ("sparse", "dense"):
                for case in LOCAL:
                    if case.layout == "1x1" or (case.layout, gradients) in chosen(arguments):
                        found = quietly(arguments, partial(local_run, case, dataset, gradients, repeat))
                        yield {"part": "local", **about, "gradients": gradients, **found}
            yield from on_hosts(arguments, data, folder, about)


def on_hosts(arguments: argparse.Namespace, data: Path, folder: Path, about: Row) -> Iterator[Row]:
    """Steps of two hosts, at every rate."""
    for rate in arguments.rates.split(","):
        for layout, gradients in chosen(arguments):
            steps = SLOW_STEPS if (rate, gradients) == ("100mbit", "dense") else STEPS[gradients]
            wanted = [f"train.layout={layout}", f"train.embedding_gradients={gradients}"]
            found = quietly(arguments, partial(hosts_run, data, rate, wanted, folder, steps))
            yield {"part": "hosts", **about, "rate": rate, "layout": layout, "gradients": gradients, **found}


def chosen(arguments: argparse.Namespace) -> list[tuple[str, str]]:
    """Layouts and gradients to measure."""
    return [each for each in HOSTS if each[0] in arguments.layouts.split(",")]


def hosts_run(data: Path, rate: str, wanted: list[str], folder: Path, steps: int) -> Row:
    """Steps of two hosts."""
    with network(rate) as hosts:
        found = timed(argparse.Namespace(data=data, realtime=False), wanted, hosts, folder, steps)
    kept = {key: found[key] for key in ("step_seconds", "bytes_per_step", "phases_per_rank", "steps")}
    return {"seconds": BATCH / found["rows_per_s"], **kept}


def quietly(arguments: argparse.Namespace, measure: Callable[[], Row]) -> Row:
    """Wait until others leave the machine alone and measure; again while they did not, a few times.

    Says how many cores they used meanwhile.
    """
    for left in reversed(range(1 + arguments.again)):
        deadline = time.monotonic() + arguments.wait
        while busy_cores(1.0) > arguments.others and time.monotonic() < deadline:
            time.sleep(1.0)
        found = watched(measure)
        if left == 0 or found["others"] <= 2 * arguments.others:
            break
    return found


def watched(measure: Callable[[], Row]) -> Row:
    """Measure, and say how many cores others used meanwhile."""
    load, own, before, started_at = os.getloadavg()[0], own_seconds(), busy_seconds(), time.monotonic()
    found = measure()
    others = busy_seconds() - before - (own_seconds() - own)
    return found | {"load": load, "others": round(max(0.0, others) / (time.monotonic() - started_at), 2)}


def busy_cores(seconds: float) -> float:
    """Cores at work, on average; also for programs of the idle class: between sessions Linux shares cores
    evenly (autogroups), whatever their class."""
    before = busy_seconds()
    time.sleep(seconds)
    return (busy_seconds() - before) / seconds


def busy_seconds() -> float:
    """Processor time of the whole machine so far."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq)


def own_seconds() -> float:
    """Of this process and of what it has started and seen end."""
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in both)


def local_run(case: Case, dataset: PreparedDataset, gradients: str, repeat: int) -> Row:
    """One run of a case on this machine, in the form that `bench` writes."""
    rows = case.batch_size // case.copies
    settings = resolve(
        overrides=[
            f"train.layout={case.layout}",
            f"train.batch_size={rows}",
            "train.threads_per_rank=1",
            f"train.embedding_gradients={gradients}",
        ]
    )
    steps = STEPS[gradients] * BATCH // case.batch_size
    with ThreadPoolExecutor() as pool:  # copies: all at once
        jobs = [pool.submit(measure_steps, dataset.path, settings, steps) for _ in range(case.copies)]
        copies = [job.result() for job in jobs]
    run = run_of(case, copies, steps, repeat).model_copy(
        update={
            "shape": {
                **settings.model.model_dump(),
                "embedding_gradients": gradients,
                "micro_batches": settings.train.micro_batches,
            },
            "embedding_rows": dataset.manifest.vocab_size,
            "data_digest": dataset.manifest.digest,
        }
    )
    return {"run": run.model_dump(mode="json")}


def run_of(case: Case, copies: list[StepTimes], steps: int, repeat: int) -> BenchRun:
    """The record of one run, from what its copies found; the default network."""
    times = copies[0]
    seconds = median(case.batch_size / case.copies * steps / each.rows_per_s for each in copies)
    return BenchRun(
        case=case.model_copy(update={"model": "lstm", "precision": times.precision}),
        repeat=repeat,
        seed=0,
        amount={"steps": steps},
        seconds=seconds,
        rows=case.batch_size * steps,
        rows_per_s=case.batch_size * steps / seconds,
        steps=steps,
        times_per_rank=[
            rank_times(copy, rank, steps) for copy in copies for rank in range(case.ranks // case.copies)
        ],
        bytes_per_step=times.bytes_per_step,
        peak_memory_mb_per_rank=times.peak_memory_mb_per_rank,
        started_at=now(),
        host=Host.current(),
        versions=package_versions("sentiscale", "torch", "numpy"),
        git_commit=git_commit(),
        shape={**resolve().model.model_dump(), "micro_batches": EARLIER_PARTS},
    )


EARLIER_PARTS = 4
"""MicroBatch-batches of the two hosts that were measured then."""

EARLIER = {
    "1x1, 1 thread": Case(layout="1x1", collectives=False, batch_size=BATCH),
    "ceiling: two 1x1 at once": Case(kind="copies", copies=2, collectives=False, batch_size=BATCH),
    "2x1, 1 thread each": Case(layout="2x1", batch_size=BATCH),
    "2x1": Case(layout="2x1", batch_size=BATCH),
    f"1x2, {EARLIER_PARTS} micro-batches": Case(layout="1x2", batch_size=BATCH),
}
"""What `bench_parallel.py` called them."""


def earlier(local: Path, hosts: Path) -> list[Row]:
    """Records of two other benchmarks as if this one had made them, repeats and all."""
    found = []
    for record in (json.loads(line) for line in local.read_text().splitlines()):
        if record.get("part") in ("scaling", "stages") and record["case"] in EARLIER:
            copies = [StepTimes.model_validate({"losses": [], **each}) for each in record["measured"]]
            run = run_of(EARLIER[record["case"]], copies, copies[0].steps, record["round"])
            found.append({"part": "local", "run": run.model_dump(mode="json")})
    for record in (json.loads(line) for line in hosts.read_text().splitlines()):
        if record["part"] == "speed" and record["rate"] != "none":
            layout, _, compressed = record["layout"].partition(" ")
            name = f"sparse {compressed}".strip()
            seconds = BATCH / record["rows_per_s"]
            found.append({**record, "part": "hosts", "layout": layout, "gradients": name, "seconds": seconds})
    about = {"vocab": 0, "gradients": "sparse", "others": 0.0, "parts": EARLIER_PARTS}
    return [{**about, **each} for each in found]


def rank_times(found: StepTimes, rank: int, steps: int) -> RankTimes:
    """Phases as `bench` splits them, from those of `measure_steps`; a third of computing is forward."""
    phases = found.phases_per_rank[rank]
    least = min(each.reduce for each in found.phases_per_rank)  # who waits least came last
    return RankTimes(
        data=steps * phases.data,
        forward=steps * phases.compute / 3,
        backward=steps * phases.compute * 2 / 3,
        reduce=steps * least,
        waiting=steps * (phases.reduce - least),
        update=steps * phases.update,
    )


def here_together(costs: TrainingCosts) -> TrainingCosts:
    """The same where both "hosts" are one machine: each slows the other."""
    slow, update = costs.slowdown.at(2), costs.update_slowdown.at(2)
    slower = costs.slower(slow)
    return replace(
        slower, update_fixed=costs.update_fixed * update, update_per_row=costs.update_per_row * update
    )


def predicted(records: list[Row], vocab: int, gradients: str, rate: str, layout: str) -> float:
    """Seconds of a step on two hosts, from what was measured on one."""
    local = [
        each
        for each in records
        if each["part"] == "local" and (each["vocab"], each["gradients"]) == (vocab, gradients.split()[0])
    ]
    runs = [BenchRun.model_validate(each["run"]) for each in undisturbed(local, case_of)]
    cluster = ClusterSpec(1, parse_network(rate))
    for each in undisturbed([each for each in records if each["part"] == "links"], lambda each: ""):
        times = LinkTimings.model_validate(each["links"])
        cluster = replace(
            cluster, sockets=times.fitted_link(memory=False), memory=times.fitted_link(memory=True)
        )
    data, _, model = layout.partition("x")
    setting = ParallelSetup(int(data), int(model), BATCH, local[0].get("parts", 2))
    costs = here_together(costs_of(runs))
    if gradients.endswith("bf16"):
        costs = replace(costs, gradient_bytes=2, dense_bytes=costs.dense_bytes / 2)
    return simulate(costs, setting, cluster).seconds


def one_host(records: list[Row]) -> str:
    """The checks that `plan` makes, on the records of one host."""
    runs = [BenchRun.model_validate(each["run"]) for each in records if each["part"] == "local"]
    return "\n".join(
        f"one host, {each.layout}: predicted {1e3 * each.predicted:.1f} ms, measured "
        f"{1e3 * each.measured:.1f} ms, {each.error:+.0%}"
        for each in checks_of(runs, ClusterSpec(2, parse_network("10gbit")))
    )


def undisturbed(records: list[Row], key: Callable[[Row], str]) -> list[Row]:
    """Of the records with the same key, those during which others used least."""
    least: dict[str, float] = {}
    for each in records:
        least[key(each)] = min(least.get(key(each), float("inf")), float(each["others"]))
    return [each for each in records if each["others"] == least[key(each)]]


def case_of(record: Row) -> str:
    """Equal for runs of equal cases."""
    return json.dumps(record["run"]["case"], sort_keys=True)


def compared(records: list[Row]) -> list[Row]:
    """Predicted and measured, one row a case."""
    names = ("vocab", "layout", "gradients", "rate")
    hosts = [each for each in records if each["part"] == "hosts"]
    found = []
    for key in sorted({tuple(each[name] for name in names) for each in hosts}):
        runs = [each for each in hosts if tuple(each[name] for name in names) == key]
        calm = undisturbed(runs, lambda each: "")
        row: Row = dict(zip(names, key, strict=True))
        row["predicted"] = predicted(records, **row)
        row["measured"] = median(each["seconds"] for each in calm)
        row["error"] = row["predicted"] / row["measured"] - 1
        row["runs"] = [each["seconds"] for each in runs]
        found.append(row | {"others": calm[0]["others"]})
    return found


def table(records: list[Row]) -> str:
    """Predicted and measured mean step times side by side."""
    lines = [
        "| words | layout | gradients | link | predicted ms | measured ms (range) | runs | others | error |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    rows = compared(records)
    for row in rows:
        steps = [1e3 * seconds for seconds in row["runs"]]
        lines.append(
            f"| {row['vocab'] or 'default'} | {row['layout']} | {row['gradients']} | {row['rate']} "
            f"| {1e3 * row['predicted']:.1f} "
            f"| {1e3 * row['measured']:.1f} ({min(steps):.1f}-{max(steps):.1f}) "
            f"| {len(steps)} | {row['others']:.2f} | {row['error']:+.0%} |"
        )
    if errors := [abs(row["error"]) for row in rows]:
        lines.append(
            f"\nMedian error {median(errors):.1%}, largest {max(errors):.0%}, of {len(errors)} cases."
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
