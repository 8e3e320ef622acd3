"""One optimizer step on all ranks: this rank's part of the network and the objects that update it."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import count

import numpy as np
import torch

from sentiscale.config import Settings, TrainSettings
from sentiscale.data.batches import (
    Batch,
    FloatArray,
    IntArray,
    drop_words,
    make_batch,
    token_lengths,
    training_rows,
)
from sentiscale.data.prepared import Manifest, Split
from sentiscale.errors import SentiscaleError
from sentiscale.parallel.collectives import StepReport, StepSummary, agree
from sentiscale.parallel.pipeline import build_runner
from sentiscale.parallel.precision import LossScaler
from sentiscale.parallel.runner import Runner, RunnerConfig
from sentiscale.parallel.world import World
from sentiscale.training.clock import PhaseClock
from sentiscale.training.hardware import Hardware
from sentiscale.training.optimizer import Adam, clip_factor

WIRE_DTYPES = {"none": None, "bf16": torch.bfloat16, "fp16": torch.float16}
"""Dtypes of gradient compression by name."""


def runner_config(settings: Settings, hardware: Hardware, manifest: Manifest) -> RunnerConfig:
    train = settings.train
    return RunnerConfig(
        model=settings.model,
        vocab_size=manifest.vocab_size,
        outputs=manifest.class_set.outputs,
        precision=hardware.precision,
        seed=train.seed,
        micro_batches=train.micro_batches,
        wire_dtype=WIRE_DTYPES[train.gradient_compression],
        sparse_embedding=train.embedding_gradients == "sparse",
        recurrent_device=hardware.recurrent_device,
    )


@dataclass
class Learner:
    """This rank's part of the network, its optimizer and its loss scaler (for fp16)."""

    world: World
    runner: Runner
    optimizer: Adam
    scaler: LossScaler

    @classmethod
    def build(cls, config: RunnerConfig, world: World) -> "Learner":
        """Create a learner with initial weights and empty optimizer state."""
        runner = build_runner(config, world)
        return cls(runner.world, runner, Adam(runner.parameters, runner.tables), LossScaler(config.precision))

    def report(self, loss_sum: float, requests: StepReport) -> StepReport:
        """Add this rank's loss and the state of its gradients to `requests`."""
        # Clipping depends on the norm, so it must be the norm of the unscaled gradients.
        norm_squared = self.runner.clipped.norm_squared() / self.scaler.scale**2
        finite = self.runner.gradients_finite(norm_squared)
        return replace(requests, loss_sum=loss_sum, norm_squared=norm_squared, finite=finite)

    def update(self, summary: StepSummary, lr: float, max_norm: float | None) -> None:
        """Update the weights, unless fp16 gradients overflowed on any rank: then all ranks skip the step."""
        scale = self.scaler.scale
        self.scaler.update(summary.finite)
        # Ranks that decided on their own could diverge: their weights, and everything computed from them,
        # would differ. `summary` is the same on every rank.
        if summary.finite:
            self.optimizer.step(lr, clip=clip_factor(summary.norm, max_norm), unscale=1 / scale)


@dataclass(frozen=True)
class StepResult:
    """Result of one optimizer step; the same on every rank except for `batch` and `bytes_sent`."""

    step: int
    summary: StepSummary
    bytes_sent: int
    """Bytes sent by this rank: gradients and changed rows."""
    batch: Batch


def train_steps(
    learner: Learner,
    batches: Iterable[tuple[int, Batch]],
    rate: Callable[[int], float],
    max_norm: float | None,
    clock: PhaseClock,
    requests: Callable[[], StepReport] = StepReport,
) -> Iterator[StepResult]:
    """Do one optimizer step per global batch. Random numbers depend on (seed, step) alone.

    Args:
        learner: the part of the network to train.
        batches: step numbers and this rank's share of each step's rows.
        rate: learning rate by step.
        max_norm: limit of the gradient norm over all stages; None for no limit.
        clock: receives the seconds of each phase.
        requests: called at the end of each step for this rank's flags: stop, out of time, save.
    """
    runner = learner.runner
    for step, batch in batches:
        # The four phases do not overlap. No layout is named here: runners hide which rank computes what.
        with clock.phase("compute", step):
            loss_sum = runner.forward_backward(batch, step, learner.scaler.scale)
        # Time that a stage waits for its partner is not compute time, or reports would rate it as fast.
        clock.move(runner.pop_wait_seconds(), "compute", "reduce")
        with clock.phase("reduce", step):
            sent = runner.reduce_gradients()
            # Loss, norm, overflow and stop share one small message, because a second would cost a round trip.
            summary = agree(learner.report(loss_sum, requests()), learner.world)
        # Check before the update, so that after divergence the weights are still those of the previous step.
        check_numbers(summary, step, learner.scaler)
        with clock.phase("update", step):
            learner.update(summary, rate(step), max_norm)
        with clock.phase("reduce", step):
            sent += runner.share_updates()
        yield StepResult(step, summary, sent, batch)


def check_numbers(summary: StepSummary, step: int, scaler: LossScaler) -> None:
    """Raise SentiscaleError when training has diverged; the weights are still those before the step."""
    skippable = scaler.enabled and scaler.scale > 1
    if not summary.broken_ranks and (summary.finite or skippable):
        return
    what = "gradients became infinite or NaN"
    if summary.broken_ranks:
        ranks = ", ".join(map(str, summary.broken_ranks))
        what = f"the loss became {summary.loss_sum} on rank {ranks}"
    raise SentiscaleError(
        f"{what} at step {step:,}: training diverged. The last checkpoint is valid; "
        "train again with a lower --lr (half of it is a good start)."
    )


def rank_batches(
    split: Split,
    settings: TrainSettings,
    world: World,
    clock: PhaseClock,
    first_step: int = 0,
    rows_of_steps: Iterator[tuple[int, IntArray]] | None = None,
    row_weights: FloatArray | None = None,
) -> Iterator[tuple[int, Batch]]:
    """Yield (step, this rank's share of the step's rows) endlessly; time spent here counts as `data`.

    The rows, and the words that are dropped from them, depend only on seed and step. `rows_of_steps` replaces
    training's own order; it must not end before the caller stops. `row_weights` (rows of the split,) are the
    weights in the loss; all are 1 if it is None.
    """
    if rows_of_steps is None:
        lengths = token_lengths(split, settings.max_tokens)
        rows_of_steps = training_rows(lengths, settings.batch_size_for(len(split)), settings.seed, first_step)
    for next_step in count(first_step):
        with clock.phase("data", next_step):
            step, rows = next(rows_of_steps)
            batch = make_batch(
                split,
                rows,
                settings.max_tokens,
                data_rank=world.replica,
                data_size=world.layout.data,
                row_weights=row_weights,
            )
            if settings.word_dropout:
                # Seeded by step, not drawn from a running generator: a resumed run drops the same words.
                generator = np.random.default_rng([settings.seed, step])
                batch = drop_words(batch, settings.word_dropout, settings.max_tokens, generator)
        yield step, batch
