"""The process of one run: `python -m sentiscale.study.compare.child JOB OUTCOME`."""

import importlib
import sys
from pathlib import Path

from sentiscale.errors import SentiscaleError
from sentiscale.study.compare.records import JobFile, Outcome
from sentiscale.util.atomic import write_file


def run(task: JobFile) -> Outcome:
    """Train what the job names."""
    trainer = importlib.import_module(f"sentiscale.study.compare.peers.{task.trainer}")
    outcome: Outcome = trainer.train(task)
    return outcome


def main(job: str, out: str) -> int:
    """Do one job; returns the exit code."""
    try:
        outcome = run(JobFile.model_validate_json(Path(job).read_bytes()))
    except SentiscaleError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    write_file(Path(out), outcome.model_dump_json())
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
