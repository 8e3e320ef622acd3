"""The costs of a training from what `bench` has recorded: which case tells what, and what is missing."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import pi, sqrt
from statistics import mean, median
from typing import Any

import numpy as np

from sentiscale.errors import DataError, UsageError, did_you_mean
from sentiscale.study.plan.costs import DEFAULT_SPREAD, FLOAT, ROW_NUMBER, Costs, Curve
from sentiscale.study.records import BenchRun, Case

GATES = {"lstm": 4, "gru": 3}
COMPRESSED = 2
"""Bytes of a compressed number."""


@dataclass(frozen=True)
class Measured:
    """A case's median run, by step."""

    case: Case
    """Which case."""
    repeats: int
    """Runs it is the median of."""
    step: float
    """Seconds."""
    compute: tuple[float, ...]
    """Of each rank: everything but update, exchange and waiting; of a serial run all but the update."""
    forward: float
    """Seconds of rows and forward pass, median over ranks."""
    update: tuple[float, ...]
    """Seconds, of each rank."""
    waiting: float
    """Mean over ranks."""
    sent: float
    """Bytes, mean over ranks."""
    factors: tuple[float, ...]
    """Steps over their mean."""
    scatter: float
    """Of the repeats: half their range over the median; 0 with a single one."""
    rows: float
    """Of a step on one replica, or one copy."""
    replicas: int
    """Of the layout."""
    stages: int
    """Of the layout."""
    oversubscribed: bool
    """More ranks x threads than cores."""


@dataclass(frozen=True)
class Wanted:
    """Which of the recorded trainings a plan is for; None: the one with most runs."""

    model: str | None = None
    precision: str | None = None
    device: str | None = "cpu"
    threads: int = 1


def chosen_runs(runs: Iterable[BenchRun], wanted: Wanted) -> list[BenchRun]:
    """The runs of one model, precision, device, host and data set, all else but layout and batch alike.

    Raises: DataError when there are none, UsageError when they are of several hosts or data sets.
    """
    timed = [run for run in runs if run.case.kind in ("train", "copies") and run.steps > 0]
    training = [
        run for run in timed if "target_accuracy" not in run.amount
    ]  # those validate and save as well
    counted: defaultdict[tuple[str, str, str], list[BenchRun]] = defaultdict(list)
    for run in training:
        case = run.case
        fits = case.threads_per_rank == wanted.threads and all(
            asked in (None, got)
            for asked, got in (
                (wanted.model, case.model),
                (wanted.precision, case.precision),
                (wanted.device, case.device),
            )
        )
        if fits:
            counted[case.model, case.precision, case.device].append(run)
    if not counted:
        cases = [run.case for run in training]
        known = sorted({f"{each.model} {each.precision} {each.threads_per_rank} threads" for each in cases})
        raise DataError(
            f"no timed training steps of what is wanted ({wanted.model or 'any model'}, "
            f"{wanted.threads} threads a rank) are recorded; there are: {', '.join(known) or 'none'}. "
            "Run `sentiscale bench DATA --out RECORDS` first, or choose --model, --precision or --threads."
        )
    found = max(counted.values(), key=lambda each: (len(each), each[0].case.model == "lstm"))
    for what in ("cpu_model", "cores"):
        if len({getattr(run.host, what) for run in found}) > 1:
            raise UsageError(f"the records are of hosts with different {what}; plan from those of one host.")
    if len({run.data_digest for run in found}) > 1:
        raise UsageError("the records are of different data; plan from those of one data set.")
    return found


def medians(runs: Sequence[BenchRun]) -> list[Measured]:
    """One entry a case."""
    cases: defaultdict[str, list[BenchRun]] = defaultdict(list)
    for run in runs:
        cases[run.case.key].append(run)
    return [_median_of(each) for each in cases.values()]


