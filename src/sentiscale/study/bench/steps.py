"""Time training steps of a layout, in processes of their own: for `--layout auto`, benchmarks, studies."""

import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import psutil
from pydantic import Field, TypeAdapter

from sentiscale.config import Settings
from sentiscale.data.batches import IntArray, epoch_order, padded_width, token_lengths
from sentiscale.data.prepared import PreparedDataset
from sentiscale.parallel.collectives import barrier, gather_numbers, gather_texts
from sentiscale.parallel.cpu import flushed_denormals, peak_memory_mb, torch_threads
from sentiscale.parallel.launch import launch
from sentiscale.parallel.rendezvous import RankEnv
from sentiscale.parallel.runner import Interval, Stage
from sentiscale.parallel.world import World, alone
from sentiscale.records import PhaseTimes, Record
from sentiscale.study.records import Span
from sentiscale.training.clock import PhaseClock, RecordingClock
from sentiscale.training.hardware import Hardware, Place, taken_place
from sentiscale.training.job import JobFile, Measuring
from sentiscale.training.launch import rank_command
from sentiscale.training.step import Learner, StepResult, plan_of, rank_batches, train_steps
from sentiscale.util.atomic import write_file
from sentiscale.util.memory import reused_memory

WORKING = ("user", "nice", "system", "irq", "softirq", "steal")
"""Kinds of processor time that are work: ours or others'. Steal went to other machines of the same host."""


def busy_seconds() -> float:
    """Seconds for which this machine's cores have worked since it was started, added up over cores."""
    times = psutil.cpu_times()
    return float(sum(getattr(times, name, 0.0) for name in WORKING))


class Meter:
    """Cores that were kept busy, by this process and by all together, since it was made."""

    def __init__(self) -> None:
        self.began_at, self.busy, self.own = time.perf_counter(), busy_seconds(), time.process_time()

    def read(self) -> tuple[float, float]:
        """Cores that all processes kept busy, and those of them that this process did."""
        seconds = max(time.perf_counter() - self.began_at, 1e-9)
        return (busy_seconds() - self.busy) / seconds, (time.process_time() - self.own) / seconds


def typical_steps(lengths: IntArray, batch_size: int, seed: int, steps: int) -> list[IntArray]:
    """Rows of `steps` full steps of an epoch, in random order; all of an epoch before any step twice.

    Args:
        lengths: tokens of each training row that the network sees (rows,).
        batch_size: rows of a step, no more than there are.
        seed: fixes the epoch and the order.
        steps: how many, at least 1.
    """
    epoch = [rows for rows in epoch_order(lengths, batch_size, seed, 0) if len(rows) == batch_size]
    by_length = sorted(epoch, key=lambda rows: (int(lengths[rows].max()), int(lengths[rows].sum())))
    whole, rest = divmod(steps, len(epoch))
    middles = (np.arange(rest) + 0.5) * len(epoch) / max(rest, 1)
    chosen = by_length * whole + [by_length[int(place)] for place in middles]
    return [chosen[place] for place in np.random.default_rng(seed).permutation(len(chosen))]


def warm_up_steps(lengths: IntArray, steps: Sequence[IntArray]) -> list[IntArray]:
    """One of the steps for each padded length, longest first: kernels are built by shape, memory by need."""
    by_width = {padded_width(lengths[rows]): rows for rows in steps}
    return [by_width[width] for width in sorted(by_width, reverse=True)]


def numbered(*parts: Sequence[IntArray]) -> Iterator[tuple[int, IntArray]]:
    """Steps of several parts one after the other, with numbers from 0."""
    return enumerate([rows for part in parts for rows in part])


SPANS = TypeAdapter(list[Span])


class Timeline:
    """The spans of one rank, step after step."""

    def __init__(self) -> None:
        self.spans: list[Span] = []

    def add(self, recorded: Iterable[Span], runner: Stage) -> None:
        """Add a step that has just been done."""
        for span in recorded:
            if span.phase != "compute":
                self.spans.append(span)
            elif runner.forward_ended_at is not None:
                self.spans += passes(span, runner.forward_ended_at)
            else:
                self.spans += around(span, runner.last_waits)

    def as_text(self) -> str:
        """As JSON, to be sent."""
        return SPANS.dump_json(self.spans).decode()

    @staticmethod
    def read(text: str) -> list[Span]:
        """What `as_text` wrote."""
        return SPANS.validate_json(text)


