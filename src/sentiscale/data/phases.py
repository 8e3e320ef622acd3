"""The phases of a preparation; each sends tasks to the engine and collects their results.

encode   encode partitions as shards and record their distinct texts
repeats  find rows with duplicate texts
count    count words, rows and tokens of the remaining rows; choose the vocabulary
write    write the rows of all partitions to their positions in the splits
finish   collect notes and compute digests
"""

import os
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from sentiscale.config import CLEANING_VERSIONS
from sentiscale.data.corpus import Source, check_other_columns
from sentiscale.data.duplicates import RECORD, DuplicateFinder, Duplicates
from sentiscale.data.engine import Engine
from sentiscale.data.job import MB, MEMORY_PER_BYTE, Budget, PrepareJob
from sentiscale.data.manifest import LONG_WORD, PrepareOutcome
from sentiscale.data.notes import collect_notes, write_rejects
from sentiscale.data.placement import (
    TRAIN,
    Placement,
    SplitCounts,
    WriteTask,
    count_partitions,
    write_partitions,
)
from sentiscale.data.prepared import NOTES, REJECTS, SPLIT_PARTS, SPLITS, VOCABULARY, split_file, token_dtype
from sentiscale.data.rare_classes import RareClasses
from sentiscale.data.shards import (
    EncodeTask,
    Partition,
    PartitionSummary,
    cut_partitions,
    encode_partition,
    finished_summary,
    reject_examples,
    rejected,
)
from sentiscale.data.wordcount import WordCounter
from sentiscale.data.workspace import Workspace
from sentiscale.errors import DataError
from sentiscale.text.classes import Classes
from sentiscale.text.label_reading import LISTED, LabelReading, check_all_classes, label_values, read_labels
from sentiscale.text.labels import LabelCounts
from sentiscale.text.rejects import Reject, example_lines
from sentiscale.text.vocab import SPECIAL, write_words
from sentiscale.util.digests import chunk_digests, combined, digest_tasks, file_digest
from sentiscale.util.progress import Advance, Progress
from sentiscale.util.storage import is_local

TaskT = TypeVar("TaskT")

# Counting or writing one 8 MB partition takes milliseconds, about as long as Dask needs to send the task.
# Tasks are therefore grouped, but into enough groups to keep all workers busy until the end.
MAX_GROUP, MIN_GROUPS_PER_WORKER = 8, 4
COUNT_BYTES_PER_WORD = 150
"""Memory for counting one distinct word, including the transfer to the client."""
NO_RECORDS = np.empty(0, RECORD)


