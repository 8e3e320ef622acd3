"""Compare ways to train a classifier: every contestant on the same data, one run after another."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sentiscale.atomic import make_directory
from sentiscale.compare.contestants import Contestant, chosen
from sentiscale.compare.picture import plot
from sentiscale.compare.process import do
from sentiscale.compare.recipes import recipe_of
from sentiscale.compare.runs import CompareRun, Conditions, Job
from sentiscale.compare.summary import Row, summarise
from sentiscale.config import Settings
from sentiscale.data.prepared import SPLITS, PreparedDataset
from sentiscale.errors import DataError, Interrupted, UsageError
from sentiscale.parallel.layout import usual_layout
from sentiscale.progress import Progress
from sentiscale.records import append_jsonl, available_cores, read_jsonl

RECORDS, PICTURE = "records.jsonl", "time-to-accuracy.svg"


@dataclass(frozen=True)
class Comparison:
    """What a comparison found."""

    data: Path
    """Directory of the prepared data."""
    runs: list[CompareRun]
    """All of them, earlier goes included."""
    rows: list[Row]
    """One for each contestant and point, in the order they were asked for."""
    plot: Path | None
    """None where only steps were timed."""


def compare(
    data: str | Path,
    models: Sequence[str],
    *,
    out: str | Path = "compare",
    seeds: Sequence[int] = (0, 1, 2),
    conditions: Conditions | None = None,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Train every contestant with every seed, each in a fresh process, in random order.

    Finished runs are lines of `out/records.jsonl`; what is there is not done again.

    Args:
        data: prepared data.
        models: names of contestants.
        out: directory for records and picture.
        seeds: one run of each contestant per seed.
        conditions: threads, layout, time limit, steps; all cores by default.
        settings: for ours; what differs from the defaults wins over the presets.
        progress: where to show how it goes.

    Raises:
        UsageError: an unknown contestant or a missing library, before anything is run.
        DataError: prepared data or records that cannot be used.
        Interrupted: stopped; finished runs are kept.
        SentiscaleError: a run failed; finished runs are kept.
    """
    progress, out = progress or Progress(), Path(out)
    conditions = conditions or Conditions(threads=available_cores())
    contestants = chosen(models, steps_only=conditions.steps is not None)
    dataset, settings = _opened(data), settings or Settings()
    if not conditions.layout:
        batch_size = settings.train.batch_size_for(dataset.manifest.rows["train"])
        layout = str(usual_layout(batch_size, conditions.threads))
        conditions = conditions.model_copy(update={"layout": layout})
    jobs = plan(contestants, seeds, conditions, settings, dataset.manifest.digest)
    done = stored_runs(out, dataset)
    missing = [job for job in jobs if job.key not in done]
    random.Random(0).shuffle(missing)  # noqa: S311 - the order of runs is no secret
    make_directory(out)
    try:
        with progress.task("compare", len(missing), "runs") as advance:
            for job in missing:
                advance(0, job.label)
                run = do(job, dataset.path, out)
                append_jsonl(out / RECORDS, run)
                done[job.key] = run
                advance(1, job.label)
                progress.say(told(run))
    except KeyboardInterrupt as error:
        raise Interrupted(
            f"interrupted; finished runs are kept in {out / RECORDS}. The same command goes on after them."
        ) from error
    runs = [done[job.key] for job in jobs]
    rows = summarise(runs)
    picture = plot(runs, out / PICTURE) if conditions.steps is None else None
    return Comparison(dataset.path, runs, rows, picture)


def plan(
    contestants: Sequence[Contestant],
    seeds: Sequence[int],
    conditions: Conditions,
    settings: Settings,
    digest: str,
) -> list[Job]:
    """All runs of a comparison; a contestant that is never trained to the end is timed at every seed."""
    return [
        Job(
            model=contestant.name,
            point=point,
            seed=seed,
            recipe=recipe_of(contestant, point, settings, steps_only=conditions.steps is not None),
            conditions=conditions,
            data_digest=digest,
        )
        for contestant in contestants
        for point in contestant.points
        for seed in dict.fromkeys(seeds)
    ]


def stored_runs(out: Path, dataset: PreparedDataset) -> dict[str, CompareRun]:
    """Finished runs by key.

    Raises: UsageError when they were made on other data.
    """
    path = out / RECORDS
    runs = list(read_jsonl(path, CompareRun)) if path.exists() else []
    if any(run.data_digest != dataset.manifest.digest for run in runs):
        raise UsageError(f"{path} holds runs on other data than {dataset.path}. Choose another --out.")
    return {run.key: run for run in runs}


def told(run: CompareRun) -> str:
    """A finished run in one line."""
    if run.test is None or run.train_seconds is None:
        return f"{run.label}: {run.rows_per_s:,.1f} reviews/s"
    return f"{run.label}: test accuracy {run.test['accuracy']:.4f} after {run.train_seconds:.1f} s"


def _opened(data: str | Path) -> PreparedDataset:
    dataset = PreparedDataset.open(data)
    for split in SPLITS:
        if len(dataset.split(split)) == 0:
            raise DataError(f"split '{split}' of {dataset.path} is empty; a comparison needs all three.")
    return dataset
