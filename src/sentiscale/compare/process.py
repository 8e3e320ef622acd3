"""Do one run in a fresh process: what an earlier one left in memory, caches or threads disturbs no other."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from sentiscale.compare.contestants import CONTESTANTS
from sentiscale.compare.runs import CompareRun, Job, JobFile, Outcome
from sentiscale.errors import DataError, SentiscaleError, UsageError
from sentiscale.records import Host, git_commit, now

LAST_WORDS = 400
"""Characters of a failed run's messages that are shown."""
PATIENCE_SECONDS = 10.0
KINDS = {error.exit_code: error for error in (UsageError, DataError)}
"""A run that refuses its settings or data is the user's mistake here too."""


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
        code = _call(command, environment(job, ours=contestant.is_ours), log)
        seconds = round(time.perf_counter() - began, 3)
        if code != 0 or not result.exists():
            raise _failure(job, code, log, out)
        outcome = Outcome.model_validate_json(result.read_bytes())
    return CompareRun(
        **job.model_dump(), **outcome.model_dump(),
        started_at=started_at, process_seconds=seconds, host=host, git_commit=git_commit(),
    )  # fmt: skip


def environment(job: Job, *, ours: bool) -> Mapping[str, str]:
    """Environment of a run: the threads it may use; peers without what our command line sets for itself."""
    variables = dict(os.environ)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        variables[name] = str(job.conditions.threads)
    if ours:
        variables.setdefault("GOMP_SPINCOUNT", "400")  # as `sentiscale train` does, decision 0001
    else:
        variables.pop("GOMP_SPINCOUNT", None)
    return variables


def _call(command: list[str], variables: Mapping[str, str], log: Path) -> int:
    """Run a command to its end, or end it when this process is interrupted."""
    with open(log, "wb") as messages:
        process = subprocess.Popen(
            command, env=variables, stdin=subprocess.DEVNULL, stdout=messages, stderr=messages
        )
        try:
            return process.wait()
        except BaseException:
            process.terminate()
            try:
                process.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            raise


def _failure(job: Job, code: int, log: Path, out: Path) -> SentiscaleError:
    text = log.read_text(encoding="utf-8", errors="replace")
    kept = out / "failed.log"
    kept.write_text(text, encoding="utf-8")
    ended = f"was killed by signal {-code} (out of memory?)" if code < 0 else f"ended with exit code {code}"
    kind = KINDS.get(code, SentiscaleError)
    return kind(
        f"the run of {job.label} {ended}: {text.strip()[-LAST_WORDS:]}\n"
        f"All of its messages: {kept}. Finished runs are kept; the same command goes on after them."
    )
