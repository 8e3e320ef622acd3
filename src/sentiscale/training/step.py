"""A network on a mesh and what changes it, as one rank sees them; and the step that all ranks do together."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import count

import numpy as np
import torch

from sentiscale.config import Settings, TrainSettings
from sentiscale.data.batches import Batch, IntArray, drop_words, make_batch, token_lengths, training_rows
from sentiscale.data.prepared import Split
from sentiscale.errors import SentiscaleError
from sentiscale.parallel.build_runner import build_runner
from sentiscale.parallel.collectives import StepReport, StepVerdict, agree
from sentiscale.parallel.precision import LossScaler
from sentiscale.parallel.runner import Plan, Stage
from sentiscale.parallel.world import World
from sentiscale.training.clock import PhaseClock
from sentiscale.training.hardware import Hardware
from sentiscale.training.optimizer import Adam, clip_factor

WIRE_DTYPES = {"none": None, "bf16": torch.bfloat16, "fp16": torch.float16}
"""Gradient compression by name, as dtypes."""

Wishes = Callable[[], StepReport]
"""What this rank wants besides learning: the flags of a step's report."""


def plan_of(settings: Settings, hardware: Hardware, vocab_size: int) -> Plan:
    """What the settings mean for the network on a mesh."""
    train = settings.train
    return Plan(
        model=settings.model,
        vocab_size=vocab_size,
        precision=hardware.precision,
        seed=train.seed,
        micro_batches=train.micro_batches,
        wire_dtype=WIRE_DTYPES[train.gradient_compression],
        sparse_embedding=train.embedding_gradients == "sparse",
        recurrent_device=hardware.recurrent_device,
    )


@dataclass
class Learner:
    """This rank's part of the network, its optimiser, and the scale of the loss."""

    world: World
    """All ranks, and this one's place."""
    runner: Stage
    """This rank's part of the network."""
    optimizer: Adam
    """Adam over what this rank owns."""
    scaler: LossScaler
    """Of the loss, for fp16."""

    @classmethod
    def build(cls, plan: Plan, world: World) -> "Learner":
        """With first weights and empty optimiser state."""
        runner = build_runner(plan, world)
        return cls(runner.world, runner, Adam(runner.parameters, runner.tables), LossScaler(plan.precision))

    def report(self, loss_sum: float, wishes: StepReport) -> StepReport:
        """What this rank has to say about the gradients it holds."""
        norm_squared = self.runner.clipped.norm_squared() / self.scaler.scale**2
        finite = self.runner.gradients_finite(norm_squared)
        return replace(wishes, loss_sum=loss_sum, norm_squared=norm_squared, finite=finite)

    def update(self, verdict: StepVerdict, lr: float, max_norm: float | None) -> None:
        """Change the weights; a step whose fp16 gradients overflowed anywhere is skipped everywhere."""
        scale = self.scaler.scale
        self.scaler.update(verdict.finite)
        if verdict.finite:
            self.optimizer.step(lr, clip=clip_factor(verdict.norm, max_norm), unscale=1 / scale)


@dataclass(frozen=True)
class StepResult:
    """What one optimiser step did; the same on every rank but for `batch` and `bytes_sent`."""

    step: int
    """Its number, from 0."""
    verdict: StepVerdict
    """What all ranks concluded from it."""
    bytes_sent: int
    """By this rank, gradients and changed rows."""
    batch: Batch
    """This rank's rows."""


def train_steps(
    learner: Learner,
    batches: Iterable[tuple[int, Batch]],
    rate: Callable[[int], float],
    max_norm: float | None,
    clock: PhaseClock,
    wishes: Wishes = StepReport,
) -> Iterator[StepResult]:
    """One optimiser step per global batch. Random numbers depend on (seed, step) alone."""
    runner = learner.runner
    for step, batch in batches:
        with clock.phase("compute", step):
            loss_sum = runner.forward_backward(batch, step, learner.scaler.scale)
        clock.move(runner.take_waited(), "compute", "reduce")
        with clock.phase("reduce", step):
            sent = runner.reduce_gradients()
            verdict = agree(learner.report(loss_sum, wishes()), learner.world)
        check_numbers(verdict, step, learner.scaler)
        with clock.phase("update", step):
            learner.update(verdict, rate(step), max_norm)
        with clock.phase("reduce", step):
            sent += runner.share_updates()
        yield StepResult(step, verdict, sent, batch)


def check_numbers(verdict: StepVerdict, step: int, scaler: LossScaler) -> None:
    """Raise SentiscaleError when training has diverged; the parameters are still those before the step."""
    skippable = scaler.enabled and scaler.scale > 1
    if not verdict.broken_ranks and (verdict.finite or skippable):
        return
    what = "gradients became infinite or NaN"
    if verdict.broken_ranks:
        ranks = ", ".join(map(str, verdict.broken_ranks))
        what = f"the loss became {verdict.loss_sum} on rank {ranks}"
    raise SentiscaleError(
        f"{what} at step {step:,}: training diverged. The last checkpoint is sound; "
        "train again with a lower --lr (half of it is a good start)."
    )


def rank_batches(
    split: Split,
    settings: TrainSettings,
    world: World,
    clock: PhaseClock,
    first_step: int = 0,
    rows_of_steps: Iterator[tuple[int, IntArray]] | None = None,
) -> Iterator[tuple[int, Batch]]:
    """Yield (step, this rank's share of the step's rows) without end; the time to make it counts as `data`.

    Which rows, and which of their words are dropped, depends on seed and step alone. `rows_of_steps` takes
    the place of training's own order; it must not end before the caller does.
    """
    if rows_of_steps is None:
        lengths = token_lengths(split, settings.max_tokens)
        rows_of_steps = training_rows(lengths, settings.batch_size_for(len(split)), settings.seed, first_step)
    for coming in count(first_step):
        with clock.phase("data", coming):
            step, rows = next(rows_of_steps)
            batch = make_batch(
                split, rows, settings.max_tokens, data_rank=world.replica, data_size=world.layout.data
            )
            if settings.word_dropout:
                generator = np.random.default_rng([settings.seed, step])
                batch = drop_words(batch, settings.word_dropout, settings.max_tokens, generator)
        yield step, batch