def _median_of(runs: Sequence[BenchRun]) -> Measured:
    case = runs[0].case
    data, _, model = case.layout.partition("x")
    ranks = range(len(runs[0].times_per_rank))
    steps = [run.seconds / run.steps for run in runs]
    step = median(steps)
    serial = case.ranks == case.copies

    def of(rank: int, *names: str) -> float:
        return median(
            float(sum(getattr(run.times_per_rank[rank], name) for name in names)) / run.steps for run in runs
        )

    work = ("data", "forward", "backward")
    update = tuple(of(rank, "update") for rank in ranks)
    compute = tuple(of(rank, *work) for rank in ranks)
    if serial and not case.collectives:  # what no phase counted is work as well
        compute = tuple(max(step - each, 0.0) for each in update)
    return Measured(
        case=case,
        repeats=len(runs),
        step=step,
        compute=compute or (step,),
        forward=median(of(rank, "data", "forward") for rank in ranks) if ranks else 0.0,
        update=update or (0.0,),
        waiting=mean([of(rank, "waiting") for rank in ranks]) if ranks else 0.0,
        sent=median(mean(run.bytes_per_step) if run.bytes_per_step else 0.0 for run in runs),
        factors=tuple(seconds / mean(run.step_seconds) for run in runs for seconds in run.step_seconds),
        scatter=(max(steps) - min(steps)) / 2 / step if len(runs) > 1 else 0.0,
        rows=case.batch_size / int(data) / case.copies,
        replicas=int(data),
        stages=int(model or 1),
        oversubscribed=runs[0].oversubscribed,
    )


def costs_of(runs: Sequence[BenchRun], *, apart_from: Case | None = None) -> Costs:
    """What the records say; `apart_from` leaves out how the stages of one case shared the work.

    Raises: DataError when the plain serial run is missing, which everything rests on.
    """
    found = medians(runs)
    serial = [each for each in found if _is_serial(each)]
    if not serial:
        raise DataError(
            "the records hold no plain serial run (layout 1x1 without exchange), from which everything is "
            "computed. Run `sentiscale bench DATA --out RECORDS --layouts 1x1,2x1`."
        )
    shape = runs[0].shape
    sparse = shape.get("embedding_gradients", "sparse") == "sparse"
    number = FLOAT if shape.get("gradient_compression", "none") == "none" else COMPRESSED
    width, dense = int(shape.get("embedding_dim", 0)), dense_bytes(shape) / FLOAT * number
    touched = touched_rows(found, ROW_NUMBER + number * width, dense) if sparse else None
    fixed, per_row = update_costs(serial, touched)
    slowdown, update_slowdown, compute = contention(found, serial)
    stages = [each for each in found if (each.replicas, each.stages) == (1, 2)]
    others = [each for each in stages if each.case != apart_from] or stages
    outer = [each.compute[0] / sum(each.compute) for each in others if len(each.compute) == 2]
    unknown, spread = list[str](), spread_of(found)
    if spread is None:
        unknown.append("times of ranks differ by 5 %: no case with two replicas was measured")
    if disturbed := sum(bool(run.interference and run.interference.disturbed) for run in runs):
        unknown.append(
            f"{disturbed} of {len(runs)} runs, during which other programs were busy, count as any other"
        )
    return Costs(
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
        activations=Curve.through({each.rows: [each.sent] for each in stages}) if stages else None,
        spread=DEFAULT_SPREAD if spread is None else spread,
        step_factors=tuple(factor for each in serial for factor in each.factors) or (1.0,),
        unknown=tuple(unknown),
    )


def _is_serial(each: Measured) -> bool:
    case = each.case
    return case.kind == "train" and case.ranks == 1 and not case.collectives


