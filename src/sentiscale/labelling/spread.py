"""Label on a Dask cluster: blocks of the input become tasks, their results a folder of Parquet parts."""

import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from sentiscale.atomic import check_output, write_file
from sentiscale.data.blocks import RawBlock
from sentiscale.data.corpus import Source
from sentiscale.data.engine import open_engine
from sentiscale.data.sources import compression_of
from sentiscale.data.workspace import Workspace, workspace
from sentiscale.errors import UsageError
from sentiscale.labelling.inputs import MB, Inputs, KeptInputs, Reject
from sentiscale.labelling.job import model_digest, plan
from sentiscale.labelling.lines import BLOCK_BYTES
from sentiscale.labelling.outputs import SUFFIXES, TOLD, Added
from sentiscale.labelling.parts import PartCounts, PartTask, Piece, finished_counts, label_part
from sentiscale.labelling.run import LabelSummary
from sentiscale.predictor import Predictor
from sentiscale.progress import Advance, Progress
from sentiscale.text.formats import Layout, count_lines
from sentiscale.text.labels import ONE, TWO

SUMMARY, REJECTS = "_summary.json", "_rejects.jsonl"
"""Beside the parts; readers of such folders pass over names that begin so."""


@dataclass
class _Part:
    """A part under way."""

    pieces: tuple[Piece, ...]
    consumed: int
    counts: PartCounts | None = None


@dataclass(frozen=True)
class ClusterJob:
    """What is to be labelled, and into which folder; the cluster's workers must see it."""

    predictor: Predictor
    """The model."""
    model: Path
    """Its directory, which all workers see."""
    inputs: Inputs
    """What is read."""
    out: Path
    """The folder of parts."""
    added: Added
    """Columns that are added."""
    parts: list[_Part] = field(default_factory=list)
    """Those under way and done, in input order."""

    def run(
        self, scheduler: str, *, resume: bool = False, force: bool = False, progress: Progress | None = None
    ) -> tuple[LabelSummary, list[Reject]]:
        """Label everything; the folder appears when it is complete.

        Args:
            scheduler: address of a running Dask scheduler.
            resume: keep the parts that an interrupted job of the same inputs and model has made.
            force: replace the folder.
            progress: who is told how it goes.

        Raises:
            UsageError: the output cannot be written, or the cluster cannot do this.
            ClusterError: the workers or their scheduler are gone for good; `resume` goes on.
            Interrupted: stopped by a signal; `resume` goes on.
            DataError: an input is damaged.
        """
        started_at, progress = time.perf_counter(), progress or Progress()
        out = self.out.absolute()
        kept = self._checked(out, force=force)
        digest = model_digest(self.model)
        steps = plan(self.model, self.inputs, self.predictor.precision.name) | {"added": asdict(self.added)}
        with workspace(out, steps, resume=resume) as work:
            model = work.root / "model"
            if not model.exists():  # a copy, which all workers see and nobody trains over
                shutil.copytree(self.model, model)
            with open_engine(1, scheduler, folder=work.scratch, say=progress.say) as engine:
                total = self.inputs.size
                with progress.task("predict", total and total / MB, "MB") as advance:
                    tasks = self._tasks(kept, work, (str(model), digest), advance)
                    for number, counts in engine.map(label_part, tasks, describe=self._describe):
                        self._take(work, self.parts[number], counts)
                        advance(self.parts[number].consumed / MB, f"{self._summary(1.0).rows:,} rows")
            self._publish(work)
            summary = self._summary(time.perf_counter() - started_at)
            write_file(work.result / SUMMARY, summary.model_dump_json(indent=2))
        return summary, self._rejects()[:TOLD]

    def _checked(self, out: Path, *, force: bool) -> KeptInputs:
        if out.suffix in SUFFIXES and out.suffix != ".parquet":
            raise UsageError(f"with --scheduler the output is a folder of Parquet parts; --out is {out}.")
        if self.added.explained:
            raise UsageError("--explain works on this machine only. Leave --scheduler out.")
        if not self.inputs.can_be_read_again:
            raise UsageError("a pipe cannot be spread over a cluster. Give files.")
        check_output(out, replace=force, marker=SUMMARY)
        kept = self.inputs.keeping(objects=False)
        self.added.check(kept)
        return kept

    def _tasks(
        self, kept: KeptInputs, work: Workspace, model: tuple[str, str], advance: Advance
    ) -> Iterator[tuple[int, PartTask]]:
        """Yield a task for every part that is not there; enters all parts in the list."""
        for number, (blocks, consumed) in enumerate(_grouped(_blocks(kept))):
            part = work.part(number)
            counts = finished_counts(part)
            if counts is not None:
                self.parts.append(_Part((), consumed, counts))
                advance(consumed / MB, "done before")
                continue
            pieces = tuple(piece.copied(work, f"{number:08d}-{place}") for place, piece in enumerate(blocks))
            self.parts.append(_Part(pieces, consumed))
            precision = self.predictor.precision.name
            yield number, PartTask(*model, precision, pieces, kept.schema, self.added, str(part))

    def _take(self, work: Workspace, part: _Part, counts: PartCounts) -> None:
        part.counts = counts
        for piece in part.pieces:
            work.unspool(piece.copy)  # only now: a worker that dies has its task done again

    def _describe(self, number: int) -> str:
        piece = self.parts[number].pieces[0]
        return f"part {number} ({piece.source.path}, from line {piece.first_line} on)"

    def _publish(self, work: Workspace) -> None:
        shutil.rmtree(work.result / "reports")
        for number in range(len(self.parts)):
            os.replace(work.part(number), work.result / f"part-{number:08d}.parquet")
        rejects = self._rejects()
        if rejects:
            lines = "".join(json.dumps(asdict(reject)) + "\n" for reject in rejects)
            write_file(work.result / REJECTS, lines)

    def _rejects(self) -> list[Reject]:
        return [reject for part in self.parts if part.counts for reject in part.counts.rejects]

    def _summary(self, seconds: float) -> LabelSummary:
        counts = [part.counts for part in self.parts if part.counts is not None]
        rows = sum(each.rows for each in counts)
        positive = sum(each.positive for each in counts)
        right = sum(each.right for each in counts)
        return LabelSummary(
            rows=rows,
            positive=positive,
            negative=rows - positive,
            rejected=sum(len(each.rejects) for each in counts),
            not_utf8=sum(each.not_utf8 for each in counts),
            accuracy=right / rows if self.inputs.labelled and rows else None,
            seconds=round(seconds, 3),
            rows_per_s=rows / max(seconds, 1e-9),
        )


