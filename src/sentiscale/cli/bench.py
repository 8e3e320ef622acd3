"""`sentiscale bench`: how fast each layout trains here, measured so that the figures can be compared."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sentiscale.cli.options import ConfigOption, JsonOption, QuietOption, SetOption, print_json
from sentiscale.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from sentiscale.study.bench.harness import Study
    from sentiscale.study.bench.plan import Asked, StudyPlan

ALLOWED = {
    "models": ("lstm", "gru"),
    "precisions": ("auto", "fp32", "bf16", "fp16", "fp64"),
    "devices": ("cpu", "cuda"),
}
DEFAULT_LIMIT = 0.25

CASES = "What is measured"
RUNS = "How much, and how often"

LAYOUTS = typer.Option(
    help="Replicas x stages, by commas.", show_default="what suits this machine", rich_help_panel=CASES
)
THREADS = typer.Option(
    help="Threads of a rank, and workers beside training, by commas.",
    show_default="1, 2, 4 ... to all cores",
    rich_help_panel=CASES,
)
BATCH_SIZES = typer.Option(help="Rows of a step, by commas.", rich_help_panel=CASES)
MODELS = typer.Option(help="lstm, gru.", rich_help_panel=CASES)
PRECISIONS = typer.Option(help="auto, fp32, bf16, fp16, fp64.", rich_help_panel=CASES)
DEVICES = typer.Option(help="cpu, cuda.", show_default="all there are", rich_help_panel=CASES)
BASELINES = typer.Option(
    help="Also plain serial, one rank exchanging with itself, threads only, and copies.",
    rich_help_panel=CASES,
)
PREPARE = typer.Option(
    metavar="FILE",
    help="Also prepare these fastText files by engine; may be given again.",
    rich_help_panel=CASES,
)
PREDICT = typer.Option(
    metavar="MODEL", help="Also label texts with a model or run, by threads and batch.", rich_help_panel=CASES
)
TRAIN = typer.Option(
    help="Training cases; --no-train leaves those of --prepare and --predict.", rich_help_panel=CASES
)
REPEATS = typer.Option(min=1, help="Runs of each case.", rich_help_panel=RUNS)
SCALING = typer.Option(
    help="strong: a batch for all ranks together; weak: the same batch for each replica.",
    rich_help_panel=RUNS,
)
ROWS = typer.Option(min=1, help="Rows that each run goes through.", show_default="2560", rich_help_panel=RUNS)
STEPS = typer.Option(min=1, help="Instead: optimiser steps of each run.", rich_help_panel=RUNS)
TARGET = typer.Option(
    help="Instead: train to this validation accuracy, with all that training does.", rich_help_panel=RUNS
)
TIME_LIMIT = typer.Option(help="Seconds of training to a target.", rich_help_panel=RUNS)
SEED = typer.Option(min=0, help="Fixes rows and the order of runs.", rich_help_panel=RUNS)
LIMIT = typer.Option(
    min=0, help="Cores that other programs may keep busy; else a run is repeated.", rich_help_panel=RUNS
)
TRACE = typer.Option(metavar="FILE.json", help="Write the timeline of a few steps, for Perfetto.")
DRY_RUN = typer.Option("--dry-run", help="Only print what would be measured.")


def bench(
    data: Annotated[Path, typer.Argument(help="Prepared data, the --out of `sentiscale prepare`.")],
    out: Annotated[Path, typer.Option(help="Directory for records.jsonl; resumed.")] = Path("bench"),
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
    """Measure training under every layout: a study to be read with `sentiscale report`.

    Every run has fresh processes, runs are in random order, and finished runs are kept: after Ctrl-C the same
    command goes on. Steps only; evaluation and checkpoints take part with --target-accuracy. With --prepare,
    pandas, Dask and Polars only clean; sentiscale prepares completely, and sentiscale-clean is like them.
    """
    from sentiscale.cli.studies import make_watcher, print_plan, print_study
    from sentiscale.config import preset_values, resolve
    from sentiscale.study.bench import harness as study
    from sentiscale.study.bench.plan import Asked, machine_units
    from sentiscale.study.bench.prepare_predict import attached, beside_training

    found = machine_units()
    asked = Asked(
        layouts=named("--layouts", layouts) if layouts is not None else None,
        threads=numbers("--threads", threads) if threads is not None else None,
        batch_sizes=numbers("--batch-sizes", batch_sizes),
        models=named("--models", models),
        precisions=named("--precisions", precisions),
        devices=named("--devices", devices)
        if devices is not None
        else tuple(name for name, count in found.items() if count),
        scaling=scaling,
        repeats=repeats,
        seed=seed,
        baselines=baselines,
        amount=amount_of(rows, steps, target_accuracy),
    )
    check(asked, time_limit)
    flags = {"train.time_limit": time_limit}
    settings = resolve(base=preset_values(None), config=config, overrides=overrides or (), flags=flags)
    conditions, plan = study.prepared(data, asked, settings)
    with beside_training(data, out, prepare or (), predict, asked.threads or ()) as beside:
        conditions, plan = attached(conditions, plan, beside, train=train)
        expected = study.expected_seconds(conditions, plan)
        if dry_run:
            if as_json:
                print_json(planned(out, plan, expected))
            else:
                print_plan(plan, expected)
            return
        watcher = make_watcher(quiet)
        result = study.measure_all(conditions, plan, out, watcher, limit)
        if trace is not None:
            watcher.say(f"measuring a few steps of each layout for {trace}")
            study.trace(conditions, plan.cases, trace)
    if as_json:
        print_json(document(result))
    else:
        print_study(result)


def numbers(flag: str, text: str) -> tuple[int, ...]:
    """The whole numbers of a comma-separated list, each once.

    Raises: UsageError when it holds anything else, or nothing.
    """
    parts = named(flag, text)
    if not parts or not all(part.isdecimal() and 0 < int(part) < 2**31 for part in parts):
        raise UsageError(f"{flag} is '{text}'; it takes whole numbers from 1 on, as in 1,2.")
    return tuple(int(part) for part in parts)


def named(flag: str, text: str) -> tuple[str, ...]:
    """The parts of a comma-separated list, each once.

    Raises: UsageError when a name is not allowed there.
    """
    parts = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    allowed = ALLOWED.get(flag.removeprefix("--"), ())
    for part in parts:
        if allowed and part not in allowed:
            raise UsageError(
                f"{flag} has '{part}'.{did_you_mean(part, allowed)} Allowed: {', '.join(allowed)}."
            )
    return parts


def amount_of(rows: int | None, steps: int | None, target: float | None) -> Any:
    """What each run does.

    Raises: UsageError when that is said in more than one way.
    """
    from sentiscale.study.bench.plan import DEFAULT_ROWS, Amount

    values = {"--rows": rows, "--steps": steps, "--target-accuracy": target}
    given = [name for name, value in values.items() if value is not None]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} both say how much a run does. Give one of them.")
    if target is not None and not 0 < target <= 1:
        raise UsageError(f"--target-accuracy is {target:g}; give a share above 0, at most 1.")
    return Amount(rows=rows if given else DEFAULT_ROWS, steps=steps, target_accuracy=target)


def check(asked: "Asked", time_limit: float | None) -> None:
    """Refuse what makes no study.

    Raises: UsageError.
    """
    if asked.scaling not in ("strong", "weak"):
        raise UsageError(f"--scaling is '{asked.scaling}'. Allowed: strong, weak.")
    if time_limit is not None and (time_limit <= 0 or asked.amount.target_accuracy is None):
        raise UsageError(
            f"--time-limit is {time_limit:g}; it takes seconds above 0, together with --target-accuracy."
        )


def planned(out: Path, plan: "StudyPlan", expected: float | None) -> dict[str, Any]:
    """What `--dry-run --json` prints."""
    return {
        "out": str(out),
        "runs": plan.runs,
        "cases": [case.model_dump() for case in plan.cases],
        "seconds_expected": None if expected is None else round(expected),
        "left_out": [each.model_dump() for each in plan.left_out],
    }


def document(result: "Study") -> dict[str, Any]:
    """What `--json` promises."""
    from sentiscale.cli.studies import summary_of

    return {
        "out": str(result.out),
        "runs": len(result.runs),
        "cases": [summary_of(case, result.runs) for case in result.plan.cases],
        "seconds": round(result.seconds, 1),
        "left_out": [each.model_dump() for each in result.plan.left_out],
    }
