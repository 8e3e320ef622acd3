"""One batch job: a model, inputs, one output file; it can be interrupted and gone on with."""

import hashlib
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa

from sentiscale.allocator import reused_memory
from sentiscale.errors import Interrupted, UsageError
from sentiscale.labelling.inputs import Chunk, Inputs, KeptInputs, Reject
from sentiscale.labelling.journal import Journal
from sentiscale.labelling.outputs import Added, Rejects, check_file, opened_table
from sentiscale.labelling.run import LabelSummary, label
from sentiscale.predictor import Predictions, Predictor
from sentiscale.progress import Progress
from sentiscale.records import package_versions

Explain = Callable[[Chunk], pa.Table]
"""Gives the columns of EXPLAINED for a chunk."""


@dataclass(frozen=True)
class FileJob:
    """What is to be written where."""

    predictor: Predictor
    """The model."""
    model: Path
    """Its directory."""
    inputs: KeptInputs
    """What is read, and kept of it."""
    out: Path
    """The file."""
    added: Added
    """Columns that are added."""
    explain: Explain | None = None
    """What words contributed to each row of a chunk; None where nobody asked."""

    def check(self) -> None:
        """Fail before any work.

        Raises: UsageError when the output cannot be written, or its columns have the names of others.
        """
        check_file(self.out, self.inputs, self.added)
        self.added.check(self.inputs)

    def run(
        self, *, workers: int, resume: bool = False, progress: Progress | None = None
    ) -> tuple[LabelSummary, list[Reject]]:
        """Label the inputs into the file, which appears when it is complete.

        Returns the counts and the first rows that could not be read.

        Raises:
            Interrupted: stopped by a signal; `resume` goes on.
            DataError: an input is damaged.
            UsageError: `resume` with an input that cannot be read again.
        """
        again = self.inputs.inputs.can_be_read_again
        if resume and not again:
            raise UsageError("--resume reads the input again, which a pipe does not allow. Give a file.")
        try:
            with ExitStack() as stack:
                stack.enter_context(reused_memory())
                plan = self.plan() if again else {}
                journal = stack.enter_context(Journal(self.out, plan, resume=resume)) if again else None
                rejects = stack.enter_context(Rejects(self.out))
                writer = stack.enter_context(opened_table(self.out, self.inputs, self.added))

                def write(chunk: Chunk, predictions: Predictions) -> None:
                    explained = self.explain(chunk) if self.explain else None
                    writer.write(chunk, self.added.table(chunk, predictions, explained))

                summary = label(
                    self.predictor, self.inputs, write,
                    workers=workers, journal=journal, reject=rejects.add, progress=progress,
                )  # fmt: skip
                return summary, rejects.first
        except KeyboardInterrupt as error:
            if not again:
                raise
            raise Interrupted(
                "interrupted; what was done is kept. Run the same command with --resume to go on."
            ) from error

    def plan(self) -> dict[str, Any]:
        """All that the predictions depend on."""
        return plan(self.model, self.inputs.inputs, self.predictor.precision.name)


def plan(model: Path, inputs: Inputs, precision: str) -> dict[str, Any]:
    """What must be the same for a job to be gone on with: reviews, how they are read, model and release."""
    return {
        "inputs": [[path, *_state(path)] for path in inputs.paths],
        "settings": inputs.settings.model_dump(mode="json"),
        "labelled": inputs.labelled,
        "model": model_digest(model),
        "precision": precision,
        "release": package_versions("sentiscale", "torch"),
    }


def model_digest(model: Path) -> str:
    """A digest of what a model directory computes with."""
    digest = hashlib.sha256()
    for name in ("config.toml", "vocab.txt", "weights.safetensors"):
        with open(model / name, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _state(path: str) -> tuple[int, str]:
    """Size and time of change of a file, or what its store tells instead of it."""
    filesystem, root = fsspec.core.url_to_fs(path)
    info = filesystem.info(root)
    changed = info.get("mtime") or info.get("LastModified") or info.get("ETag") or ""
    return int(info.get("size") or 0), str(changed)
