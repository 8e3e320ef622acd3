"""`sentiscale plan`: predict time, speedup and efficiency on machines one does not have."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sentiscale.cli.options import JsonOption, QuietOption, print_json, print_table, whole_numbers
from sentiscale.errors import UsageError

if TYPE_CHECKING:
    from sentiscale.study.plan.plan import CapacityPlan

MACHINES = "On what machines"
TRAINING = "Which training"
SIZES = "Sizes, instead of RECORDS"

RECORDS = typer.Argument(metavar="[RECORDS]", help="The --out of `sentiscale bench`, or a records.jsonl.")
WORKERS = typer.Option(help="Ranks to predict, separated by commas.", rich_help_panel=MACHINES)
NETWORK = typer.Option(
    help="100mbit, 1gbit, 10gbit, 25gbit, 100gbit, infiniband, or BANDWIDTH,LATENCY.",
    show_default="10gbit",
    rich_help_panel=MACHINES,
)
CORES = typer.Option(
    min=1, help="Cores of each host.", show_default="those of the recorded host", rich_help_panel=MACHINES
)
THREADS = typer.Option(min=1, help="Threads of each rank.", rich_help_panel=MACHINES)
PRICE = typer.Option(min=0, help="Of one host, for the cost of an epoch.", rich_help_panel=MACHINES)
MEASURE = typer.Option(
    "--measure-network",
    help="First time gloo and shared memory here; kept in RECORDS.",
    rich_help_panel=MACHINES,
)
STAGES = typer.Option(
    min=1, max=2, help="2 cuts the network in two: model parallel, or hybrid.", rich_help_panel=TRAINING
)
SCALING = typer.Option(help="strong: --batch-size stays; weak: it grows.", rich_help_panel=TRAINING)
BATCH_SIZE = typer.Option(
    min=1,
    help="Rows per step (strong), or of each replica (weak).",
    show_default="the middle one of RECORDS; of sizes 32",
    rich_help_panel=TRAINING,
)
ROWS = typer.Option(
    min=1, help="Rows of an epoch.", show_default="100000; of `classic` 320000", rich_help_panel=TRAINING
)
MODEL = typer.Option(help="lstm or gru, where RECORDS have both.", rich_help_panel=TRAINING)
PRECISION = typer.Option(help="fp32, bf16 or fp16, where RECORDS have several.", rich_help_panel=TRAINING)
MICRO_BATCHES = typer.Option(
    min=1, help="Parts of a batch on two stages.", show_default="as recorded", rich_help_panel=TRAINING
)
SHAPE = typer.Option(help="`classic`: the sizes of the classic recipe.", rich_help_panel=SIZES)
PER_ROW = typer.Option(help="Seconds of forward and backward of a row on a core.", rich_help_panel=SIZES)
VOCAB = typer.Option(min=1, help="Words, each with a dense gradient.", rich_help_panel=SIZES)
EMBEDDING = typer.Option(min=1, help="Width of a word's vector.", rich_help_panel=SIZES)
HIDDEN = typer.Option(min=1, help="Units of each recurrent layer.", rich_help_panel=SIZES)
LAYERS = typer.Option(min=1, help="Recurrent layers.", rich_help_panel=SIZES)
BYTES = typer.Option(
    "--bytes", min=0, help="Gradients of a step, instead of the four sizes above.", rich_help_panel=SIZES
)
TOTAL = typer.Option(help="Bytes/s that sockets of one host carry together.", rich_help_panel=SIZES)
MEMORY = typer.Option(help="Bytes/s of one host's memory for all its ranks.", rich_help_panel=SIZES)
SEED = typer.Option(min=0, help="Seed of the simulation.")


def plan(
    records: Annotated[Path | None, RECORDS] = None,
    workers: Annotated[str, WORKERS] = "1,2,4,8,16",
    network: Annotated[str | None, NETWORK] = None,
    cores_per_host: Annotated[int | None, CORES] = None,
    threads: Annotated[int, THREADS] = 1,
    stages: Annotated[int, STAGES] = 1,
    scaling: Annotated[str, SCALING] = "strong",
    batch_size: Annotated[int | None, BATCH_SIZE] = None,
    rows: Annotated[int | None, ROWS] = None,
    model: Annotated[str | None, MODEL] = None,
    precision: Annotated[str | None, PRECISION] = None,
    micro_batches: Annotated[int | None, MICRO_BATCHES] = None,
    price_per_hour: Annotated[float | None, PRICE] = None,
    measure_network: Annotated[bool, MEASURE] = False,
    shape: Annotated[str | None, SHAPE] = None,
    seconds_per_row: Annotated[float | None, PER_ROW] = None,
    vocab: Annotated[int | None, VOCAB] = None,
    embedding: Annotated[int | None, EMBEDDING] = None,
    hidden: Annotated[int | None, HIDDEN] = None,
    layers: Annotated[int | None, LAYERS] = None,
    bytes_per_step: Annotated[float | None, BYTES] = None,
    host_bandwidth: Annotated[float | None, TOTAL] = None,
    memory_bandwidth: Annotated[float | None, MEMORY] = None,
    seed: Annotated[int, SEED] = 0,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Predict time, speedup and efficiency for numbers of ranks and networks one does not have.

    From the measurements of `sentiscale bench` (RECORDS), or for given sizes. Every prediction comes with a
    range and, where no measurement supports it, with the reason not to trust it.
    """
    from sentiscale import api

    if scaling not in ("strong", "weak"):
        raise UsageError(f"--scaling is '{scaling}'; it takes strong or weak.")
    made = api.plan(
        records,
        workers=whole_numbers("--workers", workers),
        network=network,
        cores_per_host=cores_per_host,
        threads=threads,
        stages=stages,
        scaling=scaling,
        batch_size=batch_size,
        rows=rows,
        model=model,
        precision=precision,
        micro_batches=micro_batches,
        price_per_hour=price_per_hour,
        measure_network=measure_network,
        shape=shape,
        seed=seed,
        seconds_per_row=seconds_per_row,
        vocab=vocab,
        embedding=embedding,
        hidden=hidden,
        layers=layers,
        dense_bytes=bytes_per_step,
        host_bandwidth=host_bandwidth,
        memory_bandwidth=memory_bandwidth,
    )
    if as_json:
        print_json(made.document())
    else:
        print_plan(made, quiet=quiet)


