"""`--layout auto`: time a few steps of each suitable layout on the training data, and choose the fastest."""

from pathlib import Path
from typing import Any

import torch

from sentiscale.config import Settings
from sentiscale.data.prepared import PreparedDataset
from sentiscale.parallel.layout import Layout
from sentiscale.parallel.precision import choose_device
from sentiscale.parallel.rendezvous import RankEnv
from sentiscale.records import available_cores
from sentiscale.study.bench.steps import StepTimes, measure_steps
from sentiscale.training.run_directory import RunDir
from sentiscale.util.progress import Progress

STEPS = 24
"""Number of steps timed for each candidate after the warm-up, which takes about 1 s at the default size."""

WORTH_IT = 1.03
"""Factor by which a layout with more ranks must be faster than one with fewer ranks to be chosen."""


def settle_layout(
    settings: Settings,
    dataset: PreparedDataset | str | Path,
    out: str | Path,
    progress: Progress,
    *,
    resume: bool = False,
    force: bool = False,
) -> tuple[Settings, dict[str, Any] | None]:
    """Replace layout `auto` with the fastest layout, and return the settings and the reason for the choice.

    The reason is stored in the record of the run. It is None if the settings are returned unchanged: for any
    other layout, and in a rank that torchrun started, which determines the number of ranks.

    Raises: OutputExistsError before any measurement if training must not write to `out`.
    """
    if settings.train.layout != "auto" or RankEnv.current() is not None:
        return settings, None
    RunDir(Path(out)).check(resume=resume, force=force)
    if not isinstance(dataset, PreparedDataset):
        dataset = PreparedDataset.open(dataset)
    settings = dataset.resolve(settings)
    measured = []
    for layout, threads in candidates(settings):
        times = measure_steps(dataset.path.absolute(), with_layout(settings, layout, threads), STEPS)
        progress.say(f"layout {layout} with {threads} threads per rank: {times.rows_per_s:,.0f} reviews/s")
        measured.append(times)
    best = fastest_simple(measured)
    why = reason(best, measured)
    progress.say(why)
    keys = {"layout", "threads_per_rank", "rows_per_s", "step_seconds"}
    choice = {"why": why, "measured": [times.model_dump(include=keys) for times in measured]}
    return with_layout(settings, Layout.parse(best.layout), best.threads_per_rank), choice


def candidates(settings: Settings) -> list[tuple[Layout, int]]:
    """Layouts, with threads per rank, that use the whole machine; fewest ranks first.

    On a CPU, these are all powers of two of replicas up to the number of cores, the number of cores itself,
    and one layout with two stages. On GPUs, there is one replica per GPU. If the recurrent layer has its own
    device, the only candidate is a single process.
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
    """The layout with the fewest ranks among those within a factor of `WORTH_IT` of the fastest."""
    fastest = max(times.rows_per_s for times in measured)
    good = [times for times in measured if times.rows_per_s * WORTH_IT >= fastest]
    return min(good, key=lambda times: (Layout.parse(times.layout).world_size, -times.rows_per_s))


def reason(best: StepTimes, measured: list[StepTimes]) -> str:
    """Explain in one sentence why `best` was chosen."""
    others = [times for times in measured if times is not best]
    chosen = f"choosing layout {best.layout} with {best.threads_per_rank} threads per rank"
    if not others:
        return f"{chosen}: the only one that fits this machine"
    next_best = max(others, key=lambda times: times.rows_per_s)
    ratio = best.rows_per_s / next_best.rows_per_s
    if ratio >= 1:
        return f"{chosen}: {ratio:.2f} times as fast as {next_best.layout}"
    return f"{chosen}: {next_best.layout} is only {1 / ratio:.2f} times as fast and needs more ranks"


def with_layout(settings: Settings, layout: Layout, threads: int) -> Settings:
    train = settings.train.model_copy(update={"layout": str(layout), "threads_per_rank": threads})
    return settings.model_copy(update={"train": train})
