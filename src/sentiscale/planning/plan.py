"""From records, or from the sizes of a training, to a plan: gather costs, check them, predict, conclude."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from sentiscale.atomic import write_file
from sentiscale.errors import DataError, UsageError
from sentiscale.measurements import BenchRun
from sentiscale.planning.check import checks_of
from sentiscale.planning.exchange import Cluster
from sentiscale.planning.links import LinkTimes
from sentiscale.planning.measured import Wanted, chosen_runs, costs_of
from sentiscale.planning.networks import Network
from sentiscale.planning.prediction import Forecast, PlanRow, Question, predict
from sentiscale.planning.words import best_row, sentences
from sentiscale.records import read_jsonl, reason_of

RECORDS, LINKS = "records.jsonl", "network.json"


@dataclass(frozen=True)
class Plan:
    """What was predicted, and from what."""

    forecast: Forecast
    """Costs and cluster it rests on."""
    question: Question
    """What was asked for."""
    rows: list[PlanRow]
    """One a number of ranks."""
    sentences: list[str]
    """What follows, the most important first."""
    assumptions: list[str]
    """What was taken for granted because nobody measured it."""

    def document(self) -> dict[str, Any]:
        """What `--json` prints."""
        best = best_row(self.rows)
        network = self.forecast.cluster.network
        return {
            "rows": [asdict(row) for row in self.rows],
            "best_workers": best.workers,
            "trusted": not best.doubts,
            "sentences": self.sentences,
            "assumptions": self.assumptions,
            "checks": [{**asdict(each), "error": each.error} for each in self.forecast.checks],
            "network": {"name": network.name, **asdict(network.link)},
            "ranks_per_host": self.forecast.cluster.ranks_per_host,
            "scaling": self.question.scaling,
            "epoch_rows": self.question.rows,
            "costs": self.forecast.costs.name,
        }


def records_of(path: Path) -> list[BenchRun]:
    """The runs in a directory of `bench`, or in a file of such lines.

    Raises: DataError when there are none.
    """
    file = path / RECORDS if path.is_dir() else path
    runs = list(read_jsonl(file, BenchRun))
    if not runs:
        raise DataError(f"{file} holds no runs. Run `sentiscale bench DATA --out {path}` first.")
    return runs


def links_file(path: Path) -> Path:
    """Where the timed collectives of a host are kept, beside its records."""
    return path / LINKS if path.is_dir() else path.with_name(LINKS)


def known_links(path: Path, *, measure: bool) -> LinkTimes | None:
    """Timed collectives of this host: measured now and kept, or those kept earlier.

    Raises: DataError when what was kept cannot be read.
    """
    file = links_file(path)
    if measure:
        from sentiscale.planning.probe import measure_links

        found = measure_links()
        write_file(file, found.model_dump_json(indent=1))
        return found
    if not file.exists():
        return None
    try:
        return LinkTimes.model_validate_json(file.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(
            f"{file} cannot be read: {reason_of(error)}. Measure again with --measure-network."
        ) from error


def cluster_of(ranks_per_host: int, network: Network, links: LinkTimes | None) -> Cluster:
    """Hosts on a network, with the costs of software that were measured, or usual ones.

    Raises: UsageError when a host has no room for a rank.
    """
    if ranks_per_host < 1:
        raise UsageError("a host must have room for one rank; give more --cores-per-host or fewer --threads.")
    cluster = Cluster(ranks_per_host=ranks_per_host, network=network)
    if links is None:
        return cluster
    return replace(cluster, sockets=links.sockets(), memory=links.memory())


def forecast_from(path: Path, wanted: Wanted, cluster: Cluster) -> Forecast:
    """Costs from records, and how predictions from them came out where they can be checked."""
    runs = chosen_runs(records_of(path), wanted)
    return Forecast(costs_of(runs), cluster, checks_of(runs, cluster))


def make_plan(forecast: Forecast, question: Question, assumptions: list[str]) -> Plan:
    """Predict and conclude."""
    rows = predict(forecast, question)
    return Plan(
        forecast, question, rows, sentences(rows, forecast, question), [*forecast.costs.unknown, *assumptions]
    )
