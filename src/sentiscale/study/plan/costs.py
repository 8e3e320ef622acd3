"""The costs of a training that predictions rest on, and one rank's share of a step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

import numpy as np

BEYOND = 2.0
"""A value is trusted up to this factor below the smallest or above the largest measurement."""

HEAPS = 0.65
"""Exponent with which the distinct words of a batch grow with its rows, from 16 to 512 reviews (two data sets
of 170,000 reviews with 30,000 and 130,000 words). It falls beyond, so larger batches are overestimated."""


@dataclass(frozen=True)
class Curve:
    """Points (x rising, y) joined by straight lines; the outer lines continue beyond the points.

    With `power`, lines are straight in the logarithms of both: power laws, such as the growth of a
    vocabulary with the text (Heaps, 1978). With a single point, y is proportional to x, or to x ** `HEAPS`.
    """

    x: tuple[float, ...]
    y: tuple[float, ...]
    power: bool = False

    @classmethod
    def through(cls, points: Mapping[float, Sequence[float]], *, power: bool = False) -> "Curve":
        """The curve through the median of the values at each x."""
        known = sorted(points)
        return cls(tuple(known), tuple(median(points[x]) for x in known), power)

    def at(self, x: float) -> float:
        """The value at any `x`; never negative."""
        if len(self.x) == 1 or x <= 0:
            return float(self.y[0] * (x / self.x[0]) ** (HEAPS if self.power else 1.0))
        right = int(np.clip(np.searchsorted(self.x, x), 1, len(self.x) - 1))
        ends_x, ends_y = np.array(self.x[right - 1 : right + 1]), np.array(self.y[right - 1 : right + 1])
        if self.power:
            if ends_y.min() <= 0:
                return float(ends_y.max())
            slope = np.diff(np.log(ends_y))[0] / np.diff(np.log(ends_x))[0]
            return float(ends_y[0] * (x / ends_x[0]) ** slope)
        slope = np.diff(ends_y)[0] / np.diff(ends_x)[0]
        # Extrapolated to few rows, noise can make the line negative. Fewer rows cannot cost less per row.
        least = ends_y[0] * min(1.0, x / ends_x[0])
        return float(max(ends_y[0] + slope * (x - ends_x[0]), least))

    def reaches(self, x: float, beyond: float = BEYOND) -> bool:
        """Whether `x` is close enough to the measurements for its value to be trusted."""
        return self.x[0] / beyond <= x <= self.x[-1] * beyond

    def range(self) -> str:
        least, most = self.x[0], self.x[-1]
        return f"{least:g} to {most:g}, trusted from {least / BEYOND:g} to {most * BEYOND:g}"


ROW_NUMBER, NEW_ROW_NUMBER, FLOAT = 4, 8, 4
"""Bytes of a row number on its way to the row's owner and back, and of one weight or gradient."""

BUCKET_BYTES = 512 * 1024
"""Approximate size of the messages that carry dense gradients, as in `parallel.gradients`."""

DEFAULT_SPREAD = 0.05
"""Spread of the ranks' times for their shares of a step, where it was not measured."""

NOT_MEASURED = Curve((1.0,), (1.0,))
"""Slowdown by neighbours where only one rank alone was measured."""


@dataclass(frozen=True)
class TrainingCosts:
    """Costs of a training. Curves over rows: rows of a step on one rank, alone on its host."""

    name: str
    compute: Curve  # rows -> seconds of loading, forward and backward pass, sorting sparse gradients
    forward_share: float = 1 / 3  # of `compute`; sending what the forward pass knows overlaps with the rest
    update_fixed: float = 0.0  # seconds to update the parameters that every replica holds
    update_per_row: float = 0.0  # seconds for each changed embedding row that this rank owns
    slowdown: Curve = NOT_MEASURED  # busy ranks of a host -> factor on the time of `compute`
    update_slowdown: Curve = NOT_MEASURED  # the same for updates, which are bound by memory
    touched: Curve | None = None  # rows of a batch -> distinct embedding rows; None if unknown
    table_rows: int = 0
    embedding_dim: int = 0
    dense_bytes: float = 0.0  # gradients of everything but the embedding
    gradient_bytes: int = FLOAT  # of one number in transit; 2 where gradients are compressed
    sparse: bool = True  # whether embedding gradients travel by row; otherwise the whole table does
    outer_share: float | None = None  # of `compute`, in the stage with embedding and head; None if unknown
    activations: Curve | None = None  # rows of a step -> bytes that each of two stages sends to the other
    spread: float = DEFAULT_SPREAD
    """Standard deviation of a rank's time for its share of a step, over the mean."""
    step_factors: tuple[float, ...] = (1.0,)
    """Times of steps over their mean. Long reviews share batches, so they vary alike on all ranks."""
    unknown: tuple[str, ...] = ()
    """Assumptions in place of measurements, one sentence each."""

    def slower(self, factor: float) -> "TrainingCosts":
        """The same costs with all computing `factor` times as long."""
        return replace(
            self,
            compute=replace(self.compute, y=tuple(factor * y for y in self.compute.y)),
            update_fixed=factor * self.update_fixed,
            update_per_row=factor * self.update_per_row,
        )

    def distinct_rows(self, rows: float) -> float:
        """Distinct rows of the embedding in a batch of `rows` rows; 0 for dense gradients."""
        if not self.sparse or self.touched is None:
            return 0.0
        return min(self.touched.at(rows), float(self.table_rows or 1e18))


