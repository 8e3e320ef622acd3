"""Compare ways to train a classifier: every contestant on the same data, one run after another."""

import random
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sentiscale.config import Section, Settings, preset_values, resolve
from sentiscale.data.prepared import SPLITS, PreparedDataset
from sentiscale.errors import DataError, Interrupted, UsageError
from sentiscale.parallel.layout import usual_layout
from sentiscale.records import Host, append_jsonl, available_cores, git_commit, now, read_jsonl
from sentiscale.study.compare.contestants import CONTESTANTS, SHAPE, Contestant, Recipe, chosen
from sentiscale.study.compare.picture import plot
from sentiscale.study.compare.records import CompareRun, Conditions, Job, JobFile, Outcome
from sentiscale.study.compare.summary import Row, summarise
from sentiscale.util.atomic import make_directory
from sentiscale.util.processes import call, failure, with_threads
from sentiscale.util.progress import Progress


def do(job: Job, data: Path, out: Path) -> CompareRun:
    """Do one job in a process of its own and a temporary folder under `out`.

    Raises: SentiscaleError when the run fails; its messages are kept in `out/failed.log`.
    """
    contestant, host, started_at = CONTESTANTS[job.model], Host.current(), now()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix=".run-", dir=out) as name:
        folder = Path(name)
        task, result, log = folder / "job.json", folder / "outcome.json", folder / "messages.log"
        file = JobFile(job=job, trainer=contestant.trainer, data=data.resolve(), work=folder.resolve())
        task.write_text(file.model_dump_json(), encoding="utf-8")
        command = [sys.executable, "-m", "sentiscale.study.compare.child", str(task), str(result)]
        code = call(command, log, environment(job, ours=contestant.is_ours))
        seconds = round(time.perf_counter() - began, 3)
        if code != 0 or not result.exists():
            raise failure(f"the run of {job.label}", code, log, out / "failed.log")
        outcome = Outcome.model_validate_json(result.read_bytes())
    return CompareRun(
        **job.model_dump(),
        **outcome.model_dump(),
        started_at=started_at,
        process_seconds=seconds,
        host=host,
        git_commit=git_commit(),
    )


def environment(job: Job, *, ours: bool) -> Mapping[str, str]:
    """Environment of a run: the threads it may use; peers without what our command line sets for itself."""
    variables = with_threads(job.conditions.threads)
    if ours:
        variables.setdefault("GOMP_SPINCOUNT", "400")  # as `sentiscale train` does, decision 0001
    else:
        variables.pop("GOMP_SPINCOUNT", None)
    return variables


SAME_SHAPE: Recipe = {
    "model.embedding_dim": SHAPE["embedding_dim"],
    "model.hidden_dim": SHAPE["hidden_dim"],
    "model.layers": 1,
    "model.bidirectional": False,
    "train.batch_size": SHAPE["batch_size"],
    "train.max_tokens": SHAPE["max_tokens"],
}
"""The same as settings of ours."""


def recipe_of(contestant: Contestant, point: str, base: Settings, *, steps_only: bool) -> dict[str, Any]:
    """The recipe of a run: what decides its result, but for its seed and the conditions all runs share.

    Args:
        contestant: who.
        point: which of its points.
        base: settings given by the user for ours; what differs from the defaults wins over the preset.
        steps_only: ours takes the shape of the recurrent peers, where its network stands alone.
    """
    recipe = {**contestant.recipe, **contestant.points[point]}
    if not contestant.is_ours:
        return recipe
    flags = {**_given(base), **recipe}
    if steps_only and not flags.get("wide.enabled", True):
        flags |= SAME_SHAPE
    settings = resolve(base=preset_values(contestant.preset), flags=flags)
    return settings.model_dump(mode="json", exclude={"prepare"})


def _given(settings: Settings) -> dict[str, Any]:
    """The settings that were given, by dotted name."""
    sections: dict[str, Section] = {name: getattr(settings, name) for name in settings.model_fields_set}
    return {
        f"{name}.{key}": getattr(section, key)
        for name, section in sections.items()
        for key in section.model_fields_set
    }


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
