"""Divide the input into partitions of about equal size: runs of whole records from one file or several."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sentiscale.data.blocks import RawBlock
from sentiscale.data.corpus import Source
from sentiscale.data.shards import PartitionSummary, Piece
from sentiscale.data.workspace import Workspace
from sentiscale.text.labels import Reason

MOST = 1.1
"""A partition takes a further piece up to this times its target."""


@dataclass
class Partition:
    """Consecutive pieces of the input, all of the named test set or none; its summary comes from a worker."""

    number: int
    """From 0, in input order."""
    is_test: bool
    """Whether it is of the named test set."""
    pieces: tuple[Piece, ...]
    """What is read, in order."""
    consumed: int
    """Stored bytes read for it."""
    summary: PartitionSummary | None = field(default=None)
    """None until it is encoded."""

    @property
    def done(self) -> PartitionSummary:
        """The summary, once the partition was encoded."""
        assert self.summary is not None, "the partition has not been encoded"
        return self.summary


class Partitioner:
    """Cuts files into pieces and puts small ones together; pieces that workers cannot read are spooled."""

    def __init__(self, work: Workspace, target_bytes: int, readable: Callable[[Source], bool]) -> None:
        """Aim at `target_bytes` a partition; `readable` says whether workers can open a file themselves."""
        self.work = work
        self.target_bytes = target_bytes
        self.readable = readable

    def partitions(self, sources: Sequence[tuple[Source, bool]]) -> Iterator[Partition]:
        """Yield all partitions in input order, reading each file once."""
        number, size, consumed = 0, 0, 0
        pieces: list[Piece] = []
        kind = False
        for source, is_test in sources:
            in_place = self.readable(source)
            for raw in source.blocks(self._piece_bytes(source), in_place=in_place):
                if pieces and (is_test != kind or size + raw.size > self.target_bytes * MOST):
                    yield Partition(number, kind, tuple(pieces), consumed)
                    number, size, consumed, pieces = number + 1, 0, 0, []
                kind = is_test
                pieces.append(self._piece(source, raw, in_place, f"{number:08d}-{len(pieces)}"))
                size += raw.size
                consumed += raw.consumed
        if pieces:
            yield Partition(number, kind, tuple(pieces), consumed)

    def _piece_bytes(self, source: Source) -> int:
        """Bytes that divide a plain file evenly, so that its last piece is no smaller than the others."""
        if not source.plain or not source.size:
            return self.target_bytes
        return -(-source.size // -(-source.size // self.target_bytes))

    def _piece(self, source: Source, raw: RawBlock, in_place: bool, name: str) -> Piece:
        """Point the worker to the file itself where it can read it, else to a copy of the bytes."""
        path = Path(source.path).absolute() if in_place else self.work.spool(name, raw.data)
        return Piece(
            file=source.path,
            path=str(path),
            offset=raw.offset if in_place else 0,
            begin=raw.offset,
            size=raw.size,
            layout=source.layout,
            too_long=raw.too_long,
            lines_before=raw.lines_before if raw.first else None,
        )


def first_lines(partitions: Sequence[Partition]) -> list[list[int]]:
    """Number of the first line of each piece in its file, from 1."""
    lines, line = [], 1
    for partition in partitions:
        own = []
        for piece, count in zip(partition.pieces, partition.done.line_counts.tolist(), strict=True):
            if piece.lines_before is not None:
                line = 1 + piece.lines_before
            own.append(line)
            line += count
        lines.append(own)
    return lines


def balance(partitions: Sequence[Partition]) -> dict[str, float]:
    """How evenly the work was divided: number of partitions, and the largest over the mean."""
    rows = np.array([partition.done.rows for partition in partitions])
    sizes = np.array([sum(piece.size for piece in partition.pieces) for partition in partitions])
    return {
        "count": len(partitions),
        "rows_mean": round(float(rows.mean()), 1),
        "rows_max_over_mean": round(float(rows.max() / max(rows.mean(), 1)), 3),
        "bytes_mean": round(float(sizes.mean()), 1),
        "bytes_max_over_mean": round(float(sizes.max() / max(sizes.mean(), 1)), 3),
    }


def rejected(partitions: Sequence[Partition]) -> dict[str, int]:
    """Rejected rows by reason; reasons that did not occur are left out."""
    counts = sum((partition.done.rejects for partition in partitions), np.zeros(len(Reason), np.int64))
    return {reason.name.lower(): int(counts[reason]) for reason in Reason if counts[reason]}