def dense_bytes(shape: dict[str, Any]) -> float:
    """Bytes of the gradients of everything but the embedding; 0 where the shape is not recorded."""
    if "hidden_dim" not in shape:
        return 0.0
    hidden, layers = int(shape["hidden_dim"]), int(shape.get("layers", 1))
    directions = 2 if shape.get("bidirectional") else 1
    inputs = [int(shape["embedding_dim"]), *[hidden] * (layers - 1)]
    cell = sum(GATES[shape.get("cell", "lstm")] * hidden * (each + hidden + 2) for each in inputs)
    pooled = hidden * directions * (2 if shape.get("pooling", "max_mean") == "max_mean" else 1)
    return FLOAT * float(directions * cell + pooled + 1)


def touched_rows(found: Sequence[Measured], row_bytes: int, dense: float) -> Curve | None:
    """Rows of a batch -> different rows of the embedding, from the bytes that replicas of one host sent."""
    points: defaultdict[float, list[float]] = defaultdict(list)
    for each in found:
        if each.case.kind == "train" and each.replicas > 1 and each.stages == 1 and each.sent > dense:
            points[each.rows].append((each.sent - dense) / row_bytes / (1 - 1 / each.replicas))
    return Curve.through(points, power=True) if points else None


def update_costs(serial: Sequence[Measured], touched: Curve | None) -> tuple[float, float]:
    """Seconds of an update: fixed, and for each row of the embedding that changes."""
    seconds = np.array([each.update[0] for each in serial])
    if touched is None:
        return float(np.median(seconds)), 0.0
    rows = np.array([touched.at(each.rows) for each in serial])
    if len(set(rows.tolist())) < 2:
        return 0.0, float(np.median(seconds / rows))
    slope, start = np.polyfit(rows, seconds, 1)
    if slope <= 0:
        return float(np.median(seconds)), 0.0
    return (float(start), float(slope)) if start > 0 else (0.0, float(np.median(seconds / rows)))


def contention(found: Sequence[Measured], serial: Sequence[Measured]) -> tuple[Curve, Curve, Curve]:
    """How ranks of a host slow each other, in computing and in updates; and the curve of computing.

    Copies at once of the same number of rows are compared with one alone; where none had so many, with what
    the curve says, to which they add their point, or small batches would rest on the line beyond.
    """
    alone = Curve.through({each.rows: [each.compute[0]] for each in serial})
    updates = Curve.through({each.rows: [each.update[0]] for each in serial})
    slow: defaultdict[float, list[float]] = defaultdict(list, {1.0: [1.0]})
    slow_update: defaultdict[float, list[float]] = defaultdict(list, {1.0: [1.0]})
    copies = [each for each in found if each.case.kind == "copies" and each.case.collectives is False]
    copies = copies or [each for each in found if each.case.kind == "copies"]
    for each in copies:
        within = alone.x[0] <= each.rows <= alone.x[-1]
        if within or not any(alone.x[0] <= other.rows <= alone.x[-1] for other in copies):
            slow[each.case.copies].append(max(1.0, mean(each.compute) / alone.at(each.rows)))
            if updates.at(each.rows) > 0:
                slow_update[each.case.copies].append(max(1.0, mean(each.update) / updates.at(each.rows)))
    slowdown = Curve.through(slow)
    points: defaultdict[float, list[float]] = defaultdict(list)
    for each in serial:
        points[each.rows].append(each.compute[0])
    for each in copies:
        if each.rows not in alone.x:
            points[each.rows].append(mean(each.compute) / slowdown.at(each.case.copies))
    return slowdown, Curve.through(slow_update), Curve.through(points)


def spread_of(found: Sequence[Measured]) -> float | None:
    """Standard deviation of ranks' times over their mean.

    Of two normal times, the later is sigma / sqrt(pi) after the mean: so long is the mean rank's wait.
    """
    pairs = [
        sqrt(pi) * each.waiting / mean(each.compute)
        for each in found
        if (each.replicas, each.stages) == (2, 1) and each.waiting > 0 and not each.oversubscribed
    ]
    return median(pairs) if pairs else None


BYTES_PER_PARAMETER = 28
"""Memory that a dense Adam step moves: weight, gradient and two moments read, three of them written."""

