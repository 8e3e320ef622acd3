"""`sentiscale train`: train a model on prepared data and write a run directory."""

from pathlib import Path
from typing import Annotated, Any

import typer

from sentiscale.cli.options import ConfigOption, JsonOption, QuietOption, SetOption, print_json

LEARNT = "What is learnt"
RANKS = "On what, and with how many ranks"
STOPS = "When it stops, what it keeps"

MODEL = typer.Option(help="Recurrent layer: lstm or gru.", show_default="lstm", rich_help_panel=LEARNT)
WIDE = typer.Option(
    "--wide/--no-wide",
    help="Add a linear n-gram model to the network.",
    show_default="wide",
    rich_help_panel=LEARNT,
)
PRESET = typer.Option(
    help="Named settings: fast, balanced or accurate.", show_default="balanced", rich_help_panel=LEARNT
)
EPOCHS = typer.Option(
    help="Number of passes over the training rows.",
    show_default="2; 4 below 40,000 rows; 1 with --preset fast",
    rich_help_panel=LEARNT,
)
BATCH_SIZE = typer.Option(
    help="Rows per step, over all ranks.", show_default="128; 32 below 40,000 rows", rich_help_panel=LEARNT
)
LR = typer.Option(help="Maximum learning rate of Adam.", show_default="0.004", rich_help_panel=LEARNT)
CLASS_WEIGHT = typer.Option(
    metavar="balanced|none|NAME=W,...",
    help="Weight of each class in training, for classes of unequal size; balanced: inverse to its rows.",
    show_default="none",
    rich_help_panel=LEARNT,
)
SEED = typer.Option(help="Seed of all random numbers.", show_default="0", rich_help_panel=LEARNT)
DEVICE = typer.Option(help="Device: auto, cpu or cuda.", show_default="auto", rich_help_panel=RANKS)
PRECISION = typer.Option(
    help="Arithmetic: auto, fp32, bf16, fp16 or fp64.", show_default="auto", rich_help_panel=RANKS
)
LAYOUT = typer.Option(
    help="Replicas x stages: 1x1, 4x1, 1x2, 2x2, ...; auto measures and chooses.",
    show_default="one replica per core",
    rich_help_panel=RANKS,
)
PER_RANK = typer.Option(help="Threads per rank.", show_default="cores / ranks", rich_help_panel=RANKS)
OVERSUBSCRIBE = typer.Option(
    "--oversubscribe", help="Allow more threads than cores, to measure overhead.", rich_help_panel=RANKS
)
MICRO_BATCHES = typer.Option(
    help="Micro-batches per batch, with two stages.", show_default="2", rich_help_panel=RANKS
)
RESTARTS = typer.Option(
    help="Maximum number of restarts from the last checkpoint after a rank fails.",
    show_default="0",
    rich_help_panel=RANKS,
)
TARGET = typer.Option(help="Stop when validation accuracy reaches this value.", rich_help_panel=STOPS)
TIME_LIMIT = typer.Option(
    help="End after this many seconds, including the test score and writing; samples rows if it must.",
    rich_help_panel=STOPS,
)
CHECKPOINT = typer.Option(
    help="Steps between checkpoints.", show_default="one checkpoint per minute", rich_help_panel=STOPS
)
TRACK = typer.Option(
    help="Also log the run to mlflow, tensorboard, both (separated by a comma) or none.",
    show_default="none",
    rich_help_panel=STOPS,
)


