"""Encode files into shards without Dask, and read back which lines became rows and which rejects."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from safetensors.numpy import load_file

from sentiscale.config import CLEANING_VERSIONS, PrepareSettings
from sentiscale.data.corpus import Corpus
from sentiscale.data.shards import (
    EncodeTask,
    Partition,
    cut_partitions,
    encode_partition,
    first_lines,
    shard_rows,
)
from sentiscale.data.workspace import Workspace
from sentiscale.text.labels import Reason


class Row(NamedTuple):
    """A usable review."""

    file: str
    line: int
    meaning: str
    """What its label stands for."""
    text: str
    """Cleaned."""


class Reject(NamedTuple):
    """A row that cannot be used."""

    file: str
    line: int
    reason: str
    text: str


class Encoded(NamedTuple):
    """What is in all shards."""

    rows: list[Row]
    rejects: list[Reject]
    partitions: list[Partition]
    work: Workspace


def folder(root: Path) -> Workspace:
    """An empty working directory."""
    root.mkdir(parents=True, exist_ok=True)
    work = Workspace(root)
    work.prepare_folders()
    for shard in root.glob("shards/*"):
        shard.unlink()
    return work


def partitions_of(paths, work, block_bytes, *, tests=(), in_place=True, **settings) -> list[Partition]:
    """Cut files into partitions."""
    settings = PrepareSettings(**settings)
    sources = [(source, False) for source in Corpus.find(paths, settings).sources]
    if tests:
        sources += [(source, True) for source in Corpus.find(tests, settings).sources]
    return list(cut_partitions(sources, work, block_bytes, lambda source: in_place and source.plain))


def task_of(partition: Partition, work: Workspace, **settings) -> EncodeTask:
    """What a worker is given."""
    settings = PrepareSettings(**settings)
    return EncodeTask(
        slices=partition.slices,
        is_test=partition.is_test,
        cleaning=settings.clean,
        cleaning_version=CLEANING_VERSIONS[settings.clean],
        max_tokens=settings.max_tokens,
        keep_text=settings.keep_text,
        shard=str(work.shard(partition.number)),
    )


def encode(paths, root: Path, block_bytes: int = 10**6, **options) -> Encoded:
    """Encode files and list all rows and rejects in input order."""
    work = folder(root)
    partitions = partitions_of(paths, work, block_bytes, **options)
    settings = {name: value for name, value in options.items() if name not in ("tests", "in_place")}
    for partition in partitions:
        partition.summary = encode_partition(task_of(partition, work, **settings))
        for piece in partition.slices:
            work.unspool(piece.path)
    rows, rejects = [], []
    for partition, lines in zip(partitions, first_lines(partitions), strict=True):
        rows += _rows(partition, lines, work.shard(partition.number))
        rejects += _rejects(partition, lines, work.shard(partition.number))
    return Encoded(rows, rejects, partitions, work)


def _rows(partition: Partition, lines: list[int], shard: Path) -> list[Row]:
    arrays = load_file(shard)
    data, bounds = arrays["words"].tobytes(), arrays["words_offsets"].tolist()
    words = [data[bounds[i] : bounds[i + 1]].decode() for i in range(len(bounds) - 1)]
    ids = np.split(arrays["ids"], np.cumsum(arrays["lengths"])[:-1]) if len(arrays["lengths"]) else []
    meanings = [value.decode() for value in shard_rows(arrays, "meanings").to_pylist()]
    columns = (arrays[name].tolist() for name in ("slices", "lines", "codes"))
    return [
        Row(
            partition.slices[piece].file,
            lines[piece] + line,
            meanings[code],
            " ".join(words[number] for number in own),
        )
        for piece, line, code, own in zip(*columns, ids, strict=True)
    ]


def _rejects(partition: Partition, lines: list[int], shard: Path) -> list[Reject]:
    arrays = load_file(shard)
    columns = (arrays[f"reject_{name}"].tolist() for name in ("slices", "lines", "reasons"))
    texts = [text.decode() for text in shard_rows(arrays, "reject_text").to_pylist()]
    return [
        Reject(partition.slices[number].file, lines[number] + line, Reason(reason).name.lower(), text)
        for number, line, reason, text in zip(*columns, texts, strict=True)
    ]


def cleaned(texts: list[bytes], cleaning: str = "words") -> list[str]:
    """The cleaned form of each text."""
    from sentiscale.text.clean import clean

    return clean(pa.array(texts, pa.large_binary()), cleaning).texts()
