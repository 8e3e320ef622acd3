"""What could go from run directories: checkpoints of finished runs, and what unfinished ones left.

The model of a run is never touched, and nothing of a run that goes on.
"""

import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from sentiscale.records import Record
from sentiscale.runs.found import RunSummary, Status, summary_of
from sentiscale.training.rundir import RunDir

OWN_NAMES = (
    "checkpoints",
    "plots",
    "tensorboard",
    "record.json",
    "metrics.jsonl",
    "mlflow.json",
    "train.log",
)
"""What training writes besides the model; anything else in a run directory is somebody's own."""
UNFINISHED = re.compile(r"\.(?:model|record\.json|metrics\.jsonl|curves\.\w+)\..+\.(?:tmp|old)")
"""What a killed process left of a file or directory that it was writing."""


class Removal(Record):
    """What would go from one run."""

    run: str
    """Path of the run directory."""
    status: Status
    """As in `RunSummary`."""
    paths: list[str]
    """Files and folders that would go."""
    bytes: int
    """Of all of them."""
    why: str
    """Why they are no longer needed."""


def plan_cleaning(runs: Iterable[RunSummary]) -> list[Removal]:
    """What can go from these runs, nothing being deleted yet; runs with nothing to remove are left out."""
    planned = (removal_of(run) for run in runs)
    return [removal for removal in planned if removal is not None and removal.paths]


def removal_of(run: RunSummary) -> Removal | None:
    """What can go from one run; None while it runs."""
    path = Path(run.run)
    if run.status == "running":
        return None
    if run.status == "finished":
        names, why = ["checkpoints"], "it is finished; it could no longer be resumed with more epochs"
    elif RunDir(path).model.exists():
        names, why = ["checkpoints"], f"it is {run.status}, but has a model from before; that stays"
    else:
        names, why = list(OWN_NAMES), f"it is {run.status} and has no model; it could not be resumed any more"
    found = [path / name for name in names] + sorted(
        file for file in path.iterdir() if UNFINISHED.fullmatch(file.name)
    )
    # A link may lead to what belongs to others.
    mine = [file for file in found if file.exists() and not file.is_symlink()]
    return Removal(
        run=run.run,
        status=run.status,
        paths=[str(file) for file in mine],
        bytes=sum(map(size_of, mine)),
        why=why,
    )


def carry_out(removals: Sequence[Removal]) -> list[Removal]:
    """Delete what was planned; a run whose state has changed since is left alone and not returned."""
    done = []
    for removal in removals:
        now = removal_of(summary_of(Path(removal.run)))
        if now is None or now.status != removal.status or now.paths != removal.paths:
            continue
        for path in map(Path, removal.paths):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        folder = Path(removal.run)
        if not any(folder.iterdir()):
            folder.rmdir()
        done.append(removal)
    return done


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a directory; links are not followed."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.lstat().st_size for file in files if not file.is_dir())
