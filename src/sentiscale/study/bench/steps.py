"""Time training steps of a layout in fresh processes, for `--layout auto`, `bench` and `compare`."""

import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, Field

from sentiscale.config import Settings
from sentiscale.data.batches import IntArray, epoch_order, padded_width, token_lengths
from sentiscale.data.prepared import PreparedDataset
from sentiscale.parallel.collectives import barrier, gather_texts
from sentiscale.parallel.cpu import flushed_denormals, peak_memory_mb, torch_threads
from sentiscale.parallel.launch import launch
from sentiscale.parallel.rendezvous import RankEnv
from sentiscale.parallel.runner import Interval, Runner
from sentiscale.parallel.world import World, single_rank
from sentiscale.records import PhaseTimes
from sentiscale.study.bench import rank
from sentiscale.study.load import CoreMeter
from sentiscale.study.records import Span
from sentiscale.training.clock import OnPhase, PhaseClock, ignore_phase
from sentiscale.training.hardware import Hardware, RankContext, join_ranks
from sentiscale.training.step import Learner, rank_batches, runner_config, train_steps
from sentiscale.util.atomic import write_file
from sentiscale.util.memory import reused_memory


def typical_steps(lengths: IntArray, batch_size: int, seed: int, steps: int) -> list[IntArray]:
    """Choose the rows of `steps` full steps of an epoch, in random order.

    Steps are chosen evenly across the lengths of their texts, so that even a few have the mean cost of an
    epoch. No step is repeated before all steps of the epoch are used.

    Args:
        lengths: number of tokens of each training row that the network reads (rows,).
        batch_size: rows per step, at most the number of rows.
        seed: determines the epoch and the order.
        steps: number of steps, at least 1.
    """
    epoch = [rows for rows in epoch_order(lengths, batch_size, seed, 0) if len(rows) == batch_size]
    by_length = sorted(epoch, key=lambda rows: (int(lengths[rows].max()), int(lengths[rows].sum())))
    whole, rest = divmod(steps, len(epoch))
    middles = (np.arange(rest) + 0.5) * len(epoch) / max(rest, 1)
    chosen = by_length * whole + [by_length[int(place)] for place in middles]
    return [chosen[place] for place in np.random.default_rng(seed).permutation(len(chosen))]


def warm_up_steps(lengths: IntArray, steps: Sequence[IntArray]) -> list[IntArray]:
    """One step for each padded length, because kernels are built per shape.

    The longest comes first, so that memory grows only once.
    """
    by_width = {padded_width(lengths[rows]): rows for rows in steps}
    return [by_width[width] for width in sorted(by_width, reverse=True)]


class MeasureOptions(BaseModel):
    """Options for the measurement of steps."""

    exchange: Literal["needed", "always", "never"] = "needed"
    """needed: several ranks exchange gradients. always: a single rank also runs the exchange, with itself.
    never: ranks are independent trainings, each with its share of the rows."""
    typical: bool = False
    """Whether to choose steps evenly across the text lengths of an epoch; otherwise its first steps are
    used."""
    record: bool = False
    """Whether to record the start and the end of each phase of each step."""


class MeasureJob(BaseModel):
    """Steps to measure. The job is passed to the processes of the ranks as JSON."""

    dataset: Path
    out: Path
    """Result file."""
    settings: Settings
    steps: int
    """Number of steps to time after the warm-up."""
    options: MeasureOptions = MeasureOptions()


class RecordingClock(PhaseClock):
    """A phase clock that also records the start and the end of each phase of each step, for timelines."""

    def __init__(self, on_phase: OnPhase = ignore_phase) -> None:
        super().__init__(on_phase=on_phase)
        self.spans: list[Span] = []

    def reset(self) -> None:
        super().reset()
        self.spans.clear()

    @contextmanager
    def phase(self, name: str, step: int = 0) -> Iterator[None]:
        begin = time.perf_counter()
        try:
            with super().phase(name, step):
                yield
        finally:
            self.spans.append(Span(phase=name, step=step, begin=begin, end=time.perf_counter()))


def split_computing(recorded: Iterable[Span], runner: Runner) -> list[Span]:
    """Divide the computing spans of the step that has just ended into passes and waiting."""
    spans: list[Span] = []
    for span in recorded:
        if span.phase != "compute":
            spans.append(span)
        elif runner.forward_ended_at is not None:
            spans += passes(span, runner.forward_ended_at)
        else:
            spans += around(span, runner.last_waits)
    return spans


