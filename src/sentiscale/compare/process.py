"""Do one run in a fresh process: what an earlier one left in memory, caches or threads disturbs no other."""

import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from sentiscale.childprocess import call, failure, with_threads
from sentiscale.compare.contestants import CONTESTANTS
from sentiscale.compare.runs import CompareRun, Job, JobFile, Outcome
from sentiscale.records import Host, git_commit, now


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
        command = [sys.executable, "-m", "sentiscale.compare.child", str(task), str(result)]
        code = call(command, log, environment(job, ours=contestant.is_ours))
        seconds = round(time.perf_counter() - began, 3)
        if code != 0 or not result.exists():
            raise failure(f"the run of {job.label}", code, log, out / "failed.log")
        outcome = Outcome.model_validate_json(result.read_bytes())
    return CompareRun(
        **job.model_dump(), **outcome.model_dump(),
        started_at=started_at, process_seconds=seconds, host=host, git_commit=git_commit(),
    )  # fmt: skip


def environment(job: Job, *, ours: bool) -> Mapping[str, str]:
    """Environment of a run: the threads it may use; peers without what our command line sets for itself."""
    variables = with_threads(job.conditions.threads)
    if ours:
        variables.setdefault("GOMP_SPINCOUNT", "400")  # as `sentiscale train` does, decision 0001
    else:
        variables.pop("GOMP_SPINCOUNT", None)
    return variables
