"""Raw reviews to a prepared dataset, in three phases over Dask: encode blocks, select rows, write splits.

The result depends on input and settings alone: not on workers, block size or the order in which blocks end.
"""

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sentiscale.atomic import check_output
from sentiscale.config import PrepareSettings, resolve
from sentiscale.data.blocks import RawBlock
from sentiscale.data.corpus import MB, Corpus, Source
from sentiscale.data.engine import Engine, open_engine
from sentiscale.data.job import Block, Job, Rows, rejected
from sentiscale.data.manifest import Effort, Outcome, labels_in, make_manifest
from sentiscale.data.memory import PeakMemory
from sentiscale.data.prepared import (
    MANIFEST,
    REJECTS,
    SPLITS,
    VOCABULARY,
    PreparedDataset,
    file_digest,
    split_file,
    token_dtype,
    write_manifest,
)
from sentiscale.data.rejects import write_rejects
from sentiscale.data.selection import TRAIN, Selection, WordCounter, select
from sentiscale.data.shards import (
    BlockTask,
    WriteTask,
    count_words,
    encode_block,
    finished_summary,
    write_rows,
)
from sentiscale.data.sources import is_local
from sentiscale.data.workspace import Workspace, workspace
from sentiscale.errors import DataError, UsageError
from sentiscale.progress import Progress
from sentiscale.records import available_cores
from sentiscale.text.labels import ALLOWED
from sentiscale.text.vocab import SPECIAL, Vocab

PROCESSES_FROM_WORKERS = 9
"""Fewer workers are threads of this process: the kernels release the GIL, while processes take seconds to
start and stop and 150 MB each."""


def prepare(
    inputs: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    test: str | Path | Sequence[str | Path] = (),
    settings: PrepareSettings | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    resume: bool = False,
    force: bool = False,
    progress: Progress | None = None,
    **overrides: Any,
) -> PreparedDataset:
    """Turn review files into a memory-mapped dataset.

    Args:
        inputs: files, globs, folders or fsspec URLs, plain or compressed.
        out: directory to make; whole or not at all.
        test: a test set of its own; without one the inputs are split in three.
        settings: how to read and clean; None is the defaults.
        workers: blocks worked on at once; None is one a core. From 9 on they are processes, and a script
            must call this under `if __name__ == "__main__":`.
        scheduler: address of a running Dask scheduler that shares this file system; None is this machine.
        resume: go on with an interrupted preparation of the same inputs and settings.
        force: replace `out` if it exists.
        progress: who is told how it goes; nobody by default.
        **overrides: single settings, as in `stars_column="stars"`.

    Raises:
        DataError: no usable input.
        UsageError: settings that cannot work, or `out` cannot be written.
        Interrupted: stopped by a signal; resume=True goes on.
    """
    settings = _resolved(settings, overrides)
    out = Path(out).absolute()
    if workers is not None and workers < 1:
        raise UsageError(f"--workers is {workers}; it must be at least 1.")
    check_output(out, replace=force, marker=MANIFEST)
    job = Job(Corpus.find(inputs, settings), Corpus.find(test, settings) if test else None, settings)
    job.check()
    with PeakMemory() as memory, workspace(out, job.plan(), resume=resume) as work:
        started_at = time.monotonic()
        count = workers or available_cores()
        processes = count >= PROCESSES_FROM_WORKERS
        report = work.result / "reports" / "dask.html"
        with open_engine(count, scheduler, processes=processes, folder=work.scratch, report=report) as engine:
            outcome = _run(_Steps(job, work, engine, progress or Progress()))
        effort = Effort(time.monotonic() - started_at, memory.mb, engine.workers)
        write_manifest(work.result, make_manifest(work.result, job, outcome, effort))
    return PreparedDataset.open(out, verify=False)


