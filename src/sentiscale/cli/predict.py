"""`sentiscale predict`: label reviews, one a line in, one prediction a line out; or tables, on all cores."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sentiscale.cli.options import (
    ConfigOption,
    FormatOption,
    JsonOption,
    LabelColumnOption,
    QuietOption,
    SetOption,
    StarsColumnOption,
    TextColumnOption,
    TitleColumnOption,
    print_json,
    reading_settings,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from sentiscale.data.inputs import Chunk, Inputs, Reject
    from sentiscale.inference.batch import LabelSummary
    from sentiscale.inference.outputs import Added, Sink
    from sentiscale.inference.predictor import Predictions, Predictor
    from sentiscale.util.progress import Progress


def predict(
    model: Annotated[Path, typer.Argument(help="Model directory, RUN/model.")],
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FILE|-]...", help="Reviews, one a line, or tables; globs, folders, URLs."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Write .parquet, .csv, .tsv or .jsonl instead, with a table's own columns."),
    ] = None,
    labelled: Annotated[
        bool, typer.Option("--labelled", help="The input has labels: print the accuracy at the end.")
    ] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Also what each word contributed; far slower.")
    ] = False,
    workers: Annotated[int | None, typer.Option(help="Cores to use.", show_default="all")] = None,
    precision: Annotated[
        str, typer.Option(help="fp32; or bf16, faster where the processor has it, changes the third digit.")
    ] = "fp32",
    prefix: Annotated[str, typer.Option(help="Put before the names of added columns.")] = "",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted job.")] = False,
    scheduler: Annotated[
        str | None, typer.Option(help="Dask scheduler, tcp://…; --out is then a folder of Parquet parts.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace such a folder.")] = False,
    format: FormatOption = None,  # noqa: A002 - the flag's name
    text_column: TextColumnOption = None,
    title_column: TitleColumnOption = None,
    label_column: LabelColumnOption = None,
    stars_column: StarsColumnOption = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Label reviews: `label<TAB>probability` for each line of the input, in the same order."""
    from sentiscale.cli.progress import make_progress
    from sentiscale.data.inputs import Inputs
    from sentiscale.errors import UsageError
    from sentiscale.inference.outputs import Added
    from sentiscale.inference.predictor import Predictor
    from sentiscale.records import available_cores

    settings = reading_settings(
        config,
        overrides,
        format=format,
        text_column=text_column,
        title_column=title_column,
        label_column=label_column,
        stars_column=stars_column,
    )
    if workers is not None and workers < 1:
        raise UsageError(f"--workers is {workers}; it must be at least 1.")
    if out is None and (resume or scheduler):
        raise UsageError("--resume and --scheduler need --out.")
    predictor = Predictor.load(model, precision=precision)  # fails before the input is read
    inputs = Inputs.find(files or ["-"], settings, labelled=labelled)
    added = Added(prefix, file=len(inputs.paths) > 1, explained=explain)
    typed_in = inputs.paths == ("-",) and sys.stdin.isatty()
    # Lines that appear on the terminal show the progress themselves; a bar would be drawn between them.
    streams = out is None and not as_json and sys.stdout.isatty()
    progress = make_progress(quiet or typed_in or streams)
    task = _Task(predictor, inputs, added, workers or available_cores(), progress, as_json)
    if out is None:
        task.show()
    elif scheduler is None:
        task.write(model, out, resume=resume)
    else:
        task.spread(model, out, scheduler, resume=resume, force=force)


