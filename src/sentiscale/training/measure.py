"""Time a few training steps of a layout, in processes of their own: what `--layout auto` decides by."""

import statistics
import tempfile
import time
from pathlib import Path

from sentiscale.allocator import reused_memory
from sentiscale.atomic import write_file
from sentiscale.config import Settings
from sentiscale.data.prepared import PreparedDataset
from sentiscale.parallel.collectives import barrier, gather_numbers, gather_texts
from sentiscale.parallel.launch import launch
from sentiscale.parallel.process import flushed_denormals, torch_threads
from sentiscale.parallel.rankenv import RankEnv
from sentiscale.records import PhaseTimes, Record
from sentiscale.training.clock import PhaseClock
from sentiscale.training.feed import rank_batches
from sentiscale.training.finish import peak_memory_mb
from sentiscale.training.hardware import Hardware, Place, taken_place
from sentiscale.training.job import JobFile
from sentiscale.training.learner import Learner, train_steps
from sentiscale.training.ranks import rank_command
from sentiscale.training.setup import plan_of

WARM_UP_STEPS = 8
"""First steps, left out: kernels are built, pages come into memory."""


class StepTimes(Record):
    """What some training steps cost, warm-up left out."""

    layout: str
    threads_per_rank: int
    precision: str
    steps: int
    step_seconds: float
    """Median over steps; each step takes as long as its slowest rank."""
    rows_per_s: float
    """Rows of all steps over the time of all steps."""
    phases_per_rank: list[PhaseTimes]
    """Seconds a step."""
    bytes_per_step: list[int]
    """Sent, by rank."""
    peak_memory_mb_per_rank: list[float]
    losses: list[float]
    """Mean loss of the rows of each step from the very first on, in nats."""


def measure_steps(dataset: Path, settings: Settings, steps: int) -> StepTimes:
    """Run `steps` training steps of the layout in the settings, in fresh processes.

    Raises: what the launcher raises; UsageError for settings that cannot run here.
    """
    hardware = Hardware.choose(settings)
    with tempfile.TemporaryDirectory(prefix="sentiscale-") as folder:
        result = Path(folder, "result.json")
        job = JobFile(dataset=dataset, out=result, settings=settings, resume=False, quiet=True, steps=steps)
        command = rank_command(job.write(Path(folder, "job.json")))
        limit = settings.train.silence_limit
        launch(command, hardware.layout.world_size, threads=hardware.threads, silence_limit=limit)
        return StepTimes.model_validate_json(result.read_bytes())


def measure_rank(job: JobFile) -> None:
    """What each of those processes does; rank 0 writes what was found."""
    env = RankEnv.current()
    hardware = Hardware.choose(job.settings, env)
    with (
        taken_place(hardware, env, job.settings.train.silence_limit) as place,
        flushed_denormals(), reused_memory(), torch_threads(hardware.threads),
    ):  # fmt: skip
        found = timed_steps(job, place)
        if place.world.is_main:
            write_file(job.out, found.model_dump_json())


def timed_steps(job: JobFile, place: Place) -> StepTimes:
    """Warm up, then take the time of each step on each rank."""
    world, train = place.world, job.settings.train
    dataset = PreparedDataset.open(job.dataset)
    steps = job.steps or 1
    plan = plan_of(job.settings, place.hardware, dataset.manifest.vocab_size)
    learner, clock = Learner.build(plan, world), PhaseClock(note=place.note)
    batches = rank_batches(dataset.split("train"), train, world, clock)
    losses: list[float] = []
    ended_at, seconds, rows, sent = 0.0, [], 0, 0
    for result in train_steps(learner, batches, lambda step: train.lr, train.max_norm, clock):
        losses.append(result.verdict.loss_sum / result.batch.rows_global)
        if len(losses) > WARM_UP_STEPS:
            started_at, ended_at = ended_at, time.perf_counter()
            seconds.append(ended_at - started_at)
            rows += result.batch.rows_global
            sent += result.bytes_sent
        if len(losses) == WARM_UP_STEPS:
            barrier(world)
            clock.reset()
            ended_at = time.perf_counter()
        if len(seconds) == steps:
            break
    slowest = [max(each) for each in zip(*gather_numbers(seconds, world), strict=True)]
    times = PhaseTimes(**{name: spent / steps for name, spent in clock.times()})
    return StepTimes(
        layout=str(place.hardware.layout),
        threads_per_rank=place.hardware.threads,
        precision=place.hardware.precision.name,
        steps=steps,
        step_seconds=statistics.median(slowest),
        rows_per_s=rows / sum(slowest),
        phases_per_rank=[
            PhaseTimes.model_validate_json(t) for t in gather_texts(times.model_dump_json(), world)
        ],
        bytes_per_step=[int(each) // steps for (each,) in gather_numbers([sent], world)],
        peak_memory_mb_per_rank=[mb for (mb,) in gather_numbers([peak_memory_mb(world.device)], world)],
        losses=losses,
    )
