"""rejects.parquet: every row that was not used, with file, line, reason and its first characters."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from sentiscale.data.job import Block, first_lines
from sentiscale.data.shards import rejected_rows
from sentiscale.text.labels import Reason

SCHEMA = pa.schema(
    [
        ("file", pa.dictionary(pa.int32(), pa.string())),
        ("line", pa.int64()),
        ("reason", pa.dictionary(pa.int32(), pa.string())),
        ("text", pa.string()),
    ]
)
REASONS = pa.array([reason.name.lower() for reason in Reason])


def write_rejects(path: Path, blocks: Sequence[Block], shards: Sequence[Path]) -> None:
    """Collect the rejected rows of all shards, in input order."""
    with pq.ParquetWriter(path, SCHEMA) as writer:
        for block, shard, first in zip(blocks, shards, first_lines(blocks), strict=True):
            if not block.done.rejects.any():
                continue
            rows = rejected_rows(shard)
            count = len(rows.lines)
            files = pa.DictionaryArray.from_arrays(pa.array([0] * count, pa.int32()), pa.array([block.path]))
            reasons = pa.DictionaryArray.from_arrays(pa.array(rows.reasons, pa.int32()), REASONS)
            columns = [files, pa.array(rows.lines + first), reasons, rows.snippets]
            writer.write_table(pa.table(columns, schema=SCHEMA))