def passes(span: Span, forward_ended_at: float) -> list[Span]:
    """A span of computing, cut into forward and backward pass."""
    return [
        span.model_copy(update={"phase": "forward", "end": forward_ended_at}),
        span.model_copy(update={"phase": "backward", "begin": forward_ended_at}),
    ]


def around(span: Span, waits: Sequence[Interval]) -> list[Span]:
    """A span in which passes alternate, cut where the stage waited for the other one."""
    found, begin = [], span.begin
    for wait_begin, wait_end in waits:
        found.append(span.model_copy(update={"phase": "backward", "begin": begin, "end": wait_begin}))
        found.append(span.model_copy(update={"phase": "waiting", "begin": wait_begin, "end": wait_end}))
        begin = wait_end
    return [*found, span.model_copy(update={"phase": "backward", "begin": begin})]


WARM_UP_STEPS = 8
"""First steps, left out: kernels are built, pages come into memory. Typical steps have a warm-up by shape."""


class StepTimes(Record):
    """What some training steps cost, warm-up left out."""

    layout: str
    """Replicas x stages."""
    threads_per_rank: int
    """Threads that torch used in each rank."""
    precision: str
    """Arithmetic of the network."""
    steps: int
    """Timed ones."""
    step_seconds: float
    """Median over steps; each step takes as long as its slowest rank."""
    rows_per_s: float
    """Rows of all steps over the time of all steps; rates of trainings that ran side by side are added."""
    phases_per_rank: list[PhaseTimes]
    """Seconds a step."""
    bytes_per_step: list[int]
    """Sent, by rank."""
    peak_memory_mb_per_rank: list[float]
    """Largest memory of each rank, in MB of 2^20 bytes."""
    losses: list[float]
    """Mean loss of the rows of each step from the very first on, in nats."""
    rows: int = 0
    """Of all steps."""
    seconds: float = 0.0
    """Of all steps; of trainings side by side, those of the one that took longest."""
    seconds_by_step: list[float] = Field(default_factory=list)
    """Of each step, on its slowest rank."""
    warm_up_seconds: float = 0.0
    """Of the steps before the timed ones."""
    first_step_at: float = 0.0
    """When rank 0 began its first step, warm-up included, on the host's monotonic clock."""
    other_cores: float = 0.0
    """Cores that other processes kept busy meanwhile, on the host that all ranks are taken to share."""
    spans_per_rank: list[list[Span]] = Field(default_factory=list)
    """What each rank did when, where that was recorded: data, forward, backward, waiting, reduce, update."""


def measure_steps(
    dataset: Path, settings: Settings, steps: int, measuring: Measuring | None = None
) -> StepTimes:
    """Run `steps` training steps of the layout in the settings, in fresh processes.

    Raises: what the launcher raises; UsageError for settings that cannot run here.
    """
    hardware = Hardware.choose(settings)
    with tempfile.TemporaryDirectory(prefix="sentiscale-") as folder:
        result = Path(folder, "result.json")
        job = JobFile(
            dataset=dataset,
            out=result,
            settings=settings,
            resume=False,
            quiet=True,
            steps=steps,
            measuring=measuring or Measuring(),
        )
        command = rank_command(job.write(Path(folder, "job.json")))
        limit = settings.train.silence_limit
        launch(command, hardware.layout.world_size, threads=hardware.threads, silence_limit=limit)
        return StepTimes.model_validate_json(result.read_bytes())


def measure_rank(job: JobFile) -> None:
    """What each of those processes does; rank 0 writes what was found."""
    env = RankEnv.current()
    hardware = Hardware.choose(job.settings, env)
    limit, always = job.settings.train.silence_limit, job.measuring.exchange == "always"
    with (
        taken_place(hardware, env, limit, even_alone=always) as place,
        flushed_denormals(),
        reused_memory(),
        torch_threads(hardware.threads),
    ):
        found = timed_steps(job, place)
        if place.world.is_main:
            write_file(job.out, found.model_dump_json())


def training_world(world: World, measuring: Measuring) -> World:
    """The world as the training sees it; ranks meet in `world` before and after."""
    if measuring.exchange == "never":
        return alone(world.device)
    if measuring.exchange == "always" and world.layout.world_size == 1:
        return replace(world, replicas=world.everyone, neighbours=world.everyone)
    return world