def passes(span: Span, forward_ended_at: float) -> list[Span]:
    """Divide a computing span into the forward and the backward pass."""
    return [
        span.model_copy(update={"phase": "forward", "end": forward_ended_at}),
        span.model_copy(update={"phase": "backward", "begin": forward_ended_at}),
    ]


def around(span: Span, waits: Sequence[Interval]) -> list[Span]:
    """Divide a computing span of a pipeline stage into computing and waiting for the other stage.

    Forward and backward passes alternate in it, so all computing counts as backward.
    """
    spans, begin = [], span.begin
    for wait_begin, wait_end in waits:
        spans.append(span.model_copy(update={"phase": "backward", "begin": begin, "end": wait_begin}))
        spans.append(span.model_copy(update={"phase": "waiting", "begin": wait_begin, "end": wait_end}))
        begin = wait_end
    return [*spans, span.model_copy(update={"phase": "backward", "begin": begin})]


WARM_UP_STEPS = 8
"""Number of untimed first steps, which build kernels and touch memory. Typical steps instead have one warm-up
step per shape."""


class StepTimes(BaseModel, frozen=True):
    """Measured cost of training steps, without warm-up. Lists named `per_rank` have one entry per rank."""

    layout: str
    threads_per_rank: int
    precision: str
    steps: int  # number of timed steps
    step_seconds: float  # median over steps of the time of the slowest rank
    rows_per_s: float  # total rows over total time; summed over independent trainings
    phases_per_rank: list[PhaseTimes]  # seconds per step
    bytes_per_step: list[int]  # bytes sent, by rank
    peak_memory_mb_per_rank: list[float]  # MB of 2^20 bytes
    losses: list[float]  # mean loss of each step in nats, including warm-up
    rows: int = 0  # total over the timed steps
    seconds: float = 0.0  # total over the timed steps; for independent trainings, that of the slowest one
    seconds_by_step: list[float] = Field(default_factory=list)  # time of the slowest rank
    warm_up_seconds: float = 0.0
    first_step_at: float = 0.0  # start of rank 0's first warm-up step, on the host's monotonic clock
    other_cores: float = 0.0  # cores kept busy by other processes; all ranks are assumed to be on one host
    spans_per_rank: list[list[Span]] = Field(default_factory=list)  # timelines, if recorded


def measure_steps(
    dataset: Path, settings: Settings, steps: int, options: MeasureOptions | None = None
) -> StepTimes:
    """Time `steps` training steps of the layout in `settings`, in fresh processes.

    Raises:
        UsageError: if the settings cannot run on this machine.
        SentiscaleError: if a rank fails.
    """
    hardware = Hardware.choose(settings)
    with tempfile.TemporaryDirectory(prefix="sentiscale-") as folder:
        result = Path(folder, "result.json")
        job = MeasureJob(
            dataset=dataset, out=result, settings=settings, steps=steps, options=options or MeasureOptions()
        )
        job_file = Path(folder, "job.json")
        job_file.write_text(job.model_dump_json(), encoding="utf-8")
        launch(
            lambda attempt: rank.command(job_file),
            hardware.layout.world_size,
            threads=hardware.threads,
            heartbeat_timeout=settings.train.silence_limit,
        )
        return StepTimes.model_validate_json(result.read_bytes())


class RankSteps(BaseModel):
    """Measured steps of one rank."""

    first_step_at: float
    warm_up_seconds: float
    seconds: list[float]  # one entry per timed step
    losses: list[float]  # one entry per step, including warm-up
    rows: int
    bytes_sent: int
    peak_memory_mb: float
    busy_cores: float  # cores kept busy by all processes
    own_cores: float  # cores kept busy by this process
    phases: PhaseTimes  # seconds per step
    spans: list[Span]


def measure_rank(job: MeasureJob) -> None:
    """Measure as one rank. Rank 0 writes the combined result to `job.out`."""
    env = RankEnv.current()
    hardware = Hardware.choose(job.settings, env)
    limit, always = job.settings.train.silence_limit, job.options.exchange == "always"
    with (
        join_ranks(hardware, env, limit, even_alone=always) as place,
        flushed_denormals(),
        reused_memory(),
        torch_threads(hardware.threads),
    ):
        texts = gather_texts(time_steps(job, place).model_dump_json(), place.world)
        if place.world.is_main:
            ranks = [RankSteps.model_validate_json(text) for text in texts]
            independent = job.options.exchange == "never"
            write_file(job.out, combine(ranks, hardware, independent=independent).model_dump_json())


