"""`train`: in this process, in processes that it starts (one per rank), or as a rank started by torchrun."""

import json
import platform
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from sentiscale.config import Settings, validate
from sentiscale.data.prepared import PreparedDataset
from sentiscale.errors import DataError, Interrupted, SentiscaleError, UsageError
from sentiscale.parallel.collectives import gather_numbers, gather_texts, only_rank_0
from sentiscale.parallel.launch import launch
from sentiscale.parallel.rendezvous import RankEnv
from sentiscale.parallel.world import World
from sentiscale.records import RunRecord
from sentiscale.tracking.tracker import check_trackers
from sentiscale.training import rank
from sentiscale.training.finish import finish
from sentiscale.training.hardware import Hardware, join_ranks
from sentiscale.training.loop import fit
from sentiscale.training.row_weights import class_weights
from sentiscale.training.run import TrainJob
from sentiscale.training.run_directory import RunDir
from sentiscale.training.setup import open_run
from sentiscale.util.progress import Progress


def train(
    dataset: PreparedDataset | str | Path,
    out: str | Path,
    settings: Settings | None = None,
    *,
    resume: bool = False,
    force: bool = False,
    progress: Progress | None = None,
    layout_choice: dict[str, Any] | None = None,
) -> RunRecord:
    """Train a model and write the run directory `out`.

    A layout with several ranks is trained in one process per rank, which this call starts. In a process
    that is already a rank (torchrun, a batch system), it joins the other ranks; all return the same record.

    Args:
        dataset: prepared data, opened or as a path.
        out: the run directory.
        settings: what to train and how; None with `resume` uses the settings of the run in `out`. Layout
            `auto` means the default layout here: callers that want it measured do so first.
        resume: continue from the newest checkpoint in `out`.
        force: replace a run in `out`.
        progress: where to show progress; silent by default.
        layout_choice: measurements behind the chosen layout, stored in the record.

    Returns: the record, as in `out/record.json`.

    Raises:
        UsageError: settings that cannot work, or `out` exists.
        DataError: prepared data that is missing or damaged.
        Interrupted: SIGINT or SIGTERM was received, and a checkpoint was saved.
        SentiscaleError: training diverged, or a rank failed; the last checkpoint is valid.
    """
    progress = progress or Progress()
    job = make_job(dataset, RunDir(Path(out)), settings, resume, force, layout_choice)
    run_dir, train_settings, env = job.run_dir, job.settings.train, RankEnv.current()
    if env is None:
        run_dir.check(resume=resume, force=force)
    hardware = Hardware.choose(job.settings, env)
    if env is None and hardware.layout.world_size > 1:
        run_dir.create(resume=resume, force=force)
        with tempfile.TemporaryDirectory(prefix="sentiscale-") as folder, failure_recorded(run_dir):
            launch(
                lambda attempt: rank.command(
                    job_of_attempt(job, attempt).write(Path(folder, f"job-{attempt}.json")),
                    quiet=type(progress) is Progress,
                ),
                hardware.layout.world_size,
                threads=hardware.threads,
                heartbeat_timeout=train_settings.silence_limit,
                max_restarts=train_settings.max_restarts,
                on_restart=lambda why: progress.say(f"{why}\nstarting again from the last checkpoint"),
            )
        return run_dir.read_record()
    with join_ranks(hardware, env, train_settings.silence_limit) as place:
        job = start_together(job, env, place.world)
        shown = progress if place.world.is_main else Progress()
        with open_run(job, place, shown) as training:
            fit(training, shown)
            return finish(training)


def make_job(
    dataset: PreparedDataset | str | Path,
    run_dir: RunDir,
    settings: Settings | None,
    resume: bool,
    force: bool,
    layout_choice: dict[str, Any] | None,
) -> TrainJob:
    if not isinstance(dataset, PreparedDataset):
        dataset = PreparedDataset.open(dataset)
    if settings is None:
        settings = validate(Settings, run_dir.stored_settings()) if resume else Settings()
    settings = dataset.resolve(settings)
    check_trackers(settings.track)
    class_weights(settings.train, dataset.manifest)  # refuses unknown classes before ranks start
    return TrainJob(dataset, run_dir, settings, resume, force, layout_choice)


def job_of_attempt(job: TrainJob, attempt: int) -> TrainJob:
    """A restart resumes; its time limit counts from now, in addition to the seconds in the checkpoint."""
    return job if attempt == 0 else replace(job, resume=True, started_at=time.monotonic())


def start_together(job: TrainJob, env: RankEnv | None, world: World) -> TrainJob:
    """Create the run directory once for all ranks, and check that all ranks run the same job."""
    # torchrun's agent counts only the restarts that a rank of its own host caused.
    attempts = gather_numbers([env.attempt if env else 0], world)
    job = replace(job, resume=job.resume or max(attempts) > [0])
    only_rank_0(world, lambda: job.run_dir.create(resume=job.resume, force=job.force))
    check_same_job(job, world)
    return job


@contextmanager
def failure_recorded(run_dir: RunDir) -> Iterator[None]:
    """Record why the ranks failed, because a rank that died could not record it itself."""
    try:
        yield
    except Interrupted:
        raise
    except SentiscaleError as error:
        if run_dir.record.exists():
            failed = {"status": "failed", "failure": str(error)}
            run_dir.write_record(run_dir.read_record().model_copy(update=failed))
        raise


def check_same_job(job: TrainJob, world: World) -> None:
    """Check that ranks started separately use the same run directory, data and settings.

    Raises: UsageError or DataError naming the host that differs.
    """
    view = {
        "host": platform.node(),
        "sees_run": job.run_dir.checkpoints.is_dir(),
        "digest": job.dataset.manifest.digest,
        "settings": common_settings(job),
    }
    views = [json.loads(text) for text in gather_texts(json.dumps(view), world)]
    blind = sorted({view["host"] for view in views if not view["sees_run"]})
    if blind:
        raise UsageError(
            f"{job.run_dir.path}, where all ranks write checkpoints, is not visible on {', '.join(blind)}. "
            "Give an --out on storage that all hosts mount under the same path."
        )
    other = sorted({view["host"] for view in views if view["digest"] != views[0]["digest"]})
    if other:
        raise DataError(
            f"host {', '.join(other)} has different data in {job.dataset.path} from rank 0's. Copy the "
            "prepared directory from there, or prepare it with the same settings from the same reviews."
        )
    for view in views:
        expected = views[0]["settings"]
        different = [
            f"{name} is {json.dumps(value)}, not {json.dumps(expected[name])}"
            for name, value in view["settings"].items()
            if value != expected[name]
        ]
        if different:
            raise UsageError(
                f"host {view['host']} has different settings from rank 0: {'; '.join(different)}. "
                "Start every rank with the same command; only --threads-per-rank may differ."
            )


def common_settings(job: TrainJob) -> dict[str, Any]:
    """Settings by name that must be the same on every rank. Threads may differ, as hosts' cores do."""
    sections = job.settings.model_dump(mode="json", include={"model", "wide", "vectors", "train"})
    named = {
        f"{section}.{key}": value for section, values in sections.items() for key, value in values.items()
    }
    del named["train.threads_per_rank"]
    return {"--resume": job.resume, **named}
