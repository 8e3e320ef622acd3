"""Predict a training's speed by number of ranks: with a range, with what limits it, and with its doubts."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from sentiscale.errors import DataError, UsageError
from sentiscale.planning.check import Check, error_of
from sentiscale.planning.costs import Costs, Setting
from sentiscale.planning.exchange import Cluster
from sentiscale.planning.simulate import StepParts, simulate

Range = tuple[float, float]

LEAST_ERROR = 0.05
"""Taken for the error of computing even where the check came closer: other hosts differ by more."""

LINK_ERROR = 1.5
"""How many times slower or faster than assumed an exchange may be: clouds, switches, more hosts."""

UNCHECKED_ERROR = 0.25
"""Taken for the error of computing where nothing could be checked."""

TABLE_REACH = 8.0
"""How many times beyond the measurements the number of different words is trusted: it follows Heaps' law."""

MOST_RANKS = 1024


@dataclass(frozen=True)
class Question:
    """What a plan is asked for."""

    workers: tuple[int, ...]
    """Ranks, one count after the other."""
    batch_size: int
    """Rows of a step over all ranks; with weak scaling, of each replica."""
    rows: int
    """Of an epoch."""
    stages: int = 1
    """1, or 2 where the network is cut in two."""
    scaling: Literal["strong", "weak"] = "strong"
    """strong: the batch stays as ranks are added. weak: it grows with them."""
    micro_batches: int = 2
    """Parts of a batch on its way through two stages."""
    price_per_hour: float | None = None
    """Of a host."""
    seed: int = 0
    """What the simulated steps are drawn from."""


@dataclass(frozen=True)
class Forecast:
    """Costs, the machine they are put on, and how good predictions were where they could be checked."""

    costs: Costs
    """What a training costs a rank."""
    cluster: Cluster
    """Hosts and the network between them."""
    checks: Sequence[Check] = ()
    """Recorded cases beside what would have been predicted for them."""


@dataclass(frozen=True)
class PlanRow:
    """What is predicted for one number of ranks."""

    workers: int
    """Ranks."""
    layout: str
    """Replicas x stages."""
    hosts: int
    """Machines they need."""
    batch_size: int
    """Rows of a step over all ranks."""
    step: StepParts
    """Where a mean step goes, in seconds."""
    seconds_per_epoch: float
    """Of the steps alone, without validations."""
    seconds_range: Range
    """Of an epoch, if computing and links are as much faster or slower as they may be."""
    rows_per_s: float
    """Training rows a second."""
    speedup: float
    """Rows a second over those of one rank alone with the same batch size (strong) or its share (weak)."""
    speedup_range: Range
    """For that range."""
    efficiency: float
    """Speedup over ranks."""
    efficiency_range: Range
    """For that range."""
    ceiling: float
    """Efficiency if exchange took no time and all ranks were equally fast."""
    communication_share: float
    """Of a step: exchange and waiting for others."""
    cost_per_epoch: float | None
    """In the currency of the price of a host; None without one."""
    trust: Literal["checked", "computed", "not to be trusted"]
    """checked: like what was measured here. computed: beyond it, within reach."""
    doubts: tuple[str, ...] = field(default=())
    """Why it is not to be trusted."""


def setting_of(workers: int, question: Question) -> Setting:
    """The arrangement of so many ranks.

    Raises: UsageError where they cannot be arranged so.
    """
    if not 1 <= workers <= MOST_RANKS:
        raise UsageError(f"--workers has {workers}; it takes counts from 1 to {MOST_RANKS:,}.")
    if workers % question.stages:
        raise UsageError(
            f"--workers has {workers}, which {question.stages} stages do not divide. Give even counts."
        )
    replicas = workers // question.stages
    batch = question.batch_size * (replicas if question.scaling == "weak" else 1)
    if replicas > batch:
        raise UsageError(
            f"{replicas} replicas cannot share {batch} rows a step. Give --batch-size {replicas} or more, "
            "or --scaling weak."
        )
    return Setting(replicas, question.stages, batch, question.micro_batches)


def predict(forecast: Forecast, question: Question) -> list[PlanRow]:
    """One row for each count of ranks.

    Raises: UsageError for counts that cannot be; DataError where the records lack what a count needs.
    """
    refuse_the_unknown(forecast.costs, question)
    return [_predicted(workers, forecast, question) for workers in question.workers]


