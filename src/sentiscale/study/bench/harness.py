"""Measure every case of a plan, as often as asked for, in random order; what is done is not done again."""

import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from sentiscale.config import Settings, preset_values, resolve
from sentiscale.data.prepared import PreparedDataset
from sentiscale.errors import Interrupted, UsageError
from sentiscale.records import Host, append_jsonl, available_cores, read_jsonl
from sentiscale.study.analysis.wording import case_name
from sentiscale.study.bench.plan import Amount, Asked, StudyPlan, in_random_order, machine_units, runnable
from sentiscale.study.bench.run import Conditions, do, measured, timeline_of
from sentiscale.study.bench.steps import Meter
from sentiscale.study.bench.trace import write_trace
from sentiscale.study.records import BenchRun, Case, Interference
from sentiscale.util.atomic import make_directory

LIMIT_CORES = 0.25
"""Cores that others may keep busy; a run with more is repeated."""

LOOK_SECONDS = 0.2
"""How long is looked before a run; the kernel counts processor time in hundredths of a second."""

PATIENCE_LOOKS = 10
"""How often is looked again before a run is begun on a machine that is not quiet."""


def cores_busy(seconds: float = LOOK_SECONDS) -> float:
    """Cores that other processes keep busy right now; this one sleeps meanwhile."""
    meter = Meter()
    time.sleep(seconds)
    everybody, own = meter.read()
    return max(0.0, everybody - own)


def wait_for_quiet(limit: float, looks: int = PATIENCE_LOOKS) -> float:
    """Look until others are within the limit, but not for ever; returns what they did last."""
    for _ in range(looks):
        busy = cores_busy()
        if busy <= limit:
            break
    return busy


START_SECONDS = 1.8
"""From starting a process to its first step: most of it loads libraries, and keeps a core busy."""

END_SECONDS = 0.3
ROWS_PER_SECOND = {"lstm": 2200.0, "gru": 1200.0}
"""Of one core of a server, with the default model."""

WARM_UP_SHARE = 0.7
"""Of the timed steps' time: a step for each length."""


def guess(case: Case, amount: Amount) -> float | None:
    """Seconds of one run, from usual speeds; None beside training, and where that goes on until a target."""
    if amount.target_accuracy is not None or case.kind in ("prepare", "predict"):
        return None
    cores = min(case.workers, available_cores())
    rows = amount.steps_of(case) * case.batch_size
    steps = rows / ROWS_PER_SECOND.get(case.model, 1200.0) / (0.85 * cores if cores > 1 else 1.0)
    loading = START_SECONDS * max(1.0, case.ranks / available_cores())
    return loading + (1 + WARM_UP_SHARE) * steps + END_SECONDS + LOOK_SECONDS


class Pace:
    """What runs have taken so far, by case."""

    def __init__(self, amount: Amount) -> None:
        self.amount = amount
        self._taken: defaultdict[str, list[float]] = defaultdict(list)
        self._ratios: list[float] = []

    def learn(self, case: Case, seconds: float) -> None:
        """Note what a run took, with all around it."""
        self._taken[case.key].append(seconds)
        if guessed := guess(case, self.amount):
            self._ratios.append(seconds / guessed)

    def learn_from(self, runs: Iterable[BenchRun]) -> None:
        """The same from records of an earlier go."""
        for run in runs:
            spent = run.start_seconds + run.warm_up_seconds + run.seconds
            self.learn(run.case, spent + END_SECONDS + LOOK_SECONDS)

    def of(self, cases: Sequence[Case]) -> float | None:
        """Seconds that these runs will take; None where that cannot be told yet."""
        found = [self._one(case) for case in cases]
        known = [seconds for seconds in found if seconds is not None]
        if not known and cases:
            return None
        return sum(known) * len(cases) / max(len(known), 1)

    def _one(self, case: Case) -> float | None:
        if taken := self._taken.get(case.key):
            return fmean(taken)
        guessed = guess(case, self.amount)
        if guessed is None:
            return fmean(map(fmean, self._taken.values())) if self._taken else None
        return guessed * (fmean(self._ratios) if self._ratios else 1.0)


RECORDS = "records.jsonl"

Key = tuple[str, int]
"""A case and its repeat."""


def key_of(run: BenchRun) -> Key:
    """Which run of the plan this is."""
    return run.case.key, run.repeat


def stored_runs(out: Path, conditions: Conditions) -> dict[Key, BenchRun]:
    """Finished runs by key; those of preparation and prediction count where these are measured.

    Raises:
        UsageError: they were made on other data, another machine, or with other settings.
        DataError: a line is no such record.
    """
    path = out / RECORDS
    runs = list(read_jsonl(path, BenchRun)) if path.exists() else []
    mine = [run for run in runs if run.case.kind in ("train", "copies", *conditions.beside)]
    host = Host.current(conditions.gpu)
    for run in mine:
        problems = [*_differences(run, conditions), *_other_machine(run.host, host)]
        if problems:
            raise UsageError(
                f"{path} holds runs that do not belong to this study: {'; '.join(problems)}. Choose another "
                "--out, or give the same data and settings as then."
            )
    return {key_of(run): run for run in mine}


def _differences(run: BenchRun, conditions: Conditions) -> Iterable[str]:
    if run.case.kind in conditions.beside:
        yield from conditions.beside[run.case.kind].differences(run)
        return
    if run.data_digest != conditions.dataset.manifest.digest:
        yield f"they were made on other data than {conditions.dataset.path}"
    if run.amount != conditions.amount.kept:
        yield f"each went through {run.amount}, not {conditions.amount.kept}"
    to_target = conditions.amount.target_accuracy is not None
    expected = conditions.seed + (run.repeat if to_target else 0)
    if run.seed != expected:
        yield f"their seed was {run.seed - (run.repeat if to_target else 0)}, not {conditions.seed}"
    wanted = conditions.shape_of(run.case)
    for name, value in wanted.items():
        if run.shape.get(name) != value:
            yield f"{name} was {run.shape.get(name)}, not {value}"


def _other_machine(then: Host, here: Host) -> Iterable[str]:
    for name in ("cpu_model", "cores", "gpu"):
        if getattr(then, name) != getattr(here, name):
            yield f"their machine had {name} {getattr(then, name)}, this one has {getattr(here, name)}"


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
