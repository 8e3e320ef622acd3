"""Clean review files with pandas, Dask, Polars or sentiscale, and measure the time.

All engines except `sentiscale` do the same work: they read plain fastText files, split label and text,
convert to lower case, remove everything except a-z and white space, collapse runs of white space, drop rows
without text, drop rows whose text occurred before (except `polars`), and write a Parquet file (label as int8,
text) without compression. This was the fastest format to write among CSV and Parquet with no compression,
Snappy, LZ4 and Zstandard. These engines do not report bad rows, tokenize, count words, build a vocabulary,
encode, split, or verify their output.

pandas            Columns of type `str`, the default in pandas 3 (backed by Arrow).
pandas-object     Columns of Python strings, the default up to pandas 2.
dask              dask.dataframe on a LocalCluster of single-threaded processes, with 16 MB blocks. compute()
                  returns the cleaned rows to the client, which drops duplicates and writes the file. 64 MB
                  blocks took 1.6 times as long, a dask.bag of Python functions 4 times as long.
polars            Lazy and streaming, with native expressions on the given number of threads. This is the
                  fastest variant: scan_csv is as fast as scan_lines, one pattern matches whole runs of
                  unwanted characters, and a second one matches white space other than single spaces.
polars-dedupe     Like polars, but also drops duplicate texts.
sentiscale        `sentiscale prepare` with default settings, which writes a complete prepared dataset.
sentiscale-clean  The same work as the other engines, done by the functions of `sentiscale prepare`. Reads and
                  cleans on the given number of threads, and finds duplicates by hash, as prepare does.
"""

import csv
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from sentiscale.text.compiled import Bytes, Offsets, check_offsets, kernel
from sentiscale.text.word_table import HASH_START, absorb, finish_hash

if TYPE_CHECKING:
    import pyarrow as pa

    from sentiscale.data.blocks import RawBlock
    from sentiscale.text.formats.base import TableFormat


class PrepareBenchJob(BaseModel):
    """Clean plain fastText files with one engine."""

    engine: str  # a name of `CLEANERS`
    workers: int  # processes or threads
    files: list[Path]
    warm_up: Path  # the first lines of the files, which are cleaned before the timed work


class TimedWork(BaseModel):
    """Times that a process measured on its own clock."""

    began_at: float  # on the host's monotonic clock, once libraries are loaded and processes are started
    warm_up_seconds: float
    seconds: float  # without the warm-up
    rows: int  # written, or labelled
    bytes_out: int = 0  # on disk


def time_engine(job: PrepareBenchJob, folder: Path) -> TimedWork:
    """Clean the files once, after a warm-up on their first lines."""
    out = folder / "out"
    with CLEANERS[job.engine](job.workers) as clean:
        began_at = time.perf_counter()
        clean([job.warm_up], folder / "warm-up")
        warm_at = time.perf_counter()
        clean(job.files, out)
        ended_at = time.perf_counter()
    return TimedWork(
        began_at=began_at,
        warm_up_seconds=warm_at - began_at,
        seconds=ended_at - warm_at,
        rows=_rows_of(out),
        bytes_out=sum(path.stat().st_size for path in (out, *out.rglob("*")) if path.is_file()),
    )


def _rows_of(out: Path) -> int:
    if out.is_dir():
        from sentiscale.data.prepared import PreparedDataset

        return sum(PreparedDataset.open(out, verify=False).manifest.rows.values())
    import pyarrow.parquet as pq  # imported late: not every engine needs it, and memory is measured

    return int(pq.read_metadata(out).num_rows)


NO_SEPARATOR = "\x01"
"""A character that does not occur in reviews, so that each line is read as one column."""

LABEL = len("__label__")
TEXT = LABEL + 2
BLOCK = "16MB"
OWN_BLOCK_BYTES = 4_000_000

READ_OPTIONS: dict[str, Any] = {
    "sep": NO_SEPARATOR,
    "header": None,
    "names": ["line"],
    "quoting": csv.QUOTE_NONE,
    "lineterminator": "\n",
}

Clean = Callable[[Sequence[Path], Path], None]
"""Clean files and write the result to a path that does not exist yet."""

Cleaner = Callable[[int], AbstractContextManager[Clean]]
"""Load libraries and start processes for a number of workers. The `Clean` can be called several times."""


def clean_frame(lines: Any) -> Any:
    """Clean the lines of a pandas DataFrame."""
    frame = lines["line"].str.split(" ", n=1, expand=True)
    frame.columns = ["label", "text"]
    frame["label"] = (frame["label"] == "__label__2").astype("int8")
    frame["text"] = frame["text"].str.lower()
    frame["text"] = frame["text"].str.replace(r"[^a-z\s]", "", regex=True)
    frame["text"] = frame["text"].str.replace(r"\s+", " ", regex=True).str.strip()
    return frame[frame["text"].str.len() > 0]


@contextmanager
def _pandas(workers: int) -> Iterator[Clean]:
    import pandas as pd

    def clean(files: Sequence[Path], out: Path) -> None:
        lines = pd.concat([pd.read_csv(file, **READ_OPTIONS) for file in files], ignore_index=True)
        clean_frame(lines).drop_duplicates("text").to_parquet(out, index=False, compression=None)

    yield clean


@contextmanager
def _pandas_of_python_strings(workers: int) -> Iterator[Clean]:
    import pandas as pd

    pd.set_option("future.infer_string", False)
    with _pandas(workers) as clean:
        yield clean


