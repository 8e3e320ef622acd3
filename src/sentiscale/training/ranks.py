"""Train in one process a rank: start them on this machine, and read what they leave behind."""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from sentiscale.parallel.launch import launch_with_restarts
from sentiscale.progress import Progress
from sentiscale.records import RunRecord
from sentiscale.training.hardware import Hardware
from sentiscale.training.job import Job, JobFile


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

        launch_with_restarts(
            command,
            hardware.layout.world_size,
            threads=hardware.threads,
            silence_limit=train.silence_limit,
            max_restarts=train.max_restarts,
            on_restart=lambda why: progress.say(f"{why}\nstarting again from the last checkpoint"),
        )
    return job.run_dir.read_record()


def rank_command(job_file: Path) -> list[str]:
    """The command of a process that does a job as one rank."""
    return [sys.executable, "-m", "sentiscale.cli.rank", str(job_file)]
