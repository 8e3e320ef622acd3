"""Run a study: measure every case of a plan several times in random order, and skip finished runs."""

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
"""Number of cores that other processes may keep busy. A run is repeated if they keep more busy."""

MOST_TRIES = 3
"""Maximum number of attempts for a disturbed run."""

TRACED_STEPS = 4


class BenchProgress:
    """Callbacks for the progress of a study. The base class does nothing."""

    def begin(self, plan: BenchPlan, finished: Sequence[BenchRun]) -> None:
        """Called when the study begins; `finished` are the runs of an earlier call."""

    def begin_run(
        self, case: Case, repeat: int, finished: int, total: int, seconds_left: float | None
    ) -> None:
        """Called before a run; `seconds_left` is the estimated time for this and all remaining runs."""

    def end_run(self, run: BenchRun) -> None:
        """Called after a run has been measured."""

    def end(self) -> None:
        """Called when the study ends, also after an error."""

    def say(self, message: str) -> None:
        """Show any other message."""


@dataclass(frozen=True)
class BenchResult:
    """The measured runs of a study."""

    out: Path
    """The directory with `records.jsonl`."""
    plan: BenchPlan
    """The plan with the measured cases."""
    runs: list[BenchRun]
    """Runs of the plan, in the order in which they were measured."""
    seconds: float
    """Duration of this call, without earlier calls."""


@dataclass(frozen=True)
class BenchStudy:
    """A plan, and the code that runs each kind of case."""

    plan: BenchPlan
    seed: int
    training: TrainingCases
    others: Mapping[str, PreparationCases | PredictionCases]
    """Cases other than training, by kind."""

    def cases_of(self, kind: str) -> TrainingCases | PreparationCases | PredictionCases:
        return self.others.get(kind, self.training)

    def run(
        self, out: str | Path, progress: BenchProgress | None = None, limit_cores: float = LIMIT_CORES
    ) -> BenchResult:
        """Measure all runs of the plan that are not yet in `out/records.jsonl`, and append them to that file.

        Raises:
            UsageError: if the existing records are from other data, settings or machines.
            Interrupted: on Ctrl-C or SIGTERM. Finished runs are kept.
            SentiscaleError: if a run fails. Finished runs are kept.
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
            left = remaining.estimate([case for _, case in missing[place:]])
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
        """Read the finished runs of the kinds of cases that this study measures.

        Raises:
            UsageError: if they were measured on other data, on another machine, or with other settings.
            DataError: if a line is not a valid record.
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
        """Run a case, and repeat it while other processes disturb it, up to `MOST_TRIES` runs.

        Returns the least disturbed run, marked as disturbed if all were.
        """
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
        """Measure a few steps of each layout and number of threads, and write their timelines to `path`."""
        training = [case for case in self.plan.cases if case.kind in ("train", "copies")]
        # Reversed twice, so that the first case of each combination is kept, in the order of the plan.
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
    """Check the request and its input before any measurement. Nothing is written to `out`.

    Args:
        data: prepared data. Without `prepare`, prediction labels its test rows.
        out: directory of the study.
        request: what to measure.
        settings: settings of the training.
        prepare: review files for the cases of preparation; prediction labels their texts.
        predict: model directory or run directory for the cases of prediction.
        train: whether to measure training.

    Raises:
        UsageError: if no case can run on this machine, or a file is not readable by every engine.
        DataError: if prepared data, files or the model are missing, damaged or empty.
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
"""Typical time from the start of a process to its first step. Most of it is spent loading libraries, on one
core."""

END_SECONDS = 0.3 + LOOK_SECONDS
ROWS_PER_SECOND = {"lstm": 2200.0, "gru": 1200.0}
"""Typical training throughput of one server core with the default model, by cell."""

WARM_UP_SHARE = 0.7
"""Typical time of the warm-up, which has one step per padded length, relative to the timed steps."""


class RemainingTime:
    """Estimates the duration of the remaining runs from typical speeds and from finished runs."""

    def __init__(self, amount: Amount) -> None:
        self.amount = amount
        self._seconds: defaultdict[str, list[float]] = defaultdict(list)
        self._ratios: list[float] = []

    def learn(self, case: Case, seconds: float) -> None:
        """Add the duration of a finished run, including startup and shutdown."""
        self._seconds[case.key].append(seconds)
        if guess := self._guess(case):
            self._ratios.append(seconds / guess)

    def estimate(self, cases: Sequence[Case]) -> float | None:
        """Estimated duration of these runs in seconds; None if unknown."""
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
        """Seconds of one run from typical speeds; None unless the run trains a known number of steps."""
        if self.amount.target_accuracy is not None or case.kind in ("prepare", "predict"):
            return None
        available = available_cores()
        cores = min(case.workers, available)
        rows = self.amount.steps_of(case) * case.batch_size
        steps = rows / ROWS_PER_SECOND.get(case.model, 1200.0) / (0.85 * cores if cores > 1 else 1.0)
        return START_SECONDS * max(1.0, case.ranks / available) + (1 + WARM_UP_SHARE) * steps + END_SECONDS
