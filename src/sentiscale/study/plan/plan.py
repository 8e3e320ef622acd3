"""Create a plan, with predictions and conclusions, from records or from the sizes of a training."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from sentiscale.errors import DataError, UsageError
from sentiscale.records import load_record
from sentiscale.study.plan.measured import RunSelection, costs_of, select_runs
from sentiscale.study.plan.network import (
    DEFAULT_MEMORY,
    DEFAULT_SOCKETS,
    ClusterSpec,
    LinkTimings,
    parse_network,
)
from sentiscale.study.plan.prediction import (
    MOST_RANKS,
    CapacityRequest,
    PerformanceModel,
    PlanCheck,
    PlanRow,
    checks_of,
    micro_batches_of,
    predict,
)
from sentiscale.study.plan.sizes import costs_of_sizes, sizes_of, with_memory_limit
from sentiscale.study.records import read_runs
from sentiscale.util.atomic import write_file

LINKS = "network.json"
DEFAULT_ROWS = 100_000
DEFAULT_NETWORK = "10gbit"


@dataclass(frozen=True)
class CapacityPlan:
    """Predictions, and the model on which they are based."""

    model: PerformanceModel
    """Costs, cluster and checks against measurements."""
    request: CapacityRequest
    """The request, with defaults filled in."""
    rows: list[PlanRow]
    """Predictions, one per number of ranks."""
    sentences: list[str]
    """Conclusions, the most important first."""
    assumptions: list[str]
    """Assumptions that replace missing measurements."""

    def document(self) -> dict[str, Any]:
        """Contents of the JSON output of `sentiscale plan --json`."""
        best, cluster = best_row(self.rows), self.model.cluster
        return {
            "rows": [asdict(row) for row in self.rows],
            "best_workers": best.workers,
            "trusted": not best.doubts,
            "sentences": self.sentences,
            "assumptions": self.assumptions,
            "checks": [{**asdict(each), "error": each.error} for each in self.model.checks],
            "network": {"name": cluster.network.name, **asdict(cluster.network.link)},
            "ranks_per_host": cluster.ranks_per_host,
            "scaling": self.request.scaling,
            "epoch_rows": self.request.rows,
            "costs": self.model.costs.name,
        }


def make_plan(request: CapacityRequest) -> CapacityPlan:
    """Predict training speed on a cluster, from benchmark records or from given sizes and timings.

    Raises:
        UsageError: if flags cannot be combined.
        DataError: if the records do not contain the necessary cases.
    """
    by_sizes = request.shape is not None or any(value is not None for value in request.sizes.values())
    if by_sizes == (request.records is not None):
        raise UsageError(
            "give either RECORDS, the --out of `sentiscale bench`, or a training by --shape or "
            "--seconds-per-row and its sizes."
        )
    if by_sizes and request.measure_network:
        raise UsageError("--measure-network writes its result to RECORDS; give RECORDS, or leave it out.")
    assumptions = (
        [] if request.network else [f"hosts are joined by {DEFAULT_NETWORK}, as --network was not given"]
    )
    if request.records is None:
        model, request = _from_sizes(request)
    else:
        model, request = _from_records(request.records, request, assumptions)
    rows = predict(model, request)
    if not all(math.isfinite(row.rows_per_s) for row in rows):
        raise DataError("the times are too short or too long to predict from. Measure them again.")
    assumptions = [*model.costs.unknown, *assumptions]
    return CapacityPlan(model, request, rows, sentences(rows, model, request), assumptions)


def _from_records(
    path: Path, request: CapacityRequest, assumptions: list[str]
) -> tuple[PerformanceModel, CapacityRequest]:
    selection = RunSelection(request.model, request.precision, request.threads)
    runs = select_runs(read_runs(path), selection)
    file = path / LINKS if path.is_dir() else path.with_name(LINKS)
    links = _link_timings(file, measure=request.measure_network)
    ranks_per_host = (request.cores_per_host or runs[0].host.cores) // request.threads
    if ranks_per_host < 1:
        raise UsageError("a host has no core for a rank; give more --cores-per-host or fewer --threads.")
    if links is None:
        assumptions.append(
            f"what gloo and shared memory cost ({file} does not exist; "
            "--measure-network measures it in seconds)"
        )
    cluster = ClusterSpec(
        ranks_per_host,
        parse_network(request.network or DEFAULT_NETWORK),
        sockets=links.fitted_link(memory=False) if links else DEFAULT_SOCKETS,
        memory=links.fitted_link(memory=True) if links else DEFAULT_MEMORY,
    )
    batch_sizes = sorted({run.case.batch_size for run in runs if run.case.kind == "train"})
    middle = batch_sizes[len(batch_sizes) // 2]
    request = replace(
        request,
        batch_size=request.batch_size or middle,
        rows=request.rows or DEFAULT_ROWS,
        micro_batches=request.micro_batches or micro_batches_of(runs),
    )
    return PerformanceModel(costs_of(runs), cluster, checks_of(runs, cluster)), request


def _link_timings(file: Path, *, measure: bool) -> LinkTimings | None:
    """Measure the collectives on this host and write them to `file`, or read `file` if it exists."""
    if measure:
        from sentiscale.study.plan.probe import measure_links  # loads torch

        timings = measure_links()
        write_file(file, timings.model_dump_json(indent=1))
        return timings
    try:
        return load_record(file, LinkTimings)
    except FileNotFoundError:
        return None
    except DataError as error:
        raise DataError(f"{error} Measure again with --measure-network.") from error


def _from_sizes(request: CapacityRequest) -> tuple[PerformanceModel, CapacityRequest]:
    sizes = sizes_of(request.shape, **request.sizes, batch_size=request.batch_size or None)
    costs = costs_of_sizes(sizes)
    if request.memory_bandwidth:
        costs = with_memory_limit(costs, request.memory_bandwidth)
    cluster = ClusterSpec(
        ranks_per_host=(request.cores_per_host or max(request.workers)) // request.threads,
        network=parse_network(request.network or DEFAULT_NETWORK),
        total_bandwidth=request.host_bandwidth,
        shares_memory=False,
    )
    # The batch size of the classic recipe is per rank.
    weak = request.shape is not None and not request.batch_size
    request = replace(
        request,
        batch_size=request.batch_size or sizes.batch_size,
        rows=request.rows or sizes.rows or DEFAULT_ROWS,
        scaling="weak" if weak else request.scaling,
    )
    return PerformanceModel(costs, cluster), request


WORTH_IT = 1.03
"""Factor by which a larger number of ranks must be faster than a smaller one to be recommended."""

PAYS = 0.5
"""An additional host pays if it adds at least this share of the throughput of the first host."""

MOST_HOSTS = 64
ORDINALS = {2: "second", 3: "third"}


def best_row(rows: Sequence[PlanRow]) -> PlanRow:
    """The row with the fewest ranks among those within a factor of `WORTH_IT` of the fastest.

    If there are trusted rows, only these are considered.
    """
    trusted = [row for row in rows if not row.doubts] or list(rows)
    fastest = max(row.rows_per_s for row in trusted)
    return min((row for row in trusted if row.rows_per_s * WORTH_IT >= fastest), key=lambda row: row.workers)


def rates_by_host(model: PerformanceModel, request: CapacityRequest) -> list[float]:
    """Rows per second of 1, 2, 3, ... full hosts, up to the hosts in the request but at least two.

    Empty if two full hosts cannot be predicted.
    """
    per_host = model.cluster.ranks_per_host
    if per_host % request.stages:
        return []
    most = max(2, *(model.cluster.hosts(workers) for workers in request.workers))
    most = min(most, MOST_HOSTS, MOST_RANKS // per_host)
    if request.scaling == "strong":
        most = min(most, request.batch_size * request.stages // per_host)
    if most < 2:
        return []
    full = replace(request, workers=tuple(per_host * hosts for hosts in range(1, most + 1)))
    return [row.rows_per_s for row in predict(model, full)]


def hosts_that_pay(rates: Sequence[float]) -> int:
    """Number of hosts up to which each adds at least `PAYS` of the throughput of the first host."""
    for hosts in range(1, len(rates)):
        if rates[hosts] - rates[hosts - 1] < PAYS * rates[0]:
            return hosts
    return len(rates)


def sentences(rows: Sequence[PlanRow], model: PerformanceModel, request: CapacityRequest) -> list[str]:
    """Conclusions from the predictions, the most important first."""
    conclusions = [_about_best(rows)]
    if best_row(rows).doubts:
        conclusions.append("none of these predictions is to be trusted; the reasons are listed below.")
    rates = rates_by_host(model, request)
    if len(rates) > 1:
        conclusions.append(_about_hosts(rates, model.cluster))
    return [*conclusions, about_trust(model.checks)]


def _about_best(rows: Sequence[PlanRow]) -> str:
    best = best_row(rows)
    low, high = best.speedup_range
    text = (
        f"best of these: {best.workers} ranks (layout {best.layout}, {best.hosts} "
        f"host{'s' * (best.hosts > 1)}): {best.speedup:.3g} times one rank ({low:.3g} to {high:.3g})"
    )
    more = [row for row in rows if row.workers > best.workers and bool(row.doubts) == bool(best.doubts)]
    if not more:
        return f"{text}."
    fastest = max(more, key=lambda row: row.rows_per_s)
    ratio = fastest.rows_per_s / best.rows_per_s
    return f"{text}; {fastest.workers} are {ratio:.2f} times as fast as that."


def _about_hosts(rates: Sequence[float], cluster: ClusterSpec) -> str:
    second = f"a second host makes it {rates[1] / rates[0]:.2f} times as fast over {cluster.network.name}"
    paying = hosts_that_pay(rates)
    if paying == 1:
        verb = "and is slower than one" if rates[1] < rates[0] else "which does not pay"
        return f"{second}, {verb}: stay with one host of {cluster.ranks_per_host} ranks."
    if paying == len(rates):
        return f"{second}; all {paying} hosts pay (each adds at least half of what the first does)."
    host = ORDINALS.get(paying, f"{paying}th")
    return f"{second}; the {host} host is the last one that adds half of what the first does ({PAYS:.0%})."


def about_trust(checks: Sequence[PlanCheck]) -> str:
    if not checks:
        return (
            "nothing here was checked against a measurement: records of `bench` with several ranks "
            "would show the error."
        )
    sizes = sorted(abs(check.error) for check in checks)
    return (
        f"checked against {len(checks)} measured case{'s' * (len(checks) > 1)} of several ranks on one host: "
        f"median error {sizes[len(sizes) // 2]:.0%}, largest {sizes[-1]:.0%}; "
        "more hosts than one rest on the network as given."
    )
