"""What a training costs a rank: the numbers that predictions are made from, and its share of a step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

import numpy as np

BEYOND = 2.0
"""How many times below the smallest or above the largest measurement a value is still trusted."""

HEAPS = 0.65
"""Exponent with which different words grow with the rows of a batch, from 16 to 512 reviews (in two data sets
of 170,000 reviews with 30,000 and 130,000 words); it falls beyond, so larger batches are overestimated."""


@dataclass(frozen=True)
class Curve:
    """Points (x rising, y), joined by straight lines; the outer lines go on beyond the points.

    With `power`, lines are straight in the logarithms of both: power laws, such as the growth of a
    vocabulary with the text (Heaps, 1978). With a single point, y is proportional to x, or to x ** `HEAPS`.
    """

    x: tuple[float, ...]
    y: tuple[float, ...]
    power: bool = False

    @classmethod
    def through(cls, points: Mapping[float, Sequence[float]], *, power: bool = False) -> "Curve":
        """The medians of what was measured at each x."""
        known = sorted(points)
        return cls(tuple(known), tuple(median(points[x]) for x in known), power)

    def at(self, x: float) -> float:
        """The value at `x`, however far away; never negative, and with less at a smaller x."""
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
        least = ends_y[0] * min(1.0, x / ends_x[0])  # work in proportion: fewer rows cannot cost less a row
        return float(max(ends_y[0] + slope * (x - ends_x[0]), least))

    def reaches(self, x: float, beyond: float = BEYOND) -> bool:
        """Whether `x` is near enough to what was measured for its value to be trusted."""
        return self.x[0] / beyond <= x <= self.x[-1] * beyond

    def range(self) -> str:
        """What was measured, and how far that is trusted, in words."""
        least, most = self.x[0], self.x[-1]
        return f"{least:g} to {most:g}, trusted from {least / BEYOND:g} to {most * BEYOND:g}"


ROW_NUMBER, NEW_ROW_NUMBER, FLOAT = 4, 8, 4
"""Bytes of a row's number on its way to its owner and back, and of one weight or gradient."""

BUCKET_BYTES = 512 * 1024
"""About how much of the dense gradients travels in one message, as in `parallel.dense`."""

DEFAULT_SPREAD = 0.05
"""Of the times that ranks need for their shares of a step, where it was not measured."""

NOT_MEASURED = Curve((1.0,), (1.0,))
"""Of slowing down: one rank alone is all that is known."""


@dataclass(frozen=True)
class Costs:
    """Measured or given. Curves over rows are over the rows of a step on one rank, alone on its host."""

    name: str
    """Of the training, in words."""
    compute: Curve
    """Rows -> seconds of a step without update: batch, forward, backward, gradients sorted out."""
    forward_share: float = 1 / 3
    """Of `compute`; the rest runs while what the forward pass knows already travels."""
    update_fixed: float = 0.0
    """Seconds to change what every replica changes as a whole."""
    update_per_row: float = 0.0
    """Seconds for each row of the embedding that this rank owns and the step changes."""
    slowdown: Curve = NOT_MEASURED
    """Busy ranks of a host -> times as long as alone, for `compute`."""
    update_slowdown: Curve = NOT_MEASURED
    """The same for the update, which waits for memory more than for arithmetic."""
    touched: Curve | None = None
    """Rows of a batch -> different rows of the embedding in it; None: not known."""
    table_rows: int = 0
    """Rows of the embedding."""
    embedding_dim: int = 0
    """Numbers a row."""
    dense_bytes: float = 0.0
    """Gradients of everything but the embedding."""
    gradient_bytes: int = FLOAT
    """Of one number of a gradient while it travels; 2 where it is compressed."""
    sparse: bool = True
    """Whether the embedding's gradients travel by row; else the whole table does."""
    outer_share: float | None = None
    """Of `compute`, what the stage with embedding and head does; None: no two stages were measured."""
    activations: Curve | None = None
    """Rows of a step -> bytes that each of two stages sends the other."""
    spread: float = DEFAULT_SPREAD
    """Standard deviation of a rank's time for its share of a step, over its mean."""
    step_factors: tuple[float, ...] = (1.0,)
    """Times of steps over their mean: long reviews come together, the same for all ranks."""
    unknown: tuple[str, ...] = ()
    """What was assumed because it was not measured, as sentences."""

    def slower(self, factor: float) -> "Costs":
        """The same where computing takes `factor` times as long."""
        compute = replace(self.compute, y=tuple(factor * y for y in self.compute.y))
        return replace(
            self,
            compute=compute,
            update_fixed=factor * self.update_fixed,
            update_per_row=factor * self.update_per_row,
        )

    def distinct_rows(self, rows: float) -> float:
        """Different rows of the embedding that a batch of `rows` rows touches."""
        if not self.sparse or self.touched is None:
            return 0.0
        return min(self.touched.at(rows), float(self.table_rows or 1e18))


