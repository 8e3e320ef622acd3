"""What do ranks, threads and stages bring on this machine, at the same global batch?

Run:      make bench-parallel, or: python benchmarks/bench_parallel.py REVIEWS --out DIR [--parts a,b]
          python benchmarks/bench_parallel.py --table RECORDS.jsonl prints the tables of an earlier run
Parts:    scaling  two ranks beside one rank with one and two threads, and beside the machine's own ceiling:
                   two one-rank trainings at once, each with half of the batch
          sparse   row-sparse beside dense embedding gradients, with 30,000 and 130,000 words
          stages   model parallel in 1, 2, 4, 8 micro-batches beside the others: step, memory, what is sent
          curves   the loss of 500 steps under every layout, in one picture
Fixed:    default settings, global batch of 128 rows (strong scaling), the same rows in the same order
Timed:    150 steps after 8 that warm up, each as long as its slowest rank; fresh processes for every figure;
          cases in random order within each of five rounds; ratios are taken within a round; all figures are
          medians over rounds, phases those of the rank with the longest steps, the waiting share that of the
          rank with the largest
Expect:   about 20 min on 2 cores
Not for:  more ranks than this machine has cores (those cases are marked); time to accuracy
"""

import argparse
import json
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

from measured import interval, provenance

from sentiscale import prepare
from sentiscale.config import resolve
from sentiscale.records import PhaseTimes, now
from sentiscale.study.bench.steps import StepTimes, measure_steps

BATCH = 128
VOCABULARIES = {"30k": 30_000, "130k": 130_000}
CURVE_MODEL = {"embedding_dim": 32, "hidden_dim": 32}
"""Smaller than the default: in double precision no fused kernel helps."""

CURVE_LR = 5e-4
"""Training multiplies differences in the last digit, with or without ranks; a small rate puts that off."""

CURVE_LAYOUTS = ("1x1", "2x1", "3x1", "1x2", "2x2")

STEP_PHASES = ("data", "compute", "reduce", "update")

Measured = list[StepTimes]
"""What ran at the same time: one training, or two that know nothing of each other."""

