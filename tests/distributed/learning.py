"""A few training steps on any mesh, on data made to be awkward: what the equivalence tests compare."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from sentiscale.config import ModelSettings
from sentiscale.data.batches import make_batch, token_lengths, training_rows
from sentiscale.data.prepared import Split
from sentiscale.parallel.collectives import gather_numbers
from sentiscale.parallel.precision import Precision
from sentiscale.parallel.stage import Plan
from sentiscale.parallel.world import World
from sentiscale.training.clock import PhaseClock
from sentiscale.training.learner import Learner, train_steps

VOCAB = 40
MAX_TOKENS = 24


@dataclass(frozen=True)
class Case:
    """What is trained, and how; `steps` of `batch_size` rows of `rows`, three epochs if need be."""

    cell: str = "lstm"
    bidirectional: bool = False
    layers: int = 1
    dropout: float = 0.0
    batch_size: int = 8
    rows: int = 20
    steps: int = 3
    max_norm: float | None = None
    micro_batches: int = 1
    sparse_embedding: bool = True
    wire_dtype: torch.dtype | None = None
    precision: str = "fp64"
    empty_rows: bool = False

    def plan(self) -> Plan:
        model = ModelSettings(
            cell=self.cell, embedding_dim=6, hidden_dim=5, dropout=self.dropout, layers=self.layers,
            bidirectional=self.bidirectional,
        )  # fmt: skip
        return Plan(
            model, VOCAB, Precision(self.precision), seed=3, micro_batches=self.micro_batches,
            sparse_embedding=self.sparse_embedding, wire_dtype=self.wire_dtype,
        )  # fmt: skip


def awkward_split(rows: int, empty_rows: bool = False) -> Split:
    """Rows of 0 to 30 tokens with frequent and rare words; with `empty_rows`, every second one has none."""
    generator = np.random.default_rng(7)
    lengths = generator.integers(1, 31, rows)
    if empty_rows:
        lengths[::2] = 0
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    tokens = np.minimum(generator.zipf(1.3, offsets[-1]) + 1, VOCAB - 1).astype(np.uint16)
    return Split("train", tokens, offsets, generator.integers(0, 2, rows).astype(np.uint8))


def learn(world: World, case: Case) -> dict[str, Any]:
    """Train; return the losses, and on rank 0 also the whole network's weights, as numpy arrays."""
    split = awkward_split(case.rows, case.empty_rows)
    learner = Learner.build(case.plan(), world)
    order = training_rows(token_lengths(split, MAX_TOKENS), case.batch_size, seed=3)
    batches = (
        (step, make_batch(split, rows, MAX_TOKENS, data_rank=world.replica, data_size=world.layout.data))
        for step, rows in (next(order) for _ in range(case.steps))
    )
    results = list(train_steps(learner, batches, lambda step: 0.01 / (1 + step), case.max_norm, PhaseClock()))
    return {
        "losses": [result.verdict.loss_sum for result in results],
        "norms": [result.verdict.norm for result in results],
        "bytes": [result.bytes_sent for result in results],
        "weights": {name: value.numpy() for name, value in learner.runner.full_state().items()},
        "parameters": gather_numbers(
            [sum(p.numel() for p in learner.runner.net.parameters() if not p.is_meta)], world
        ),
    }


def learn_all(world: World, cases: dict[str, Case], micro_batches: int) -> dict[str, dict[str, Any]]:
    """`learn` every case, one after the other."""
    return {name: learn(world, replace(case, micro_batches=micro_batches)) for name, case in cases.items()}