@contextmanager
def _dask(workers: int) -> Iterator[Clean]:
    import dask.dataframe as dd
    from distributed import Client, LocalCluster

    def clean(files: Sequence[Path], out: Path) -> None:
        lines = dd.read_csv([str(file) for file in files], blocksize=BLOCK, **READ_OPTIONS)
        cleaned = lines.map_partitions(clean_frame, meta={"label": "int8", "text": "str"})
        frame = cleaned.compute().drop_duplicates("text")
        frame.to_parquet(out, index=False, compression=None)

    # No dashboard, because the other engines do not serve one either.
    options = {"n_workers": workers, "threads_per_worker": 1, "dashboard_address": None}
    cluster: Any = LocalCluster(**options)  # type: ignore[no-untyped-call]
    client: Any = Client(cluster)  # type: ignore[no-untyped-call]
    with cluster, client:
        yield clean


@contextmanager
def _polars(workers: int, *, dedupe: bool = False) -> Iterator[Clean]:
    os.environ["POLARS_MAX_THREADS"] = str(workers)  # must be set before the import, which starts the threads
    import polars as pl

    def clean(files: Sequence[Path], out: Path) -> None:
        schema, paths = {"line": pl.String}, list(files)
        lines = pl.scan_csv(paths, separator=NO_SEPARATOR, has_header=False, quote_char=None, schema=schema)
        line = pl.col("line")
        text = (
            line.str.slice(TEXT)
            .str.to_lowercase()
            .str.replace_all(r"[^a-z\s]+", "")
            .str.replace_all(r"[^\S ]|\s{2,}", " ")
            .str.strip_chars()
        )
        label = (line.str.slice(LABEL, 1) == "2").cast(pl.Int8)
        frame = lines.select(label=label, text=text).filter(pl.col("text") != "")
        if dedupe:
            frame = frame.unique(subset="text", keep="first", maintain_order=True)
        frame.sink_parquet(out, compression="uncompressed")

    yield clean


@contextmanager
def _sentiscale(workers: int) -> Iterator[Clean]:
    from sentiscale.data.prepare import prepare

    def clean(files: Sequence[Path], out: Path) -> None:
        prepare(list(files), out, workers=workers)

    yield clean


@contextmanager
def _sentiscale_clean(workers: int) -> Iterator[Clean]:
    from concurrent.futures import ThreadPoolExecutor

    import pyarrow as pa
    import pyarrow.parquet as pq

    from sentiscale.data.corpus import Corpus

    with ThreadPoolExecutor(workers) as pool:

        def clean(files: Sequence[Path], out: Path) -> None:
            sources = Corpus.find(list(files)).sources
            blocks = ((raw, each.table) for each in sources for raw in each.blocks(OWN_BLOCK_BYTES))
            batches, hashes = zip(*pool.map(_clean_block, blocks), strict=True)
            first_of_equal = np.zeros(sum(map(len, hashes)), bool)
            first_of_equal[np.unique(np.concatenate(hashes), return_index=True)[1]] = True
            table = pa.Table.from_batches(batches).filter(pa.array(first_of_equal))
            pq.write_table(table, out, compression="NONE", use_dictionary=False)

        yield clean


def _clean_block(block: "tuple[RawBlock, TableFormat]") -> "tuple[pa.RecordBatch, NDArray[np.uint64]]":
    """Labels, cleaned texts and hashes of one block, without bad rows and rows without text."""
    import pyarrow as pa

    from sentiscale.data.corpus import read_reviews
    from sentiscale.text.clean import clean
    from sentiscale.text.labels import NO_LABEL, Reason

    raw, table = block
    reviews = read_reviews(raw.data, table, "required", too_long_record=raw.too_long)
    rows = clean(reviews.text, "alpha")
    texts = pa.LargeStringArray.from_buffers(len(rows), pa.py_buffer(rows.offsets), pa.py_buffer(rows.data))
    two = reviews.meanings.index("2") if "2" in reviews.meanings else NO_LABEL
    labels = pa.array((reviews.codes == two).astype(np.int8))
    batch = pa.record_batch({"label": labels, "text": texts})
    good = (reviews.reasons == Reason.NONE) & (np.diff(rows.offsets) > 0)
    return batch.filter(pa.array(good)), row_hashes(rows.data, rows.offsets)[good]


CLEANERS: Mapping[str, Cleaner] = {
    "pandas": _pandas,
    "pandas-object": _pandas_of_python_strings,
    "dask": _dask,
    "polars": _polars,
    "polars-dedupe": partial(_polars, dedupe=True),
    "sentiscale": _sentiscale,
    "sentiscale-clean": _sentiscale_clean,
}


def row_hashes(data: Bytes, offsets: Offsets) -> NDArray[np.uint64]:
    """64-bit hashes of the rows `data[offsets[i]:offsets[i + 1]]`."""
    check_offsets(offsets, len(data))
    hashes = np.empty(len(offsets) - 1, np.uint64)
    _hash_rows(data, offsets, hashes)
    return hashes


@kernel
def _hash_rows(data: Bytes, offsets: Offsets, hashes: NDArray[np.uint64]) -> None:
    for row in range(len(hashes)):
        state = HASH_START
        for i in range(offsets[row], offsets[row + 1]):
            state = absorb(state, np.uint64(data[i]))
        hashes[row] = finish_hash(state)