@dataclass(frozen=True)
class Setting:
    """What is to be predicted: ranks, how they are arranged and what a step is."""

    replicas: int
    """Each with its share of a batch's rows."""
    stages: int
    """1, or 2 where the network is cut in two."""
    batch_size: int
    """Rows of a step over all replicas."""
    micro_batches: int = 2
    """Parts of a batch on its way through two stages."""

    @property
    def ranks(self) -> int:
        """Processes, each on a core or several."""
        return self.replicas * self.stages

    @property
    def rows(self) -> float:
        """Of a step on one replica."""
        return self.batch_size / self.replicas


@dataclass(frozen=True)
class Work:
    """One rank's share of a step, in seconds and bytes."""

    forward: float
    """Seconds."""
    backward: float
    """Seconds."""
    update_whole: float
    """Seconds, for what every replica changes as a whole."""
    update_rows: float
    """Seconds, for the rows of the embedding that this rank owns."""
    row_numbers: float
    """Bytes sent to the owners of rows as soon as the forward pass is done."""
    row_gradients: float
    """Bytes of the rows' gradients, which follow them after the backward pass."""
    whole_gradients: float
    """Bytes that are summed over all replicas."""
    changed_rows: float
    """Bytes of the rows this rank owns and has changed."""
    micro_forward: float = 0.0
    """Of one micro-batch on the stage with the recurrent layer."""
    micro_backward: float = 0.0
    """The same, backward."""
    micro_outer: float = 0.0
    """Of one micro-batch on the other stage: a third before it is sent, a third the head, a third after."""
    micro_bytes: float = 0.0
    """One way."""

    @property
    def seconds(self) -> float:
        """Of computing, on one rank or on the stage with the recurrent layer."""
        return self.forward + self.backward + self.update_whole + self.update_rows

    @property
    def buckets(self) -> int:
        """Messages that the dense gradients are cut into."""
        return max(1, round(self.whole_gradients / BUCKET_BYTES))


def work_of(costs: Costs, setting: Setting, busy: int) -> Work:
    """One rank's share where `busy` ranks compute on its host."""
    slow = costs.slowdown.at(busy) if len(costs.slowdown.x) > 1 else 1.0
    slow_update = costs.update_slowdown.at(busy) if len(costs.update_slowdown.x) > 1 else 1.0
    compute = slow * costs.compute.at(setting.rows)
    sent = costs.distinct_rows(setting.rows)
    owned = costs.distinct_rows(setting.batch_size) / setting.replicas
    width, travelling = FLOAT * costs.embedding_dim, costs.gradient_bytes * costs.embedding_dim
    table = 0.0 if costs.sparse else travelling * costs.table_rows
    work = Work(
        forward=costs.forward_share * compute,
        backward=(1 - costs.forward_share) * compute,
        update_whole=slow_update * costs.update_fixed,
        update_rows=slow_update * costs.update_per_row * owned,
        row_numbers=ROW_NUMBER * sent,
        row_gradients=travelling * sent,
        whole_gradients=costs.dense_bytes + table,
        changed_rows=(NEW_ROW_NUMBER + width) * owned,
    )
    return work if setting.stages == 1 else _in_stages(work, costs, setting, slow)


def _in_stages(work: Work, costs: Costs, setting: Setting, slow: float) -> Work:
    assert costs.outer_share is not None
    assert costs.activations is not None
    parts = min(setting.micro_batches, max(1, int(setting.rows)))
    micro = slow * costs.compute.at(setting.rows / parts)
    inner = (1 - costs.outer_share) * micro
    return replace(
        work,
        micro_forward=costs.forward_share * inner,
        micro_backward=(1 - costs.forward_share) * inner,
        micro_outer=costs.outer_share * micro,
        micro_bytes=costs.activations.at(setting.rows) / parts,
    )
