"""The phases of a preparation; each hands tasks to the engine and gathers what comes back.

encode   partitions to shards; each tells of its different texts
repeats  which rows have a text that is there already
count    words, rows and tokens of the rows that stay; the vocabulary is chosen
write    every partition's rows to their places in the splits
finish   notes, digests
"""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from sentiscale.data.corpus import Source
from sentiscale.data.duplicates import RECORD, RepeatFinder, Repeats
from sentiscale.data.engine import Engine
from sentiscale.data.job import MB, PER_BYTE, Budget, Job
from sentiscale.data.manifest import Outcome, Totals
from sentiscale.data.notes import collect_notes, write_rejects
from sentiscale.data.placement import (
    TRAIN,
    Placement,
    PlacementCounts,
    WriteTask,
    count_partitions,
    write_partitions,
)
from sentiscale.data.prepared import (
    NOTES,
    REJECTS,
    SPLITS,
    VOCABULARY,
    chunk_digests,
    combined,
    digest_tasks,
    file_digest,
    split_file,
    token_dtype,
)
from sentiscale.data.shards import (
    EncodeTask,
    Partition,
    Partitioner,
    PartitionSummary,
    encode_partition,
    finished_summary,
    rejected,
)
from sentiscale.data.sources import is_local
from sentiscale.data.wordcount import WordCounter
from sentiscale.data.workspace import Workspace
from sentiscale.errors import DataError
from sentiscale.text.labels import ALLOWED, settle
from sentiscale.text.vocab import SPECIAL, write_words
from sentiscale.util.progress import Advance, Progress

TaskT = TypeVar("TaskT")
MOST_IN_GROUP, LEAST_GROUPS = 8, 4
"""At most so many partitions a task where a task takes milliseconds; at least so many tasks a worker."""
BYTES_TO_COUNT = 150
"""Memory that counting takes for each different word, on its way to the client included."""
NO_RECORDS = np.empty(0, RECORD)
"""In place of what was handed on, so that it need not be kept for each partition."""


