"""Let trackers follow a run: the place where training and `sentiscale.tracking` meet."""

from collections.abc import Iterator
from contextlib import contextmanager

from sentiscale.progress import Progress
from sentiscale.tracking.following import Following
from sentiscale.tracking.seam import TrackedRun
from sentiscale.training.rundir import logger
from sentiscale.training.setup import Training


@contextmanager
def followed(training: Training, progress: Progress, *, resumed: bool) -> Iterator[None]:
    """Have the trackers that the settings name follow rank 0 while the block runs.

    The record as it stands at the end of the block, well or not, says how the run ended.
    """
    settings, run_dir = training.settings.track, training.run_dir
    if not settings.to or not training.world.is_main:
        yield
        return

    def say(message: str) -> None:
        logger.warning(message.removeprefix("warning: "))
        progress.say(message)

    step = training.state.step if resumed else None
    following = Following(settings, TrackedRun(run_dir.path.absolute(), training.record, step), say)
    for earlier in training.state.metrics:  # what a tracker missed, as one does that was not there before
        following.metrics(earlier)
    training.on_metrics = following.metrics
    try:
        yield
    finally:
        following.end(run_dir.read_record())
