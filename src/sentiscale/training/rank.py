"""One rank of a training run: `python -m sentiscale.training.rank JOB`, started by the launcher."""

import sys
from pathlib import Path

from sentiscale.errors import SentiscaleError
from sentiscale.util.processes import prepare_process


def command(job_file: Path, *, quiet: bool = False) -> list[str]:
    """Command line of a process that trains as one rank; `quiet` hides the progress of rank 0."""
    return [sys.executable, "-m", __name__, str(job_file), *(["--quiet"] if quiet else [])]


def main(job_file: Path, *, quiet: bool = False) -> int:
    """Train as the rank set by the environment; return the exit code. The launcher reports errors."""
    prepare_process()
    # The imports below load torch, which must see the settings above.
    from sentiscale.parallel.rendezvous import RankEnv
    from sentiscale.training.finish import finish
    from sentiscale.training.hardware import Hardware, join_ranks
    from sentiscale.training.loop import fit
    from sentiscale.training.run import TrainJob
    from sentiscale.training.setup import open_run
    from sentiscale.util.terminal import make_progress

    try:
        job, env = TrainJob.read(job_file), RankEnv.current()
        progress = make_progress(quiet or (env is not None and env.rank > 0))
        with (
            join_ranks(Hardware.choose(job.settings, env), env, job.settings.train.silence_limit) as place,
            open_run(job, place, progress) as training,
        ):
            fit(training, progress)
            finish(training)
    except SentiscaleError as error:
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), quiet="--quiet" in sys.argv))
