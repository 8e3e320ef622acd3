"""From records, or from the sizes of a training, to a plan: gather costs, check them, predict, conclude."""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast

from sentiscale.errors import DataError, UsageError
from sentiscale.records import read_jsonl, reason_of
from sentiscale.study.plan.costs import Setting
from sentiscale.study.plan.exchange import Cluster, LinkTimes, Network, parse_network
from sentiscale.study.plan.measured import Wanted, chosen_runs, contended, costs_of, costs_of_shape, shape_of
from sentiscale.study.plan.prediction import (
    Forecast,
    PlanRow,
    Question,
    best_row,
    checks_of,
    predict,
    sentences,
)
from sentiscale.study.records import BenchRun
from sentiscale.util.atomic import write_file

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
        from sentiscale.study.plan.probe import measure_links

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


DEFAULT_ROWS = 100_000
DEFAULT_NETWORK = "10gbit"


@dataclass(frozen=True)
class Asked:
    """Flags of `plan`; None is not given."""

    workers: tuple[int, ...]
    records: Path | None = None
    network: str | None = None
    cores_per_host: int | None = None
    threads: int = 1
    stages: int = 1
    scaling: str = "strong"
    batch_size: int | None = None
    rows: int | None = None
    model: str | None = None
    precision: str | None = None
    micro_batches: int | None = None
    price_per_hour: float | None = None
    measure_network: bool = False
    shape: str | None = None
    sizes: dict[str, float | None] = field(default_factory=dict)
    host_bandwidth: float | None = None
    memory_bandwidth: float | None = None
    seed: int = 0

    @property
    def gives_sizes(self) -> bool:
        """Whether a training is described instead of recorded."""
        return self.shape is not None or any(value is not None for value in self.sizes.values())


def plan_from(asked: Asked) -> Plan:
    """Make the plan.

    Raises: UsageError for flags that do not go together; DataError for records that do not suffice.
    """
    if asked.gives_sizes == (asked.records is not None):
        raise UsageError(
            "give either RECORDS, the --out of `sentiscale bench`, or a training by --shape or "
            "--seconds-per-row and its sizes."
        )
    if asked.gives_sizes and asked.measure_network:
        raise UsageError("--measure-network keeps what it finds in RECORDS; give RECORDS, or leave it out.")
    return _from_sizes(asked) if asked.records is None else _from_records(asked.records, asked)


def _from_records(path: Path, asked: Asked) -> Plan:
    wanted = Wanted(asked.model, asked.precision, None, asked.threads)
    runs = chosen_runs(records_of(path), wanted)
    links = known_links(path, measure=asked.measure_network)
    cores = asked.cores_per_host or runs[0].host.cores
    cluster = cluster_of(cores // asked.threads, _network(asked), links)
    sizes = sorted({run.case.batch_size for run in runs if run.case.kind == "train"})
    assumptions = _network_assumption(asked)
    if links is None:
        assumptions.append(
            f"what gloo and shared memory cost ({links_file(path)} does not exist; "
            "--measure-network measures it in seconds)"
        )
    parts = int(runs[0].shape.get("micro_batches", Setting.micro_batches))
    question = _question(asked, sizes[len(sizes) // 2], DEFAULT_ROWS, parts)
    return make_plan(forecast_from(path, wanted, cluster), question, assumptions)


def _from_sizes(asked: Asked) -> Plan:
    sizes = {**asked.sizes, "batch_size": asked.batch_size}
    shape = shape_of(asked.shape, **sizes)
    costs = costs_of_shape(shape)
    if asked.memory_bandwidth:
        costs = contended(costs, asked.memory_bandwidth)
    cluster = Cluster(
        ranks_per_host=(asked.cores_per_host or max(asked.workers)) // asked.threads,
        network=_network(asked),
        total_bandwidth=asked.host_bandwidth,
        shares_memory=False,
    )
    # Sizes alone say nothing of how ranks of a host slow each other, and nothing was checked.
    question = _question(asked, shape.batch_size or 32, shape.rows or DEFAULT_ROWS)
    if asked.shape and asked.scaling == "strong" and asked.batch_size is None:
        question = replace(question, scaling="weak")  # the classic recipe's batch is that of one rank
    return make_plan(Forecast(costs, cluster), question, _network_assumption(asked))


def _question(
    asked: Asked, batch_size: int, rows: int, micro_batches: int = Setting.micro_batches
) -> Question:
    return Question(
        workers=asked.workers,
        batch_size=asked.batch_size or batch_size,
        rows=asked.rows or rows,
        stages=asked.stages,
        scaling=cast(Literal["strong", "weak"], asked.scaling),
        micro_batches=asked.micro_batches or micro_batches,
        price_per_hour=asked.price_per_hour,
        seed=asked.seed,
    )


def _network(asked: Asked) -> Network:
    return parse_network(asked.network or DEFAULT_NETWORK)


def _network_assumption(asked: Asked) -> list[str]:
    return [] if asked.network else [f"hosts are joined by {DEFAULT_NETWORK}, as --network was not given"]