@dataclass(frozen=True)
class _Block:
    """A raw block and what is known of it."""

    raw: RawBlock
    source: Source
    first_line: int
    kinds: frozenset[int] | None

    def copied(self, work: Workspace, name: str) -> Piece:
        """The piece for a worker, its bytes in the folder that all share."""
        copy = str(work.spool(name, self.raw.data))
        return Piece(self.source, copy, self.first_line, self.kinds, self.raw.too_long)


def _blocks(kept: KeptInputs) -> Iterator[_Block]:
    """All blocks of all files in order, read by this process."""
    inputs = kept.inputs
    table_kinds = frozenset(inputs.tables.label_kinds()) if inputs.labelled and kept.sources else None
    for path in inputs.paths:
        source = kept.sources.get(path) or _line_source(path, labelled=inputs.labelled)
        kinds = table_kinds if path in kept.sources else frozenset((ONE, TWO)) if inputs.labelled else None
        line = 1
        for raw in source.blocks(BLOCK_BYTES):
            line += raw.lines_before
            yield _Block(raw, source, line, kinds)
            line += 1 if raw.too_long else count_lines(raw.data, source.layout)


def _line_source(path: str, *, labelled: bool) -> Source:
    layout = Layout("fasttext", label="label" if labelled else None)
    return Source(path, compression_of(path), layout, 0)


def _grouped(blocks: Iterator[_Block]) -> Iterator[tuple[list[_Block], int]]:
    """Blocks put together to parts, and the stored bytes of each part: many small files make one part."""
    group: list[_Block] = []
    size = 0
    for block in blocks:
        if group and size + block.raw.size > BLOCK_BYTES * MOST:
            yield group, sum(each.raw.consumed for each in group)
            group, size = [], 0
        group.append(block)
        size += block.raw.size
    if group:
        yield group, sum(each.raw.consumed for each in group)


MOST = 1.1
"""A part takes a further block up to this times a block's bytes."""
