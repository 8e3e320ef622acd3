"""What the command line asks of a plan, with its defaults filled in from records or sizes."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, cast

from sentiscale.errors import UsageError
from sentiscale.planning.costs import Setting
from sentiscale.planning.exchange import Cluster
from sentiscale.planning.measured import Wanted, chosen_runs
from sentiscale.planning.networks import Network, parse_network
from sentiscale.planning.plan import (
    Plan,
    cluster_of,
    forecast_from,
    known_links,
    links_file,
    make_plan,
    records_of,
)
from sentiscale.planning.prediction import Forecast, Question
from sentiscale.planning.shapes import contended, costs_of_shape, shape_of

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
        network=_network(asked), total_bandwidth=asked.host_bandwidth, shares_memory=False,
    )  # fmt: skip
    # Sizes alone say nothing of how ranks of a host slow each other, and nothing was checked.
    question = _question(asked, shape.batch_size or 32, shape.rows or DEFAULT_ROWS)
    if asked.shape and asked.scaling == "strong" and asked.batch_size is None:
        question = replace(question, scaling="weak")  # the classic recipe's batch is that of one rank
    return make_plan(Forecast(costs, cluster), question, _network_assumption(asked))


def _question(
    asked: Asked, batch_size: int, rows: int, micro_batches: int = Setting.micro_batches
) -> Question:
    return Question(
        workers=asked.workers, batch_size=asked.batch_size or batch_size, rows=asked.rows or rows,
        stages=asked.stages,
        scaling=cast(Literal["strong", "weak"], asked.scaling),
        micro_batches=asked.micro_batches or micro_batches,
        price_per_hour=asked.price_per_hour, seed=asked.seed,
    )  # fmt: skip


def _network(asked: Asked) -> Network:
    return parse_network(asked.network or DEFAULT_NETWORK)


def _network_assumption(asked: Asked) -> list[str]:
    return [] if asked.network else [f"hosts are joined by {DEFAULT_NETWORK}, as --network was not given"]
