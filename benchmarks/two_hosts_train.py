"""How fast is training on two hosts, by the speed of their link, and is its result that of one process?

Run:      sudo python benchmarks/two_hosts_train.py DATA [--out RECORDS.jsonl] [--repeats 3] [--realtime]
          python benchmarks/two_hosts_train.py --table RECORDS.jsonl
Setting:  two network namespaces with host names of their own, joined by a bridge; each link is held to a rate
          in both directions by a token bucket. On each host `torchrun --nnodes 2` starts one rank of one
          thread. DATA is prepared data, on a disk that both hosts share.
Fixed:    network, global batch of 128 rows, seed; 8 steps of warm-up and 60 timed ones
Varies:   the rate of the links, and the layout: 2x1 (with and without bf16 gradients on the wire) and 1x2;
          in random order. `result` runs `sentiscale train` for 100 steps and compares it with one process.
Timed:    training steps alone, each as long as its slowest rank; not the start, validation or checkpoints
Expect:   about 12 s a run, 8 min in all; 2x1 needs bytes / bandwidth more than without a limit
Not for:  the speed of two real hosts: these share two cores, their caches and memory, and messages between
          them take 20-50 us there and back, a tenth of what a real network takes
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import torch
from link_speed import link_speed
from measured import provenance
from namespaces import Network, why_not
from safetensors.torch import load_file
from torchrun_pair import HOSTS, PRIORITY, Pair

from sentiscale.config import resolve
from sentiscale.records import now
from sentiscale.study.bench.steps import MeasureJob

RATES = {"none": None, "10gbit": "256kb", "1gbit": "64kb", "100mbit": "64kb"}
"""Of the links, with the token bucket's size: at most half a millisecond's worth, so that no step is free."""
LAYOUTS = {
    "2x1": ["train.layout=2x1"],
    "2x1 bf16": ["train.layout=2x1", "train.gradient_compression=bf16"],
    "1x2": ["train.layout=1x2"],
}
COMMON = ["train.batch_size=128", "train.threads_per_rank=1"]
STEPS = 60
RESULT_STEPS, EXACT_STEPS = 100, 30
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="?", help="prepared data")
    parser.add_argument("--parts", default="speed,result", help="of speed, result, exact, single")
    parser.add_argument("--out", type=Path, help="JSON lines; new ones are appended")
    parser.add_argument("--table", type=Path, metavar="RECORDS", help="print the table of an earlier run")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, help=f"of `result` (default {RESULT_STEPS}) and `exact`")
    parser.add_argument("--rates", default=",".join(RATES))
    parser.add_argument("--layouts", default=",".join(LAYOUTS))
    parser.add_argument("--seed", type=int, default=0, help="of the order of runs")
    parser.add_argument("--realtime", action="store_true", help="with priority over other programs")
    arguments = parser.parse_args()
    if arguments.table:
        records = [json.loads(line) for line in arguments.table.read_text().splitlines()]
        print(table([record for record in records if record["part"] == "speed"]))
        return
    if reason := why_not():
        sys.exit(f"two hosts cannot be made here: {reason}")
    about = {**provenance(), "realtime": arguments.realtime}
    with tempfile.TemporaryDirectory(prefix="two-hosts-") as folder:
        for part in arguments.parts.split(","):
            for record in PARTS[part](arguments, Path(folder)):
                line = json.dumps({"part": part, "started_at": str(now()), **record, **about})
                print(json.dumps({"part": part, **record}), flush=True)
                if arguments.out:
                    with open(arguments.out, "a") as out:
                        out.write(line + "\n")


def speed(arguments: argparse.Namespace, folder: Path) -> Iterator[Row]:
    """One record a run, in random order within each repeat; and the speed of each kind of link."""
    rates, layouts = arguments.rates.split(","), arguments.layouts.split(",")
    order = random.Random(arguments.seed)
    links: dict[str, dict[str, float]] = {}
    for repeat in range(arguments.repeats):
        runs = [(rate, layout) for rate in rates for layout in layouts]
        order.shuffle(runs)
        for rate, layout in runs:
            with network(rate) as hosts:
                if rate not in links:
                    links[rate] = link_speed(hosts)
                found = timed(arguments, LAYOUTS[layout], hosts, folder)
            yield {"repeat": repeat, "rate": rate, "layout": layout, "link": links[rate], **found}


def network(rate: str) -> Network:
    """Two hosts with links of that rate."""
    burst = RATES[rate]
    return Network(HOSTS, None) if burst is None else Network(HOSTS, rate, burst)


def timed(
    arguments: argparse.Namespace, overrides: list[str], hosts: Network, folder: Path, steps: int = STEPS
) -> Row:
    """Time the steps of a layout: what `--layout auto` does, on two hosts."""
    result = folder / "steps.json"
    settings, data = resolve(overrides=[*COMMON, *overrides]), arguments.data.absolute()
    job = MeasureJob(dataset=data, out=result, settings=settings, steps=steps)
    job_file = folder / "job.json"
    job_file.write_text(job.model_dump_json())
    with Pair(hosts, folder, realtime=arguments.realtime) as pair:
        pair.start("sentiscale.study.bench.rank", [job_file])
        check(pair)
    found: Row = json.loads(result.read_text())
    return found | {"layout_setting": found.pop("layout")}


def check(pair: Pair) -> None:
    """Wait for the end; SystemExit unless it was good on both hosts."""
    if [ending.code for ending in pair.ended().values()] != [0, 0]:
        sys.exit(f"a run failed: {pair.said('one')}\n{pair.said('two')}")


def result(arguments: argparse.Namespace, folder: Path, precision: str = "auto") -> Iterator[Row]:
    """Train with the command for some steps, in one process and on two hosts, and compare."""
    steps = arguments.steps or (EXACT_STEPS if precision == "fp64" else RESULT_STEPS)
    rows = json.loads((arguments.data / "manifest.json").read_text())["rows"]["train"]
    options = ["--epochs", str(steps * 128 / rows), "--precision", precision, "--quiet", "--json", "--force"]
    options += [word for override in COMMON for word in ("--set", override)]
    serial, train = folder / "serial", ["train", str(arguments.data.absolute())]
    command = [sys.executable, "-m", "sentiscale", *train, "--out", str(serial), *options]
    if arguments.realtime:
        command = ["chrt", "--rr", str(PRIORITY), *command]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    yield outcome("1x1", serial, serial)
    for layout, static in (("2x1", False), ("2x1", True), ("1x2", False)):
        run = folder / "run"
        with (
            network("1gbit") as hosts,
            Pair(hosts, folder, static=static, realtime=arguments.realtime) as pair,
        ):
            pair.start("sentiscale", [*train, "--out", run, "--layout", layout, *options])
            check(pair)
        yield {"rendezvous": "static" if static else "c10d", **outcome(layout, run, serial)}


def exact(arguments: argparse.Namespace, folder: Path) -> Iterator[Row]:
    """The same in double precision, where equal means equal."""
    yield from result(arguments, folder, "fp64")


def single(arguments: argparse.Namespace, folder: Path) -> Iterator[Row]:
    """The same in single precision."""
    yield from result(arguments, folder, "fp32")


def outcome(layout: str, run: Path, serial: Path) -> Row:
    """What a run has come to, and how far its last weights are from those of the serial run."""
    record = json.loads((run / "record.json").read_text())
    return {
        "layout": layout,
        "precision": record["precision"],
        "steps": record["steps"],
        "valid_loss": record["valid"]["loss"],
        "valid_accuracy": record["valid"]["accuracy"],
        "train_loss": [metrics["train_loss"] for metrics in record["metrics"]][-1],
        "bytes_reduced_per_step": record["bytes_reduced_per_step"],
        "phases_per_rank": record["phases_per_rank"],
        "largest_weight_difference": difference(last_weights(run), last_weights(serial)),
    }


def last_weights(run: Path) -> dict[str, torch.Tensor]:
    """Weights of the newest checkpoint, put together from the parts that the ranks wrote."""
    newest = max((run / "checkpoints").glob("step-*"))
    weights: dict[str, torch.Tensor] = {}
    for file in newest.glob("*.safetensors"):
        part = {key: value for key, value in load_file(file).items() if key.startswith("weights/")}
        if not file.name.startswith("rows-"):
            weights |= part
            continue
        first, replicas = (int(number) for number in file.stem.split("-")[1::2])
        for key, rows in part.items():
            count = sum(len(load_file(other)[key]) for other in newest.glob("rows-*"))
            weights.setdefault(key, torch.empty(count, rows.shape[1], dtype=rows.dtype))
            weights[key][first::replicas] = rows
    return weights


def difference(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> float:
    """The largest difference of any weight."""
    if left.keys() != right.keys():
        sys.exit(f"checkpoints hold different weights: {sorted(left.keys() ^ right.keys())}")
    return max((left[key] - right[key]).abs().max().item() for key in left)


def table(records: list[Row]) -> str:
    """Medians over repeats, with what the bytes and the measured link let one expect."""
    lines = [
        "| layout | link | step ms (range) | data / compute / reduce / update ms, rank 0 | share of waiting, "
        "rank 0 / 1 | MB a step, rank 0 / 1 | expected ms |",
        "|---|---|---|---|---|---|---|",
    ]
    for layout in LAYOUTS:
        base = [record for record in records if (record["layout"], record["rate"]) == (layout, "none")]
        for rate in RATES:
            runs = [record for record in records if (record["layout"], record["rate"]) == (layout, rate)]
            if runs:
                lines.append(line_of(runs, base))
    return "\n".join(lines)


def line_of(runs: list[Row], base: list[Row]) -> str:
    """A line of the table: the runs of one layout at one rate; `base` are those without a limit."""
    steps = [1000 * run["step_seconds"] for run in runs]
    names = ("data", "compute", "reduce", "update")
    phases = [
        [median(1000 * run["phases_per_rank"][rank][name] for run in runs) for name in names]
        for rank in (0, 1)
    ]
    waiting = " / ".join(f"{each[2] / sum(each):.0%}" for each in phases)
    sent = [median(run["bytes_per_step"][rank] for run in runs) / 1e6 for rank in (0, 1)]
    expected = "-"
    if base and runs[0]["rate"] != "none":
        # Both directions are used at the same time: by replicas, and by stages through their micro-batches.
        moved = max(sent)
        least = median(1000 * run["step_seconds"] for run in base)
        expected = f"{least + moved * 1e9 / runs[0]['link']['bytes_per_s']:.0f}"
    spent = " / ".join(f"{each:.1f}" for each in phases[0])
    seconds = f"{median(steps):.1f} ({min(steps):.1f}-{max(steps):.1f})"
    head = f"| {runs[0]['layout']} | {runs[0]['rate']} | {seconds} | {spent} | {waiting} "
    return f"{head}| {sent[0]:.2f} / {sent[1]:.2f} | {expected} |"


PARTS = {"speed": speed, "result": result, "exact": exact, "single": single}

if __name__ == "__main__":
    main()