class Phases:
    """One preparation under way."""

    def __init__(self, job: Job, work: Workspace, engine: Engine, budget: Budget, progress: Progress) -> None:
        self.job = job
        self.settings = job.settings
        self.work = work
        self.engine = engine
        self.budget = budget
        self.progress = progress
        self.partitions: list[Partition] = []
        self.seconds: dict[str, float] = {}
        """Time of each phase."""

    def run(self) -> Outcome:
        """All phases."""
        with self._timed("encode"):
            finder = self.encode()
        with self._timed("repeats"):
            labels = self._settled_labels()
            repeats = finder.find(labels)
        with self._timed("count"):
            placements = self._placements(labels, repeats)
            counts, counter = self.count(placements)
            totals = Totals.of(counts)
            _check_training(totals, repeats)
            size = self._choose_vocabulary(counter)
        with self._timed("write"):
            unknown, noted = self.write(placements, counts, size, repeats)
        self.engine.finish_report()
        with self._timed("finish"):
            spilled = {"texts": finder.spilled_bytes, "words": counter.spilled_bytes}
            return self._outcome(repeats, totals, (size, counter.distinct), (unknown, noted), spilled)

    def encode(self) -> RepeatFinder:
        """Cut the input into partitions and have each encoded into a shard."""
        finder = RepeatFinder(self.work.overflow, self.budget.repeats_bytes)
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

    def _take(self, partition: Partition, summary: PartitionSummary, finder: RepeatFinder) -> None:
        finder.add(partition.number, summary.records)
        partition.summary = summary._replace(records=NO_RECORDS)
        for piece in partition.pieces:
            self.work.unspool(piece.path)  # only now: a worker that dies has its task done again

    def _encode_tasks(self, finder: RepeatFinder, advance: Advance) -> Iterator[tuple[int, EncodeTask]]:
        """Yield a task for every partition without a finished shard; enters all partitions in the list."""
        partitioner = Partitioner(self.work, self.budget.block_bytes, self._in_place)
        for partition in partitioner.partitions(self.job.sources):
            self.partitions.append(partition)
            shard = self.work.shard(partition.number)
            if (summary := finished_summary(shard, partition.pieces)) is not None:
                self._take(partition, summary, finder)
                advance(partition.consumed / MB, "done before")
                continue
            yield (
                partition.number,
                EncodeTask(
                    pieces=partition.pieces,
                    is_test=partition.is_test,
                    cleaning=self.settings.clean,
                    max_tokens=self.settings.max_tokens,
                    keep_text=self.settings.keep_text,
                    shard=str(shard),
                ),
            )

    def _in_place(self, source: Source) -> bool:
        """Whether workers read a file by themselves, rather than copies of its blocks."""
        local = is_local(source.path) and source.plain
        return local and self.engine.all_see(str(Path(source.path).absolute()), source.size)

    def _describe(self, number: int) -> str:
        piece = self.partitions[number].pieces[0]
        return f"block {number} ({piece.file}, from byte {piece.offset} on)"

    def _settled_labels(self) -> NDArray[np.uint8]:
        """The class of each label code, now that all kinds of labels are known."""
        codes = sum((partition.done.codes for partition in self.partitions), np.zeros(256, np.int64))
        if not codes.any():
            raise DataError(_nothing_left(rejected(self.partitions)))
        return settle(np.arange(256, dtype=np.uint8), set(np.flatnonzero(codes).tolist()))

    def _placements(self, labels: NDArray[np.uint8], repeats: Repeats) -> list[Placement]:
        order = np.argsort(repeats.partitions, kind="stable")
        bounds = np.searchsorted(repeats.partitions[order], np.arange(len(self.partitions) + 1))
        rows = repeats.rows[order]
        return [
            Placement(
                shard=str(self.work.shard(partition.number)),
                is_test=partition.is_test,
                shares=self.job.shares,
                dedupe=self.settings.dedupe,
                repeated=rows[bounds[partition.number] : bounds[partition.number + 1]],
                labels=labels,
                max_tokens=self.settings.max_tokens,
            )
            for partition in self.partitions
        ]

    def count(self, placements: list[Placement]) -> tuple[list[PlacementCounts], WordCounter]:
        """Count what each partition brings, and the words of the training rows of all."""
        counter = WordCounter(self.work.overflow, self.budget.words_bytes)
        counts: dict[int, list[PlacementCounts]] = {}
        room = int(self.budget.block_bytes * PER_BYTE / BYTES_TO_COUNT)
        groups = self._grouped(placements, [partition.done.words / room for partition in self.partitions])
        with self.progress.task("count words", len(placements), "blocks") as advance:
            for number, (found, words) in self.engine.map(count_partitions, groups, describe=self._describe):
                counter.add(words)
                counts[number] = found
                advance(len(found), "")
        return [part for number in sorted(counts) for part in counts[number]], counter

    def _grouped(
        self, tasks: Sequence[TaskT], shares: Sequence[float] = ()
    ) -> Iterator[tuple[int, tuple[TaskT, ...]]]:
        """Runs of tasks that are too small to travel alone, each with the number of its first.

        `shares` says what share of a worker's memory each takes; a run takes no more than all of it.
        """
        most = max(1, min(MOST_IN_GROUP, len(tasks) // (LEAST_GROUPS * self.engine.workers)))
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
            raise DataError(
                f"no word occurs {self.settings.min_count} times in the training rows. "
                f"Give more reviews or a lower --min-count."
            )
        write_words(self.work.result / VOCABULARY, words)
        return len(words) + len(SPECIAL)

    def write(
        self, placements: list[Placement], counts: list[PlacementCounts], size: int, repeats: Repeats
    ) -> tuple[NDArray[np.int64], dict[int, Path]]:
        """Have every partition write its rows; returns unknown tokens by split, and the notes there are."""
        rows = np.array([part.labels.sum(axis=1) for part in counts])
        tokens = np.array([part.tokens for part in counts])
        _allocate(self.work.result, rows.sum(axis=0), tokens.sum(axis=0), token_dtype(size))
        vocab = self.work.result / VOCABULARY
        common = {"result": str(self.work.result), "vocab": str(vocab), "vocab_digest": file_digest(vocab)}
        firsts = zip(np.cumsum(rows, axis=0) - rows, np.cumsum(tokens, axis=0) - tokens, strict=True)
        tasks = [
            WriteTask(
                placement=placement,
                first_row=tuple(first_row.tolist()),
                first_token=tuple(first_token.tolist()),
                conflicting=repeats.conflicting,
                notes=str(self.work.notes(number)),
                text_part=number if self.settings.keep_text else None,
                **common,
            )
            for number, (placement, (first_row, first_token)) in enumerate(
                zip(placements, firsts, strict=True)
            )
        ]
        unknown, noted = np.zeros(len(SPLITS), np.int64), {}
        with self.progress.task("write", len(placements), "blocks") as advance:
            for first, done in self.engine.map(
                write_partitions, self._grouped(tasks), describe=self._describe
            ):
                for number, written in enumerate(done, first):
                    unknown += written.unknown
                    if written.noted:
                        noted[number] = self.work.notes(number)
                advance(len(done), "")
        return unknown, noted

    def _outcome(
        self,
        repeats: Repeats,
        totals: Totals,
        words: tuple[int, int],
        written: tuple[NDArray[np.int64], dict[int, Path]],
        spilled: dict[str, int],
    ) -> Outcome:
        unknown, noted = written
        shards = [self.work.shard(partition.number) for partition in self.partitions]
        write_rejects(self.work.result / REJECTS, self.partitions, shards)
        conflicts, oddities = collect_notes(self.work.result, self.partitions, noted)
        return Outcome(
            partitions=self.partitions,
            repeats=repeats,
            totals=totals,
            vocab_size=words[0],
            distinct_words=words[1],
            unknown=unknown,
            conflicts=conflicts,
            oddities=oddities,
            files=self._digests(),
            spilled=spilled,
        )

    def _digests(self) -> dict[str, str]:
        """The digest of every file of the result."""
        names = [split_file(split, part) for split in SPLITS for part in ("tokens", "offsets", "labels")]
        names += [VOCABULARY, *NOTES]
        tasks = [(name, task) for name in names for task in digest_tasks(self.work.result / name)]
        found = dict(self.engine.map(chunk_digests, enumerate(task for _, task in tasks)))
        parts: dict[str, list[list[bytes]]] = {name: [] for name in names}
        for number, (name, _) in enumerate(tasks):
            parts[name].append(found[number])
        return {name: combined(part) for name, part in parts.items()}

    @contextmanager
    def _timed(self, phase: str) -> Iterator[None]:
        started_at = time.monotonic()
        yield
        self.seconds[phase] = time.monotonic() - started_at


def _allocate(
    result: Path, rows: NDArray[np.int64], tokens: NDArray[np.int64], dtype: type[np.generic]
) -> None:
    """Make the split files at full size: a full disk shows now, and partitions can write side by side."""
    for split, row_count, token_count in zip(SPLITS, rows.tolist(), tokens.tolist(), strict=True):
        (result / split).mkdir()
        sizes = {
            "tokens": token_count * np.dtype(dtype).itemsize,
            "offsets": 8 * (row_count + 1),
            "labels": row_count,
        }
        for part, size in sizes.items():
            with open(result / split_file(split, part), "wb") as file:
                if size and hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, size)
                file.truncate(size)
                if part == "offsets":
                    file.seek(8 * row_count)
                    file.write(np.int64(token_count).tobytes())


def _check_training(totals: Totals, repeats: Repeats) -> None:
    negative, positive = totals.labels[TRAIN].tolist()
    if not negative + positive:
        usable = int(totals.rows.sum()) + repeats.duplicates
        raise DataError(
            f"no row is left for training: of {usable} usable rows {repeats.duplicates} repeat another "
            f"one, the rest is in valid and test. Give more reviews, a larger first share in --split, "
            f"or another --test."
        )
    if not (negative and positive):
        only = "positive" if positive else "negative"
        raise DataError(
            f"all {negative + positive} training rows are {only}; both classes are needed. "
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
