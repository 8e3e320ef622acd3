"""One rank of a training run: what the launcher starts, `python -m sentiscale.cli.rank JOB.json`. No verb."""

import gc
import os
import sys
from pathlib import Path
from typing import NoReturn

from sentiscale.cli import RARE_COLLECTIONS, let_waiting_threads_sleep
from sentiscale.errors import SentiscaleError
from sentiscale.parallel.rendezvous import RankEnv


def main(job_path: str) -> int:
    """Do the job as the rank that the environment says; the launcher tells what goes wrong."""
    let_waiting_threads_sleep()
    gc.set_threshold(RARE_COLLECTIONS, 20, 20)
    from sentiscale.training.job import JobFile

    job = JobFile.read(Path(job_path))
    if job.steps is not None:
        from sentiscale.study.bench.steps import measure_rank

        measure_rank(job)
        _leave()
    from sentiscale.cli.progress import make_progress
    from sentiscale.training.loop import train

    env = RankEnv.current()
    quiet = job.quiet or env is None or env.rank > 0
    try:
        train(job.dataset, job.out, job.settings, resume=job.resume, progress=make_progress(quiet))
    except SentiscaleError as error:
        return error.exit_code
    return 0


def _leave() -> NoReturn:
    """End at once: Python would take all its modules down first, which costs a run of steps half a second."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