class Phases:
    """Runs the phases of one preparation."""

    def __init__(
        self, job: PrepareJob, work: Workspace, engine: Engine, budget: Budget, progress: Progress
    ) -> None:
        self.job = job
        self.settings = job.settings
        self.work = work
        self.engine = engine
        self.budget = budget
        self.progress = progress
        self.partitions: list[Partition] = []
        self.reading = LabelReading()
        self.label_values: dict[str, dict[str, Any]] = {}
        self.seconds: dict[str, float] = {}
        """Duration of each phase."""

    def run(self) -> PrepareOutcome:
        with self._timed("encode"):
            finder = self._encode()
        with self._timed("repeats"):
            labels = self._label_classes()
            rare = RareClasses(len(self.reading.class_set), self.job.shares)
            duplicates = finder.find(labels, rare if self.settings.classes != "binary" else None)
        with self._timed("count"):
            placements = self._placements(labels, duplicates, rare)
            counts, counter = self._count(placements)
            totals = SplitCounts.total(counts)
            _check_training(totals, duplicates, self.reading.class_set, dedupe=self.settings.dedupe)
            if self.settings.weight_column is not None and not totals.weights[TRAIN]:
                raise DataError(
                    f"all weights of the training rows in column '{self.settings.weight_column}' are 0. "
                    "Name another column with --weight-column, or leave it out."
                )
            vocab_size = self._choose_vocabulary(counter)
        with self._timed("write"):
            unknown, notes = self._write(placements, counts, vocab_size, duplicates)
        self.engine.finish_report()
        with self._timed("finish"):
            shards = [self.work.shard(partition.number) for partition in self.partitions]
            write_rejects(self.work.result / REJECTS, self.partitions, shards)
            conflicts, oddities = collect_notes(
                self.work.result, self.partitions, notes, self.reading.class_set.names
            )
            files = self._digests()
        return PrepareOutcome(
            partitions=self.partitions,
            duplicates=duplicates,
            totals=totals,
            vocab_size=vocab_size,
            distinct_words=counter.distinct,
            word_characters=counter.mean_characters,
            unknown=unknown,
            conflicts=conflicts,
            oddities=oddities,
            files=files,
            reading=self.reading,
            label_sources=self.job.label_sources,
            label_values=self.label_values,
            spilled={"texts": finder.spilled_bytes, "words": counter.spilled_bytes},
        )

    @contextmanager
    def _timed(self, phase: str) -> Iterator[None]:
        started_at = time.monotonic()
        yield
        self.seconds[phase] = time.monotonic() - started_at

    def _encode(self) -> DuplicateFinder:
        """Divide the input into partitions and encode each as a shard."""
        finder = DuplicateFinder(self.work.overflow, self.budget.duplicates_bytes)
        total = self.job.size
        with self.progress.task("read and clean", total and total / MB, "MB") as advance:
            rows = 0
            tasks = self._encode_tasks(finder, advance)
            for number, summary in self.engine.map(encode_partition, tasks, describe=self._describe):
                partition = self.partitions[number]
                self._take(partition, summary, finder)
                rows += summary.rows
                advance(partition.consumed / MB, f"{rows:,} reviews")
        return finder

    def _encode_tasks(self, finder: DuplicateFinder, advance: Advance) -> Iterator[tuple[int, EncodeTask]]:
        """Append all partitions to `partitions` and yield a task for each one without a finished shard.

        The engine requests a task only when a worker is free, so input is not read far ahead of the workers.
        """
        partitions = cut_partitions(self.job.sources, self.work, self.budget.block_bytes, self._in_place)
        for partition in partitions:
            self.partitions.append(partition)
            shard = self.work.shard(partition.number)
            if (summary := finished_summary(shard, partition.slices)) is not None:
                self._take(partition, summary, finder)
                advance(partition.consumed / MB, "done before")
                continue
            task = EncodeTask(
                slices=partition.slices,
                is_test=partition.is_test,
                cleaning=self.settings.clean,
                cleaning_version=CLEANING_VERSIONS[self.settings.clean],
                max_tokens=self.settings.max_tokens,
                keep_text=self.settings.keep_text,
                shard=str(shard),
            )
            yield partition.number, task

    def _in_place(self, source: Source) -> bool:
        """Whether workers read a file themselves, rather than copies of its blocks."""
        # A remote worker may see no file at this path, or a different one. The client then reads the file and
        # writes copies of its blocks to the shared workspace.
        local = is_local(source.path) and source.plain
        return local and self.engine.workers_see(str(Path(source.path).absolute()), source.size)

    def _take(self, partition: Partition, summary: PartitionSummary, finder: DuplicateFinder) -> None:
        finder.add(partition.number, summary.records)
        # The finder now holds the records or has written them to disk. A second reference would keep 22 bytes
        # per text in memory, outside the budget.
        partition.summary = summary._replace(records=NO_RECORDS)
        for part in partition.slices:
            self.work.unspool(part.path)  # not earlier, because a task runs again if its worker dies

    def _describe(self, number: int) -> str:
        first = self.partitions[number].slices[0]
        return f"block {number} ({first.file}, from byte {first.offset} on)"

    def _label_classes(self) -> NDArray[np.uint8]:
        """Return the class of each label code, by partition, of shape (partitions, 256)."""
        # Only the values of all partitions show whether "1" means positive (0/1 labels) or negative (1/2
        # labels), so each shard holds codes of its own, which are converted to classes here.
        files: defaultdict[str, LabelCounts] = defaultdict(LabelCounts)
        for partition in self.partitions:
            for part, values in zip(partition.slices, partition.summary.values, strict=True):
                files[part.file].add(values)
        self.reading = read_labels(files, self.settings, self.job.label_columns)
        check_other_columns([source for source, _ in self.job.sources], self.reading, self.settings)
        counts = LabelCounts.total(files.values())
        found = label_values(counts, self.reading, self.settings, most=None)
        self.label_values = dict(islice(found.items(), LISTED))
        if not any(partition.summary.rows for partition in self.partitions):
            raise DataError(_nothing_left(rejected(self.partitions), reject_examples(self.partitions)))
        check_all_classes(found, self.reading)
        return np.stack([self.reading.codes(partition.summary.meanings) for partition in self.partitions])

    def _placements(
        self, labels: NDArray[np.uint8], duplicates: Duplicates, rare: RareClasses
    ) -> list[Placement]:
        rare_splits = rare.splits()
        order = np.argsort(duplicates.partitions, kind="stable")
        bounds = np.searchsorted(duplicates.partitions[order], np.arange(1, len(self.partitions)))
        return [
            Placement(
                shard=str(self.work.shard(partition.number)),
                is_test=partition.is_test,
                shares=self.job.shares,
                dedupe=self.settings.dedupe,
                duplicates=rows,
                labels=labels[partition.number],
                classes=len(self.reading.class_set),
                max_tokens=self.settings.max_tokens,
                rare=rare_splits,
            )
            for partition, rows in zip(self.partitions, np.split(duplicates.rows[order], bounds), strict=True)
        ]

    def _count(self, placements: list[Placement]) -> tuple[list[SplitCounts], WordCounter]:
        """Count rows and tokens of each partition, and the words of all training rows."""
        counter = WordCounter(self.work.overflow, self.budget.words_bytes)
        counts: dict[int, list[SplitCounts]] = {}
        # A worker counts a group in one table, which must fit into the memory that encoding a partition used.
        # Partitions with many words therefore form smaller groups.
        room = int(self.budget.block_bytes * MEMORY_PER_BYTE / COUNT_BYTES_PER_WORD)
        groups = self._grouped(placements, [partition.summary.words / room for partition in self.partitions])
        with self.progress.task("count words", len(placements), "blocks") as advance:
            for number, (found, words) in self.engine.map(count_partitions, groups, describe=self._describe):
                counter.add(words)
                counts[number] = found
                advance(len(found), "")
        return [part for number in sorted(counts) for part in counts[number]], counter

    def _grouped(
        self, tasks: Sequence[TaskT], shares: Sequence[float] = ()
    ) -> Iterator[tuple[int, tuple[TaskT, ...]]]:
        """Yield groups of consecutive tasks with the number of their first task.

        The `shares` of a group add up to at most 1, unless it has a single task.
        """
        most = max(1, min(MAX_GROUP, len(tasks) // (MIN_GROUPS_PER_WORKER * self.engine.workers)))
        first, used = 0, 0.0
        for number, share in enumerate(shares or [0.0] * len(tasks)):
            if number > first and (number - first == most or used + share > 1):
                yield first, tuple(tasks[first:number])
                first, used = number, 0.0
            used += share
        yield first, tuple(tasks[first:])

    def _choose_vocabulary(self, counter: WordCounter) -> int:
        words = counter.vocabulary(self.settings.vocab_size - len(SPECIAL), self.settings.min_count)
        if not len(words):
            remedy = "Give more reviews or a lower --min-count."
            if counter.mean_characters > LONG_WORD:
                remedy = (
                    f"The average word has {counter.mean_characters:.0f} characters: it seems to be a whole "
                    "sentence. Put spaces between the words of the reviews."
                )
            raise DataError(f"no word occurs {self.settings.min_count} times in the training rows. {remedy}")
        write_words(self.work.result / VOCABULARY, words)
        return len(words) + len(SPECIAL)

    def _write(
        self, placements: list[Placement], counts: list[SplitCounts], size: int, duplicates: Duplicates
    ) -> tuple[NDArray[np.int64], dict[int, Path]]:
        """Write the rows of all partitions; return unknown tokens per split, and notes files by partition."""
        # The counts determine each partition's position in every split. Partitions can therefore be written
        # in any order: the result is the same for any number of workers, and no files need to be merged.
        rows = np.array([part.rows for part in counts])
        tokens = np.array([part.tokens for part in counts])
        _allocate(
            self.work.result, rows.sum(axis=0), tokens.sum(axis=0), token_dtype(size), self._split_parts()
        )
        first_rows, first_tokens = np.cumsum(rows, axis=0) - rows, np.cumsum(tokens, axis=0) - tokens
        vocab = self.work.result / VOCABULARY
        vocab_digest = file_digest(vocab)
        tasks = [
            WriteTask(
                placement=placement,
                result=str(self.work.result),
                vocab=str(vocab),
                vocab_digest=vocab_digest,
                first_row=tuple(first_rows[number].tolist()),
                first_token=tuple(first_tokens[number].tolist()),
                conflicting=duplicates.conflicting,
                notes=str(self.work.notes(number)),
                text_part=number if self.settings.keep_text else None,
            )
            for number, placement in enumerate(placements)
        ]
        groups = self._grouped(tasks)
        unknown, notes = np.zeros(len(SPLITS), np.int64), {}
        with self.progress.task("write", len(placements), "blocks") as advance:
            for first, done in self.engine.map(write_partitions, groups, describe=self._describe):
                for number, (own_unknown, has_notes) in enumerate(done, first):
                    unknown += own_unknown
                    if has_notes:
                        notes[number] = self.work.notes(number)
                advance(len(done), "")
        return unknown, notes

    def _split_parts(self) -> tuple[str, ...]:
        return SPLIT_PARTS if self.settings.weight_column is None else (*SPLIT_PARTS, "weights")

    def _digests(self) -> dict[str, str]:
        """Compute the digest of every file of the result, in chunks on all workers."""
        names = [split_file(split, part) for split in SPLITS for part in self._split_parts()]
        names += [VOCABULARY, *NOTES]
        tasks = [(name, task) for name in names for task in digest_tasks(self.work.result / name)]
        found = dict(self.engine.map(chunk_digests, enumerate(task for _, task in tasks)))
        parts: dict[str, list[list[bytes]]] = {name: [] for name in names}
        for number, (name, _) in enumerate(tasks):
            parts[name].append(found[number])
        return {name: combined(part) for name, part in parts.items()}


def _allocate(
    result: Path,
    rows: NDArray[np.int64],
    tokens: NDArray[np.int64],
    dtype: type[np.generic],
    parts: Sequence[str],
) -> None:
    """Create the split files at their full size."""
    # A full disk is detected before the rows are written, and partitions can be written concurrently.
    for split, row_count, token_count in zip(SPLITS, rows.tolist(), tokens.tolist(), strict=True):
        (result / split).mkdir()
        sizes = {
            "tokens": token_count * np.dtype(dtype).itemsize,
            "offsets": 8 * (row_count + 1),
            "labels": row_count,
            "weights": 4 * row_count,
        }
        for part in parts:
            size = sizes[part]
            with open(result / split_file(split, part), "wb") as file:
                if size and hasattr(os, "posix_fallocate"):  # not on macOS
                    os.posix_fallocate(file.fileno(), 0, size)
                file.truncate(size)
                if part == "offsets":  # the end of the last row, which no partition writes
                    file.seek(8 * row_count)
                    file.write(np.int64(token_count).tobytes())


def _check_training(totals: SplitCounts, duplicates: Duplicates, classes: Classes, *, dedupe: bool) -> None:
    rows = totals.labels[TRAIN]
    several = "both" if classes.kind == "binary" else "different"
    usable = int(totals.rows.sum()) + (duplicates.count if dedupe else 0)
    if usable - duplicates.count == 1 < usable:
        labels = f"with {several} labels" if len(duplicates.conflicting) else "with one label"
        raise DataError(f"all {usable} reviews have one text, {labels}. Check --text-column.")
    if not rows.sum():
        raise DataError(
            f"no row is left for training: of {usable} usable rows, {duplicates.count} repeat another "
            f"row and the rest are in valid and test. Give more reviews, a larger first share in --split, "
            f"or another --test."
        )
    if (rows > 0).sum() < 2:
        only = classes.names[int(rows.argmax())]
        raise DataError(
            f"all {rows.sum()} training rows are {only}; "
            f"{'both' if classes.kind == 'binary' else 'other'} classes are needed. Of {usable} "
            f"usable rows, {duplicates.count} repeat the text of another row, and "
            f"{len(duplicates.conflicting)} texts occur with {several} labels. Check --text-column and "
            f"--label-column or --stars-column, or add reviews of the other class."
        )
    if classes.kind != "stars" and not rows.all():
        name = classes.names[int(rows.argmin())]
        raise DataError(
            f"no training row is of the class '{name}': its rows are in the test set or repeat other rows. "
            "Add reviews of this class, or leave it out with --label-map."
        )


def _nothing_left(reasons: dict[str, int], examples: dict[str, Reject]) -> str:
    if not reasons:
        return "no usable row is left: the input has no rows. Look at the input."
    counted = ", ".join(
        f"{name} {count}" for name, count in sorted(reasons.items(), key=lambda item: -item[1])
    )
    lines = [f"no usable row is left; rejected: {counted}.", *example_lines(reasons, examples)]
    return "\n".join(lines)
