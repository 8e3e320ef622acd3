"""One part of a result as a worker of a cluster makes it: some blocks of reviews in, a Parquet file out."""

import json
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from sentiscale.atomic import whole_file
from sentiscale.data.corpus import Source
from sentiscale.labelling.inputs import Reject, read_chunk
from sentiscale.labelling.outputs import Added, beside, fitted
from sentiscale.predictor import Predictor

COUNTS = b"sentiscale.counts"
"""Key of the file's metadata under which its counts stand."""
LOADING = Lock()


@dataclass(frozen=True)
class Piece:
    """A block of one file's records, and the copy of it that a worker can read."""

    source: Source
    """The file."""
    copy: str
    """Path of the block's bytes."""
    first_line: int
    """Line of the file on which it begins, from 1."""
    kinds: frozenset[int] | None
    """Label codes that occur in the input; None when it is not labelled."""
    too_long: bool
    """Whether it is the beginning of one record beyond the size limit."""


@dataclass(frozen=True)
class PartTask:
    """What a worker is told; small, for it travels."""

    model: str
    """Path of the model directory."""
    digest: str
    """What must be in that directory."""
    precision: str
    """Arithmetic of the network."""
    pieces: tuple[Piece, ...]
    """Blocks, in order."""
    kept: pa.Schema | None
    """Columns of all tables together."""
    added: Added
    """Columns that are added."""
    part: str
    """Where the part goes."""


@dataclass(frozen=True)
class PartCounts:
    """What is in a part."""

    rows: int
    """Rows that have a prediction."""
    positive: int
    """Those called positive."""
    right: int
    """Rows labelled as the input has them."""
    rejects: tuple[Reject, ...]
    """Rows that could not be read."""
    not_utf8: int = 0
    """Rows whose review holds U+FFFD, the sign that stands for bytes that are no UTF-8."""


def label_part(task: PartTask) -> PartCounts:
    """Label some blocks and write the part, whole or not at all."""
    predictor = _predictor(task.model, task.digest, task.precision)
    schema = pa.schema([*(task.kept or ()), *task.added.schema])
    tables: list[pa.Table] = []
    rejects: list[Reject] = []
    positive = right = not_utf8 = 0
    for piece in task.pieces:
        data = Path(piece.copy).read_bytes()
        kinds = set(piece.kinds) if piece.kinds is not None else None
        chunk, _ = read_chunk(data, piece.source, piece.first_line, kinds, too_long=piece.too_long)
        predictions = predictor.predict_columns(chunk.texts)
        added = task.added.table(chunk, predictions)
        tables.append(fitted(added if chunk.others is None else beside(chunk.others, added), schema))
        rejects += chunk.rejects
        not_utf8 += chunk.not_utf8
        positive += int(predictions.is_positive.sum())
        if chunk.labels is not None:
            right += int(np.sum(chunk.labels == predictions.is_positive))
    table = pa.concat_tables(tables)
    counts = PartCounts(table.num_rows, positive, right, tuple(rejects), not_utf8)
    table = table.replace_schema_metadata({COUNTS: json.dumps(asdict(counts))})
    with whole_file(Path(task.part)) as file:
        pq.write_table(table, file)
    return counts


def finished_counts(part: Path) -> PartCounts | None:
    """The counts of a part that is there; None when it is not, or not readable."""
    try:
        found = json.loads((pq.read_schema(part).metadata or {})[COUNTS])
    except (OSError, ValueError, KeyError, pa.ArrowException):
        return None
    return PartCounts(**{**found, "rejects": tuple(Reject(**reject) for reject in found["rejects"])})


def _predictor(model: str, digest: str, precision: str) -> Predictor:
    with LOADING:  # threads of a worker share one
        return _loaded(model, digest, precision)


@lru_cache(maxsize=1)
def _loaded(model: str, digest: str, precision: str) -> Predictor:
    """The model, read once a process; the digest keeps the one of an earlier job apart."""
    del digest
    torch.set_num_threads(1)  # in all of the worker: it has a task for each of its threads
    return Predictor.load(model, precision=precision)