def refuse_the_unknown(costs: Costs, question: Question) -> None:
    """Raise DataError where a needed case was never measured: no guess can replace it."""
    several = max(question.workers) > question.stages
    if several and costs.sparse and costs.touched is None:
        raise DataError(
            "what replicas send each other was not measured: the records hold no case with two replicas. "
            "Run `sentiscale bench DATA --out RECORDS --layouts 1x1,2x1`."
        )
    if question.stages > 1 and (costs.outer_share is None or costs.activations is None):
        raise DataError(
            "how two stages share the work was not measured: the records hold no layout 1x2. "
            "Run `sentiscale bench DATA --out RECORDS --layouts 1x1,1x2`."
        )


def _predicted(workers: int, forecast: Forecast, question: Question) -> PlanRow:
    costs, cluster = forecast.costs, forecast.cluster
    setting = setting_of(workers, question)
    error = error_of(forecast.checks, question.stages)
    spread = UNCHECKED_ERROR if error is None else max(error, LEAST_ERROR)
    step = simulate(costs, setting, cluster, seed=question.seed)
    fast = _range_end(forecast, setting, question, 1 - spread, 1 / LINK_ERROR)
    slow = _range_end(forecast, setting, question, 1 + spread, LINK_ERROR)
    base = serial_rate(forecast, question)
    steps = -(-question.rows // setting.batch_size)
    rate = setting.batch_size / step.seconds
    speedup = rate / base
    ceiling = speedup * step.seconds / step.compute / workers
    speedups = (setting.batch_size / slow / base, setting.batch_size / fast / base)
    if workers == 1:
        speedups = (1.0, 1.0)
    doubts = doubts_of(costs, setting, cluster, error)
    checked = workers <= _most_checked(forecast, question.stages) and cluster.hosts(workers) == 1
    hosts = cluster.hosts(workers)
    hours = steps * step.seconds / 3600
    return PlanRow(
        workers=workers, layout=f"{setting.replicas}x{setting.stages}", hosts=hosts,
        batch_size=setting.batch_size, step=step,
        seconds_per_epoch=steps * step.seconds, seconds_range=(steps * fast, steps * slow),
        rows_per_s=rate, speedup=speedup, speedup_range=speedups,
        efficiency=speedup / workers, efficiency_range=(speedups[0] / workers, speedups[1] / workers),
        ceiling=ceiling, communication_share=(step.exchange + step.waiting) / step.seconds,
        cost_per_epoch=None if question.price_per_hour is None else question.price_per_hour * hours * hosts,
        trust="not to be trusted" if doubts else "checked" if checked else "computed",
        doubts=tuple(doubts),
    )  # fmt: skip


def serial_rate(forecast: Forecast, question: Question) -> float:
    """Rows a second of one rank alone, which speedups are over."""
    alone = Setting(1, 1, question.batch_size)
    cluster = replace(forecast.cluster, ranks_per_host=1)
    return question.batch_size / simulate(forecast.costs, alone, cluster, seed=question.seed).seconds


def _range_end(
    forecast: Forecast, setting: Setting, question: Question, compute: float, links: float
) -> float:
    """Seconds of a step with computing and exchange so many times as long."""
    cluster = forecast.cluster.slower(links)
    return simulate(forecast.costs.slower(compute), setting, cluster, seed=question.seed).seconds


def _most_checked(forecast: Forecast, stages: int) -> int:
    ranks = [check.ranks for check in forecast.checks if check.stages == stages]
    return max(ranks, default=1)


def doubts_of(costs: Costs, setting: Setting, cluster: Cluster, error: float | None) -> list[str]:
    """Why a prediction is not to be trusted, as sentences; empty where nothing speaks against it."""
    doubts = []
    part = setting.rows / (min(setting.micro_batches, max(1, int(setting.rows))) if setting.stages > 1 else 1)
    if not costs.compute.reaches(part):
        doubts.append(
            f"{part:.3g} rows at a time on a rank; measured were {costs.compute.range()}. "
            "Measure with such a --batch-sizes of `bench`, or change the batch size."
        )
    busy = min(cluster.ranks_per_host, setting.ranks)
    if busy > 1 and len(costs.slowdown.x) == 1:
        doubts.append(
            "ranks of one host slow each other, and by how much was not measured (no `copies` cases)."
        )
    elif not costs.slowdown.reaches(busy):
        doubts.append(
            f"{busy} ranks of one host compute at once; measured were {costs.slowdown.range()}. "
            "Give --cores-per-host, or measure on such a host."
        )
    if costs.sparse and costs.touched is not None and setting.replicas > 1:
        for rows in (setting.rows, setting.batch_size):
            if not costs.touched.reaches(rows, TABLE_REACH):
                doubts.append(
                    f"rows of the embedding in a batch of {rows:g} are not known: measured were "
                    f"{costs.touched.range()}."
                )
    if error is None and setting.ranks > 1:
        doubts.append("no such layout was measured with several ranks, so the error is not known.")
    return doubts
