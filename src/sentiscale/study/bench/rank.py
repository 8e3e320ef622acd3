"""One rank of a measured training: `python -m sentiscale.study.bench.rank JOB`, started by the launcher."""

import os
import sys
from pathlib import Path

from sentiscale.util.processes import prepare_process


def command(job_file: Path) -> list[str]:
    """Command line of a process that measures as one rank."""
    return [sys.executable, "-m", __name__, str(job_file)]


def main(job_file: Path) -> None:
    """Measure as the rank named by the environment."""
    prepare_process()
    from sentiscale.study.bench.steps import MeasureJob, measure_rank  # loads torch, after the settings above

    measure_rank(MeasureJob.model_validate_json(job_file.read_bytes()))
    # Python would unload all its modules first, which takes half a second of every run.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
