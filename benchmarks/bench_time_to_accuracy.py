"""How accurate is a model after how many seconds: ours and the peers, on the same data and cores?

Run:      make bench-time-to-accuracy, or: python benchmarks/bench_time_to_accuracy.py DATA --out DIR
          [--models a,b] [--seeds 0,1,2] [--budgets 20,30] [--speed a,b] [--repeats 6]
          DATA is prepared data; the same command goes on after an interruption
          --publish writes results/time-to-accuracy_<host>_<date>.{md,jsonl,svg} beside the others
Fixed:    data, threads (all cores), our default layout or --layout   Varies: contestant, seed, length of run
Timed:    training alone: from the words to the model. Of ours everything after `prepare`, validations and
          checkpoints included; of peers features, dictionaries and fitting, without validations. "With
          preparation" adds what `prepare` took when DATA was made, and a peer's reading.
Order:    random over contestants and seeds, every run in a fresh process; speeds likewise, so that repeats of
          different contestants alternate; ratios are of medians, intervals of the repeats
Expect:   on 2 cores and 200,000 reviews some hours, most of them for packed-lstm and keras-lstm if they are
          trained to the end; by default they are only timed by steps
Not for:  choosing settings: the test split is scored once a run; choices are made on validation
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from measured import interval, provenance

from sentiscale.config import resolve
from sentiscale.data.prepared import PreparedDataset
from sentiscale.errors import SentiscaleError
from sentiscale.records import available_cores
from sentiscale.study.compare.comparison import Comparison, compare
from sentiscale.study.compare.contestants import CONTESTANTS, chosen
from sentiscale.study.compare.records import CompareConditions, CompareRun
from sentiscale.study.compare.summary import NEVER, TARGETS, CompareRow, first_reached
from sentiscale.study.records import RECORDS
from sentiscale.util.terminal import TerminalProgress

MODELS = "fast,balanced,accurate,lstm,gru,fasttext-unigram,fasttext,tfidf-lr"
SPEED = "lstm,packed-lstm,keras-lstm,classic"
SPEED_STEPS = 20
GOALS = {"0.9215": "fasttext", "0.926": "tfidf-lr"}
"""Accuracy of a goal, and the peer whose time we are to halve."""
BUDGETS = (20, 30, 45, 60, 90, 120, 240, 480, 720, 1200, 1800)
"""Seconds at which the best of ours is held against the best peer."""
CLASSIC_TARGET = "0.92"
"""Accuracy at which core-seconds are held against the classic recipe's, which cannot be run so far."""
RESULTS = Path(__file__).parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="records are kept here and gone on with")
    parser.add_argument("--models", default=MODELS, help=f"trained to the end; default {MODELS}")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument(
        "--budgets",
        default="",
        metavar="S,S",
        help="also end runs of ours at these seconds (a little less than a budget: one validation follows)",
    )
    parser.add_argument("--budget-models", default="fast,balanced", help="whose runs are ended at --budgets")
    parser.add_argument("--speed", default=SPEED, help=f"timed by steps; default {SPEED}; '' for none")
    parser.add_argument("--repeats", type=int, default=6, help="of speeds; six give a 95 %% interval")
    parser.add_argument("--layout", default="")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    parser.add_argument("--publish", metavar="HOST", help="file the results under this name of the host")
    arguments = parser.parse_args()
    for names, steps_only in ((arguments.models, False), (arguments.speed, True)):
        if listed(names):
            chosen(
                listed(names), steps_only=steps_only
            )  # hours later is too late to hear of a missing library
    at_start = provenance()
    trained, ended = trainings(arguments), budgeted(arguments)
    speeds = timings(arguments)
    report = "\n".join(page(arguments, at_start, trained, ended, speeds))
    (arguments.out / "report.md").write_text(report, encoding="utf-8")
    print(report)
    if arguments.publish:
        publish(arguments, trained)


