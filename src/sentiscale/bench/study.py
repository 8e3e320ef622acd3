"""Measure every case of a plan, as often as asked for, in random order; what is done is not done again."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sentiscale.analysis.report_words import case_name
from sentiscale.atomic import make_directory
from sentiscale.bench.checks import machine_units, runnable
from sentiscale.bench.interference import LIMIT_CORES, wait_for_quiet
from sentiscale.bench.pace import Pace
from sentiscale.bench.plan import Asked, StudyPlan, in_random_order
from sentiscale.bench.runs import Conditions, do, measured, timeline_of
from sentiscale.bench.stored import RECORDS, key_of, stored_runs
from sentiscale.bench.trace import write_trace
from sentiscale.config import Settings, preset_values, resolve
from sentiscale.data.prepared import PreparedDataset
from sentiscale.errors import Interrupted
from sentiscale.measurements import BenchRun, Case, Interference
from sentiscale.records import append_jsonl

MOST_TRIES = 3
"""How often a run is done that others disturb."""

TRACED_STEPS = 4


@dataclass(frozen=True)
class Coming:
    """A run that is about to begin."""

    case: Case
    """What it will measure."""
    repeat: int
    """Which repeat of the case, from 0."""
    done: int
    """Runs of the study that are finished."""
    total: int
    """Runs of the study."""
    left_s: float | None
    """Seconds until the study ends, this run included."""


class Watcher:
    """Is told how a study goes; silent unless a subclass shows it."""

    def begin(self, plan: StudyPlan, done: Sequence[BenchRun]) -> None:
        """The plan is settled, and some of it may be done."""

    def coming(self, run: Coming) -> None:
        """A run begins."""

    def finished(self, run: BenchRun) -> None:
        """A run is kept."""

    def end(self) -> None:
        """No more runs follow, whatever the reason."""

    def say(self, message: str) -> None:
        """Anything else."""


@dataclass(frozen=True)
class Study:
    """What a study has measured."""

    out: Path
    """The directory with `records.jsonl`."""
    plan: StudyPlan
    """What was to be measured."""
    runs: list[BenchRun]
    """Those of the plan, in the order they were done in."""
    seconds: float
    """Of this go, without earlier ones."""


def prepared(
    data: str | Path, asked: Asked, settings: Settings | None = None
) -> tuple[Conditions, StudyPlan]:
    """Settle what is measured, and on what, before anything starts.

    Raises:
        UsageError: nothing of it can run here.
        DataError: prepared data that are missing, damaged or without training rows.
    """
    dataset = PreparedDataset.open(data)
    settings = settings or resolve(base=preset_values(None))
    plan = runnable(asked, settings, len(dataset.split("train")), machine_units())
    return Conditions.of(dataset, settings, asked.amount, asked.seed), plan


def expected_seconds(conditions: Conditions, plan: StudyPlan) -> float | None:
    """A guess at how long the whole study takes; None where that cannot be told."""
    return Pace(conditions.amount).of(plan.cases * plan.repeats)


def measure_all(
    conditions: Conditions,
    plan: StudyPlan,
    out: str | Path,
    watcher: Watcher | None = None,
    limit_cores: float = LIMIT_CORES,
) -> Study:
    """Do all runs of a plan that are not in `out/records.jsonl` yet, and append them there.

    Raises:
        UsageError: records there are of other data, settings or machines.
        Interrupted: stopped; finished runs are kept.
        SentiscaleError: a run failed; finished runs are kept.
    """
    out, watcher, began = Path(out), watcher or Watcher(), time.monotonic()
    make_directory(out)
    done = stored_runs(out, conditions)
    planned = list(in_random_order(plan.cases, plan.repeats, conditions.seed))
    missing = [(repeat, case) for repeat, case in planned if (case.key, repeat) not in done]
    pace = Pace(conditions.amount)
    pace.learn_from(done.values())
    wanted = {(case.key, repeat) for repeat, case in planned}
    watcher.begin(plan, [run for key, run in done.items() if key in wanted])
    try:
        for number, (repeat, case) in enumerate(missing):
            left = pace.of([case for _, case in missing[number:]])
            finished = len(planned) - len(missing) + number
            watcher.coming(Coming(case, repeat, finished, len(planned), left))
            run_began = time.monotonic()
            run = undisturbed(case, repeat, conditions, limit_cores)
            append_jsonl(out / RECORDS, run)
            done[key_of(run)] = run
            pace.learn(case, time.monotonic() - run_began)
            watcher.finished(run)
    except (KeyboardInterrupt, Interrupted) as error:
        raise Interrupted(
            f"interrupted; finished runs are kept in {out / RECORDS}. The same command goes on after them."
        ) from error
    finally:
        watcher.end()
    runs = [run for key, run in done.items() if key in wanted]
    return Study(out, plan, runs, time.monotonic() - began)


def undisturbed(case: Case, repeat: int, conditions: Conditions, limit_cores: float) -> BenchRun:
    """Run a case, again while others disturb it; the least disturbed run is kept, and flagged if need be."""
    tries: list[BenchRun] = []
    for _ in range(MOST_TRIES):
        before = wait_for_quiet(limit_cores)
        run, during = do(case, repeat, conditions)
        found = Interference(
            cores_before=round(before, 3),
            cores_during=round(during, 3),
            disturbed=max(before, during) > limit_cores,
        )
        tries.append(run.model_copy(update={"interference": found}))
        if not found.disturbed:
            break
    return min(tries, key=_disturbance)


def trace(conditions: Conditions, cases: Sequence[Case], path: Path) -> None:
    """Write the timeline of a few steps of each way to use the machine, measured now, one run each."""
    training = [case for case in cases if case.kind in ("train", "copies")]
    ways = {
        (case.layout, case.collectives, case.copies, case.threads_per_rank): case for case in training[::-1]
    }
    timelines = []
    for case in reversed(ways.values()):
        found, _ = measured(case, conditions, TRACED_STEPS)
        timelines.append((case_name(case), timeline_of(found, case)))
    write_trace(timelines, path)


def _disturbance(run: BenchRun) -> float:
    found = run.interference
    return max(found.cores_before, found.cores_during) if found else 0.0
