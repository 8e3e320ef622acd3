"""Predict the speed of a training by number of ranks, with a range and with reasons for doubt."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Literal

from sentiscale.errors import DataError, UsageError
from sentiscale.parallel.layout import Layout
from sentiscale.study.plan.costs import ParallelSetup, TrainingCosts
from sentiscale.study.plan.measured import costs_of, median_steps
from sentiscale.study.plan.network import ClusterSpec
from sentiscale.study.plan.simulate import StepParts, simulate
from sentiscale.study.records import BenchRun


@dataclass(frozen=True)
class PlanCheck:
    """A measured case, and the prediction for it."""

    layout: str
    batch_size: int  # rows per step over all ranks
    measured: float  # seconds per step, median over repeats
    predicted: float  # seconds per step, predicted from other cases
    scatter: float  # half the range of the repeats, divided by their median

    @property
    def stages(self) -> int:
        return Layout.parse(self.layout).model

    @property
    def error(self) -> float:
        """Relative error; positive if the prediction is too slow."""
        return self.predicted / self.measured - 1


def checks_of(runs: Sequence[BenchRun], cluster: ClusterSpec) -> list[PlanCheck]:
    """Predict every measured case with several ranks that is not oversubscribed, from serial runs and copies.

    The bytes sent and the spread of ranks are taken from the measured parallel cases. The division of work
    between two stages is taken from other batch sizes, if these were measured.
    """
    steps = [
        each
        for each in median_steps(runs)
        if each.case.kind == "train" and each.case.ranks > 1 and each.case.workers <= runs[0].host.cores
    ]
    checks = []
    for each in sorted(steps, key=lambda each: (each.layout.data, each.layout.model, each.case.batch_size)):
        case, layout = each.case, each.layout
        costs = costs_of(runs, apart_from=case if layout.model > 1 else None)
        if layout.model > 1 and (costs.outer_share is None or costs.activations is None):
            continue  # the records have no layout 1x2, or not its times by rank
        setup = ParallelSetup(layout.data, layout.model, case.batch_size, micro_batches_of(runs))
        predicted = simulate(costs, setup, replace(cluster, ranks_per_host=case.ranks)).seconds
        checks.append(PlanCheck(case.layout, case.batch_size, each.step, predicted, each.scatter))
    return checks


def micro_batches_of(runs: Sequence[BenchRun]) -> int:
    """Number of micro-batches of the measured trainings; the default if the records do not contain it."""
    return int(runs[0].shape.get("micro_batches", ParallelSetup.micro_batches))


def error_of(checks: Sequence[PlanCheck], stages: int) -> float | None:
    """Median absolute error of the checks with this number of stages; None if there are none."""
    sizes = [abs(each.error) for each in checks if each.stages == stages]
    return median(sizes) if sizes else None


Range = tuple[float, float]

LEAST_ERROR = 0.05
"""Smallest error assumed for computing, even if the checks are closer, because other hosts differ by more."""

LINK_ERROR = 1.5
"""Factor by which an exchange may be slower or faster than predicted, due to clouds or switches."""

UNCHECKED_ERROR = 0.25
"""Error assumed for computing if there are no checks."""

TABLE_REACH = 8.0
"""Factor beyond the measurements up to which the number of distinct words is trusted (Heaps' law)."""

MOST_RANKS = 1024


@dataclass(frozen=True)
class CapacityRequest:
    """Flags of `sentiscale plan`. 0 or None means that a flag was not given."""

    workers: tuple[int, ...]
    records: Path | None = None
    network: str | None = None
    cores_per_host: int = 0
    threads: int = 1
    stages: int = 1
    scaling: str = "strong"
    batch_size: int = 0  # rows per step over all ranks; with weak scaling, rows per step and replica
    rows: int = 0  # rows per epoch
    model: str | None = None
    precision: str | None = None
    micro_batches: int = 0
    price_per_hour: float | None = None  # price of one host
    measure_network: bool = False
    shape: str | None = None
    sizes: dict[str, float | None] = field(default_factory=dict)
    host_bandwidth: float | None = None
    memory_bandwidth: float | None = None
    seed: int = 0  # for the simulated steps

    def setup(self, workers: int) -> ParallelSetup:
        """Arrange `workers` ranks as replicas and stages.

        Raises: UsageError if this is not possible.
        """
        if not 1 <= workers <= MOST_RANKS:
            raise UsageError(f"--workers has {workers}; it takes counts from 1 to {MOST_RANKS:,}.")
        if workers % self.stages:
            raise UsageError(
                f"--workers has {workers}, which {self.stages} stages do not divide. Give even counts."
            )
        replicas = workers // self.stages
        batch = self.batch_size * (replicas if self.scaling == "weak" else 1)
        if replicas > batch:
            raise UsageError(
                f"{replicas} replicas cannot share {batch} rows a step. Give --batch-size {replicas} or "
                "more, or --scaling weak."
            )
        return ParallelSetup(replicas, self.stages, batch, self.micro_batches or ParallelSetup.micro_batches)


@dataclass(frozen=True)
class PerformanceModel:
    """Model for predictions: the costs, the cluster, and checks against measured cases."""

    costs: TrainingCosts
    cluster: ClusterSpec
    checks: Sequence[PlanCheck] = ()


@dataclass(frozen=True)
class PlanRow:
    """Prediction for one number of ranks."""

    workers: int
    layout: str
    hosts: int
    batch_size: int  # rows per step over all ranks
    step: StepParts  # parts of a mean step, in seconds
    seconds_per_epoch: float  # without validations
    seconds_range: Range  # seconds per epoch for the fastest and the slowest plausible computing and links
    rows_per_s: float
    speedup: float  # over a single rank with the same batch size (strong) or one replica's batch (weak)
    speedup_range: Range
    efficiency: float  # speedup divided by the number of ranks
    efficiency_range: Range
    ceiling: float  # efficiency if the exchange took no time and all ranks were equally fast
    communication_share: float  # share of exchange and waiting in a step
    cost_per_epoch: float | None  # in the currency of `price_per_hour`
    trust: Literal["checked", "computed", "not to be trusted"]
    """checked: similar to measured cases. computed: extrapolated within the trusted range."""
    doubts: tuple[str, ...] = ()
    """Sentences with reasons not to trust the prediction."""


def predict(model: PerformanceModel, request: CapacityRequest) -> list[PlanRow]:
    """Predict one row for each number of ranks.

    Raises:
        UsageError: if the ranks cannot be arranged as requested.
        DataError: if a necessary case was not measured and cannot be replaced by an assumption.
    """
    costs = model.costs
    if max(request.workers) > request.stages and costs.sparse and costs.touched is None:
        raise DataError(
            "what replicas send each other was not measured: the records hold no case with two replicas. "
            "Run `sentiscale bench DATA --out RECORDS --layouts 1x1,2x1`."
        )
    if request.stages > 1 and (costs.outer_share is None or costs.activations is None):
        raise DataError(
            "how two stages share the work was not measured: the records hold no layout 1x2. "
            "Run `sentiscale bench DATA --out RECORDS --layouts 1x1,1x2`."
        )
    return [_predict_row(workers, model, request) for workers in request.workers]


def _predict_row(workers: int, model: PerformanceModel, request: CapacityRequest) -> PlanRow:
    costs, cluster = model.costs, model.cluster
    setup = request.setup(workers)
    hosts = cluster.hosts(workers)

    def seconds(compute: float, links: float) -> float:
        """Seconds per step, if computing and exchange take `compute` and `links` times as long."""
        return simulate(costs.slower(compute), setup, cluster.slower(links), seed=request.seed).seconds

    error = error_of(model.checks, request.stages)
    spread = UNCHECKED_ERROR if error is None else max(error, LEAST_ERROR)
    step = simulate(costs, setup, cluster, seed=request.seed)
    fast, slow = seconds(1 - spread, 1 / LINK_ERROR), seconds(1 + spread, LINK_ERROR)
    base = serial_rate(model, request)
    rate = setup.batch_size / step.seconds
    speedup = rate / base
    low, high = setup.batch_size / slow / base, setup.batch_size / fast / base
    if workers == 1:
        low = high = 1.0
    steps = -(-request.rows // setup.batch_size)
    hours = steps * step.seconds / 3600
    doubts = doubts_of(costs, setup, cluster, error)
    most_checked = max(
        (Layout.parse(check.layout).world_size for check in model.checks if check.stages == setup.stages),
        default=1,
    )
    checked = workers <= most_checked and hosts == 1
    return PlanRow(
        workers=workers,
        layout=f"{setup.replicas}x{setup.stages}",
        hosts=hosts,
        batch_size=setup.batch_size,
        step=step,
        seconds_per_epoch=steps * step.seconds,
        seconds_range=(steps * fast, steps * slow),
        rows_per_s=rate,
        speedup=speedup,
        speedup_range=(low, high),
        efficiency=speedup / workers,
        efficiency_range=(low / workers, high / workers),
        ceiling=speedup * step.seconds / step.compute / workers,
        communication_share=(step.exchange + step.waiting) / step.seconds,
        cost_per_epoch=None if request.price_per_hour is None else request.price_per_hour * hours * hosts,
        trust="not to be trusted" if doubts else "checked" if checked else "computed",
        doubts=tuple(doubts),
    )


def serial_rate(model: PerformanceModel, request: CapacityRequest) -> float:
    """Rows per second of a single rank, the base of the speedups."""
    alone = ParallelSetup(1, 1, request.batch_size)
    cluster = replace(model.cluster, ranks_per_host=1)
    return request.batch_size / simulate(model.costs, alone, cluster, seed=request.seed).seconds


def doubts_of(
    costs: TrainingCosts, setup: ParallelSetup, cluster: ClusterSpec, error: float | None
) -> list[str]:
    """Sentences with the reasons not to trust a prediction."""
    doubts = []
    part = setup.rows / (setup.parts if setup.stages > 1 else 1)
    if not costs.compute.reaches(part):
        doubts.append(
            f"{part:.3g} rows at a time on a rank; measured were {costs.compute.range()}. "
            "Measure with such a --batch-sizes of `bench`, or change the batch size."
        )
    busy = min(cluster.ranks_per_host, setup.ranks)
    if busy > 1 and len(costs.slowdown.x) == 1:
        doubts.append(
            "ranks of one host slow each other, and by how much was not measured (no `copies` cases)."
        )
    elif not costs.slowdown.reaches(busy):
        doubts.append(
            f"{busy} ranks of one host compute at once; measured were {costs.slowdown.range()}. "
            "Give --cores-per-host, or measure on such a host."
        )
    if costs.sparse and costs.touched is not None and setup.replicas > 1:
        doubts += [
            f"rows of the embedding in a batch of {rows:g} are not known: "
            f"measured were {costs.touched.range()}."
            for rows in (setup.rows, setup.batch_size)
            if not costs.touched.reaches(rows, TABLE_REACH)
        ]
    if error is None and setup.ranks > 1:
        doubts.append("no such layout was measured with several ranks, so the error is not known.")
    return doubts