def trainings(arguments: argparse.Namespace) -> Comparison:
    """Every contestant to its end."""
    return compare(
        arguments.data,
        listed(arguments.models),
        out=arguments.out,
        seeds=numbers(arguments.seeds),
        conditions=conditions(arguments),
        settings=resolve(overrides=arguments.set),
        progress=TerminalProgress(),
    )


def budgeted(arguments: argparse.Namespace) -> list[CompareRun]:
    """Runs of ours that a time limit ended."""
    found = []
    for seconds in numbers(arguments.budgets):
        found += compare(
            arguments.data,
            listed(arguments.budget_models),
            out=arguments.out / "budgets",
            seeds=numbers(arguments.seeds),
            conditions=conditions(arguments, time_limit=seconds),
            settings=resolve(overrides=arguments.set),
            progress=TerminalProgress(),
        ).runs
    return found


def timings(arguments: argparse.Namespace) -> list[CompareRun]:
    """Reviews a second of single steps; the classic recipe takes fewer, each of them long."""
    names, found = listed(arguments.speed), []
    for group, steps in (
        ([name for name in names if not CONTESTANTS[name].only_speed], SPEED_STEPS),
        ([name for name in names if CONTESTANTS[name].only_speed], 10),
    ):
        if group:
            repeats = range(arguments.repeats if steps == SPEED_STEPS else min(3, arguments.repeats))
            found += compare(
                arguments.data,
                group,
                out=arguments.out / "speed",
                seeds=repeats,
                conditions=conditions(arguments, steps=steps),
                progress=TerminalProgress(),
            ).runs
    return found


def conditions(arguments: argparse.Namespace, **more: float) -> CompareConditions:
    return CompareConditions(threads=available_cores(), layout=arguments.layout, **more)


def page(
    arguments: argparse.Namespace,
    at_start: dict,
    trained: Comparison,
    ended: Sequence[CompareRun],
    speeds: Sequence[CompareRun],
) -> Iterator[str]:
    """The report, line by line."""
    manifest = PreparedDataset.open(arguments.data, verify=False).manifest
    host, versions = at_start["host"], at_start["versions"]
    yield "# Accuracy against training time\n"
    yield f"**Command.** `python benchmarks/bench_time_to_accuracy.py` at commit {at_start['git_commit']}.\n"
    yield (
        f"**Host.** {host['cores']} cores, {host['cpu_model']}, {host['memory_mb'] / 1024:.0f} GiB, "
        f"{host['system']}, Python {host['python']}, torch {versions.get('torch')}; load at the start "
        f"{host['load_1m']}.\n"
    )
    rows = ", ".join(f"{count:,} {split}" for split, count in manifest.rows.items())
    yield f"**Data.** {rows}; digest {manifest.digest[:16]}; `prepare` took {manifest.seconds:.1f} s.\n"
    yield from accuracy_table(trained.rows, manifest.seconds)
    yield from target_table(trained.runs)
    every = [*trained.runs, *ended]
    yield from goal_lines(every)
    yield from budget_table(every)
    yield from speed_table(speeds, trained.runs)


def accuracy_table(rows: Sequence[CompareRow], preparation: float) -> Iterator[str]:
    yield "## Trained to the end\n"
    yield "Medians over seeds, ranges in brackets; sorted by time.\n"
    yield "| contestant | seeds | test accuracy | validation | train s | with preparation | core s |"
    yield "|---|---|---|---|---|---|---|"
    for row in sorted(rows, key=lambda row: row.train_seconds_median or NEVER):
        if row.train_seconds_median is None:
            continue
        spread = f"{row.test_accuracy_min:.4f}-{row.test_accuracy_max:.4f}"
        whole = row.train_seconds_median + row.read_seconds_median + preparation
        yield (
            f"| {row.name} | {len(row.seeds)} | {row.test_accuracy_median:.4f} ({spread}) "
            f"| {row.valid_accuracy_median:.4f} | {row.train_seconds_median:.1f} | {whole:.1f} "
            f"| {row.core_seconds_median:.1f} |"
        )
    yield ""


