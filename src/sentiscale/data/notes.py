"""Write the tables of individual rows: rejects.parquet, conflicts.parquet and oddities.parquet.

Workers store rejected rows in their shards, and conflicting and odd rows in notes files. This module
collects them in input order, with the file and line of each row.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from safetensors.numpy import load_file

from sentiscale.data.oddities import Oddity
from sentiscale.data.prepared import SPLITS
from sentiscale.data.shards import Partition, first_lines, shard_rows
from sentiscale.text.clean import SPACE
from sentiscale.text.compiled import Bytes, Offsets, check_indices, check_offsets, check_spans, kernel
from sentiscale.text.formats.base import SNIPPET_BYTES
from sentiscale.text.labels import Reason
from sentiscale.text.lines import binary_array

NAME = pa.dictionary(pa.int32(), pa.string())
PLACE = [("file", NAME), ("line", pa.int64())]
REJECTS = pa.schema(
    [*PLACE, ("reason", NAME), ("text", pa.string()), ("label", pa.string()), ("problem", pa.string())]
)
CONFLICTS = pa.schema(
    [*PLACE, ("label", NAME), ("split", NAME), ("text_id", pa.uint64()), ("text", pa.string())]
)
ODDITIES = pa.schema([*PLACE, ("oddity", NAME), ("text", pa.string())])
REASON_NAMES = [reason.name.lower() for reason in Reason]
ODDITY_NAMES = [str(oddity.name).lower() for oddity in Oddity]
SPLIT_NAMES = [*SPLITS, "dropped"]


def write_rejects(path: Path, partitions: Sequence[Partition], shards: Sequence[Path]) -> None:
    """Collect the rejected rows of all shards in one Parquet file."""
    with pq.ParquetWriter(path, REJECTS) as writer:
        for partition, shard, lines in zip(partitions, shards, first_lines(partitions), strict=True):
            if partition.summary.rejects.any():
                arrays = load_file(shard)
                place = _place(partition, lines, arrays["reject_slices"], arrays["reject_lines"])
                values = (
                    shard_rows(arrays, name).cast(pa.large_string()).cast(pa.string())
                    for name in ("reject_text", "reject_label", "reject_problem")
                )
                # The last reasons are recent: without them, files of earlier releases would be the same.
                names = REASON_NAMES[: max(Reason.BLANK_LINE, int(arrays["reject_reasons"].max())) + 1]
                columns = [*place, _named(arrays["reject_reasons"], names), *values]
                writer.write_table(pa.table(columns, schema=REJECTS))


def collect_notes(
    result: Path, partitions: Sequence[Partition], notes: Mapping[int, Path], classes: Sequence[str]
) -> tuple[int, dict[str, int]]:
    """Collect the notes of all partitions into conflicts.parquet and oddities.parquet.

    Returns: the number of rows with conflicting labels, and the number of rows per oddity.
    """
    conflicts = 0
    oddities = dict.fromkeys(ODDITY_NAMES, 0)
    with (
        pq.ParquetWriter(result / "conflicts.parquet", CONFLICTS) as conflict_writer,
        pq.ParquetWriter(result / "oddities.parquet", ODDITIES) as oddity_writer,
    ):
        for partition, lines in zip(partitions, first_lines(partitions), strict=True):
            if partition.number not in notes:
                continue
            with pa.OSFile(str(notes[partition.number])) as file, pa.ipc.open_file(file) as reader:
                noted = reader.read_all()
            conflicting = noted.filter(noted["conflict"])
            if conflicting.num_rows:
                conflicts += conflicting.num_rows
                conflict_writer.write_table(_conflicts(partition, lines, conflicting, classes))
            odd = _oddities(partition, lines, noted)
            for name, count in zip(*np.unique(odd["oddity"].to_numpy(), return_counts=True), strict=True):
                oddities[name] += int(count)
            if odd.num_rows:
                oddity_writer.write_table(odd)
    return conflicts, oddities


def _conflicts(partition: Partition, lines: list[int], rows: pa.Table, classes: Sequence[str]) -> pa.Table:
    split = np.minimum(rows["split"].to_numpy(), len(SPLITS))
    columns = [
        *_place(partition, lines, rows["slice"].to_numpy(), rows["line"].to_numpy()),
        _named(rows["label"].to_numpy(), classes),
        _named(split, SPLIT_NAMES),
        rows["hash"],
        rows["text"],
    ]
    return pa.table(columns, schema=CONFLICTS)


def _oddities(partition: Partition, lines: list[int], rows: pa.Table) -> pa.Table:
    """Return a table with one row for every oddity of every input row."""
    flags = rows["oddities"].to_numpy()
    has = np.stack([(flags & oddity) > 0 for oddity in Oddity], axis=1)
    row, kind = np.nonzero(has)
    chosen = rows.take(row)
    place = _place(partition, lines, chosen["slice"].to_numpy(), chosen["line"].to_numpy())
    return pa.table([*place, _named(kind, ODDITY_NAMES), chosen["text"]], schema=ODDITIES)


def _place(
    partition: Partition, lines: list[int], slices: NDArray[np.uint32], within: NDArray[np.int64]
) -> tuple[pa.Array, pa.Array]:
    """Convert slice numbers and line numbers within slices to files and line numbers."""
    files = [part.file for part in partition.slices]
    return _named(slices, files), pa.array(within + np.array(lines, np.int64)[slices])


def _named(numbers: NDArray[Any], names: Sequence[str]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(numbers, pa.int32()), pa.array(names, pa.string()))


def write_notes(
    path: Path,
    arrays: Mapping[str, NDArray[Any]],
    max_tokens: int,
    rows: NDArray[np.int64],
    columns: Mapping[str, NDArray[Any]],
) -> None:
    """Write slice, line, hash, `columns` and the start of the cleaned text of the given rows of a shard."""
    ends = np.cumsum(np.minimum(arrays["lengths"].astype(np.int64), max_tokens))
    starts = np.append(0, ends[:-1])
    snippets = texts_of(arrays["ids"], starts[rows], ends[rows], arrays["words"], arrays["words_offsets"])
    text = snippets.cast(pa.large_string()).cast(pa.string())
    own = {"slice": arrays["slices"], "line": arrays["lines"], "hash": arrays["hashes"], **columns}
    table = pa.table({name: column[rows] for name, column in own.items()} | {"text": text})
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


def texts_of(ids: NDArray[Any], starts: Offsets, ends: Offsets, words: Bytes, offsets: Offsets) -> pa.Array:
    """Join the words of each row with spaces, up to as many whole words as fit into a snippet.

    Row r has the words ids[starts[r]:ends[r]]; word w is `words[offsets[w]:offsets[w + 1]]`.
    """
    check_offsets(offsets, len(words))
    check_indices("ids", ids, len(offsets) - 1)
    check_spans(starts, ends, len(ids))
    data = np.empty(len(starts) * SNIPPET_BYTES, np.uint8)
    bounds = np.zeros(len(starts) + 1, np.int64)
    _write_texts(ids, starts, ends, words, offsets, data, bounds)
    return binary_array(data[: bounds[-1]], bounds)


@kernel
def _write_texts(
    ids: NDArray[Any],
    starts: Offsets,
    ends: Offsets,
    words: Bytes,
    offsets: Offsets,
    out: Bytes,
    bounds: Offsets,
) -> None:
    pos = 0
    for row in range(len(starts)):
        begin = pos
        for n in range(starts[row], ends[row]):
            word = ids[n]
            size = offsets[word + 1] - offsets[word]
            if pos + 1 + size > begin + SNIPPET_BYTES:
                break
            if pos > begin:
                out[pos] = SPACE
                pos += 1
            for k in range(offsets[word], offsets[word + 1]):
                out[pos] = words[k]
                pos += 1
        bounds[row + 1] = pos
