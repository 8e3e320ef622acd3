"""What a tracker is: somebody outside of the run directory who follows a training run."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sentiscale.records import RunRecord

Scalar = bool | int | float | str


@dataclass(frozen=True)
class TrackedRun:
    """The run that is followed, as it begins or goes on."""

    path: Path
    """The run directory, absolute."""
    record: RunRecord
    """As things stand at the beginning."""
    resumed_at: int | None
    """The step it goes on from; None for a new run."""

    @property
    def name(self) -> str:
        """What people call it."""
        return self.path.name


class Tracker(Protocol):
    """Follows one run.

    Calls come in this order, from one thread: `begin`, `metrics` for each validation, `artefact` for each
    file, `end`. A call that raises is made again later, so each must bear being repeated.
    """

    def begin(self, settings: Mapping[str, Scalar], run: TrackedRun) -> None:
        """Open the run, or open it again where an earlier part of it was followed."""

    def metrics(self, step: int, values: Mapping[str, float], at: float) -> None:
        """Take one point of every curve; `at` is the time of the validation, in seconds since 1970."""

    def artefact(self, path: Path) -> None:
        """Take one file of the run directory."""

    def end(self, status: str, scores: Mapping[str, float]) -> None:
        """Close the run: finished, interrupted or failed, with its final figures."""