def _run(steps: "_Steps") -> Outcome:
    """The three phases: encode every block, decide which row goes where, write the splits."""
    blocks = steps.encode()
    rows = Rows.of(blocks)
    if not len(rows):
        raise DataError(_nothing_left(rejected(blocks)))
    selection = select(rows.hashes, rows.labels, rows.is_test, steps.job.shares, dedupe=steps.settings.dedupe)
    _check_training(rows, selection)
    chosen = np.split(selection.splits, rows.bounds)
    vocab = steps.count(chosen)
    unknown = steps.write(vocab, chosen, rows)
    shards = [steps.work.shard(number) for number in range(len(blocks))]
    write_rejects(steps.work.result / REJECTS, blocks, shards)
    return Outcome(blocks, rows, selection, len(vocab), unknown)


class _Steps:
    """The three passes over the blocks; each hands tasks to the engine and gathers what comes back."""

    def __init__(self, job: Job, work: Workspace, engine: Engine, progress: Progress) -> None:
        self.job = job
        self.settings = job.settings
        self.work = work
        self.engine = engine
        self.progress = progress

    def encode(self) -> list[Block]:
        """Cut the input into blocks and have each encoded into a shard."""
        blocks: list[Block] = []
        with self.progress.task("read and clean", self.job.size / MB, "MB") as advance:
            done = 0
            for number, summary in self.engine.map(encode_block, self._block_tasks(blocks)):
                blocks[number].summary = summary
                self.work.unspool(number)  # only now: a worker that dies has its block done again
                done += len(summary.codes)
                advance(blocks[number].consumed / MB, f"{done:,} reviews")
        return blocks

    def _block_tasks(self, blocks: list[Block]) -> Iterator[tuple[int, BlockTask]]:
        """Yield a task for every block without a finished shard; enters all blocks in the list."""
        for source, is_test in self.job.sources:
            for place, raw in enumerate(source.blocks(int(self.settings.block_mb * MB))):
                number = len(blocks)
                block = Block(source.path, is_test, None if place else raw.lines_before, raw.consumed)
                blocks.append(block)
                block.summary = finished_summary(self.work.shard(number))
                if block.summary is None:
                    yield number, self._block_task(source, number, raw)

    def _block_task(self, source: Source, number: int, raw: RawBlock) -> BlockTask:
        """Point the worker to the file itself where it can read it, else to a copy of the block."""
        readable = is_local(source.path) and source.compression is None and source.layout.format != "parquet"
        path = Path(source.path).absolute() if readable else self.work.spool(number, raw.data)
        return BlockTask(
            path=str(path),
            offset=raw.offset if readable else 0,
            size=len(raw.data),
            too_long=raw.too_long,
            layout=source.layout,
            cleaning=self.settings.clean,
            max_tokens=self.settings.max_tokens,
            keep_text=self.settings.keep_text,
            shard=str(self.work.shard(number)),
        )

    def count(self, chosen: list[NDArray[np.uint8]]) -> Vocab:
        """Count the words of the training rows and choose the vocabulary."""
        counter = WordCounter()
        tasks = (
            (n, (str(self.work.shard(n)), splits, self.settings.max_tokens))
            for n, splits in enumerate(chosen)
        )
        with self.progress.task("count words", len(chosen), "blocks") as advance:
            for _, counts in self.engine.map(count_words, tasks):
                counter.add(counts)
                advance(1, "")
        vocab = counter.vocabulary(self.settings.vocab_size, self.settings.min_count)
        if len(vocab) == len(SPECIAL):
            raise DataError(
                f"no word occurs {self.settings.min_count} times in the training rows. "
                f"Give more reviews or a lower --min-count."
            )
        vocab.write(self.work.result / VOCABULARY)
        return vocab

    def write(self, vocab: Vocab, chosen: list[NDArray[np.uint8]], rows: Rows) -> list[int]:
        """Have every block write its rows to their places; returns the unknown tokens of each split."""
        kept = np.minimum(rows.lengths, self.settings.max_tokens)
        sizes = np.array(
            [_rows_and_tokens(s, k) for s, k in zip(chosen, np.split(kept, rows.bounds), strict=True)]
        )
        totals = sizes.sum(axis=0)
        _allocate(self.work.result, totals, token_dtype(len(vocab)))
        tasks = self._write_tasks(
            chosen, np.split(rows.labels, rows.bounds), np.cumsum(sizes, axis=0) - sizes
        )
        unknown = np.zeros(len(SPLITS), np.int64)
        with self.progress.task("write", len(chosen), "blocks") as advance:
            for _, found in self.engine.map(write_rows, tasks):
                unknown += found
                advance(1, "")
        return [int(count) for count in unknown]

    def _write_tasks(
        self, chosen: list[NDArray[np.uint8]], labels: list[NDArray[np.uint8]], before: NDArray[np.int64]
    ) -> Iterator[tuple[int, WriteTask]]:
        digest = file_digest(self.work.result / VOCABULARY)
        for number, splits in enumerate(chosen):
            yield (
                number,
                WriteTask(
                    shard=str(self.work.shard(number)),
                    result=str(self.work.result),
                    vocab_digest=digest,
                    max_tokens=self.settings.max_tokens,
                    chosen=splits,
                    labels=labels[number],
                    first_row=tuple(before[number, :, 0].tolist()),
                    first_token=tuple(before[number, :, 1].tolist()),
                    text_part=number if self.settings.keep_text else None,
                ),
            )


