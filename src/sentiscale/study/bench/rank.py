"""Entry point of one rank of a measured training: `python -m sentiscale.study.bench.rank JOB`."""

import os
import sys
from pathlib import Path

from sentiscale.util.processes import prepare_process


def command(job_file: Path) -> list[str]:
    """Command line that starts one rank of a measured training."""
    return [sys.executable, "-m", __name__, str(job_file)]


def main(job_file: Path) -> None:
    """Measure as one rank; environment variables set by the launcher define which one."""
    prepare_process()
    from sentiscale.study.bench.steps import MeasureJob, measure_rank  # loads torch, after the settings above

    measure_rank(MeasureJob.model_validate_json(job_file.read_bytes()))
    # A normal exit would first unload all Python modules, which takes half a second per run.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
