"""A study: measure every case of a plan several times in random order, without the finished runs."""

import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import fmean

from sentiscale.config import Settings, preset_values, resolve
from sentiscale.data.prepared import PreparedDataset
from sentiscale.errors import UsageError
from sentiscale.records import Host, available_cores, read_jsonl
from sentiscale.study.analysis.wording import case_name
from sentiscale.study.bench.plan import (
    Amount,
    BenchPlan,
    BenchRequest,
    in_random_order,
    machine_units,
    runnable_plan,
)
from sentiscale.study.bench.prediction import PredictionCases, prediction_cases
from sentiscale.study.bench.preparation import PreparationCases, raw_files
from sentiscale.study.bench.trace import write_trace
from sentiscale.study.bench.training import TrainingCases, gpu_name, timelines_of
from sentiscale.study.harness import run_missing
from sentiscale.study.load import LOOK_SECONDS, wait_for_quiet
from sentiscale.study.records import RECORDS, BenchRun, Case, Interference

LIMIT_CORES = 0.25
"""Cores that other processes may keep busy; a run with more is repeated."""

MOST_TRIES = 3
"""How often a disturbed run is made."""

TRACED_STEPS = 4


class BenchProgress:
    """Receives the progress of a study; silent unless a subclass shows it."""

    def begin(self, plan: BenchPlan, finished: Sequence[BenchRun]) -> None:
        """The study begins; some of its runs may be finished."""

    def begin_run(
        self, case: Case, repeat: int, finished: int, total: int, seconds_left: float | None
    ) -> None:
        """A run begins; `seconds_left` until the end of the study, this run included."""

    def end_run(self, run: BenchRun) -> None:
        """A run is finished and stored."""

    def end(self) -> None:
        """No more runs follow, for whatever reason."""

    def say(self, message: str) -> None:
        """Anything else."""


@dataclass(frozen=True)
class BenchResult:
    """The runs of a study."""

    out: Path
    """The directory with `records.jsonl`."""
    plan: BenchPlan
    """The cases to measure."""
    runs: list[BenchRun]
    """Runs of the plan, in the order of measuring."""
    seconds: float
    """Time of this call, without earlier ones."""


@dataclass(frozen=True)
class BenchStudy:
    """What to measure: the plan, and how to run each kind of case."""

    plan: BenchPlan
    seed: int
    training: TrainingCases
    others: Mapping[str, PreparationCases | PredictionCases]
    """By kind of case."""

    def cases_of(self, kind: str) -> TrainingCases | PreparationCases | PredictionCases:
        return self.others.get(kind, self.training)

    def run(
        self, out: str | Path, progress: BenchProgress | None = None, limit_cores: float = LIMIT_CORES
    ) -> BenchResult:
        """Measure all runs of the plan that are not in `out/records.jsonl` yet, and append them there.

        Raises:
            UsageError: the records there are of other data, settings or machines.
            Interrupted: finished runs are kept.
            SentiscaleError: a run failed; finished runs are kept.
        """
        out, progress, began = Path(out), progress or BenchProgress(), time.monotonic()
        finished = self.stored_runs(out)
        jobs = list(in_random_order(self.plan.cases, self.plan.repeats, self.seed))
        missing = [job for job in jobs if _key(*job) not in finished]
        wanted = {_key(*job) for job in jobs}
        remaining = RemainingTime(self.training.amount)
        for run in finished.values():
            remaining.learn(run.case, run.start_seconds + run.warm_up_seconds + run.seconds + END_SECONDS)
        progress.begin(self.plan, [run for key, run in finished.items() if key in wanted])
        places = count()

        def measure(job: tuple[int, Case]) -> BenchRun:
            repeat, case = job
            place = next(places)
            left = remaining.of([case for _, case in missing[place:]])
            progress.begin_run(case, repeat, len(jobs) - len(missing) + place, len(jobs), left)
            began_at = time.monotonic()
            run = self.undisturbed_run(case, repeat, limit_cores)
            remaining.learn(case, time.monotonic() - began_at)
            progress.end_run(run)
            return run

        try:
            run_missing(missing, finished, lambda job: _key(*job), measure, out / RECORDS)
        finally:
            progress.end()
        runs = [run for key, run in finished.items() if key in wanted]
        return BenchResult(out, self.plan, runs, time.monotonic() - began)

    def stored_runs(self, out: Path) -> dict[str, BenchRun]:
        """Finished runs of the kinds that this study measures.

        Raises:
            UsageError: they were made on other data, another machine, or with other settings.
            DataError: a line is not such a record.
        """
        path = out / RECORDS
        runs = list(read_jsonl(path, BenchRun)) if path.exists() else []
        here, stored = Host.current(gpu_name()), {}
        for run in runs:
            if run.case.kind not in ("train", "copies", *self.others):
                continue
            problems = list(self.cases_of(run.case.kind).mismatches(run))
            for name in ("cpu_model", "cores", "gpu"):
                then, now = getattr(run.host, name), getattr(here, name)
                if then != now:
                    problems.append(f"their machine had {name} {then}, this one has {now}")
            if problems:
                raise UsageError(
                    f"{path} holds runs that do not belong to this study: {'; '.join(problems)}. Choose "
                    "another --out, or give the same data and settings as then."
                )
            stored[_key(run.repeat, run.case)] = run
        return stored

    def undisturbed_run(self, case: Case, repeat: int, limit_cores: float) -> BenchRun:
        """Run a case, again while other processes disturb it; the least disturbed run, flagged if need be."""
        tries: list[tuple[float, BenchRun]] = []
        for _ in range(MOST_TRIES):
            before = wait_for_quiet(limit_cores)
            run, during = self.cases_of(case.kind).run(case, repeat)
            worst = max(before, during)
            interference = Interference(
                cores_before=round(before, 3), cores_during=round(during, 3), disturbed=worst > limit_cores
            )
            tries.append((worst, run.model_copy(update={"interference": interference})))
            if not interference.disturbed:
                break
        return min(tries, key=lambda each: each[0])[1]

    def write_trace(self, path: Path) -> None:
        """Measure a few steps of each use of the machine once, and write their timelines."""
        training = [case for case in self.plan.cases if case.kind in ("train", "copies")]
        # The first case of each, in the order of the plan.
        uses = {
            (case.layout, case.collectives, case.copies, case.threads_per_rank): case
            for case in reversed(training)
        }
        runs = []
        for case in reversed(uses.values()):
            times = self.training.measure(case, TRACED_STEPS)
            runs.append((case_name(case), timelines_of(times, case)))
        write_trace(runs, path)