RATIOS: dict[str, tuple[Callable[[str], str], str]] = {
    "scaling": (lambda case: "2x1, 1 thread each", "2x1 over it"),
    "sparse": (lambda case: case.replace("dense", "sparse"), "row-sparse over it"),
    "stages": (lambda case: "1x1, 1 thread", "1x1, 1 thread over it"),
}
"""By part: which case the rate of a case is compared with, and what the table calls that."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("reviews", type=Path, nargs="?")
    parser.add_argument("--out", type=Path)
    parser.add_argument(
        "--table", type=Path, metavar="RECORDS", help="only print the tables of an earlier run"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--parts", default="scaling,sparse,stages,curves")
    arguments = parser.parse_args()
    if arguments.table:
        print("\n\n".join(table(part, found) for part, found in read(arguments.table).items()))
        return
    if arguments.reviews is None or arguments.out is None:
        parser.error("give REVIEWS and --out, or --table")
    bench = Bench(arguments)
    parts = {"scaling": scaling, "sparse": sparse, "stages": stages, "curves": curves}
    for name in arguments.parts.split(","):
        parts[name](bench)


class Bench:
    """Prepared data, where results go, and how a case is measured."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.out: Path = arguments.out
        self.out.mkdir(parents=True, exist_ok=True)
        self.lines = self.out / "parallel.jsonl"
        self.about = provenance()

    def data(self, vocabulary: str | None = None) -> Path:
        """The reviews, prepared with the default vocabulary or one of the given size."""
        path = self.out / f"data-{vocabulary or 'default'}"
        if not path.exists():
            size = {"vocab_size": VOCABULARIES[vocabulary], "min_count": 1} if vocabulary else {}
            prepare(self.arguments.reviews, path, **size)
        return path

    def measure(self, layout: str, threads: int, **settings: Any) -> StepTimes:
        """Time one layout; `vocabulary`, `steps` and `model` are not settings of training."""
        data = self.data(settings.pop("vocabulary", None))
        steps = settings.pop("steps", self.arguments.steps)
        flags = {"layout": layout, "threads_per_rank": threads, "batch_size": BATCH, "oversubscribe": True}
        model = {f"model.{name}": value for name, value in settings.pop("model", {}).items()}
        flags |= settings
        resolved = resolve(flags=model | {f"train.{name}": value for name, value in flags.items()})
        return measure_steps(data.absolute(), resolved, steps)

    def rounds(self, cases: dict[str, Callable[[], Measured]], part: str) -> dict[str, list[Measured]]:
        """Run all cases in random order, as often as asked for; keep every figure."""
        found: dict[str, list[Measured]] = {name: [] for name in cases}
        for number in range(self.arguments.rounds):
            for name in random.sample(list(cases), len(cases)):
                measured = cases[name]()
                found[name].append(measured)
                self.keep(part, name, number, measured)
                print(f"{part} {number + 1}: {name:28} {rate(measured):8,.0f} rows/s", flush=True)
        return found

    def keep(self, part: str, name: str, number: int, measured: Measured) -> None:
        """Append one line to the raw records."""
        line = {"part": part, "case": name, "round": number, "at": now().isoformat(), **self.about}
        line["measured"] = [times.model_dump(exclude={"losses"}) for times in measured]
        with open(self.lines, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def rate(measured: Measured) -> float:
    """Rows a second of all that ran at once."""
    return sum(times.rows_per_s for times in measured)


def scaling(bench: Bench) -> None:
    """Two ranks against one, and against two that need not wait for each other."""

    def ceiling() -> Measured:
        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(lambda _: bench.measure("1x1", 1, batch_size=BATCH // 2), range(2)))

    found = bench.rounds(
        {
            "2x1, 1 thread each": lambda: [bench.measure("2x1", 1)],
            "ceiling: two 1x1 at once": ceiling,
            "1x1, 1 thread": lambda: [bench.measure("1x1", 1)],
            "1x1, 2 threads": lambda: [bench.measure("1x1", 2)],
        },
        "scaling",
    )
    print(table("scaling", found))


def sparse(bench: Bench) -> None:
    """Row-sparse against dense embedding gradients."""
    cases: dict[str, Callable[[], Measured]] = {}
    for vocabulary in VOCABULARIES:
        for kind in ("sparse", "dense"):
            for layout, threads in (("1x1", 2), ("2x1", 1)):
                cases[f"{vocabulary} words, {kind}, {layout}"] = (
                    lambda vocabulary=vocabulary, kind=kind, layout=layout, threads=threads: [
                        bench.measure(layout, threads, vocabulary=vocabulary, embedding_gradients=kind)
                    ]
                )
    print(table("sparse", bench.rounds(cases, "sparse")))


def stages(bench: Bench) -> None:
    """Model parallel beside the other layouts."""
    cases: dict[str, Callable[[], Measured]] = {
        "1x1, 1 thread": lambda: [bench.measure("1x1", 1)],
        "1x1, 2 threads": lambda: [bench.measure("1x1", 2)],
        "2x1": lambda: [bench.measure("2x1", 1)],
        "2x2, more ranks than cores": lambda: [bench.measure("2x2", 1)],
    }
    for parts in (1, 2, 4, 8):
        cases[f"1x2, {parts} micro-batches"] = lambda parts=parts: [
            bench.measure("1x2", 1, micro_batches=parts)
        ]
    print(table("stages", bench.rounds(cases, "stages")))


def curves(bench: Bench) -> None:
    """The loss of every step under each layout, in double precision: rounding is no excuse."""
    from matplotlib.figure import Figure

    losses = {
        layout: bench.measure(layout, 1, steps=500, precision="fp64", lr=CURVE_LR, model=CURVE_MODEL).losses
        for layout in CURVE_LAYOUTS
    }
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    for index, (layout, values) in enumerate(losses.items()):
        axes.plot(values, label=layout, linewidth=4 - 0.8 * index, alpha=0.8)
    axes.set(xlabel="step", ylabel="loss, nats", title="Training loss of every step, by layout")
    axes.legend(frameon=False)
    figure.savefig(bench.out / "loss-curves.svg")
    line = {"part": "curves", "at": now().isoformat(), **bench.about, "losses": losses}
    with open(bench.lines, "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    serial = losses["1x1"]
    for layout, values in losses.items():
        furthest = max(abs(value - base) for value, base in zip(values, serial, strict=True))
        print(f"{layout}: {len(values)} steps, last loss {values[-1]:.6f}, furthest from 1x1 {furthest:.2e}")


def table(part: str, found: dict[str, list[Measured]]) -> str:
    """A Markdown table; ratios are taken within rounds, and everything in it is a median over rounds."""
    reference, heading = RATIOS[part]
    lines = [
        f"| case | rows/s | interval | {heading} | ms a step: data, compute, reduce, update "
        "| exchange and waiting, share | MB sent a step | peak MB by rank |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, rounds in found.items():
        rates = interval([rate(measured) for measured in rounds])
        pairs = zip(found[reference(name)], rounds, strict=True)
        ratio = with_range([rate(one) / rate(other) for one, other in pairs])
        waiting = with_range([max(times.waiting_share for times in ranks(each)) for each in rounds])
        sent = median(max(b for times in each for b in times.bytes_per_step) for each in rounds) / 1e6
        speed = f"{rates.median:,.0f} | {rates.low:,.0f}-{rates.high:,.0f} | {ratio}"
        lines.append(f"| {name} | {speed} | {phases(rounds)} | {waiting} | {sent:.2f} | {peaks(rounds)} |")
    return "\n".join(lines)


def phases(rounds: list[Measured]) -> str:
    """Milliseconds of a step by phase, on the rank whose steps are the longest."""
    by_rank = [
        [median(1000 * getattr(times, phase) for times in of_rank) for phase in STEP_PHASES]
        for of_rank in zip(*map(ranks, rounds), strict=True)
    ]
    return ", ".join(f"{milliseconds:.1f}" for milliseconds in max(by_rank, key=sum))


def peaks(rounds: list[Measured]) -> str:
    """Peak memory of each rank."""
    found = [[mb for times in each for mb in times.peak_memory_mb_per_rank] for each in rounds]
    return " + ".join(f"{median(of_rank):.0f}" for of_rank in zip(*found, strict=True))


def ranks(measured: Measured) -> list[PhaseTimes]:
    """The seconds of every rank of all that ran at once."""
    return [phases for times in measured for phases in times.phases_per_rank]


def with_range(values: list[float]) -> str:
    """A median and what encloses it."""
    found = interval(values)
    return f"{found.median:.2f} ({found.low:.2f}-{found.high:.2f})"


def read(path: Path) -> dict[str, dict[str, list[Measured]]]:
    """Figures that an earlier run has kept: by part, case and round."""
    found: dict[str, dict[str, list[Measured]]] = {}
    for record in map(json.loads, path.read_text(encoding="utf-8").splitlines()):
        if record.get("part") in RATIOS:
            measured = [StepTimes.model_validate({"losses": [], **times}) for times in record["measured"]]
            found.setdefault(record["part"], {}).setdefault(record["case"], []).append(measured)
    return {part: {case: cases[case] for case in sorted(cases)} for part, cases in found.items()}


if __name__ == "__main__":
    main()