@dataclass(frozen=True)
class Cost:
    """What one step took on this rank."""

    seconds: float
    """By this rank's clock."""
    rows: int
    """Of the step, over all ranks."""
    own_rows: int
    """Of these, this rank's."""
    bytes_sent: int
    """By this rank."""
    loss: float
    """Summed over the step's rows, nats."""

    @classmethod
    def of(cls, result: StepResult, seconds: float) -> "Cost":
        """Without the batch, so that its memory is free again."""
        batch, loss_sum = result.batch, result.verdict.loss_sum
        own_rows = int((batch.weights_B > 0).sum())
        return cls(seconds, batch.rows_global, own_rows, result.bytes_sent, loss_sum / batch.rows_global)


class Steps:
    """The steps of one rank: first those that warm up, then those that count."""

    def __init__(self, job: JobFile, place: Place) -> None:
        train, measuring, self.world = job.settings.train, job.measuring, place.world
        dataset = PreparedDataset.open(job.dataset)
        split = dataset.split("train")
        self.count, self.warm_up, chosen = job.steps or 1, WARM_UP_STEPS, None
        if measuring.typical:
            lengths = token_lengths(split, train.max_tokens)
            timed = typical_steps(lengths, train.batch_size_for(len(split)), train.seed, self.count)
            before = warm_up_steps(lengths, timed)
            self.warm_up, chosen = len(before), numbered(before, timed)
        plan = plan_of(job.settings, place.hardware, dataset.manifest.vocab_size)
        self.learner = Learner.build(plan, training_world(place.world, measuring))
        self.clock = RecordingClock(place.note) if measuring.record else PhaseClock(note=place.note)
        self.timeline = Timeline()
        batches = rank_batches(split, train, place.world, self.clock, rows_of_steps=chosen)
        self.results = train_steps(self.learner, batches, lambda step: train.lr, train.max_norm, self.clock)

    def run(self) -> Iterator[Cost]:
        """Do all steps, and yield what each took. All ranks begin those that count together."""
        for done in range(self.warm_up + self.count):
            if done == self.warm_up:
                barrier(self.world)
                self.clock.reset()
                self.meter = Meter()
            began_at = time.perf_counter()
            result = next(self.results)
            ended_at = time.perf_counter()
            if isinstance(self.clock, RecordingClock) and done >= self.warm_up:
                self.timeline.add(self.clock.spans, self.learner.runner)
                self.clock.spans.clear()
            yield Cost.of(result, ended_at - began_at)
        self.load = self.meter.read()


def timed_steps(job: JobFile, place: Place) -> StepTimes:
    """Warm up, then take the time of each step on each rank."""
    world, steps = place.world, Steps(job, place)
    first_step_at = time.perf_counter()
    found = list(steps.run())
    timed = found[steps.warm_up :]
    seconds = gather_numbers([each.seconds for each in timed], world)
    slowest = [max(each) for each in zip(*seconds, strict=True)]
    apart = job.measuring.exchange == "never"
    rows = gather_numbers([sum(each.own_rows if apart else each.rows for each in timed)], world)
    totals = [sum(each) for each in seconds] if apart else [sum(slowest)]
    rates = [count / total for (count,), total in zip(rows, totals, strict=False)]
    times = PhaseTimes(**{name: spent / steps.count for name, spent in steps.clock.times()})
    busy = gather_numbers(list(steps.load), world)
    return StepTimes(
        layout=str(place.hardware.layout),
        threads_per_rank=place.hardware.threads,
        precision=place.hardware.precision.name,
        steps=steps.count,
        step_seconds=statistics.median(slowest),
        rows_per_s=sum(rates),
        phases_per_rank=[
            PhaseTimes.model_validate_json(t) for t in gather_texts(times.model_dump_json(), world)
        ],
        bytes_per_step=[
            int(sent) // steps.count
            for (sent,) in gather_numbers([sum(each.bytes_sent for each in timed)], world)
        ],
        peak_memory_mb_per_rank=[mb for (mb,) in gather_numbers([peak_memory_mb(world.device)], world)],
        losses=[each.loss for each in found],
        seconds=max(totals),
        rows=int(sum(count for (count,) in rows) if apart else rows[0][0]),
        seconds_by_step=slowest,
        warm_up_seconds=sum(each.seconds for each in found[: steps.warm_up]),
        first_step_at=first_step_at,
        other_cores=max(0.0, busy[0][0] - sum(own for _, own in busy)),
        spans_per_rank=[Timeline.read(t) for t in gather_texts(steps.timeline.as_text(), world)],
    )