def target_table(runs: Sequence[CompareRun]) -> Iterator[str]:
    yield "## Seconds to a validation accuracy\n"
    yield "Median over seeds; of runs of different length the shortest that has it.\n"
    yield "| contestant | " + " | ".join(TARGETS) + " |"
    yield "|---|" + "---|" * len(TARGETS)
    for model in dict.fromkeys(run.model for run in runs):
        times = [to_validation(runs, model, float(target)) for target in TARGETS]
        yield f"| {model} | " + " | ".join(seconds_text(each) for each in times) + " |"
    yield ""


def goal_lines(runs: Sequence[CompareRun]) -> Iterator[str]:
    """Test accuracy at the end of runs decides; runs ended at a budget count as runs of their own."""
    yield "## Goals, by test accuracy\n"
    yield "Runs of one contestant, point and time limit have an accuracy when their median has it.\n"
    for target in TARGETS:
        ours, peers = (fastest(runs, float(target), ours=side) for side in (True, False))
        line = f"- {target}: ours {named(ours)}; best peer {named(peers)}"
        if target in GOALS:
            peer = fastest([run for run in runs if run.model == GOALS[target]], float(target), ours=False)
            line += f"; {GOALS[target]} {named(peer)}; ratio {ratio(ours, peer)} (goal: at most 0.50)"
        yield line
    for name in dict.fromkeys(GOALS.values()):  # which may never have the goal's accuracy in this series
        peer = best_within([run for run in runs if run.model == name], NEVER, ours=False)
        if peer:
            accuracy, seconds, best = peer
            ours = fastest(runs, accuracy, ours=True)
            line = f"- {name} at its best ({best}): {accuracy:.4f} after {seconds:.1f} s; ours {named(ours)}"
            yield f"{line}; ratio {ratio(ours, (seconds, accuracy, best))}"
    yield ""


def budget_table(runs: Sequence[CompareRun]) -> Iterator[str]:
    yield "## Best at every budget\n"
    yield "Best median test accuracy among what ended within the budget.\n"
    yield "| budget s | ours | | best peer | | ahead by |"
    yield "|---|---|---|---|---|---|"
    for budget in BUDGETS:
        ours, peer = (best_within(runs, budget, ours=side) for side in (True, False))
        ahead = f"{100 * (ours[0] - peer[0]):+.2f} %" if ours and peer else "-"
        shown = [f"{each[0]:.4f} | {each[2]}" if each else "- | -" for each in (ours, peer)]
        yield f"| {budget} | {shown[0]} | {shown[1]} | {ahead} |"
    yield ""


def speed_table(speeds: Sequence[CompareRun], trained: Sequence[CompareRun]) -> Iterator[str]:
    """Speeds side by side, and the classic recipe's core-seconds against ours."""
    found: dict[str, list[float]] = {}
    for run in speeds:
        found.setdefault(run.model, []).append(run.rows_per_s or 0.0)
    if not found:
        return
    yield "## Speed of training steps\n"
    yield "| contestant | reviews/s | interval | repeats | ours (lstm) over it |"
    yield "|---|---|---|---|---|"
    ours = median(found["lstm"]) if "lstm" in found else None
    for model, values in found.items():
        each = interval(values)
        over = f"{ours / each.median:.1f}" if ours else "-"
        about = f"{each.low:,.1f}-{each.high:,.1f} ({100 * each.coverage:.0f} %)"
        yield f"| {model} | {each.median:,.1f} | {about} | {len(values)} | {over} |"
    yield ""
    projected = [run.projected_seconds for run in speeds if run.model == "classic" and run.projected_seconds]
    if projected:
        yield from classic_lines(median(projected), speeds, trained)