def training_world(world: World, options: MeasureOptions) -> World:
    """The world in which the training exchanges gradients, as selected by `options.exchange`."""
    if options.exchange == "never":
        return single_rank(world.device)
    if options.exchange == "always" and world.layout.world_size == 1:
        return replace(world, replicas=world.everyone, neighbours=world.everyone)
    return world


def time_steps(job: MeasureJob, place: RankContext) -> RankSteps:
    """Run the warm-up, then time each step on this rank. All ranks begin the timed steps together."""
    train, options, world = job.settings.train, job.options, place.world
    dataset = PreparedDataset.open(job.dataset)
    split, count = dataset.split("train"), job.steps
    warm_up, chosen = WARM_UP_STEPS, None
    if options.typical:
        lengths = token_lengths(split, train.max_tokens)
        timed = typical_steps(lengths, train.batch_size_for(len(split)), train.seed, count)
        before = warm_up_steps(lengths, timed)
        warm_up, chosen = len(before), enumerate([*before, *timed])
    config = runner_config(dataset.resolve(job.settings), place.hardware, dataset.manifest)
    learner = Learner.build(config, training_world(world, options))
    clock = RecordingClock(place.on_phase) if options.record else PhaseClock(on_phase=place.on_phase)
    batches = rank_batches(split, train, world, clock, rows_of_steps=chosen)
    results = train_steps(learner, batches, lambda step: train.lr, train.max_norm, clock)
    first_step_at = time.perf_counter()
    seconds, losses, rows, sent, spans = list[float](), list[float](), 0, 0, list[Span]()
    for step in range(warm_up + count):
        if step == warm_up:
            barrier(world)
            clock.reset()
            meter = CoreMeter()
        began_at = time.perf_counter()
        result = next(results)
        seconds.append(time.perf_counter() - began_at)
        batch = result.batch
        losses.append(result.summary.loss_sum / batch.rows_global)
        if step >= warm_up:
            rows += int((batch.weights_B > 0).sum()) if options.exchange == "never" else batch.rows_global
            sent += result.bytes_sent
            if isinstance(clock, RecordingClock):
                spans += split_computing(clock.spans, learner.runner)
                clock.spans.clear()
    busy, own = meter.read()
    return RankSteps(
        first_step_at=first_step_at,
        warm_up_seconds=sum(seconds[:warm_up]),
        seconds=seconds[warm_up:],
        losses=losses,
        rows=rows,
        bytes_sent=sent,
        peak_memory_mb=peak_memory_mb(world.device),
        busy_cores=busy,
        own_cores=own,
        phases=PhaseTimes(**{name: spent / count for name, spent in clock.times()}),
        spans=spans,
    )


def combine(ranks: Sequence[RankSteps], hardware: Hardware, *, independent: bool) -> StepTimes:
    """Combine the steps of all ranks. With `independent`, each rank is a separate training."""
    first, steps = ranks[0], len(ranks[0].seconds)
    slowest = [max(each) for each in zip(*(rank.seconds for rank in ranks), strict=True)]
    # Ranks of the same training wait for the slowest rank in every step.
    totals = [sum(rank.seconds) for rank in ranks] if independent else [sum(slowest)]
    return StepTimes(
        layout=str(hardware.layout),
        threads_per_rank=hardware.threads,
        precision=hardware.precision.name,
        steps=steps,
        step_seconds=statistics.median(slowest),
        rows_per_s=sum(rank.rows / total for rank, total in zip(ranks, totals, strict=False)),
        phases_per_rank=[rank.phases for rank in ranks],
        bytes_per_step=[rank.bytes_sent // steps for rank in ranks],
        peak_memory_mb_per_rank=[rank.peak_memory_mb for rank in ranks],
        losses=first.losses,
        rows=sum(rank.rows for rank in ranks) if independent else first.rows,
        seconds=max(totals),
        seconds_by_step=slowest,
        warm_up_seconds=first.warm_up_seconds,
        first_step_at=first.first_step_at,
        other_cores=max(0.0, first.busy_cores - sum(rank.own_cores for rank in ranks)),
        spans_per_rank=[rank.spans for rank in ranks],
    )