def print_plan(made: "CapacityPlan", *, quiet: bool) -> None:
    titles = ["ranks", "layout", "hosts", "batch", "step ms", "s/epoch", "rows/s", "speedup (range)"]
    titles += ["efficiency", "exchange+wait"]
    titles += ["cost/epoch"] if made.request.price_per_hour is not None else []
    rows = []
    for row in made.rows:
        low, high = row.speedup_range
        cells = [
            str(row.workers),
            row.layout,
            str(row.hosts),
            f"{row.batch_size:,}",
            f"{1000 * row.step.seconds:.3g}",
            f"{row.seconds_per_epoch:,.4g}",
            f"{row.rows_per_s:,.0f}",
            f"{row.speedup:.2f} ({low:.2f}-{high:.2f})",
            f"{row.efficiency:.0%}",
            f"{row.communication_share:.0%}",
            *([f"{row.cost_per_epoch:.3g}"] if row.cost_per_epoch is not None else []),
            row.trust,
        ]
        rows.append(cells)
    print_table([*titles, "trust"], rows, left={"trust"}, width=140)
    for sentence in made.sentences:
        print(f"- {sentence}")
    if quiet:
        return
    for doubt in dict.fromkeys(doubt for row in made.rows for doubt in row.doubts):
        which = ", ".join(str(row.workers) for row in made.rows if doubt in row.doubts)
        print(f"- not to be trusted, {which} ranks: {doubt}")
    for assumption in made.assumptions:
        print(f"- assumed: {assumption}.")