DEFAULT_MEMORY_BANDWIDTH = 8e9
"""Bytes a second of one core."""


@dataclass(frozen=True)
class Shape:
    """A training by its sizes. None where it is to be given."""

    name: str = "given"
    vocab: int = 0
    embedding: int = 0
    hidden: int = 0
    layers: int = 1
    seconds_per_row: float | None = None
    """Of forward and backward on one core."""
    dense_bytes: float | None = None
    """Sent by every rank in a step; None: follows from the sizes."""
    batch_size: int = 0
    """Rows a rank."""
    rows: int = 0
    """Of an epoch."""


CLASSIC = Shape(
    name="classic",
    vocab=130_000,
    embedding=400,
    hidden=512,
    layers=2,
    seconds_per_row=0.081,
    batch_size=32,
    rows=320_000,
)
"""The classic recipe: two layers of 512 units, 200 tokens, dense gradients. 2.6 s for 32 rows on a core of a
2.5 GHz Xeon with denormal numbers flushed (10 times as long without)."""

SHAPES = {"classic": CLASSIC}


def shape_of(name: str | None, **given: float | None) -> Shape:
    """A shape by name, or one of the given sizes; what is given wins.

    Raises: UsageError for unknown names and where a size is missing.
    """
    if name is not None and name not in SHAPES:
        raise UsageError(f"--shape is '{name}'.{did_you_mean(name, SHAPES)} Allowed: {', '.join(SHAPES)}.")
    base = SHAPES[name] if name else Shape()
    values = {key: value for key, value in given.items() if value is not None}
    shape = Shape(**{**base.__dict__, **values})
    if not shape.seconds_per_row or shape.seconds_per_row <= 0:
        raise UsageError("--seconds-per-row is missing: seconds of forward and backward, on one core.")
    if shape.dense_bytes is None and not (shape.vocab and shape.embedding and shape.hidden):
        raise UsageError(
            "the bytes of a step are not known: give --bytes, or all of --vocab, --embedding and --hidden."
        )
    return shape


def costs_of_shape(shape: Shape) -> Costs:
    """Dense gradients; computing in proportion to rows; an update that walks over all parameters."""
    assert shape.seconds_per_row is not None
    sizes = {"embedding_dim": shape.embedding, "hidden_dim": shape.hidden, "layers": shape.layers}
    table = 4.0 * shape.vocab * shape.embedding
    whole = shape.dense_bytes if shape.dense_bytes is not None else dense_bytes(sizes) + table
    rows = shape.batch_size or 32
    return Costs(
        name=shape.name,
        compute=Curve((float(rows),), (shape.seconds_per_row * rows,)),
        update_fixed=whole / 4 * BYTES_PER_PARAMETER / DEFAULT_MEMORY_BANDWIDTH,
        dense_bytes=whole,
        sparse=False,
        spread=DEFAULT_SPREAD,
        unknown=(
            "computing is what was given, not measured here, and taken in proportion to the rows",
            f"an update moves {BYTES_PER_PARAMETER} bytes a parameter at "
            f"{DEFAULT_MEMORY_BANDWIDTH / 1e9:g} GB/s",
            f"times of ranks differ by {DEFAULT_SPREAD:.0%}",
        ),
    )


def contended(shape_costs: Costs, memory_bandwidth: float) -> Costs:
    """The same on hosts whose memory gives all ranks together `memory_bandwidth` bytes a second.

    Updates wait for memory: beyond total / one core's bandwidth ranks, they take turns.
    """
    enough = memory_bandwidth / DEFAULT_MEMORY_BANDWIDTH
    ranks = [1.0, max(enough, 1.0), 2 * max(enough, 1.0), 1024.0 * max(enough, 1.0)]
    known = sorted({each: max(1.0, each / enough) for each in ranks}.items())
    curve = Curve(tuple(each for each, _ in known), tuple(slow for _, slow in known))
    return replace(shape_costs, update_slowdown=curve)
