"""Estimate the costs of a training from the records of `bench`, and list costs that were not measured."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import pi, sqrt
from statistics import mean, median
from typing import Any

import numpy as np

from sentiscale.errors import DataError, UsageError
from sentiscale.parallel.layout import Layout
from sentiscale.study.plan.costs import DEFAULT_SPREAD, FLOAT, ROW_NUMBER, Curve, TrainingCosts
from sentiscale.study.records import BenchRun, Case

GATES = {"lstm": 4, "gru": 3}
COMPRESSED = 2
"""Bytes of a number in compressed gradients."""

Points = defaultdict[float, list[float]]


@dataclass(frozen=True)
class MeasuredStep:
    """Median step of a case over its repeats, in seconds and bytes."""

    case: Case
    step: float
    compute: tuple[float, ...]  # by rank, without exchange, waiting and update
    forward: float  # loading and forward pass, median over ranks
    update: tuple[float, ...]  # by rank
    waiting: float  # mean over ranks
    sent: float  # bytes, mean over ranks
    factors: tuple[float, ...]  # times of single steps divided by their mean
    scatter: float  # half the range of the repeats, divided by their median; 0 for a single repeat
    rows: float  # rows per step on one replica or copy
    oversubscribed: bool

    @property
    def layout(self) -> Layout:
        return Layout.parse(self.case.layout)

    @property
    def is_serial(self) -> bool:
        """Whether the case is one rank without an exchange."""
        return self.case.kind == "train" and self.case.ranks == 1 and not self.case.collectives


@dataclass(frozen=True)
class RunSelection:
    """Selects the recorded training to plan for. None selects the one with the most runs."""

    model: str | None = None
    precision: str | None = None
    threads: int = 1

    def includes(self, case: Case) -> bool:
        return (
            case.threads_per_rank == self.threads
            and self.model in (None, case.model)
            and self.precision in (None, case.precision)
        )


def select_runs(runs: Iterable[BenchRun], selection: RunSelection) -> list[BenchRun]:
    """Select runs of one model, precision and device, which differ only in layout and batch size.

    Raises:
        DataError: if there are none.
        UsageError: if they are from several hosts or data sets.
    """
    # Trainings to a target accuracy are excluded, because they also validate and save.
    timed = [run for run in runs if run.case.kind in ("train", "copies") and run.steps > 0]
    training = [run for run in timed if "target_accuracy" not in run.amount]
    groups: defaultdict[tuple[str, str, str], list[BenchRun]] = defaultdict(list)
    for run in training:
        if selection.includes(run.case):
            groups[run.case.model, run.case.precision, run.case.device].append(run)
    if not groups:
        cases = [run.case for run in training]
        known = sorted({f"{each.model} {each.precision} {each.threads_per_rank} threads" for each in cases})
        raise DataError(
            f"the records hold no timed training steps of {selection.model or 'any model'} with "
            f"{selection.threads} threads per rank; there are: {', '.join(known) or 'none'}. "
            "Run `sentiscale bench DATA --out RECORDS` first, or choose --model, --precision or --threads."
        )
    selected = max(groups.values(), key=lambda each: (len(each), each[0].case.model == "lstm"))
    for what in ("cpu_model", "cores"):
        if len({getattr(run.host, what) for run in selected}) > 1:
            raise UsageError(f"the records are of hosts with different {what}; plan from those of one host.")
    if len({run.data_digest for run in selected}) > 1:
        raise UsageError("the records are of different data; plan from those of one data set.")
    return selected


def median_steps(runs: Sequence[BenchRun]) -> list[MeasuredStep]:
    """Compute the median step of each case."""
    cases: defaultdict[str, list[BenchRun]] = defaultdict(list)
    for run in runs:
        cases[run.case.key].append(run)
    return [_median_step(repeats) for repeats in cases.values()]


def _median_step(repeats: Sequence[BenchRun]) -> MeasuredStep:
    case, layout = repeats[0].case, Layout.parse(repeats[0].case.layout)
    ranks = range(min(len(run.times_per_rank) for run in repeats))
    steps = [run.seconds / run.steps for run in repeats]
    step = median(steps)

    def seconds(rank: int, *phases: str) -> float:
        return median(
            float(sum(getattr(run.times_per_rank[rank], phase) for phase in phases)) / run.steps
            for run in repeats
        )

    update = tuple(seconds(rank, "update") for rank in ranks)
    compute = tuple(seconds(rank, "data", "forward", "backward") for rank in ranks)
    if layout.world_size == 1 and not case.collectives:
        # A serial run does nothing else, so time outside all phases also counts as computing.
        compute = tuple(max(step - each, 0.0) for each in update)
    return MeasuredStep(
        case=case,
        step=step,
        compute=compute or (step,),
        forward=median(seconds(rank, "data", "forward") for rank in ranks) if ranks else 0.0,
        update=update or (0.0,),
        waiting=mean([seconds(rank, "waiting") for rank in ranks]) if ranks else 0.0,
        sent=median(mean(run.bytes_per_step) if run.bytes_per_step else 0.0 for run in repeats),
        factors=tuple(each / mean(run.step_seconds) for run in repeats for each in run.step_seconds),
        scatter=(max(steps) - min(steps)) / 2 / step if len(repeats) > 1 else 0.0,
        rows=case.batch_size / layout.data / case.copies,
        oversubscribed=repeats[0].oversubscribed,
    )


def costs_of(runs: Sequence[BenchRun], *, apart_from: Case | None = None) -> TrainingCosts:
    """Estimate the costs from the records.

    Args:
        runs: runs of one training.
        apart_from: case whose division of work between two stages is ignored, if there are other such cases.

    Raises: DataError if there is no plain serial run, on which all estimates are based.
    """
    steps = median_steps(runs)
    serial = [each for each in steps if each.is_serial]
    if not serial:
        raise DataError(
            "the records contain no plain serial run (layout 1x1 without exchange); all estimates are based "
            "on one. Run `sentiscale bench DATA --out RECORDS --layouts 1x1,2x1`."
        )
    shape = runs[0].shape
    sparse = shape.get("embedding_gradients", "sparse") == "sparse"
    number = FLOAT if shape.get("gradient_compression", "none") == "none" else COMPRESSED
    width, dense = int(shape.get("embedding_dim", 0)), dense_bytes(shape) / FLOAT * number
    touched = touched_rows(steps, ROW_NUMBER + number * width, dense) if sparse else None
    fixed, per_row = update_costs(serial, touched)
    slowdown, update_slowdown, compute = contention(steps, serial)
    two_stages = [each for each in steps if each.case.layout == "1x2"]
    others = [each for each in two_stages if each.case != apart_from] or two_stages
    outer = [each.compute[0] / sum(each.compute) for each in others if len(each.compute) == 2]
    unknown, spread = list[str](), spread_of(steps)
    if spread is None:
        unknown.append("times of ranks differ by 5 %: no case with two replicas was measured")
    if disturbed := sum(bool(run.interference and run.interference.disturbed) for run in runs):
        unknown.append(
            f"{disturbed} of {len(runs)} runs, during which other programs were busy, count as any other"
        )
    return TrainingCosts(
        name=f"{runs[0].case.model} {runs[0].case.precision}",
        compute=compute,
        forward_share=median(each.forward / sum(each.compute) for each in serial) or 1 / 3,
        update_fixed=fixed,
        update_per_row=per_row,
        slowdown=slowdown,
        update_slowdown=update_slowdown,
        touched=touched,
        table_rows=runs[0].embedding_rows,
        embedding_dim=width,
        dense_bytes=dense,
        gradient_bytes=number,
        sparse=sparse,
        outer_share=median(outer) if outer else None,
        activations=Curve.interpolate({each.rows: [each.sent] for each in two_stages})
        if two_stages
        else None,
        spread=DEFAULT_SPREAD if spread is None else spread,
        step_factors=tuple(factor for each in serial for factor in each.factors) or (1.0,),
        unknown=tuple(unknown),
    )


def dense_bytes(shape: dict[str, Any]) -> float:
    """Bytes of the gradients of all parameters except the embedding; 0 if the shape is not recorded."""
    if not {"hidden_dim", "embedding_dim"} <= set(shape):
        return 0.0
    hidden, layers = int(shape["hidden_dim"]), int(shape.get("layers", 1))
    directions = 2 if shape.get("bidirectional") else 1
    inputs = [int(shape["embedding_dim"]), *[hidden] * (layers - 1)]
    cell = sum(GATES[shape.get("cell", "lstm")] * hidden * (each + hidden + 2) for each in inputs)
    pooled = hidden * directions * (2 if shape.get("pooling", "max_mean") == "max_mean" else 1)
    return FLOAT * float(directions * cell + pooled + 1)


def touched_rows(steps: Sequence[MeasuredStep], row_bytes: int, dense: float) -> Curve | None:
    """Estimate distinct embedding rows by rows of a batch, from the bytes that replicas on one host sent."""
    points = Points(list)
    for each in steps:
        replicas, stages = each.layout.data, each.layout.model
        if each.case.kind == "train" and replicas > 1 and stages == 1 and each.sent > dense:
            points[each.rows].append((each.sent - dense) / row_bytes / (1 - 1 / replicas))
    return Curve.interpolate(points, power=True) if points else None


def update_costs(serial: Sequence[MeasuredStep], touched: Curve | None) -> tuple[float, float]:
    """Estimate the seconds of an update: the fixed part, and the part per changed embedding row."""
    seconds = np.array([each.update[0] for each in serial])
    if touched is None:
        return float(np.median(seconds)), 0.0
    rows = np.array([touched.at(each.rows) for each in serial])
    per_row = (0.0, float(np.median(seconds / rows)))
    if len(np.unique(rows)) < 2:
        return per_row
    slope, start = np.polyfit(rows, seconds, 1)
    if slope <= 0:
        return float(np.median(seconds)), 0.0
    return (float(start), float(slope)) if start > 0 else per_row


def contention(steps: Sequence[MeasuredStep], serial: Sequence[MeasuredStep]) -> tuple[Curve, Curve, Curve]:
    """Estimate how ranks on one host slow each other down.

    Copies are compared with a single training on the same number of rows. If that number of rows was not
    measured, its time is interpolated, and the copies add a point to the curve of computing. Without these
    points, the times of small batches would have to be extrapolated.

    Returns the slowdown of computing, the slowdown of updates, and the curve of computing over rows.
    """
    alone = Curve.interpolate({each.rows: [each.compute[0]] for each in serial})
    updates = Curve.interpolate({each.rows: [each.update[0]] for each in serial})
    slow, slow_update = Points(list, {1.0: [1.0]}), Points(list, {1.0: [1.0]})
    copies = [each for each in steps if each.case.kind == "copies"]
    copies = [each for each in copies if not each.case.collectives] or copies
    measured = [each for each in copies if alone.x[0] <= each.rows <= alone.x[-1]]
    for each in measured or copies:
        slow[each.case.copies].append(max(1.0, mean(each.compute) / alone.at(each.rows)))
        if updates.at(each.rows) > 0:
            slow_update[each.case.copies].append(max(1.0, mean(each.update) / updates.at(each.rows)))
    slowdown = Curve.interpolate(slow)
    compute = Points(list)
    for each in serial:
        compute[each.rows].append(each.compute[0])
    for each in copies:
        if each.rows not in alone.x:
            compute[each.rows].append(mean(each.compute) / slowdown.at(each.case.copies))
    return slowdown, Curve.interpolate(slow_update), Curve.interpolate(compute)


def spread_of(steps: Sequence[MeasuredStep]) -> float | None:
    """Standard deviation of the ranks' times divided by their mean; None without a case of two replicas.

    The expected maximum of two normal variables is sigma / sqrt(pi) above their mean, which is the mean
    waiting time of the two ranks.
    """
    pairs = [
        sqrt(pi) * each.waiting / mean(each.compute)
        for each in steps
        if each.case.layout == "2x1" and each.waiting > 0 and not each.oversubscribed
    ]
    return median(pairs) if pairs else None
