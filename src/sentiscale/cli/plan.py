"""`sentiscale plan`: predict time, speedup and efficiency on machines one does not have."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sentiscale.cli.options import JsonOption, QuietOption, print_json
from sentiscale.errors import UsageError

if TYPE_CHECKING:
    from sentiscale.planning.plan import Plan

RECORDS = typer.Argument(metavar="[RECORDS]", help="The --out of `sentiscale bench`, or a records.jsonl.")
NETWORK = typer.Option(help="100mbit, 1gbit, 10gbit, 25gbit, 100gbit, infiniband, or BANDWIDTH,LATENCY.")
CORES = typer.Option(min=1, help="Cores of each host; default: those of the recorded host.")
MEASURE = typer.Option("--measure-network", help="First time gloo and shared memory here; kept in RECORDS.")
STAGES = typer.Option(min=1, max=2, help="2 cuts the network in two: model parallel, or hybrid.")
SHAPE = typer.Option(help="Instead of RECORDS: `classic`, the classic recipe's sizes.")
PER_ROW = typer.Option(help="Instead of RECORDS: seconds of forward and backward of a row on a core.")
TOTAL = typer.Option(help="With --shape or sizes: bytes/s that sockets of one host carry together.")
MEMORY = typer.Option(help="With --shape or sizes: bytes/s that the memory of one host gives all ranks.")


def plan(
    records: Annotated[Path | None, RECORDS] = None,
    workers: Annotated[str, typer.Option(help="Ranks to predict, separated by commas.")] = "1,2,4,8,16",
    network: Annotated[str | None, NETWORK] = None,
    cores_per_host: Annotated[int | None, CORES] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of each rank.")] = 1,
    stages: Annotated[int, STAGES] = 1,
    scaling: Annotated[str, typer.Option(help="strong: --batch-size stays; weak: it grows.")] = "strong",
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Rows a step (strong), or of each replica (weak).")
    ] = None,
    rows: Annotated[int | None, typer.Option(min=1, help="Rows of an epoch; default 100,000.")] = None,
    model: Annotated[str | None, typer.Option(help="lstm or gru, where RECORDS have both.")] = None,
    precision: Annotated[str | None, typer.Option(help="The same for precisions.")] = None,
    micro_batches: Annotated[
        int | None, typer.Option(min=1, help="Parts of a batch on two stages; default: as recorded.")
    ] = None,
    price_per_hour: Annotated[float | None, typer.Option(min=0, help="Of one host.")] = None,
    measure_network: Annotated[bool, MEASURE] = False,
    shape: Annotated[str | None, SHAPE] = None,
    seconds_per_row: Annotated[float | None, PER_ROW] = None,
    vocab: Annotated[int | None, typer.Option(min=1, help="Words, each with a dense gradient.")] = None,
    embedding: Annotated[int | None, typer.Option(min=1, help="Width of a word's vector.")] = None,
    hidden: Annotated[int | None, typer.Option(min=1, help="Units of each recurrent layer.")] = None,
    layers: Annotated[int | None, typer.Option(min=1, help="Recurrent layers.")] = None,
    bytes_per_step: Annotated[
        float | None, typer.Option("--bytes", min=0, help="Gradients of a step, instead of sizes.")
    ] = None,
    host_bandwidth: Annotated[float | None, TOTAL] = None,
    memory_bandwidth: Annotated[float | None, MEMORY] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of all that is drawn.")] = 0,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Predict time, speedup and efficiency for numbers of ranks and networks one does not have.

    From what `sentiscale bench` measured here (RECORDS), or for sizes that are given. Every prediction comes
    with a range and, where nothing measured supports it, with the reason not to trust it.
    """
    from sentiscale import studies

    made = studies.plan(
        records, workers=counts_of(workers), network=network, cores_per_host=cores_per_host,
        threads=threads, stages=stages, scaling=scaling_of(scaling), batch_size=batch_size, rows=rows,
        model=model, precision=precision, micro_batches=micro_batches, price_per_hour=price_per_hour,
        measure_network=measure_network, shape=shape, seed=seed, seconds_per_row=seconds_per_row,
        vocab=vocab, embedding=embedding, hidden=hidden, layers=layers, dense_bytes=bytes_per_step,
        host_bandwidth=host_bandwidth, memory_bandwidth=memory_bandwidth,
    )  # fmt: skip
    if as_json:
        print_json(made.document())
    else:
        print_plan(made, quiet=quiet)


def counts_of(text: str) -> tuple[int, ...]:
    """The numbers of a comma-separated list, in order, each once.

    Raises: UsageError when it holds anything but whole numbers from 1 on.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdecimal() and part.isascii() and int(part) > 0 for part in parts):
        raise UsageError(f"--workers is '{text}'; it takes whole numbers from 1 on, as in 8,16,24.")
    return tuple(dict.fromkeys(int(part) for part in parts))


def scaling_of(text: str) -> str:
    """Check --scaling.

    Raises: UsageError for anything but strong and weak.
    """
    if text not in ("strong", "weak"):
        raise UsageError(f"--scaling is '{text}'; it takes strong or weak.")
    return text


def print_plan(made: "Plan", *, quiet: bool) -> None:
    """Table and sentences for a person."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    priced = any(row.cost_per_epoch is not None for row in made.rows)
    for title in (*COLUMNS, *(["cost/epoch"] if priced else []), "trust"):
        table.add_column(title, justify="left" if title == "trust" else "right")
    for row in made.rows:
        low, high = row.speedup_range
        cells = [
            str(row.workers), row.layout, str(row.hosts), f"{row.batch_size:,}",
            f"{1000 * row.step.seconds:.3g}", f"{row.seconds_per_epoch:,.4g}", f"{row.rows_per_s:,.0f}",
            f"{row.speedup:.2f} ({low:.2f}-{high:.2f})", f"{row.efficiency:.0%}",
            f"{row.communication_share:.0%}",
        ]  # fmt: skip
        cells += [f"{row.cost_per_epoch:.3g}"] if row.cost_per_epoch is not None else []
        table.add_row(*cells, row.trust)
    Console(width=None if Console().is_terminal else 140).print(table)
    for sentence in made.sentences:
        print(f"- {sentence}")
    if quiet:
        return
    for doubt in dict.fromkeys(doubt for row in made.rows for doubt in row.doubts):
        which = ", ".join(str(row.workers) for row in made.rows if doubt in row.doubts)
        print(f"- not to be trusted, {which} ranks: {doubt}")
    for assumption in made.assumptions:
        print(f"- assumed: {assumption}.")


COLUMNS = (
    "ranks", "layout", "hosts", "batch", "step ms", "s/epoch", "rows/s", "speedup (range)", "efficiency",
    "exchange+wait",
)  # fmt: skip
