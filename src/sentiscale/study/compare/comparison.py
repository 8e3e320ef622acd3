"""Compare classifiers: train every contestant on the same data, one run after another."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sentiscale.config import Section, Settings, preset_values, resolve
from sentiscale.data.prepared import SPLITS, PreparedDataset
from sentiscale.errors import DataError, UsageError
from sentiscale.parallel.layout import usual_layout
from sentiscale.records import Host, available_cores, git_commit, now, read_jsonl
from sentiscale.study.compare.contestants import CONTESTANTS, RECURRENT, Contestant, Recipe, chosen
from sentiscale.study.compare.picture import plot
from sentiscale.study.compare.records import (
    CompareConditions,
    CompareJob,
    CompareOutcome,
    CompareRun,
    CompareTask,
)
from sentiscale.study.compare.summary import CompareRow, summarise
from sentiscale.study.harness import run_fresh, run_missing
from sentiscale.study.records import RECORDS
from sentiscale.util.processes import with_threads
from sentiscale.util.progress import Progress

PICTURE = "time-to-accuracy.svg"


@dataclass(frozen=True)
class Comparison:
    """The runs of a comparison, and their summary."""

    data: Path
    runs: list[CompareRun]
    """All runs, including those of earlier calls."""
    rows: list[CompareRow]
    """One row per contestant and point, in the requested order."""
    plot: Path | None
    """Path of the picture; None if only steps were timed."""
    classes: int = 2
    """Number of classes of the data."""


def compare(
    data: str | Path,
    models: Sequence[str],
    *,
    out: str | Path = "compare",
    seeds: Sequence[int] = (0, 1, 2),
    conditions: CompareConditions | None = None,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Train every contestant with every seed, each in a fresh process, in random order.

    Finished runs are appended to `out/records.jsonl`. Runs that are already there are skipped.

    Args:
        data: prepared data.
        models: names of contestants.
        out: directory for the records and the picture.
        seeds: seeds; each contestant is run once per seed.
        conditions: threads, layout, time limit and steps; by default, all cores and no limit.
        settings: settings of sentiscale. Values that differ from the defaults override the presets.
        progress: receives the progress.

    Raises:
        UsageError: if a contestant is unknown or its library is missing, before any run starts.
        DataError: if the prepared data or the existing records cannot be used.
        Interrupted: on Ctrl-C or SIGTERM. Finished runs are kept.
        SentiscaleError: if a run fails. Finished runs are kept.
    """
    progress, out = progress or Progress(), Path(out)
    conditions = conditions or CompareConditions(threads=available_cores())
    contestants = chosen(models, steps_only=conditions.steps is not None)
    dataset, settings = PreparedDataset.open(data), settings or Settings()
    for split in SPLITS:
        if len(dataset.split(split)) == 0:
            raise DataError(f"split '{split}' of {dataset.path} is empty; a comparison needs all three.")
    if not conditions.layout:
        batch_size = settings.train.batch_size_for(dataset.manifest.rows["train"])
        layout = str(usual_layout(batch_size, conditions.threads))
        conditions = conditions.model_copy(update={"layout": layout})
    jobs = jobs_of(contestants, seeds, conditions, settings, dataset.manifest.digest)
    finished = _stored_runs(out / RECORDS, dataset)
    missing = [job for job in jobs if job.key not in finished]
    random.Random(0).shuffle(missing)  # noqa: S311 - the order of runs is no secret
    with progress.task("compare", len(missing), "runs") as advance:

        def measure(job: CompareJob) -> CompareRun:
            advance(0, job.label)
            run = run_job(job, dataset.path, out)
            advance(1, job.label)
            progress.say(_summary_of(run))
            return run

        run_missing(missing, finished, lambda job: job.key, measure, out / RECORDS)
    runs = [finished[job.key] for job in jobs]
    picture = plot(runs, out / PICTURE) if conditions.steps is None else None
    return Comparison(dataset.path, runs, summarise(runs), picture, len(dataset.manifest.classes))


def jobs_of(
    contestants: Sequence[Contestant],
    seeds: Sequence[int],
    conditions: CompareConditions,
    settings: Settings,
    digest: str,
) -> list[CompareJob]:
    """All runs of a comparison: every point of every contestant with every seed."""
    return [
        CompareJob(
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


def recipe_of(contestant: Contestant, point: str, base: Settings, *, steps_only: bool) -> dict[str, Any]:
    """Everything that determines the result of a run, except the seed and the shared conditions.

    Args:
        contestant: the contestant.
        point: name of one of its points.
        base: the user's settings of sentiscale. Values that differ from the defaults override the preset.
        steps_only: whether only steps are timed. Networks of sentiscale without the n-gram model then get the
            shape of the recurrent peers.
    """
    recipe = {**contestant.recipe, **contestant.points[point]}
    if contestant.preset is None:
        return recipe
    sections: dict[str, Section] = {name: getattr(base, name) for name in base.model_fields_set}
    given = {
        f"{name}.{key}": getattr(section, key)
        for name, section in sections.items()
        for key in section.model_fields_set
    }
    flags = {**given, **recipe}
    if steps_only and not flags.get("wide.enabled", True):
        flags |= SAME_SHAPE
    settings = resolve(base=preset_values(contestant.preset), flags=flags)
    return settings.model_dump(mode="json", exclude={"prepare"})


SAME_SHAPE: Recipe = {
    "model.embedding_dim": RECURRENT["embedding_dim"],
    "model.hidden_dim": RECURRENT["hidden_dim"],
    "model.layers": 1,
    "model.bidirectional": False,
    "train.batch_size": RECURRENT["batch_size"],
    "train.max_tokens": RECURRENT["max_tokens"],
}
"""Shape of the recurrent peers, as settings of sentiscale."""


def run_job(job: CompareJob, data: Path, out: Path) -> CompareRun:
    """Run one job in a fresh process.

    Raises: SentiscaleError if the run fails. Its messages are written to `out/failed.log`.
    """
    contestant, host, started_at = CONTESTANTS[job.model], Host.current(), now()
    fresh = run_fresh(
        contestant.trainer,
        CompareTask(job=job, data=data.resolve()),
        CompareOutcome,
        label=job.label,
        out=out,
        variables=environment(job, contestant),
    )
    return CompareRun(
        **job.model_dump(),
        **fresh.outcome.model_dump(),
        started_at=started_at,
        process_seconds=round(fresh.seconds, 3),
        host=host,
        git_commit=git_commit(),
    )


def environment(job: CompareJob, contestant: Contestant) -> Mapping[str, str]:
    """Environment variables of a run: its number of threads, and for peers none of sentiscale's tuning."""
    variables = with_threads(job.conditions.threads)
    if contestant.preset is not None:
        variables.setdefault("GOMP_SPINCOUNT", "400")  # as `sentiscale train` does, decision 0001
    else:
        variables.pop("GOMP_SPINCOUNT", None)
    return variables


def _stored_runs(path: Path, dataset: PreparedDataset) -> dict[str, CompareRun]:
    runs = list(read_jsonl(path, CompareRun)) if path.exists() else []
    if any(run.data_digest != dataset.manifest.digest for run in runs):
        raise UsageError(f"{path} holds runs on other data than {dataset.path}. Choose another --out.")
    return {run.key: run for run in runs}


def _summary_of(run: CompareRun) -> str:
    if run.test is None or run.train_seconds is None:
        return f"{run.label}: {run.rows_per_s:,.1f} reviews/s"
    return f"{run.label}: test accuracy {run.test['accuracy']:.4f} after {run.train_seconds:.1f} s"
