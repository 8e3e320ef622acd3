"""`sentiscale prepare`: convert review files to a prepared dataset."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sentiscale.cli.options import (
    INPUT,
    ColumnsOption,
    ConfigOption,
    DelimiterOption,
    EncodingOption,
    FormatOption,
    HeaderOption,
    JsonOption,
    LabelColumnOption,
    LabelMapOption,
    QuietOption,
    QuotingOption,
    SetOption,
    StarsColumnOption,
    StarsScaleOption,
    TextColumnOption,
    TitleColumnOption,
    print_json,
)
from sentiscale.errors import UsageError

if TYPE_CHECKING:
    from sentiscale.data.prepared import Manifest

INPUTS_HELP = "Files, globs, folders or URLs; also compressed, or in .zip and .tar archives."

OUTPUT = "What is stored"
WORK = "How it is processed"

CLASSES = typer.Option(
    metavar="KIND",
    help="binary: negative and positive; ternary: also neutral; stars: one for each star; labels: one for "
    "each distinct label.",
    show_default="binary",
    rich_help_panel=INPUT,
)
WEIGHT_COLUMN = typer.Option(
    help="Column with a weight from 0 on for each row, for training.",
    show_default="none",
    rich_help_panel=INPUT,
)
MIN_CLASS_ROWS = typer.Option(
    help="With --classes labels, the minimum number of rows of a label; rarer ones are refused.",
    show_default="10",
    rich_help_panel=INPUT,
)

TEST = typer.Option(metavar="FILE", help="Separate test set; may be repeated.", rich_help_panel=OUTPUT)
SPLIT = typer.Option(
    metavar="SHARES",
    help="Shares of train, valid and test.",
    show_default="0.8,0.1,0.1; 0.95,0.05 with --test",
    rich_help_panel=OUTPUT,
)
CLEAN = typer.Option(
    help="Cleaning: words keeps negation, digits, ! and ?; alpha keeps only letters.",
    show_default="words",
    rich_help_panel=OUTPUT,
)
VOCAB_SIZE = typer.Option(
    help="Maximum size of the vocabulary.", show_default="120000", rich_help_panel=OUTPUT
)
MIN_COUNT = typer.Option(
    help="Minimum count of a word in the vocabulary; rarer words are unknown.",
    show_default="2",
    rich_help_panel=OUTPUT,
)
MAX_TOKENS = typer.Option(
    help="Maximum tokens stored per review.", show_default="512", rich_help_panel=OUTPUT
)
DEDUPE = typer.Option(
    "--dedupe/--no-dedupe",
    help="Keep only the first of identical reviews.",
    show_default="dedupe",
    rich_help_panel=OUTPUT,
)
WORKERS = typer.Option(
    help="Number of blocks processed at the same time.", show_default="cores", rich_help_panel=WORK
)
PROCESSES = typer.Option(
    "--processes/--threads",
    help="Run workers as processes or as threads.",
    show_default="threads up to 8 workers",
    rich_help_panel=WORK,
)
MEMORY = typer.Option(
    metavar="SIZE", help="Memory limit, such as 2GB.", show_default="about 0.9GB", rich_help_panel=WORK
)
SCHEDULER = typer.Option(
    metavar="tcp://HOST:PORT", help="Address of a running Dask scheduler to use.", rich_help_panel=WORK
)
REPORT = typer.Option(
    "--report", help="Draw Dask's performance report; threads then run in Dask.", rich_help_panel=WORK
)


SUMMARY_KEYS = """
    rows classes labels records continuation_lines columns label_from label_values rejected reject_examples
    duplicates leaks conflicts oddities
    warnings tokens vocab_size bytes_in seconds mb_per_s peak_memory_mb workers partitions phases spilled_mb
    digest
