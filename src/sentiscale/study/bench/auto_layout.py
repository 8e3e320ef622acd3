"""`--layout auto`: run a few steps of each sensible layout on this machine's real data, take the fastest."""

from dataclasses import dataclass
from typing import Any

import torch

from sentiscale.config import Settings
from sentiscale.parallel.layout import Layout
from sentiscale.parallel.precision import choose_device
from sentiscale.records import available_cores
from sentiscale.study.bench.steps import StepTimes, measure_steps
from sentiscale.training.job import Job
from sentiscale.util.progress import Progress

STEPS = 24
"""Steps that are timed for each candidate, after the warm-up: about a second each at the default size."""

WORTH_IT = 1.03
"""How much faster more ranks must be than fewer: below that, simpler is better."""


@dataclass(frozen=True)
class Choice:
    """A layout that was chosen by measuring."""

    settings: Settings
    """With the layout and its threads instead of `auto`."""
    why: str
    """In words."""
    measured: list[StepTimes]
    """Each layout that was tried."""

    def as_dict(self) -> dict[str, Any]:
        """What a run's record says of it."""
        keys = {"layout", "threads_per_rank", "rows_per_s", "step_seconds"}
        return {"why": self.why, "measured": [times.model_dump(include=keys) for times in self.measured]}


def choose_layout(job: Job, progress: Progress) -> Choice:
    """Measure all candidates on the job's data; tell what was found."""
    measured = []
    for layout, threads in candidates(job.settings):
        settings = with_layout(job.settings, layout, threads)
        times = measure_steps(job.dataset.path.absolute(), settings, STEPS)
        progress.say(f"layout {layout} with {threads} threads a rank: {times.rows_per_s:,.0f} reviews/s")
        measured.append(times)
    best = fastest_simple(measured)
    why = reason(best, measured)
    progress.say(why)
    chosen = with_layout(job.settings, Layout.parse(best.layout), best.threads_per_rank)
    return Choice(chosen, why, measured)


def candidates(settings: Settings) -> list[tuple[Layout, int]]:
    """Layouts and threads a rank that use this machine fully, fewest ranks first.

    On a CPU every power of two of replicas up to the cores, and two stages once; on graphics processors
    one replica each; where the recurrent layer is to have a device of its own, only one process.
    """
    cores = available_cores()
    fixed = settings.train.threads_per_rank
    if settings.train.recurrent_device is not None:
        return [(Layout(1, 1), fixed or cores)]
    if choose_device(settings.train.device).type == "cuda":
        return [(Layout(count, 1), 1) for count in powers_of_two(torch.cuda.device_count())]
    found = [(Layout(ranks, 1), fixed or cores // ranks) for ranks in powers_of_two(cores)]
    if cores >= 2:
        found.append((Layout(1, 2), fixed or cores // 2))
    return [(layout, threads) for layout, threads in found if layout.world_size * threads <= cores]


def powers_of_two(most: int) -> list[int]:
    """1, 2, 4, ... up to `most`, and `most` itself."""
    return sorted({2**power for power in range(most.bit_length()) if 2**power <= most} | {most})


def fastest_simple(measured: list[StepTimes]) -> StepTimes:
    """The fastest, or one with fewer ranks that is nearly as fast."""
    fastest = max(times.rows_per_s for times in measured)
    good = [times for times in measured if times.rows_per_s * WORTH_IT >= fastest]
    return min(good, key=lambda times: (Layout.parse(times.layout).world_size, -times.rows_per_s))


def reason(best: StepTimes, measured: list[StepTimes]) -> str:
    """Why `best` was taken, in a sentence."""
    others = [times for times in measured if times is not best]
    chosen = f"taking layout {best.layout} with {best.threads_per_rank} threads a rank"
    if not others:
        return f"{chosen}: the only one that fits this machine"
    next_best = max(others, key=lambda times: times.rows_per_s)
    ratio = best.rows_per_s / next_best.rows_per_s
    if ratio >= 1:
        return f"{chosen}: {ratio:.2f} times as fast as {next_best.layout}"
    return f"{chosen}: {next_best.layout} is only {1 / ratio:.2f} times as fast and needs more ranks"


def with_layout(settings: Settings, layout: Layout, threads: int) -> Settings:
    """The settings with this layout."""
    train = settings.train.model_copy(update={"layout": str(layout), "threads_per_rank": threads})
    return settings.model_copy(update={"train": train})
