"""Train in one process a rank: start them on this machine, and read what they leave behind."""

import json
import platform
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sentiscale.errors import DataError, Interrupted, SentiscaleError, UsageError
from sentiscale.parallel.collectives import gather_texts
from sentiscale.parallel.launch import launch_with_restarts
from sentiscale.parallel.world import World
from sentiscale.records import RunRecord
from sentiscale.training.hardware import Hardware
from sentiscale.training.job import Job, JobFile
from sentiscale.util.progress import Progress


def launch_ranks(job: Job, hardware: Hardware, progress: Progress) -> RunRecord:
    """Run the job in `hardware.layout.world_size` processes; return the record that rank 0 wrote.

    Raises: what the first failing rank raised, with its rank, host and phase.
    """
    train = job.settings.train
    with tempfile.TemporaryDirectory(prefix="sentiscale-") as folder:

        def command(attempt: int) -> Sequence[str]:
            file = JobFile(
                dataset=job.dataset.path.absolute(),
                out=job.run_dir.path.absolute(),
                settings=job.settings,
                resume=job.resume or attempt > 0,
                quiet=type(progress) is Progress,
            )
            return rank_command(file.write(Path(folder, f"job-{attempt}.json")))

        try:
            launch_with_restarts(
                command,
                hardware.layout.world_size,
                threads=hardware.threads,
                silence_limit=train.silence_limit,
                max_restarts=train.max_restarts,
                on_restart=lambda why: progress.say(f"{why}\nstarting again from the last checkpoint"),
            )
        except SentiscaleError as error:
            if not isinstance(error, Interrupted) and job.run_dir.record.exists():
                record = job.run_dir.read_record()  # a rank that died could not say so itself
                failed = {"status": "failed", "failure": str(error)}
                job.run_dir.write_record(record.model_copy(update=failed))
            raise
    return job.run_dir.read_record()


def check_same_view(job: Job, world: World) -> None:
    """Check that all ranks, started apart, were given the same: run directory, data, settings.

    Raises: UsageError or DataError, naming the host where it is otherwise.
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
            f"host {', '.join(blind)} does not see {job.run_dir.path}, where all ranks write checkpoints. "
            "Give an --out on storage that all hosts mount under the same path."
        )
    other = sorted({view["host"] for view in views if view["digest"] != views[0]["digest"]})
    if other:
        raise DataError(
            f"host {', '.join(other)} has other data in {job.dataset.path} than rank 0's host. Copy the "
            "prepared directory from there, or prepare it with the same settings from the same reviews."
        )
    for view in views:
        check_same_settings(view["settings"], views[0]["settings"], view["host"])


def common_settings(job: Job) -> dict[str, Any]:
    """What must be the same on every rank, by name; cores, and so threads, differ between hosts."""
    sections = job.settings.model_dump(mode="json", include={"model", "wide", "vectors", "train"})
    named = {
        f"{section}.{key}": value for section, values in sections.items() for key, value in values.items()
    }
    del named["train.threads_per_rank"]
    return {"--resume": job.resume, **named}


def check_same_settings(found: dict[str, Any], expected: dict[str, Any], host: str) -> None:
    """Compare what a rank on `host` was given with what rank 0 was.

    Raises: UsageError naming what differs.
    """
    different = [
        f"{name} is {json.dumps(value)}, not {json.dumps(expected[name])}"
        for name, value in found.items()
        if value != expected[name]
    ]
    if different:
        raise UsageError(
            f"host {host} was started with other settings than rank 0: {'; '.join(different)}. "
            "Start every rank with the same command; only --threads-per-rank may differ."
        )


def rank_command(job_file: Path) -> list[str]:
    """The command of a process that does a job as one rank."""
    return [sys.executable, "-m", "sentiscale.cli.rank", str(job_file)]