def _key(repeat: int, case: Case) -> str:
    return f"{repeat} {case.key}"


@contextmanager
def open_study(
    data: str | Path,
    out: str | Path,
    request: BenchRequest,
    settings: Settings | None = None,
    *,
    prepare: Sequence[str | Path] = (),
    predict: str | Path | None = None,
    train: bool = True,
) -> Iterator[BenchStudy]:
    """Check what to measure, and on what, before anything starts; nothing is written to `out` yet.

    Args:
        data: prepared data; its test rows are labelled if there are no raw files.
        out: directory of the study.
        request: what to measure.
        settings: those of the training.
        prepare: review files to prepare, and to take texts from.
        predict: a model directory or a run to label texts with.
        train: whether training is measured.

    Raises:
        UsageError: nothing of it can run here, or files that not every engine can read.
        DataError: prepared data, files or a model that are missing, damaged or empty.
    """
    dataset, out = PreparedDataset.open(data), Path(out)
    settings = settings or resolve(base=preset_values(None))
    plan = runnable_plan(request, settings, len(dataset.split("train")), machine_units())
    workers = request.threads or ()
    with tempfile.TemporaryDirectory(prefix="sentiscale-") as name:
        others: dict[str, PreparationCases | PredictionCases] = {}
        if prepare:
            others["prepare"] = PreparationCases(raw_files(prepare, Path(name)), out, workers)
        if predict is not None:
            others["predict"] = prediction_cases(predict, dataset, prepare, Path(name), out, workers)
        if not (train or others):
            raise UsageError("--no-train leaves nothing to measure. Add --prepare FILE or --predict MODEL.")
        cases, left_out = (plan.cases, plan.left_out) if train else ([], [])
        for each in others.values():
            cases, left_out = [*cases, *each.cases], [*left_out, *each.left_out]
        plan = plan.model_copy(update={"cases": cases, "left_out": left_out})
        training = TrainingCases(dataset, settings, request.amount, request.seed)
        yield BenchStudy(plan, request.seed, training, others)


START_SECONDS = 1.8
"""From starting a process to its first step: most of it loads libraries, and keeps a core busy."""

END_SECONDS = 0.3 + LOOK_SECONDS
ROWS_PER_SECOND = {"lstm": 2200.0, "gru": 1200.0}
"""Of one core of a server, with the default model."""

WARM_UP_SHARE = 0.7
"""Time of the warm-up, a step for each length, over that of the timed steps."""


class RemainingTime:
    """Estimates the time of runs from usual speeds and from the runs so far."""

    def __init__(self, amount: Amount) -> None:
        self.amount = amount
        self._seconds: defaultdict[str, list[float]] = defaultdict(list)
        self._ratios: list[float] = []

    def learn(self, case: Case, seconds: float) -> None:
        """Note the time of a run, with everything around it."""
        self._seconds[case.key].append(seconds)
        if guess := self._guess(case):
            self._ratios.append(seconds / guess)

    def of(self, cases: Sequence[Case]) -> float | None:
        """Seconds that these runs will take; None if unknown."""
        estimates = [self._estimate(case) for case in cases]
        known = [seconds for seconds in estimates if seconds is not None]
        if not known and cases:
            return None
        return sum(known) * len(cases) / max(len(known), 1)

    def _estimate(self, case: Case) -> float | None:
        if seconds := self._seconds.get(case.key):
            return fmean(seconds)
        guess = self._guess(case)
        if guess is None:
            return fmean(map(fmean, self._seconds.values())) if self._seconds else None
        return guess * (fmean(self._ratios) if self._ratios else 1.0)

    def _guess(self, case: Case) -> float | None:
        """Seconds of one run from usual speeds; None for other work than a number of training steps."""
        if self.amount.target_accuracy is not None or case.kind in ("prepare", "predict"):
            return None
        available = available_cores()
        cores = min(case.workers, available)
        rows = self.amount.steps_of(case) * case.batch_size
        steps = rows / ROWS_PER_SECOND.get(case.model, 1200.0) / (0.85 * cores if cores > 1 else 1.0)
        return START_SECONDS * max(1.0, case.ranks / available) + (1 + WARM_UP_SHARE) * steps + END_SECONDS
