"""`sentiscale predict`: label reviews in text files or tables, on all cores or on a cluster."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sentiscale.cli.options import (
    FullOption,
    JsonOption,
    QuietOption,
    ThresholdOption,
    print_json,
    reads_reviews,
)

if TYPE_CHECKING:
    from sentiscale.config import PrepareSettings
    from sentiscale.data.inputs import Chunk
    from sentiscale.inference.batch import BatchResult, Sink
    from sentiscale.inference.outputs import AddedColumns
    from sentiscale.inference.predictor import Predictions, Predictor


@reads_reviews
def predict(
    model: Annotated[Path, typer.Argument(help="Model directory, RUN/model, or RUN.")],
    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FILE|-]...",
            help="Text with one review per line, or tables; also globs, folders and URLs.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write to a .parquet, .csv, .tsv or .jsonl file instead, with all columns of the input."
        ),
    ] = None,
    labelled: Annotated[
        bool, typer.Option("--labelled", help="Read labels from the input and print the accuracy at the end.")
    ] = False,
    probabilities: Annotated[
        bool,
        typer.Option(
            "--probabilities", help="Add the probability of each class; for stars, also their mean."
        ),
    ] = False,
    thresholds: ThresholdOption = True,
    full: FullOption = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Add the contribution of each word; much slower.")
    ] = False,
    workers: Annotated[int | None, typer.Option(help="Number of cores to use.", show_default="all")] = None,
    precision: Annotated[
        str,
        typer.Option(
            help="Arithmetic: fp32, or bf16, which is faster on processors that support it but changes the "
            "third digit."
        ),
    ] = "fp32",
    prefix: Annotated[str, typer.Option(help="Prefix of the names of added columns.")] = "",
    resume: Annotated[bool, typer.Option("--resume", help="Resume an interrupted job.")] = False,
    scheduler: Annotated[
        str | None,
        typer.Option(help="Address of a Dask scheduler, tcp://…; --out is then a folder of Parquet parts."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing folder of parts.")] = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
    *,
    settings: "PrepareSettings",
) -> None:
    """Label reviews: print `label<TAB>probability` for each line of the input, in the same order."""
    from sentiscale.data.inputs import Inputs
    from sentiscale.errors import UsageError
    from sentiscale.inference.batch import BatchJob, predict_inputs
    from sentiscale.inference.outputs import AddedColumns
    from sentiscale.inference.predictor import Predictor
    from sentiscale.model.files import model_path
    from sentiscale.records import available_cores
    from sentiscale.text.classes import UNSURE
    from sentiscale.util.terminal import make_progress

    if workers is not None and workers < 1:
        raise UsageError(f"--workers is {workers}; it must be at least 1.")
    workers = workers or available_cores()
    if out is None and (resume or scheduler):
        raise UsageError("--resume and --scheduler need --out.")
    model = model_path(model)
    # Fails before the input is read.
    predictor = Predictor.load(model, precision=precision, thresholds=thresholds, full=full)
    config = predictor.model.config
    known = config.label_reading if labelled else config.labels
    inputs = Inputs.find(files or ["-"], settings, labelled=labelled, known=known)
    added = AddedColumns(
        predictor.classes,
        prefix,
        "none" if not probabilities else "object" if out is None or out.suffix == ".jsonl" else "columns",
        file=len(inputs.paths) > 1,
        explained=explain,
    )
    typed_in = inputs.paths == ("-",) and sys.stdin.isatty()
    # Lines printed to the terminal already show the progress; a bar would be drawn between them.
    streams = out is None and not as_json and sys.stdout.isatty()
    progress = make_progress(quiet or typed_in or streams)
    rows: list[dict[str, Any]] | None = None
    if out is None:
        rows = [] if as_json else None
        sink = _sink(predictor, added, rows)
        result = predict_inputs(predictor, inputs.without_columns(), sink, workers=workers, progress=progress)
    else:
        job = BatchJob(predictor, model, inputs, out, added)
        if scheduler is None:
            result = job.run(workers=workers, resume=resume, progress=progress)
        else:
            result = job.run_on_cluster(scheduler, resume=resume, force=force, progress=progress)
    _print_notes(result, inputs.corpus.notes)
    summary = result.summary
    if as_json:
        print_json({**summary.model_dump(), "out": out, "predictions": rows})
        return
    if out is not None:
        labels = ", ".join(f"{label} {rows:,}" for label, rows in summary.labels.items())
        print(f"{out}: {summary.rows:,} rows: {labels}")
    if summary.accuracy is not None:
        unsure = summary.labels.get(UNSURE, 0)
        apart = f"; {unsure:,} more are unsure" if unsure else ""
        sys.stderr.write(f"accuracy {summary.accuracy:.4f} on {summary.rows - unsure:,} rows{apart}\n")


def _sink(predictor: "Predictor", added: "AddedColumns", rows: list[dict[str, Any]] | None) -> "Sink":
    """Return a sink that appends to `rows`, or prints lines, with the coloured review for `--explain`."""
    from sentiscale.inference.batch import added_table
    from sentiscale.inference.outputs import print_lines, print_probabilities

    if rows is not None:
        return lambda chunk, predictions: rows.extend(
            added_table(predictor, added, chunk, predictions).to_pylist()
        )
    print_labels = print_lines if added.probabilities == "none" else print_probabilities
    if not added.explained:
        return print_labels
    from rich.console import Console

    from sentiscale.cli.explained import coloured_line
    from sentiscale.inference.explain import explain, texts_of

    console = Console(file=sys.stdout, highlight=False, soft_wrap=True)

    def print_explained(chunk: "Chunk", predictions: "Predictions") -> None:
        texts = texts_of(chunk)
        for row, (text, explanation) in enumerate(zip(texts, explain(predictor, texts), strict=True)):
            print_labels(chunk, predictions[row : row + 1])
            console.print(coloured_line(text, explanation))
        sys.stdout.flush()

    return print_explained


def _print_notes(result: "BatchResult", notes: list[str]) -> None:
    """Report on stderr how the input was read, and the rows that are rejected or not UTF-8."""
    for note in notes:
        sys.stderr.write(f"note: {note}\n")
    for name in sorted(result.replaced):
        sys.stderr.write(f"note: bytes of column '{name}' that are not UTF-8 were replaced with \ufffd\n")
    rejected, not_utf8 = result.summary.rejected, result.summary.not_utf8
    if rejected:
        counts = result.summary.rejected_by_reason.items()
        reasons = ", ".join(f"{reason} {rows:,}" for reason, rows in counts)
        sys.stderr.write(f"{rejected:,} rows could not be read and have no prediction: {reasons}\n")
        for reject in result.first_rejects:
            problem = f" ({reject.problem})" if reject.problem else f" '{reject.label}'" * bool(reject.label)
            sys.stderr.write(f"  {reject.file}:{reject.line}: {reject.reason.replace('_', ' ')}{problem}\n")
        if rejected > len(result.first_rejects):
            sys.stderr.write("  ...\n")
        if result.rejects_path is not None:
            sys.stderr.write(f"full list: {result.rejects_path}\n")
    if not_utf8:
        sys.stderr.write(
            f"{not_utf8:,} review(s) contain \ufffd, which replaces bytes that are not UTF-8. "
            "Name their encoding, for Western languages: --encoding windows-1252.\n"
        )