@dataclass(frozen=True)
class _Task:
    """What is asked for, ready to be run."""

    predictor: "Predictor"
    inputs: "Inputs"
    added: "Added"
    workers: int
    progress: "Progress"
    as_json: bool

    def show(self) -> None:
        """Predictions on standard output."""
        from sentiscale.inference.batch import label
        from sentiscale.inference.outputs import Rejects, print_lines

        listed: list[dict[str, Any]] = []
        sink: Sink = print_lines
        if self.as_json:
            sink = self._listing(listed)
        elif self.added.explained:
            sink = self._colouring()
        with Rejects(None) as rejects:
            summary = label(
                self.predictor,
                self.inputs.without_columns(),
                sink,
                workers=self.workers,
                reject=rejects.add,
                progress=self.progress,
            )
        self._tell(summary, rejects.first, None, listed)

    def write(self, model: Path, out: Path, *, resume: bool) -> None:
        """Predictions in a file."""
        from sentiscale.inference.batch import FileJob

        kept = self.inputs.with_columns(whole_records=out.suffix == ".jsonl")
        job = FileJob(self.predictor, model, kept, out, self.added, self._explain())
        job.check()
        summary, rejects = job.run(workers=self.workers, resume=resume, progress=self.progress)
        self._tell(summary, rejects, out, None)

    def spread(self, model: Path, out: Path, scheduler: str, *, resume: bool, force: bool) -> None:
        """Predictions in a folder of parts, made by a cluster."""
        from sentiscale.inference.batch import ClusterJob

        job = ClusterJob(self.predictor, model, self.inputs, out, self.added)
        summary, rejects = job.run(scheduler, resume=resume, force=force, progress=self.progress)
        self._tell(summary, rejects, out, None)

    def _explain(self) -> "Callable[[Chunk], pa.Table] | None":
        if not self.added.explained:
            return None
        from sentiscale.inference.explain import explained, explained_table

        return lambda chunk: explained_table(explained(self.predictor, chunk))

    def _listing(self, listed: list[dict[str, Any]]) -> "Sink":
        explain = self._explain()

        def keep(chunk: "Chunk", predictions: "Predictions") -> None:
            table = self.added.table(chunk, predictions, explain(chunk) if explain else None)
            listed.extend(table.to_pylist())

        return keep

    def _colouring(self) -> "Sink":
        """Lines as ever, each followed by the review with its words coloured."""
        from rich.console import Console

        from sentiscale.cli.explained import coloured_line
        from sentiscale.inference.explain import explained, texts_of

        console = Console(file=sys.stdout, highlight=False, soft_wrap=True)

        def show(chunk: "Chunk", predictions: "Predictions") -> None:
            found = explained(self.predictor, chunk)
            for row, text, explanation in zip(predictions.rows(), texts_of(chunk), found, strict=True):
                sys.stdout.write(f"{row.label}\t{row.probability:.4f}\n")
                console.print(coloured_line(text, explanation))
            sys.stdout.flush()

        return show

    def _tell(
        self,
        summary: "LabelSummary",
        rejects: "list[Reject]",
        out: Path | None,
        listed: list[dict[str, Any]] | None,
    ) -> None:
        from sentiscale.inference.outputs import rejects_path

        if summary.rejected:
            sys.stderr.write(f"{summary.rejected:,} rows could not be read and have no prediction\n")
            for reject in rejects:
                sys.stderr.write(f"  {reject.file}:{reject.line}: {reject.reason.replace('_', ' ')}\n")
            if summary.rejected > len(rejects):
                sys.stderr.write("  ...\n")
            if out is not None:
                sys.stderr.write(f"all of them: {rejects_path(out)}\n")
        if summary.not_utf8:
            sys.stderr.write(
                f"{summary.not_utf8:,} review(s) hold \ufffd, as which bytes that are no UTF-8 are read. "
                "If the input comes from Windows, convert it: iconv -f WINDOWS-1252 -t UTF-8 FILE\n"
            )
        if self.as_json:
            print_json({**summary.model_dump(), "out": out, "predictions": listed})
            return
        if out is not None:
            print(
                f"{out}: {summary.rows:,} rows, {summary.positive:,} positive, {summary.negative:,} negative"
            )
        if summary.accuracy is not None:
            sys.stderr.write(f"accuracy {summary.accuracy:.4f} on {summary.rows:,} rows\n")
