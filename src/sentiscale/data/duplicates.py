"""Find duplicate texts and texts with conflicting labels across all partitions, in bounded memory.

Each partition returns one record per distinct text. Records stay in memory up to a limit and are then
written to files chosen by the top bits of their hash, so that all records of a text are in the same file.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sentiscale.data.rare_classes import RareClasses
from sentiscale.text.compiled import check_array, check_indices, kernel

RECORD = np.dtype(
    [
        ("hash", np.uint64),
        ("partition", np.uint32),
        ("row", np.uint32),
        ("copies", np.uint32),
        ("code", np.uint8),
        ("is_test", np.bool_),
    ]
)
"""One distinct text of a partition with one label code: its first row and its number of rows."""

Records = NDArray[np.void]
FILES = 256
COMPARE_FACTOR = 5
"""Peak memory of comparing records, as a multiple of their size."""
SPILL_PARTITIONS = 64
"""Number of partitions whose records are sorted and written together."""
FILE_BITS = np.uint64(56)
PARTITION_BITS = np.uint64(32)
NO_CLASS = 255
LAST, IN_TEST = np.uint64(2**64 - 1), np.uint64(2**64 - 2)
"""Positions that no row can have."""
CODE_FACTOR = np.uint64(0x9E3779B97F4A7C15)
"""Odd number that spreads label codes over the bits of a hash."""


@dataclass(frozen=True)
class Duplicates:
    """Duplicate rows, and texts with conflicting labels."""

    partitions: NDArray[np.uint32]
    """Partition number of each row that duplicates a row of another partition."""
    rows: NDArray[np.uint32]
    """Number of that row in its partition."""
    count: int
    """Number of duplicate rows, within or across partitions; rows of the named test set never count."""
    leaks: int
    """Number of duplicate rows whose text is in the named test set."""
    conflicting: NDArray[np.uint64]
    """Hashes of texts that occur with different labels, ascending."""


class DuplicateFinder:
    """Collects the records of all partitions and finds equal texts."""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        """Use about `limit_bytes` of memory, including comparison, and store further records in `folder`."""
        self.folder = folder
        self.spilled_bytes = 0
        self._max_waiting_bytes = limit_bytes // COMPARE_FACTOR
        self._waiting: list[Records] = []
        self._waiting_bytes = 0

    def add(self, partition: int, records: Records) -> None:
        records["partition"] = partition
        self._waiting.append(records)
        self._waiting_bytes += records.nbytes
        if self._waiting_bytes > self._max_waiting_bytes:
            self._spill()

    def find(self, labels: NDArray[np.uint8], rare: RareClasses | None = None) -> Duplicates:
        """Compare all records.

        Args:
            labels: class of each label code in each partition, of shape (partitions, 256).
            rare: also receives each text outside of the test set with the class of its first row.
        """
        found = [_compare(group, labels, rare) for group in self._groups()]
        return Duplicates(
            partitions=np.concatenate([part.partitions for part in found]),
            rows=np.concatenate([part.rows for part in found]),
            count=sum(part.count for part in found),
            leaks=sum(part.leaks for part in found),
            conflicting=np.sort(np.concatenate([part.conflicting for part in found])),
        )

    def _groups(self) -> Iterator[Records]:
        """Yield all records in groups; records with equal hashes are in the same group."""
        if not self.spilled_bytes:
            yield np.concatenate([np.empty(0, RECORD), *self._waiting])
            return
        self._spill()
        for number in range(FILES):
            path = self._file(number)
            if path.exists():
                yield np.fromfile(path, RECORD)
                path.unlink()

    def _spill(self) -> None:
        for first in range(0, len(self._waiting), SPILL_PARTITIONS):
            records = np.concatenate(self._waiting[first : first + SPILL_PARTITIONS])
            numbers = (records["hash"] >> FILE_BITS).astype(np.uint8)
            records = records[np.argsort(numbers, kind="stable")]
            ends = np.cumsum(np.bincount(numbers, minlength=FILES))
            for number, part in enumerate(np.split(records, ends[:-1])):
                if len(part):
                    with open(self._file(number), "ab") as file:
                        file.write(part.data)  # numpy's tofile does not report a full disk
        self.spilled_bytes += self._waiting_bytes
        self._waiting, self._waiting_bytes = [], 0

    def _file(self, number: int) -> Path:
        return self.folder / f"duplicates-{number:03d}.bin"


def first_of_each(hashes: NDArray[np.uint64], codes: NDArray[np.uint8], is_test: bool) -> Records:
    """Return one record per distinct text and code of a partition, ordered by first row."""
    groups, count = group_equal(hashes ^ (codes * CODE_FACTOR))
    records = np.zeros(count, RECORD)
    rows = np.arange(len(hashes), dtype=np.uint32)
    records["row"][groups[::-1]] = rows[::-1]  # reversed, so that the first row of a group is written last
    records["hash"] = hashes[records["row"]]
    records["copies"] = np.bincount(groups, minlength=count)
    records["code"] = codes[records["row"]]
    records["is_test"] = is_test
    return records


def _compare(records: Records, labels: NDArray[np.uint8], rare: RareClasses | None) -> Duplicates:
    hashes = np.ascontiguousarray(records["hash"])
    groups, count = group_equal(hashes)
    order = (records["partition"].astype(np.uint64) << PARTITION_BITS) | records["row"]
    is_test = np.ascontiguousarray(records["is_test"])
    classes = labels[records["partition"], records["code"]]
    first, conflict = firsts_of_groups(groups, count, order, is_test, classes)
    leads = first[groups]
    leaks = ~is_test & (leads == IN_TEST)
    dropped = leaks | (~is_test & (order != leads))
    copies = records["copies"]
    if rare is not None:
        kept = ~is_test & ~dropped
        rare.add(hashes[kept], classes[kept])
    return Duplicates(
        partitions=records["partition"][dropped],
        rows=records["row"][dropped],
        count=int(copies[~is_test].sum(dtype=np.int64) - (~is_test & ~dropped).sum()),
        leaks=int(copies[leaks].sum(dtype=np.int64)),
        conflicting=np.unique(hashes[conflict[groups]]),
    )


def firsts_of_groups(
    groups: NDArray[np.int64],
    count: int,
    order: NDArray[np.uint64],
    is_test: NDArray[np.bool_],
    classes: NDArray[np.uint8],
) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """Return the first position of each group (IN_TEST if a row is in the test set).

    Also returns whether its records differ in class.
    """
    check_indices("groups", groups, count)
    check_array("order", order, np.uint64, groups.shape)
    check_array("is_test", is_test, np.bool_, groups.shape)
    check_array("classes", classes, np.uint8, groups.shape)
    return _firsts_of_groups(groups, count, order, is_test, classes)


@kernel
def _firsts_of_groups(
    groups: NDArray[np.int64],
    count: int,
    order: NDArray[np.uint64],
    is_test: NDArray[np.bool_],
    classes: NDArray[np.uint8],
) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    first = np.full(count, LAST, np.uint64)
    found = np.full(count, NO_CLASS, np.uint8)
    conflict = np.zeros(count, np.bool_)
    for i in range(len(groups)):
        group = groups[i]
        if found[group] == NO_CLASS:
            found[group] = classes[i]
        elif found[group] != classes[i]:
            conflict[group] = True
        if is_test[i]:
            first[group] = IN_TEST
        elif first[group] != IN_TEST and order[i] < first[group]:
            first[group] = order[i]
    return first, conflict


@kernel
def group_equal(values: NDArray[np.uint64]) -> tuple[NDArray[np.int64], int]:
    """Number distinct values by first appearance; return the number of each value and how many there are."""
    size = 16
    while size < 2 * len(values):
        size *= 2
    mask = np.uint64(size - 1)
    slots = np.full(size, -1, np.int64)
    firsts = np.empty(len(values), np.int64)
    groups = np.empty(len(values), np.int64)
    count = 0
    for i in range(len(values)):
        place = (values[i] ^ (values[i] >> np.uint64(32))) & mask
        while slots[place] >= 0 and values[firsts[slots[place]]] != values[i]:
            place = (place + np.uint64(1)) & mask
        if slots[place] < 0:
            slots[place] = count
            firsts[count] = i
            count += 1
        groups[i] = slots[place]
    return groups, count
