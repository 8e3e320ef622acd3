"""What a plan says in sentences: best count, where another host stops paying, how far it can be trusted."""

from collections.abc import Sequence
from dataclasses import replace

from sentiscale.planning.check import Check
from sentiscale.planning.exchange import Cluster
from sentiscale.planning.prediction import MOST_RANKS, Forecast, PlanRow, Question, predict

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