@dataclass(frozen=True)
class ParallelSetup:
    """Ranks and the step that they share."""

    replicas: int
    stages: int  # 1, or 2 where the network is cut in two
    batch_size: int  # rows of a step over all replicas
    micro_batches: int = 2  # parts of a batch on its way through two stages

    @property
    def ranks(self) -> int:
        return self.replicas * self.stages

    @property
    def rows(self) -> float:
        """Rows of a step on one replica."""
        return self.batch_size / self.replicas

    @property
    def parts(self) -> int:
        """Micro-batches that the rows of a replica suffice for."""
        return min(self.micro_batches, max(1, int(self.rows)))


@dataclass(frozen=True)
class RankWork:
    """One rank's share of a step: seconds of computing, bytes to send."""

    forward: float
    backward: float
    update_whole: float  # of the parameters that every replica holds
    update_rows: float  # of the embedding rows that this rank owns
    row_numbers: float  # bytes to the owners of rows, sent as soon as the forward pass is done
    row_gradients: float  # bytes of the rows' gradients, sent after the backward pass
    whole_gradients: float  # bytes that are summed over all replicas
    changed_rows: float  # bytes of the changed rows that this rank owns
    micro_forward: float = 0.0  # of one micro-batch on the inner stage, which has the recurrent layer
    micro_backward: float = 0.0
    micro_outer: float = 0.0  # a third each: look-up, head, scatter of the gradients of the word vectors
    micro_bytes: float = 0.0  # in each direction between the stages

    @property
    def buckets(self) -> int:
        """Messages that the dense gradients are cut into."""
        return max(1, round(self.whole_gradients / BUCKET_BYTES))


def work_of(costs: TrainingCosts, setup: ParallelSetup, busy: int) -> RankWork:
    """One rank's share of a step where `busy` ranks compute on its host."""
    slow = costs.slowdown.at(busy) if len(costs.slowdown.x) > 1 else 1.0
    slow_update = costs.update_slowdown.at(busy) if len(costs.update_slowdown.x) > 1 else 1.0
    compute = slow * costs.compute.at(setup.rows)
    sent = costs.distinct_rows(setup.rows)
    owned = costs.distinct_rows(setup.batch_size) / setup.replicas
    row_bytes = costs.gradient_bytes * costs.embedding_dim
    work = RankWork(
        forward=costs.forward_share * compute,
        backward=(1 - costs.forward_share) * compute,
        update_whole=slow_update * costs.update_fixed,
        update_rows=slow_update * costs.update_per_row * owned,
        row_numbers=ROW_NUMBER * sent,
        row_gradients=row_bytes * sent,
        whole_gradients=costs.dense_bytes + (0.0 if costs.sparse else row_bytes * costs.table_rows),
        changed_rows=(NEW_ROW_NUMBER + FLOAT * costs.embedding_dim) * owned,
    )
    if setup.stages == 1:
        return work
    assert costs.outer_share is not None
    assert costs.activations is not None
    micro = slow * costs.compute.at(setup.rows / setup.parts)
    inner = (1 - costs.outer_share) * micro
    return replace(
        work,
        micro_forward=costs.forward_share * inner,
        micro_backward=(1 - costs.forward_share) * inner,
        micro_outer=costs.outer_share * micro,
        micro_bytes=costs.activations.at(setup.rows) / setup.parts,
    )
