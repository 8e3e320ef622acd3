"""`sentiscale bench`: measure how fast each layout trains on this machine."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sentiscale.cli.options import (
    ConfigOption,
    JsonOption,
    QuietOption,
    SetOption,
    comma_separated,
    print_json,
    whole_numbers,
)
from sentiscale.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from sentiscale.study.bench.plan import Amount, BenchRequest

ALLOWED = {
    "--models": ("lstm", "gru"),
    "--precisions": ("auto", "fp32", "bf16", "fp16", "fp64"),
    "--devices": ("cpu", "cuda"),
}
DEFAULT_LIMIT = 0.25

of_cases = partial(typer.Option, rich_help_panel="What is measured")
of_runs = partial(typer.Option, rich_help_panel="How much, and how often")

LAYOUTS = of_cases(
    help="Layouts to measure, replicas x stages, separated by commas.", show_default="chosen for this machine"
)
THREADS = of_cases(
    help="Threads per rank, and workers of --prepare and --predict, separated by commas.",
    show_default="1, 2, 4 ... to all cores",
)
BATCH_SIZES = of_cases(help="Rows per step, separated by commas.")
MODELS = of_cases(help="Recurrent layers, separated by commas: lstm, gru.")
PRECISIONS = of_cases(help="Arithmetic, separated by commas: auto, fp32, bf16, fp16, fp64.")
DEVICES = of_cases(help="Devices, separated by commas: cpu, cuda.", show_default="all available")
BASELINES = of_cases(
    help="Also measure plain serial training, one rank that exchanges with itself, threads only, and copies."
)
PREPARE = of_cases(
    metavar="FILE", help="Also prepare these fastText files with each engine; may be repeated."
)
PREDICT = of_cases(
    metavar="MODEL",
    help="Also measure prediction with this model or run, for each number of threads and batch size.",
)
TRAIN = of_cases(help="Measure training; --no-train measures only --prepare and --predict.")
REPEATS = of_runs(min=1, help="Number of runs per case.")
SCALING = of_runs(
    help="Scaling: strong (all ranks share one batch) or weak (each replica has a batch of that size)."
)
ROWS = of_runs(min=1, help="Training rows per run.", show_default="2560")
STEPS = of_runs(min=1, help="Optimizer steps per run, instead of --rows.")
TARGET = of_runs(
    help="Validation accuracy to train to, instead of --rows; includes evaluation and checkpoints."
)
TIME_LIMIT = of_runs(help="Maximum seconds per run, with --target-accuracy.")
SEED = of_runs(min=0, help="Seed for the choice of rows and the order of runs.")
LIMIT = of_runs(min=0, help="Cores that other programs may use; a run is repeated when they use more.")
TRACE = typer.Option(metavar="FILE.json", help="Write a timeline of a few steps, to open in Perfetto.")
DRY_RUN = typer.Option("--dry-run", help="Print what would be measured and exit.")


def bench(
    data: Annotated[Path, typer.Argument(help="Prepared data, written by `sentiscale prepare`.")],
    out: Annotated[
        Path, typer.Option(help="Directory for records.jsonl; an unfinished study in it is resumed.")
    ] = Path("bench"),
    layouts: Annotated[str | None, LAYOUTS] = None,
    threads: Annotated[str | None, THREADS] = None,
    batch_sizes: Annotated[str, BATCH_SIZES] = "32,128,512",
    models: Annotated[str, MODELS] = "lstm,gru",
    precisions: Annotated[str, PRECISIONS] = "auto",
    devices: Annotated[str | None, DEVICES] = None,
    repeats: Annotated[int, REPEATS] = 5,
    scaling: Annotated[str, SCALING] = "strong",
    rows: Annotated[int | None, ROWS] = None,
    steps: Annotated[int | None, STEPS] = None,
    target_accuracy: Annotated[float | None, TARGET] = None,
    time_limit: Annotated[float | None, TIME_LIMIT] = None,
    prepare: Annotated[list[str] | None, PREPARE] = None,
    predict: Annotated[Path | None, PREDICT] = None,
    train: Annotated[bool, TRAIN] = True,
    seed: Annotated[int, SEED] = 0,
    baselines: Annotated[bool, BASELINES] = True,
    limit: Annotated[float, LIMIT] = DEFAULT_LIMIT,
    trace: Annotated[Path | None, TRACE] = None,
    dry_run: Annotated[bool, DRY_RUN] = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure training speed under every layout, for `sentiscale report`.

    Every run starts new processes, and the runs are in random order. Finished runs are stored: after Ctrl-C,
    the same command continues. Only training steps are timed, unless --target-accuracy includes evaluation
    and checkpoints. With --prepare, the engines pandas, Dask, Polars and sentiscale-clean only clean the
    text, and sentiscale does the whole preparation.
    """
    from sentiscale.cli.bench_output import (
        make_progress,
        plan_document,
        print_plan,
        print_result,
        result_document,
    )
    from sentiscale.config import preset_values, resolve
    from sentiscale.study.bench.plan import BenchRequest, machine_units
    from sentiscale.study.bench.study import RemainingTime, open_study

    available = tuple(name for name, count in machine_units().items() if count)
    request = BenchRequest(
        layouts=None if layouts is None else comma_separated(layouts),
        threads=None if threads is None else whole_numbers("--threads", threads),
        batch_sizes=whole_numbers("--batch-sizes", batch_sizes),
        models=names("--models", models),
        precisions=names("--precisions", precisions),
        devices=available if devices is None else names("--devices", devices),
        scaling=scaling,
        repeats=repeats,
        seed=seed,
        baselines=baselines,
        amount=amount_of(rows, steps, target_accuracy),
    )
    check(request, time_limit)
    flags = {"train.time_limit": time_limit}
    settings = resolve(base=preset_values(None), config=config, overrides=overrides or (), flags=flags)
    with open_study(
        data, out, request, settings, prepare=prepare or (), predict=predict, train=train
    ) as study:
        if dry_run:
            expected = RemainingTime(request.amount).estimate(study.plan.cases * study.plan.repeats)
            if as_json:
                print_json(plan_document(out, study.plan, expected))
            else:
                print_plan(study.plan, expected)
            return
        progress = make_progress(quiet)
        result = study.run(out, progress, limit)
        if trace is not None:
            progress.say(f"measuring a few steps of each layout for {trace}")
            study.write_trace(trace)
    if as_json:
        print_json(result_document(result))
    else:
        print_result(result)


