"""Costs of a training on which predictions are based, and one rank's share of a step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

import numpy as np

BEYOND = 2.0
"""Factor below the smallest and above the largest measurement up to which values of a curve are trusted."""

HEAPS = 0.65
"""Exponent of the growth of distinct words with the rows of a batch (Heaps' law). Measured for 16 to 512 rows
on two data sets of 170,000 reviews with 30,000 and 130,000 words. It decreases for larger batches, whose
distinct words are therefore overestimated."""


@dataclass(frozen=True)
class Curve:
    """Piecewise linear interpolation through points with ascending x, extrapolated by the outer segments.

    With `power`, the segments are linear in log x and log y, which makes them power laws such as the growth
    of a vocabulary with the text (Heaps, 1978). With a single point, y is proportional to x, or with `power`
    to x ** `HEAPS`.
    """

    x: tuple[float, ...]
    y: tuple[float, ...]
    power: bool = False

    @classmethod
    def interpolate(cls, points: Mapping[float, Sequence[float]], *, power: bool = False) -> "Curve":
        """Create the curve through the median of the values at each x."""
        known = sorted(points)
        return cls(tuple(known), tuple(median(points[x]) for x in known), power)

    def at(self, x: float) -> float:
        """Value at `x`, which is never negative."""
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
        # Extrapolated to few rows, noise can make the line negative. Fewer rows do not cost less per row.
        least = ends_y[0] * min(1.0, x / ends_x[0])
        return float(max(ends_y[0] + slope * (x - ends_x[0]), least))

    def reaches(self, x: float, beyond: float = BEYOND) -> bool:
        """Whether `x` is within a factor of `beyond` of the measured range, so that its value is trusted."""
        return self.x[0] / beyond <= x <= self.x[-1] * beyond

    def range(self) -> str:
        least, most = self.x[0], self.x[-1]
        return f"{least:g} to {most:g}, trusted from {least / BEYOND:g} to {most * BEYOND:g}"


ROW_NUMBER, NEW_ROW_NUMBER, FLOAT = 4, 8, 4
"""Bytes of a row number sent to the owner of the row, of one sent back, and of one weight or gradient."""

BUCKET_BYTES = 512 * 1024
"""Approximate size of a message with dense gradients, as in `parallel.gradients`."""

DEFAULT_SPREAD = 0.05
"""Relative standard deviation of the ranks' times for their shares of a step, if it was not measured."""

NOT_MEASURED = Curve((1.0,), (1.0,))
"""Slowdown by other ranks on the host, if only a single rank was measured."""


@dataclass(frozen=True)
class TrainingCosts:
    """Costs of a training. In curves, `rows` are rows per step on one rank that is alone on its host."""

    name: str
    compute: Curve  # rows -> seconds for loading, forward and backward pass, and sorting sparse gradients
    forward_share: float = 1 / 3  # share of the forward pass in `compute`; row numbers are sent after it
    update_fixed: float = 0.0  # seconds to update the parameters that every replica holds
    update_per_row: float = 0.0  # seconds per changed embedding row that this rank owns
    slowdown: Curve = NOT_MEASURED  # busy ranks on a host -> factor for the time of `compute`
    update_slowdown: Curve = NOT_MEASURED  # the same for updates, which are limited by memory bandwidth
    touched: Curve | None = None  # rows of a batch -> distinct embedding rows; None if unknown
    table_rows: int = 0
    embedding_dim: int = 0
    dense_bytes: float = 0.0  # gradients of all parameters except the embedding
    gradient_bytes: int = FLOAT  # bytes per number in transit; 2 if gradients are compressed
    sparse: bool = True  # whether embedding gradients are sent by row; otherwise the whole table is sent
    outer_share: float | None = None  # share of the stage with embedding and head in `compute`, if known
    activations: Curve | None = None  # rows of a step -> bytes that each of two stages sends to the other
    spread: float = DEFAULT_SPREAD
    """Standard deviation of a rank's time for its share of a step, divided by the mean."""
    step_factors: tuple[float, ...] = (1.0,)
    """Times of single steps divided by their mean. Batches contain reviews of similar length, so these
    factors are the same on all ranks."""
    unknown: tuple[str, ...] = ()
    """Sentences about assumptions that replace missing measurements."""

    def slower(self, factor: float) -> "TrainingCosts":
        """Copy in which all computing takes `factor` times as long."""
        return replace(
            self,
            compute=replace(self.compute, y=tuple(factor * y for y in self.compute.y)),
            update_fixed=factor * self.update_fixed,
            update_per_row=factor * self.update_per_row,
        )

    def distinct_rows(self, rows: float) -> float:
        """Number of distinct embedding rows in a batch of `rows` rows; 0 for dense gradients."""
        if not self.sparse or self.touched is None:
            return 0.0
        return min(self.touched.at(rows), float(self.table_rows or 1e18))


@dataclass(frozen=True)
class ParallelSetup:
    """Arrangement of the ranks, and the size of their steps."""

    replicas: int
    stages: int  # 1, or 2 if the network is divided into two stages
    batch_size: int  # rows per step over all replicas
    micro_batches: int = 2  # number of parts in which a batch passes through two stages

    @property
    def ranks(self) -> int:
        return self.replicas * self.stages

    @property
    def rows(self) -> float:
        """Rows per step on one replica."""
        return self.batch_size / self.replicas

    @property
    def parts(self) -> int:
        """Number of micro-batches, at most one per row of a replica."""
        return min(self.micro_batches, max(1, int(self.rows)))


@dataclass(frozen=True)
class RankWork:
    """One rank's share of a step: seconds of computing, and bytes to send."""

    forward: float
    backward: float
    update_whole: float  # seconds to update the parameters that every replica holds
    update_rows: float  # seconds to update the embedding rows that this rank owns
    row_numbers: float  # bytes sent to the owners of rows once the forward pass has finished
    row_gradients: float  # bytes of the rows' gradients, sent after the backward pass
    whole_gradients: float  # bytes of the gradients that are summed over all replicas
    changed_rows: float  # bytes of the changed rows that this rank owns
    micro_forward: float = 0.0  # seconds per micro-batch on the inner stage, which has the recurrent layer
    micro_backward: float = 0.0
    micro_outer: float = 0.0  # outer stage; look-up, head and gradient scatter take a third each
    micro_bytes: float = 0.0  # bytes per micro-batch in each direction between the stages

    @property
    def buckets(self) -> int:
        """Number of messages into which the dense gradients are divided."""
        return max(1, round(self.whole_gradients / BUCKET_BYTES))


def work_of(costs: TrainingCosts, setup: ParallelSetup, busy: int) -> RankWork:
    """One rank's share of a step, if `busy` ranks compute on its host at the same time."""
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