def train(
    data: Annotated[Path, typer.Argument(help="Prepared data, written by `sentiscale prepare`.")],
    out: Annotated[Path, typer.Option(help="Run directory to write.")],
    model: Annotated[str | None, MODEL] = None,
    wide: Annotated[bool | None, WIDE] = None,
    preset: Annotated[str | None, PRESET] = None,
    epochs: Annotated[float | None, EPOCHS] = None,
    batch_size: Annotated[int | None, BATCH_SIZE] = None,
    lr: Annotated[float | None, LR] = None,
    class_weight: Annotated[str | None, CLASS_WEIGHT] = None,
    seed: Annotated[int | None, SEED] = None,
    device: Annotated[str | None, DEVICE] = None,
    precision: Annotated[str | None, PRECISION] = None,
    layout: Annotated[str | None, LAYOUT] = None,
    threads_per_rank: Annotated[int | None, PER_RANK] = None,
    oversubscribe: Annotated[bool | None, OVERSUBSCRIBE] = None,
    micro_batches: Annotated[int | None, MICRO_BATCHES] = None,
    max_restarts: Annotated[int | None, RESTARTS] = None,
    target_accuracy: Annotated[float | None, TARGET] = None,
    time_limit: Annotated[float | None, TIME_LIMIT] = None,
    checkpoint_every: Annotated[int | None, CHECKPOINT] = None,
    track: Annotated[str | None, TRACK] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume the run in --out.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the run in --out.")] = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train a sentiment classifier on prepared data: a recurrent network with a linear n-gram model."""
    from sentiscale.config import TRAIN_FLAGS, preset_values, resolve
    from sentiscale.training.run_directory import RunDir
    from sentiscale.util.terminal import make_progress

    given = locals()
    flags = {setting: given[flag] for flag, setting in TRAIN_FLAGS.items()}
    run = RunDir(out)
    base = run.stored_settings() if resume and run.has_begun else preset_values(preset)
    settings = resolve(config=config, base=base, overrides=overrides or (), flags=flags)
    # Imported late because these load torch, and invalid settings should fail before that.
    from sentiscale.parallel.rendezvous import RankEnv
    from sentiscale.study.bench.auto_layout import settle_layout
    from sentiscale.training.launch import train as run_training

    progress = make_progress(quiet)
    settings, layout_choice = settle_layout(settings, data, out, progress, resume=resume, force=force)
    record = run_training(
        data, out, settings, resume=resume, force=force, progress=progress, layout_choice=layout_choice
    )
    env = RankEnv.current()
    if env is None or env.rank == 0:  # under torchrun, only rank 0 prints the result
        document = summary(record.model_dump(mode="json"), out)
        print_json(document) if as_json else print_summary(document, data)


def summary(record: dict[str, Any], run: Path) -> dict[str, Any]:
    """Select the fields of a run's record that `--json` prints.

    `classes` are those of the data; `waiting_share` is the largest share of any rank.
    """
    from sentiscale.records import PhaseTimes

    keys = (
        "layout",
        "world_size",
        "threads_per_rank",
        "precision",
        "epochs",
        "steps",
        "best_step",
        "train_seconds",
        "rows_per_s",
        "tokens_per_s",
        "flops_utilisation",
        "valid",
        "test",
        "cascade",
        "target",
        "peak_memory_mb_per_rank",
        "bytes_reduced_per_step",
        "phases",
        "cuts",
    )
    shares = [PhaseTimes.model_validate(phases).waiting_share for phases in record["phases_per_rank"]]
    waiting = {"waiting_share": max(shares, default=0.0)}
    classes = {"classes": list(record["valid"].get("classes", ()))}
    return {"run": str(run), **classes, **{key: record[key] for key in keys}, **waiting}


def print_summary(document: dict[str, Any], data: Path) -> None:
    for split in ("valid", "test"):
        if scores := document[split]:
            accuracy, loss, rows = scores["accuracy"], scores["loss"], f"{scores['rows']:,}"
            if scores["sampled_from"]:
                rows += f" of {scores['sampled_from']:,}"
            more = f"macro F1 {scores['macro_f1']:.4f}  " * (len(document["classes"]) > 2)
            print(f"{split:5}  accuracy {accuracy:.4f}  {more}loss {loss:.4f}  {rows} rows")
    if any(scores and scores["sampled_from"] for scores in (document["valid"], document["test"])):
        whole = f"sentiscale evaluate {document['run']}/model {data}"
        print(f"scored on a sample because of the time limit; to score all rows: {whole}")
    if cascade := document["cascade"]:
        print(
            f"cascade: the n-gram model alone answers {cascade['short_share']:.1%} of the validation rows "
            f"(margin {cascade['margin']:g}); --full reads all rows with the network"
        )
    spent = {name: seconds for name, seconds in document["phases"].items() if seconds >= 0.05}
    phases = ", ".join(f"{name} {seconds:.1f}" for name, seconds in spent.items())
    print(
        f"{document['train_seconds']:.1f} s of training ({phases}); "
        f"{document['rows_per_s']:,.0f} reviews/s, {document['precision']}, "
        f"{document['threads_per_rank']} threads"
    )
    if document["world_size"] > 1:
        sent = document["bytes_reduced_per_step"] / 1e6
        print(
            f"layout {document['layout']}: a rank sent up to {sent:.2f} MB per step, "
            f"and spent up to {document['waiting_share']:.0%} of it on exchange and waiting"
        )
    print(f"next:  echo 'Not bad at all!' | sentiscale predict {document['run']}/model")
