"""Examples of the rows that preparation found fault with, out of the dataset's Parquet files."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sentiscale.data.prepared import REJECTS, PreparedDataset
from sentiscale.errors import DataError

CONFLICTS, ODDITIES = "conflicts.parquet", "oddities.parquet"
EXAMPLES, CONFLICTS_SHOWN = 3, 5
MOST_ROWS_READ = 200_000
"""Rows of one file that are looked through for examples."""
LONGEST_TEXT = 300

MEANINGS = {
    "malformed": "not in the file's format",
    "too_long": "longer than a record may be",
    "invalid_utf8": "invalid UTF-8",
    "nul_byte": "NUL bytes",
    "neutral": "three stars, neither class",
    "empty_after_cleaning": "no word left after cleaning",
}
"""Kinds whose names do not say it all."""


@dataclass(frozen=True)
class Example:
    """One row of the input."""

    where: str
    """File and line."""
    text: str
    label: str = ""
    more: int = 0
    """Further rows that look the same."""


@dataclass(frozen=True)
class Kind:
    """Rows with the same fault."""

    name: str
    count: int
    examples: list[Example] = field(default_factory=list)

    @property
    def meaning(self) -> str:
        """The name in words."""
        return MEANINGS.get(self.name, self.name.replace("_", " "))


@dataclass(frozen=True)
class Findings:
    """What preparation left out or wondered about."""

    rejects: list[Kind]
    oddities: list[Kind]
    conflicts: list[list[Example]]
    """Rows with equal text and different labels, a list for each text."""


def read_findings(dataset: PreparedDataset) -> Findings:
    """Take the counts from the manifest and a few examples of each kind from the files that are there.

    Raises: DataError when one of the files is damaged.
    """
    manifest, path = dataset.manifest, dataset.path
    return Findings(
        rejects=_kinds(path / REJECTS, "reason", manifest.rejected.get("by_reason", {})),
        oddities=_kinds(path / ODDITIES, "oddity", manifest.oddities),
        conflicts=_conflicts(path / CONFLICTS),
    )


def _kinds(path: Path, column: str, counts: dict[str, int]) -> list[Kind]:
    """The kinds by falling count, each with the first examples in the file."""
    examples: dict[str, list[Example]] = defaultdict(list)
    wanted = {name for name, count in counts.items() if count}
    for row in _rows(path, ("file", "line", "text", column)):
        found = examples[str(row[column])]
        if len(found) < EXAMPLES:
            found.append(_example(row))
        if all(len(examples[name]) >= min(EXAMPLES, counts[name]) for name in wanted):
            break
    ordered = sorted(wanted, key=lambda name: (-counts[name], name))
    return [Kind(name, counts[name], examples[name]) for name in ordered]


def _conflicts(path: Path) -> list[list[Example]]:
    """The first texts that occur with both labels: for each label the first row and how many more."""
    same: dict[str, dict[str, list[Example]]] = defaultdict(lambda: defaultdict(list))
    for row in _rows(path, ("file", "line", "text", "label")):
        example = _example(row)
        key = "".join(filter(str.isalnum, example.text.lower()))  # cleaned texts are equal, raw ones differ
        same[key][example.label].append(example)
    both = [by_label for by_label in same.values() if len(by_label) > 1]
    return [
        [replace(rows[0], more=len(rows) - 1) for _, rows in sorted(by_label.items())]
        for by_label in both[:CONFLICTS_SHOWN]
    ]


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """Rows of a Parquet file, none when it is not there."""
    if not path.is_file():
        return
    try:
        with pq.ParquetFile(path) as file:
            read = 0
            for batch in file.iter_batches(batch_size=4096, columns=list(columns)):
                yield from batch.to_pylist()
                read += len(batch)
                if read >= MOST_ROWS_READ:
                    return
    except (OSError, pa.ArrowException, KeyError) as error:
        raise DataError(
            f"{path} is damaged: {str(error).splitlines()[0]}. Prepare {path.parent} again with --force."
        ) from error


def _example(row: dict[str, Any]) -> Example:
    text = row["text"] or ""
    shown = text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT].rstrip() + "…"
    line = "" if row["line"] is None else f":{row['line']}"
    return Example(f"{Path(row['file'] or '?').name}{line}", shown, _label(row.get("label")))


def _label(value: Any) -> str:
    """The class of a label, whether it is stored as a name or as a number."""
    return {0: "negative", 1: "positive", None: ""}.get(value, str(value))
