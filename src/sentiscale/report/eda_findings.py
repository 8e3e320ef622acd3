"""Examples of the rows that preparation found fault with, out of the dataset's Parquet files."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sentiscale.data.prepared import REJECTS, PreparedDataset
from sentiscale.errors import DataError

CONFLICTS, ODDITIES = "conflicts.parquet", "oddities.parquet"
EXAMPLES, CONFLICTS_SHOWN = 3, 5
MOST_ROWS_READ = 100_000
"""Rows of one file that are looked through for examples."""
LONGEST_TEXT = 300

MEANINGS = {
    "malformed": "not in the file's format",
    "too_long": "longer than a record may be",
    "invalid_utf8": "invalid UTF-8",
    "nul_byte": "NUL bytes",
    "neutral": "three stars, neither class",
    "empty_after_cleaning": "no word left after cleaning",
    "bad_encoding": "badly encoded characters",
    "other_script": "not in Latin letters",
    "markup": "HTML tags or entities",
    "unusual_words": "hardly any usual words",
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
    """The kinds by falling count, each with the first examples in the file whose texts differ."""
    examples: dict[str, dict[str, Example]] = {name: {} for name, count in counts.items() if count}
    for row in _rows(path, ("file", "line", "text", column)):
        found = examples.setdefault(str(row[column]), {})
        if len(found) < EXAMPLES:
            example = _example(row)
            found.setdefault(example.text, example)
            if all(len(texts) == EXAMPLES for texts in examples.values()):
                break
    ordered = sorted((name for name in examples if counts.get(name)), key=lambda name: (-counts[name], name))
    return [Kind(name, counts[name], list(examples[name].values())) for name in ordered]


def _conflicts(path: Path) -> list[list[Example]]:
    """The first texts that occur with both labels: for each label the first row and how many more."""
    same: dict[Any, dict[str, list[Example]]] = defaultdict(lambda: defaultdict(list))
    for row in _rows(path, ("file", "line", "text", "label"), optional=("text_id",)):
        example = _example(row)
        same[row.get("text_id", row["text"])][example.label].append(example)
    both = [by_label for by_label in same.values() if len(by_label) > 1]
    return [
        [replace(rows[0], more=len(rows) - 1) for _, rows in sorted(by_label.items())]
        for by_label in both[:CONFLICTS_SHOWN]
    ]


def _rows(path: Path, columns: Sequence[str], optional: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """Rows of a Parquet file, none when it is not there."""
    if not path.is_file():
        return
    try:
        with pq.ParquetFile(path) as file:
            missing = set(columns) - set(file.schema_arrow.names)
            if missing:
                raise pa.ArrowInvalid(f"it has no column {', '.join(sorted(missing))}")
            read = 0
            for batch in file.iter_batches(batch_size=4096, columns=[*columns, *optional]):
                yield from batch.to_pylist()
                read += len(batch)
                if read >= MOST_ROWS_READ:
                    return
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise DataError(f"{path} is damaged: {reason}. Prepare {path.parent} again with --force.") from error


def _example(row: dict[str, Any]) -> Example:
    text = row["text"] or ""
    shown = text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT].rstrip() + "…"
    line = "" if row["line"] is None else f":{row['line']}"
    return Example(f"{Path(row['file'] or '?').name}{line}", shown, _label(row.get("label")))


def _label(value: Any) -> str:
    """The class of a label, whether it is stored as a name or as a number."""
    return {0: "negative", 1: "positive", None: ""}.get(value, str(value))