"""
"""Fields of the manifest that `--json` prints."""
SHOWN_CLASSES = 8
"""Number of classes whose share of the rows is printed."""


def prepare(
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT...", help=INPUTS_HELP)],
    out: Annotated[Path, typer.Option(help="Directory for the prepared data.")],
    test: Annotated[list[str] | None, TEST] = None,
    format: FormatOption = None,  # noqa: A002 - the flag's name
    encoding: EncodingOption = None,
    text_column: TextColumnOption = None,
    title_column: TitleColumnOption = None,
    label_column: LabelColumnOption = None,
    stars_column: StarsColumnOption = None,
    weight_column: Annotated[str | None, WEIGHT_COLUMN] = None,
    classes: Annotated[str | None, CLASSES] = None,
    label_map: LabelMapOption = None,
    min_class_rows: Annotated[int | None, MIN_CLASS_ROWS] = None,
    stars_scale: StarsScaleOption = None,
    delimiter: DelimiterOption = None,
    quoting: QuotingOption = None,
    header: HeaderOption = None,
    columns: ColumnsOption = None,
    split: Annotated[str | None, SPLIT] = None,
    clean: Annotated[str | None, CLEAN] = None,
    vocab_size: Annotated[int | None, VOCAB_SIZE] = None,
    min_count: Annotated[int | None, MIN_COUNT] = None,
    max_tokens: Annotated[int | None, MAX_TOKENS] = None,
    dedupe: Annotated[bool | None, DEDUPE] = None,
    workers: Annotated[int | None, WORKERS] = None,
    processes: Annotated[bool | None, PROCESSES] = None,
    memory: Annotated[str | None, MEMORY] = None,
    scheduler: Annotated[str | None, SCHEDULER] = None,
    report: Annotated[bool, REPORT] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Resume an interrupted run.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace --out if it exists.")] = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Convert reviews to token ids on disk: read, clean, deduplicate, split and build the vocabulary."""
    from sentiscale.config import PREPARE_FLAGS, resolve
    from sentiscale.data.prepare import prepare as run_preparation
    from sentiscale.util.terminal import make_progress

    values = locals() | {"split": _shares(split)}
    flags = {setting: values[flag] for flag, setting in PREPARE_FLAGS.items()}
    settings = resolve(config=config, overrides=overrides or (), flags=flags).prepare
    dataset = run_preparation(
        inputs,
        out,
        test=test or (),
        settings=settings,
        workers=workers,
        processes=processes,
        scheduler=scheduler,
        report=report,
        resume=resume,
        force=force,
        progress=make_progress(quiet),
    )
    print_json(summary(dataset.manifest, out)) if as_json else print_summary(dataset.manifest, out)


def summary(manifest: "Manifest", out: Path) -> dict[str, Any]:
    document = manifest.model_dump(include=set(SUMMARY_KEYS.split()))
    return {"out": str(out), **{key: document[key] for key in SUMMARY_KEYS.split()}}


def print_summary(manifest: "Manifest", out: Path) -> None:
    from sentiscale.text.label_reading import values_line
    from sentiscale.text.rejects import example_lines

    for split, rows in manifest.rows.items():
        labels = manifest.labels_per_split[split]
        if rows:
            print(f"{split:5}  {rows:,} rows, {_shares_of(labels, rows, manifest.classes)}")
    if manifest.continuation_lines:
        print(f"{manifest.records:,} records; {manifest.continuation_lines:,} lines continue a quoted field")
    column = manifest.columns["label"] or manifest.columns["stars"]
    where = f"column '{column}' ({manifest.label_from})" if column else manifest.label_from
    print(f"labels: {where}; {values_line(manifest.label_values)}")
    reasons = ", ".join(f"{name} {count:,}" for name, count in manifest.rejected["by_reason"].items())
    detail = f" ({reasons}; see {out / 'rejects.parquet'})" if reasons else ""
    print(f"rejected {manifest.rejected['total']:,}{detail}, duplicates {manifest.duplicates:,}")
    for line in example_lines(manifest.rejected["by_reason"], manifest.reject_examples):
        print(line)
    print(
        f"{manifest.tokens:,} tokens, {manifest.vocab_size:,} words; {manifest.bytes_in / 1e6:,.1f} MB in "
        f"{manifest.seconds:.1f} s, {manifest.mb_per_s:.1f} MB/s, "
        f"peak memory {manifest.peak_memory_mb:,.0f} MB"
    )
    parts = manifest.partitions
    print(
        f"{parts['count']:,.0f} partitions of {parts['rows_mean']:,.0f} rows, "
        f"{parts['bytes_mean'] / 1e6:.1f} MB; largest over mean: rows {parts['rows_max_over_mean']:.2f}, "
        f"bytes {parts['bytes_max_over_mean']:.2f}"
    )
    for warning in manifest.warnings:
        print(f"note:  {warning}")
    print(f"look:  sentiscale eda {out} --out {out}.html")
    print(f"next:  sentiscale train {out} --out run")


def _shares_of(labels: Mapping[str, int], rows: int, classes: Sequence[str]) -> str:
    """Return the share of the last of two classes, or of several classes in order."""
    shown = classes[1:] if len(classes) == 2 else classes[:SHOWN_CLASSES]
    rest = f" and {len(classes) - SHOWN_CLASSES} other classes" if len(classes) > SHOWN_CLASSES else ""
    return ", ".join(f"{100 * labels[name] / rows:.1f} % {name}" for name in shown) + rest


def _shares(text: str | None) -> tuple[float, ...] | None:
    try:
        return tuple(float(share) for share in text.split(",")) if text else None
    except ValueError:
        raise UsageError(f"--split is '{text}'; it takes shares such as 0.8,0.1,0.1.") from None
