"""`sentiscale plan`: predict time, speedup and efficiency on machines that were not measured."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sentiscale.cli.options import JsonOption, QuietOption, print_json, print_table, whole_numbers
from sentiscale.errors import UsageError

if TYPE_CHECKING:
    from sentiscale.study.plan.plan import CapacityPlan

on_machines = partial(typer.Option, rich_help_panel="On what machines")
of_training = partial(typer.Option, rich_help_panel="Which training")
of_sizes = partial(typer.Option, rich_help_panel="Sizes, instead of RECORDS")

RECORDS = typer.Argument(
    metavar="[RECORDS]", help="Directory that `sentiscale bench` wrote, or its records.jsonl."
)
WORKERS = on_machines(help="Numbers of ranks to predict, separated by commas.")
NETWORK = on_machines(
    help="Network: 100mbit, 1gbit, 10gbit, 25gbit, 100gbit, infiniband, or BANDWIDTH,LATENCY.",
    show_default="10gbit",
)
CORES = on_machines(min=1, help="Cores per host.", show_default="as on the recorded host")
THREADS = on_machines(min=1, help="Threads per rank.")
PRICE = on_machines(min=0, help="Price of one host per hour, to compute the cost of an epoch.")
MEASURE = on_machines(
    "--measure-network", help="First measure gloo and shared memory on this machine; stored in RECORDS."
)
STAGES = of_training(
    min=1, max=2, help="Pipeline stages; 2 splits the network in two (model-parallel or hybrid)."
)
SCALING = of_training(
    help="Scaling: strong (the ranks share --batch-size) or weak (the batch grows with the replicas)."
)
BATCH_SIZE = of_training(
    min=1,
    help="Rows per step (strong), or per step and replica (weak).",
    show_default="the middle one of RECORDS; 32 without RECORDS",
)
ROWS = of_training(min=1, help="Rows per epoch.", show_default="100000; 320000 with --shape classic")
MODEL = of_training(help="Recurrent layer, lstm or gru, if RECORDS has both.")
PRECISION = of_training(help="Arithmetic, fp32, bf16 or fp16, if RECORDS has several.")
MICRO_BATCHES = of_training(
    min=1, help="Micro-batches per batch, with two stages.", show_default="as recorded"
)
SHAPE = of_sizes(help="Named sizes: `classic`, those of the classic recipe.")
PER_ROW = of_sizes(help="Seconds per row for the forward and backward pass on one core.")
VOCAB = of_sizes(min=1, help="Size of the vocabulary; each word has a dense gradient.")
EMBEDDING = of_sizes(min=1, help="Size of a word vector.")
HIDDEN = of_sizes(min=1, help="Units per recurrent layer.")
LAYERS = of_sizes(min=1, help="Number of recurrent layers.")
BYTES = of_sizes("--bytes", min=0, help="Bytes of gradients per step, instead of the four sizes above.")
TOTAL = of_sizes(help="Total bandwidth of the sockets of one host, in bytes/s.")
MEMORY = of_sizes(help="Memory bandwidth of one host, shared by its ranks, in bytes/s.")
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
    dense_bytes: Annotated[float | None, BYTES] = None,
    host_bandwidth: Annotated[float | None, TOTAL] = None,
    memory_bandwidth: Annotated[float | None, MEMORY] = None,
    seed: Annotated[int, SEED] = 0,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Predict time, speedup and efficiency for numbers of ranks and networks that were not measured.

    Predictions use the measurements of `sentiscale bench` (RECORDS), or the sizes set by flags. Every
    prediction has a range and, when no measurement supports it, the reason not to trust it.
    """
    request = dict(locals())  # all other flags are parameters of api.plan
    for name in ("records", "workers", "quiet", "as_json"):
        del request[name]
    from sentiscale import api

    if scaling not in ("strong", "weak"):
        raise UsageError(f"--scaling is '{scaling}'; it must be strong or weak.")
    made = api.plan(records, workers=whole_numbers("--workers", workers), **request)
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