def names(flag: str, text: str) -> tuple[str, ...]:
    """Split a comma-separated list and drop repeated names.

    Raises: UsageError for a name that is not allowed.
    """
    allowed = ALLOWED[flag]
    for name in comma_separated(text):
        if name not in allowed:
            raise UsageError(
                f"{flag} contains '{name}'.{did_you_mean(name, allowed)} Allowed: {', '.join(allowed)}."
            )
    return comma_separated(text)


def amount_of(rows: int | None, steps: int | None, target: float | None) -> "Amount":
    """Return the length of each training run: rows, steps or a target accuracy.

    Raises: UsageError when more than one length is set, or the target accuracy is not in (0, 1].
    """
    from sentiscale.study.bench.plan import DEFAULT_ROWS, Amount

    values = {"--rows": rows, "--steps": steps, "--target-accuracy": target}
    given = [name for name, value in values.items() if value is not None]
    if len(given) > 1:
        raise UsageError(f"{', '.join(given)} each set the length of a run. Use only one of them.")
    if target is not None and not 0 < target <= 1:
        raise UsageError(f"--target-accuracy is {target:g}; it must be above 0 and at most 1.")
    return Amount(rows=rows if given else DEFAULT_ROWS, steps=steps, target_accuracy=target)


def check(request: "BenchRequest", time_limit: float | None) -> None:
    """Raise UsageError for an invalid scaling or time limit."""
    if request.scaling not in ("strong", "weak"):
        raise UsageError(f"--scaling is '{request.scaling}'. Allowed: strong, weak.")
    if time_limit is not None and (time_limit <= 0 or request.amount.target_accuracy is None):
        raise UsageError(
            f"--time-limit is {time_limit:g}; it must be above 0 seconds and needs --target-accuracy."
        )
