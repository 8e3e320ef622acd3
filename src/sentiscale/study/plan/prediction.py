"""Predict a training's speed by number of ranks: with a range, with what limits it, and with its doubts."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Literal

from sentiscale.errors import DataError, UsageError
from sentiscale.study.plan.costs import Costs, Setting
from sentiscale.study.plan.exchange import Cluster
from sentiscale.study.plan.measured import Measured, costs_of, medians
from sentiscale.study.plan.simulate import StepParts, simulate
from sentiscale.study.records import BenchRun


@dataclass(frozen=True)
class Check:
    """A recorded case, and what would have been predicted for it."""

    layout: str
    """Replicas x stages."""
    batch_size: int
    """Rows of a step over all ranks."""
    measured: float
    """Seconds of a step, median over repeats."""
    predicted: float
    """Seconds of a step, from other cases."""
    scatter: float
    """Of the repeats: half their range over the median."""

    @property
    def stages(self) -> int:
        """Of the layout."""
        return int(self.layout.partition("x")[2])

    @property
    def ranks(self) -> int:
        """Of the layout."""
        return int(self.layout.partition("x")[0]) * self.stages

    @property
    def error(self) -> float:
        """Predicted over measured, less one."""
        return self.predicted / self.measured - 1


def checks_of(runs: Sequence[BenchRun], cluster: Cluster) -> list[Check]:
    """Predict every recorded case with several ranks on cores of their own, from serial runs and copies.

    Bytes and the spread of ranks come from such cases themselves; how two stages share the work comes from
    the other batch sizes, where there are any.
    """
    cores = runs[0].host.cores
    found = []
    for each in sorted(medians(runs), key=lambda each: (each.replicas, each.stages, each.case.batch_size)):
        if each.case.kind == "train" and each.replicas * each.stages > 1 and each.case.workers <= cores:
            found.append(_check(each, runs, cluster))
    return found


def _check(each: Measured, runs: Sequence[BenchRun], cluster: Cluster) -> Check:
    costs = costs_of(runs, apart_from=each.case if each.stages > 1 else None)
    parts = int(runs[0].shape.get("micro_batches", Setting.micro_batches))
    setting = Setting(each.replicas, each.stages, each.case.batch_size, parts)
    here = replace(cluster, ranks_per_host=each.case.ranks)
    predicted = simulate(costs, setting, here).seconds
    return Check(each.case.layout, each.case.batch_size, each.step, predicted, each.scatter)


def error_of(checks: Sequence[Check], stages: int) -> float | None:
    """The median size of the errors of layouts with so many stages; None where nothing was checked."""
    sizes = [abs(each.error) for each in checks if each.stages == stages]
    return median(sizes) if sizes else None


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
        workers=workers,
        layout=f"{setting.replicas}x{setting.stages}",
        hosts=hosts,
        batch_size=setting.batch_size,
        step=step,
        seconds_per_epoch=steps * step.seconds,
        seconds_range=(steps * fast, steps * slow),
        rows_per_s=rate,
        speedup=speedup,
        speedup_range=speedups,
        efficiency=speedup / workers,
        efficiency_range=(speedups[0] / workers, speedups[1] / workers),
        ceiling=ceiling,
        communication_share=(step.exchange + step.waiting) / step.seconds,
        cost_per_epoch=None if question.price_per_hour is None else question.price_per_hour * hours * hosts,
        trust="not to be trusted" if doubts else "checked" if checked else "computed",
        doubts=tuple(doubts),
    )


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


WORTH_IT = 1.03
"""How much faster more ranks must be than fewer to be recommended."""

PAYS = 0.5
"""Another host pays while it adds at least this part of what the first one does."""

MOST_HOSTS = 64


def best_row(rows: Sequence[PlanRow]) -> PlanRow:
    """The fewest ranks nearly as fast as the fastest, among those to be trusted, if there are any."""
    trusted = [row for row in rows if not row.doubts] or list(rows)
    fastest = max(row.rows_per_s for row in trusted)
    return min((row for row in trusted if row.rows_per_s * WORTH_IT >= fastest), key=lambda row: row.workers)


def rates_by_host(forecast: Forecast, question: Question) -> list[float]:
    """Rows a second of 1, 2, 3, ... full hosts, as many as the question has, at least two."""
    each = forecast.cluster.ranks_per_host
    if question.stages > 1 and each % question.stages:
        return []
    wanted = max(2, *(forecast.cluster.hosts(workers) for workers in question.workers))
    most = min(wanted, MOST_HOSTS, MOST_RANKS // each)
    if question.scaling == "strong":
        most = min(most, question.batch_size * question.stages // each)
    if most < 2:
        return []
    full = replace(question, workers=tuple(each * hosts for hosts in range(1, most + 1)))
    return [row.rows_per_s for row in predict(forecast, full)]


def hosts_that_pay(rates: Sequence[float]) -> int:
    """How many hosts pay: each one more adds at least `PAYS` of what the first does."""
    for hosts in range(1, len(rates)):
        if rates[hosts] - rates[hosts - 1] < PAYS * rates[0]:
            return hosts
    return len(rates)


def sentence_on_hosts(rates: Sequence[float], cluster: Cluster) -> str | None:
    """Whether a second host pays, and where another one stops to; None where there is nothing to say."""
    if len(rates) < 2:
        return None
    second = f"a second host makes it {rates[1] / rates[0]:.2f} times as fast over {cluster.network.name}"
    paying = hosts_that_pay(rates)
    if paying == 1:
        verb = "and is slower than one" if rates[1] < rates[0] else "which does not pay"
        return f"{second}, {verb}: stay with one host of {cluster.ranks_per_host} ranks."
    rule = f"the last one that adds half of what the first does ({PAYS:.0%})"
    if paying == len(rates):
        return f"{second}; all {paying} hosts pay (each adds at least half of what the first does)."
    return f"{second}; the {_ordinal(paying)} is {rule}."


def sentences(rows: Sequence[PlanRow], forecast: Forecast, question: Question) -> list[str]:
    """The conclusions, the most important first."""
    best = best_row(rows)
    low, high = best.speedup_range
    said = [
        f"best of these: {best.workers} ranks (layout {best.layout}, {best.hosts} "
        f"host{'s' * (best.hosts > 1)}): {best.speedup:.3g} times one rank ({low:.3g} to {high:.3g})"
        + _more_do_not_help(best, rows)
    ]
    if best.doubts:
        said.append("none of these predictions is to be trusted; the reasons stand below.")
    on_hosts = sentence_on_hosts(rates_by_host(forecast, question), forecast.cluster)
    said += [on_hosts] if on_hosts else []
    said.append(trust(forecast.checks))
    return said


def trust(checks: Sequence[Check]) -> str:
    """How the predictions came out where they could be checked."""
    if not checks:
        return (
            "nothing here was checked against a measurement: records of `bench` with several ranks "
            "would tell the error."
        )
    sizes = sorted(abs(check.error) for check in checks)
    return (
        f"checked against {len(checks)} measured case{'s' * (len(checks) > 1)} of several ranks on one host: "
        f"median error {sizes[len(sizes) // 2]:.0%}, largest {sizes[-1]:.0%}; "
        "more hosts than one rest on the network as given."
    )


def _more_do_not_help(best: PlanRow, rows: Sequence[PlanRow]) -> str:
    more = [row for row in rows if row.workers > best.workers and bool(row.doubts) == bool(best.doubts)]
    if not more:
        return "."
    fastest = max(more, key=lambda row: row.rows_per_s)
    return f"; {fastest.workers} are {fastest.rows_per_s / best.rows_per_s:.2f} times as fast as that."


def _ordinal(number: int) -> str:
    return {1: "first", 2: "second", 3: "third"}.get(number, f"{number}th") + " host"