def _resolved(settings: PrepareSettings | None, overrides: dict[str, Any]) -> PrepareSettings:
    given = settings.model_dump(exclude_unset=True) if settings else {}
    return resolve(base={"prepare": {**given, **overrides}}).prepare


def _rows_and_tokens(splits: NDArray[np.uint8], kept: NDArray[np.uint32]) -> list[tuple[int, int]]:
    """Rows and tokens that one block gives to each split."""
    found = [splits == code for code in range(len(SPLITS))]
    return [(int(rows.sum()), int(kept[rows].sum(dtype=np.int64))) for rows in found]


def _allocate(result: Path, totals: NDArray[np.int64], dtype: type[np.generic]) -> None:
    """Make the split files at full size, so that a full disk shows now and blocks can write side by side."""
    for split, (rows, tokens) in zip(SPLITS, totals.tolist(), strict=True):
        (result / split).mkdir()
        sizes = {"tokens": tokens * np.dtype(dtype).itemsize, "offsets": 8 * (rows + 1), "labels": rows}
        for part, size in sizes.items():
            with open(result / split_file(split, part), "wb") as file:
                if size and hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, size)
                file.truncate(size)
                if part == "offsets":
                    file.seek(8 * rows)
                    file.write(np.int64(tokens).tobytes())


def _check_training(rows: Rows, selection: Selection) -> None:
    labels = labels_in(rows.labels[selection.splits == TRAIN])
    if not sum(labels.values()):
        raise DataError(
            f"no row is left for training: of {len(rows)} usable rows {selection.duplicates} repeat another "
            f"one, the rest is in valid and test. Give more reviews, a larger first share in --split, "
            f"or another --test."
        )
    if not all(labels.values()):
        only = "positive" if labels["positive"] else "negative"
        raise DataError(
            f"all {sum(labels.values())} training rows are {only}; both classes are needed. "
            f"Check --label-column or --stars-column, or add reviews of the other class."
        )


def _nothing_left(reasons: dict[str, int]) -> str:
    counted = ", ".join(
        f"{name} {count}" for name, count in sorted(reasons.items(), key=lambda item: -item[1])
    )
    main = max(reasons, key=lambda name: reasons[name], default="")
    remedy = {
        "no_label": "Label fastText lines with __label__1 or __label__2, or name --label-column.",
        "unknown_label": f"Allowed labels: {ALLOWED}; for stars name --stars-column.",
        "no_text": "Name the column that holds the reviews with --text-column.",
        "malformed": "Check that --format fits the file.",
        "invalid_utf8": "Convert the file to UTF-8 with iconv.",
    }.get(main, "Look at the input.")
    return f"no usable row is left; rejected: {counted or 'nothing, there are no rows'}. {remedy}"