def classic_lines(
    projected: float, speeds: Sequence[CompareRun], trained: Sequence[CompareRun]
) -> Iterator[str]:
    threads = next(run.conditions.threads for run in speeds if run.model == "classic")
    held = projected * threads
    yield (
        f"The classic recipe's three epochs would take {projected:,.0f} s at its measured speed, "
        f"{held:,.0f} core-seconds: projected, nobody has waited for it."
    )
    ours = fastest(trained, float(CLASSIC_TARGET), ours=True)
    if ours:
        mine = ours[0] * threads
        yield (
            f"To test accuracy {CLASSIC_TARGET} ours ({ours[2]}) holds {threads} cores for {ours[0]:.1f} s, "
            f"{mine:,.0f} core-seconds: {held / mine:,.0f} times fewer."
        )
    yield ""


Found = tuple[float, float, str]
"""Seconds, accuracy (or the other way round), name."""


def groups(runs: Sequence[CompareRun], *, ours: bool) -> Iterator[tuple[str, float, float]]:
    """(name, median seconds, median test accuracy) of ours or of the peers."""
    found: dict[str, list[CompareRun]] = {}
    for run in runs:
        if run.test and (CONTESTANTS[run.model].preset is not None) == ours:
            limit = run.conditions.time_limit
            name = " ".join(filter(None, (run.model, run.point, f"ended at {limit:g} s" if limit else "")))
            found.setdefault(name, []).append(run)
    for name, group in found.items():
        seconds = median(run.train_seconds or NEVER for run in group)
        yield name, seconds, median(run.test["accuracy"] for run in group if run.test)


def fastest(runs: Sequence[CompareRun], target: float, *, ours: bool) -> Found | None:
    """(seconds, accuracy, name) of the fastest group whose test accuracy is at least `target`."""
    found = groups(runs, ours=ours)
    return min(((at, accuracy, name) for name, at, accuracy in found if accuracy >= target), default=None)


def best_within(runs: Sequence[CompareRun], budget: float, *, ours: bool) -> Found | None:
    """(accuracy, seconds, name) of the most accurate group that ended within `budget` seconds."""
    found = groups(runs, ours=ours)
    return max(((accuracy, at, name) for name, at, accuracy in found if at <= budget), default=None)


def to_validation(runs: Sequence[CompareRun], model: str, target: float) -> float:
    """Median seconds to a validation accuracy, of the contestant's point that gets there first."""
    by_point: dict[str, list[float]] = {}
    for run in runs:
        if run.model == model:
            by_point.setdefault(run.point, []).append(first_reached(run, target))
    return min(median(times) for times in by_point.values())


def named(found: Found | None) -> str:
    return f"{found[0]:.1f} s ({found[2]}, {found[1]:.4f})" if found else "never"


def ratio(ours: Found | None, peer: Found | None) -> str:
    return f"{ours[0] / peer[0]:.2f}" if ours and peer else "-"


def seconds_text(seconds: float) -> str:
    return "-" if seconds == NEVER else f"{seconds:.1f}"


def publish(arguments: argparse.Namespace, trained: Comparison) -> None:
    """File report, records and picture under a dated name."""
    host = re.sub(r"[^a-z0-9]+", "-", arguments.publish.lower()).strip("-")
    name = f"time-to-accuracy_{host}_{datetime.now(UTC):%Y%m%d}"
    shutil.copy(arguments.out / "report.md", RESULTS / f"{name}.md")
    parts = (arguments.out, arguments.out / "budgets", arguments.out / "speed")
    lines = [
        json.dumps({"what": part.name if part != arguments.out else "trained", **json.loads(line)})
        for part in parts
        if (part / RECORDS).exists()
        for line in (part / RECORDS).read_text(encoding="utf-8").splitlines()
    ]
    (RESULTS / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    if trained.plot:
        shutil.copy(trained.plot, RESULTS / f"{name}.svg")
    print(subprocess.run(["ls", "-l", *RESULTS.glob(f"{name}.*")], capture_output=True, text=True).stdout)


def listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def numbers(text: str) -> list[int]:
    return [int(part) for part in listed(text)]


if __name__ == "__main__":
    try:
        main()
    except SentiscaleError as error:
        sys.exit(str(error))
