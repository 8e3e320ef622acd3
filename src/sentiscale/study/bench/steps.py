"""Time training steps of a layout in fresh processes: for `--layout auto`, benchmarks, studies."""

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
    """Rows of `steps` full steps of an epoch, in random order; all of an epoch before any step twice.

    Steps are chosen evenly from those of an epoch by length, so that few of them cost what a mean one costs.

    Args:
        lengths: tokens of each training row that the network sees (rows,).
        batch_size: rows of a step, no more than there are.
        seed: fixes the epoch and the order.
        steps: number of steps, at least 1.
    """
    epoch = [rows for rows in epoch_order(lengths, batch_size, seed, 0) if len(rows) == batch_size]
    by_length = sorted(epoch, key=lambda rows: (int(lengths[rows].max()), int(lengths[rows].sum())))
    whole, rest = divmod(steps, len(epoch))
    middles = (np.arange(rest) + 0.5) * len(epoch) / max(rest, 1)
    chosen = by_length * whole + [by_length[int(place)] for place in middles]
    return [chosen[place] for place in np.random.default_rng(seed).permutation(len(chosen))]


def warm_up_steps(lengths: IntArray, steps: Sequence[IntArray]) -> list[IntArray]:
    """One step for each padded length, as kernels are built by shape; longest first, so memory grows once."""
    by_width = {padded_width(lengths[rows]): rows for rows in steps}
    return [by_width[width] for width in sorted(by_width, reverse=True)]


class MeasureOptions(BaseModel):
    """How the steps of a job are measured."""

    exchange: Literal["needed", "always", "never"] = "needed"
    """always: even one rank sends its gradients through the exchange, to itself. never: ranks are independent
    trainings, each with its share of the rows."""
    typical: bool = False
    """Steps chosen all over an epoch, with the lengths that its steps have; else its first ones."""
    record: bool = False
    """Record when each phase of each step began and ended."""


class MeasureJob(BaseModel):
    """Steps to measure; JSON carries it to the processes of the ranks."""

    dataset: Path
    out: Path
    """File for the result."""
    settings: Settings
    steps: int
    """Steps to time, after the warm-up."""
    options: MeasureOptions = MeasureOptions()


class RecordingClock(PhaseClock):
    """Also records when each phase of each step began and ended, for timelines."""

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
    """The spans of a step that has just ended, with computing divided into passes and waiting."""
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
    """A span of computing, divided into forward and backward pass."""
    return [
        span.model_copy(update={"phase": "forward", "end": forward_ended_at}),
        span.model_copy(update={"phase": "backward", "begin": forward_ended_at}),
    ]


def around(span: Span, waits: Sequence[Interval]) -> list[Span]:
    """A span in which passes alternate, divided where the stage waited for the other one."""
    spans, begin = [], span.begin
    for wait_begin, wait_end in waits:
        spans.append(span.model_copy(update={"phase": "backward", "begin": begin, "end": wait_begin}))
        spans.append(span.model_copy(update={"phase": "waiting", "begin": wait_begin, "end": wait_end}))
        begin = wait_end
    return [*spans, span.model_copy(update={"phase": "backward", "begin": begin})]


WARM_UP_STEPS = 8
"""Untimed first steps, which build kernels and touch memory. Typical steps have a warm-up by shape."""


class StepTimes(BaseModel, frozen=True):
    """Cost of some training steps, without warm-up. Lists by rank hold one entry for each rank."""

    layout: str
    threads_per_rank: int
    precision: str
    steps: int  # timed
    step_seconds: float  # median over steps; a step takes as long as its slowest rank
    rows_per_s: float  # rows of all steps over the time of all steps; summed over independent trainings
    phases_per_rank: list[PhaseTimes]  # seconds per step
    bytes_per_step: list[int]  # sent, by rank
    peak_memory_mb_per_rank: list[float]  # MB of 2^20 bytes
    losses: list[float]  # mean over the rows of each step from the very first on, in nats
    rows: int = 0  # of all steps
    seconds: float = 0.0  # of all steps; of independent trainings, of the slowest one
    seconds_by_step: list[float] = Field(default_factory=list)  # on the slowest rank
    warm_up_seconds: float = 0.0
    first_step_at: float = 0.0  # rank 0's, warm-up included, on the host's monotonic clock
    other_cores: float = 0.0  # kept busy by other processes, on the host that all ranks are assumed to share
    spans_per_rank: list[list[Span]] = Field(default_factory=list)  # timelines, if recorded


def measure_steps(
    dataset: Path, settings: Settings, steps: int, options: MeasureOptions | None = None
) -> StepTimes:
    """Run `steps` training steps of the layout in the settings, in fresh processes.

    Raises:
        UsageError: settings that cannot run here.
        SentiscaleError: a rank failed.
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
    """The steps of one rank."""

    first_step_at: float
    warm_up_seconds: float
    seconds: list[float]  # by timed step
    losses: list[float]  # by step, warm-up included
    rows: int
    bytes_sent: int
    peak_memory_mb: float
    busy_cores: float  # by all processes
    own_cores: float
    phases: PhaseTimes  # seconds per step
    spans: list[Span]


def measure_rank(job: MeasureJob) -> None:
    """Measure as one of these processes; rank 0 writes the result."""
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
    """The world that the training uses; before and after, ranks synchronize in `world`."""
    if options.exchange == "never":
        return single_rank(world.device)
    if options.exchange == "always" and world.layout.world_size == 1:
        return replace(world, replicas=world.everyone, neighbours=world.everyone)
    return world


def time_steps(job: MeasureJob, place: RankContext) -> RankSteps:
    """Warm up, then time each step on this rank. All ranks begin the timed steps together."""
    train, options, world = job.settings.train, job.options, place.world
    dataset = PreparedDataset.open(job.dataset)
    split, count = dataset.split("train"), job.steps
    warm_up, chosen = WARM_UP_STEPS, None
    if options.typical:
        lengths = token_lengths(split, train.max_tokens)
        timed = typical_steps(lengths, train.batch_size_for(len(split)), train.seed, count)
        before = warm_up_steps(lengths, timed)
        warm_up, chosen = len(before), enumerate([*before, *timed])
    config = runner_config(job.settings, place.hardware, dataset.manifest.vocab_size)
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
    """The steps of all ranks together; `independent`: each rank is a training of its own."""
    first, steps = ranks[0], len(ranks[0].seconds)
    slowest = [max(each) for each in zip(*(rank.seconds for rank in ranks), strict=True)]
    # Ranks of one training wait for the slowest in every step.
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
