"""What the process of a run is told, and what it tells."""

from pathlib import Path

from sentiscale.records import Record


class PrepareJob(Record):
    """Clean files in one of the ways of `cleaners`."""

    engine: str
    """sentiscale, pandas, dask or polars."""
    workers: int
    """Processes or threads it may use."""
    files: list[Path]
    """Plain fastText files."""
    warm_up: Path
    """The first lines of the files: cleaned before the clock runs."""
    folder: Path
    """An empty folder for outputs."""


class PredictJob(Record):
    """Label texts with a model."""

    model: Path
    """The model directory."""
    texts: Path
    """One JSON list of strings."""
    threads: int
    """Threads that torch may use."""
    batch_size: int
    """Texts that are handed over at once."""


class Timed(Record):
    """What the process measured on its own clock."""

    began_at: float
    """When it began to work, on the host's monotonic clock: libraries are loaded, processes started."""
    warm_up_seconds: float
    """Of the work done before, which is not counted."""
    seconds: float
    """Of the work itself."""
    rows: int
    """Written, or labelled."""
    bytes_out: int = 0
    """Written to the disk."""
