"""A few training steps on any mesh, on data made to be awkward: what the equivalence tests compare."""

import sys
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from sentiscale.config import ModelSettings
from sentiscale.data.batches import make_batch, token_lengths, training_rows
from sentiscale.data.prepared import Split
from sentiscale.parallel.precision import Precision
from sentiscale.parallel.runner import RunnerConfig
from sentiscale.parallel.world import World
from sentiscale.text.vocab import PAD
from sentiscale.training.clock import PhaseClock
from sentiscale.training.step import Learner, train_steps

VOCAB = 40
MAX_TOKENS = 24
SEED = 3

Result = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """What is trained, and how; `steps` of `batch_size` rows of `rows`, several epochs if need be."""

    cell: str = "lstm"
    bidirectional: bool = False
    layers: int = 1
    pooling: str = "max_mean"
    dropout: float = 0.0
    batch_size: int = 8
    rows: int = 20
    steps: int = 3
    max_norm: float | None = None
    micro_batches: int = 1
    sparse_embedding: bool = True
    wire_dtype: torch.dtype | None = None
    precision: str = "fp64"
    lengths: str = "mixed"
    classes: int = 2
    head: str | None = None
    weighted: bool = False

    def config(self) -> RunnerConfig:
        model = ModelSettings(
            cell=self.cell,
            embedding_dim=6,
            hidden_dim=5,
            dropout=self.dropout,
            layers=self.layers,
            bidirectional=self.bidirectional,
            pooling=self.pooling,
            head=self.head,
        )
        return RunnerConfig(
            model,
            VOCAB,
            Precision(self.precision),
            outputs=1 if self.classes == 2 else self.classes,
            seed=SEED,
            micro_batches=self.micro_batches,
            sparse_embedding=self.sparse_embedding,
            wire_dtype=self.wire_dtype,
        )

    def split(self) -> Split:
        return awkward_split(self.rows, self.lengths, self.classes)

    def row_weights(self) -> np.ndarray | None:
        """Weights in the loss; that of the first row is 0, as a user may give."""
        return np.linspace(0, 2, self.rows).astype(np.float32) if self.weighted else None


def awkward_split(rows: int, lengths: str = "mixed", classes: int = 2) -> Split:
    """Rows with frequent and rare words.

    `lengths` are "mixed": 1 to 30 tokens; "half empty": the same, every second row without a token; "none or
    one": 0 or 1 token, which count as equally long, so that they are mixed within a batch.
    """
    generator = np.random.default_rng(7)
    drawn = generator.integers(1, 31, rows)
    if lengths == "half empty":
        drawn[::2] = 0
    elif lengths == "none or one":
        drawn = (np.arange(rows) % 3 == 0).astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum(drawn)]).astype(np.int64)
    tokens = np.minimum(generator.zipf(1.3, offsets[-1]) + 1, VOCAB - 1).astype(np.uint16)
    return Split("train", tokens, offsets, generator.integers(0, classes, rows).astype(np.uint8))


def batches_of(case: Case, world: World):
    """This rank's (step, batch), as many as the case has steps."""
    split = case.split()
    order = training_rows(token_lengths(split, MAX_TOKENS), case.batch_size, seed=SEED)
    for step, rows in (next(order) for _ in range(case.steps)):
        place = {"data_rank": world.replica, "data_size": world.layout.data}
        yield step, make_batch(split, rows, MAX_TOKENS, **place, row_weights=case.row_weights())


def rate(step: int) -> float:
    return 0.01 / (1 + step)


def learn(world: World, case: Case, learner: Learner | None = None) -> Result:
    """Train; return losses, norms, and weights: stage 0's of its whole replica, stage 1's of its own part."""
    learner = learner or Learner.build(case.config(), world)
    padding, results = [], []
    for result in train_steps(learner, batches_of(case, world), rate, case.max_norm, PhaseClock()):
        padding.append(bool((result.batch.ids_BT == PAD).all()))
        results.append(result)
    return {
        "losses": [result.summary.loss_sum for result in results],
        "norms": [result.summary.norm for result in results],
        "bytes": [result.bytes_sent for result in results],
        "padding": padding,
        "weights": {name: value.numpy() for name, value in learner.runner.full_state().items()},
    }


def learn_all(world: World, cases: dict[str, Case], micro_batches: int) -> dict[str, Result]:
    """`learn` every case, one after the other."""
    return {name: learn(world, replace(case, micro_batches=micro_batches)) for name, case in cases.items()}


def parts_of(world: World, case: Case) -> Result:
    """Numbers of this rank's parameters and moments, those that exist and those that are shapes only."""
    learner = Learner.build(case.config(), world)
    named = dict(learner.runner.net.named_parameters())
    return {
        "real": {name: value.numel() for name, value in named.items() if not value.is_meta},
        "shapes": {name for name, value in named.items() if value.is_meta},
        "moments": {name: sum(m.numel() for m in pair) for name, pair in learner.optimizer.moments.items()},
        "compiler": "torch._dynamo" in sys.modules,
    }


def difference(found: Result, expected: Result) -> float:
    """The largest one between two results: of losses, norms of gradients, and the weights that were found."""
    assert found["weights"].keys() <= expected["weights"].keys()
    pairs = [
        *((found[name], expected[name]) for name in ("losses", "norms")),
        *((value, expected["weights"][name]) for name, value in found["weights"].items()),
    ]
    return max(float(np.abs(np.subtract(*pair)).max()) for pair in pairs)


def same_weights(results: list[Result]) -> bool:
    """Whether all ranks hold what rank 0 holds, to the last bit."""
    first = results[0]["weights"]
    return all(
        np.array_equal(value, first[name]) for result in results for name, value in result["weights"].items()
    )
