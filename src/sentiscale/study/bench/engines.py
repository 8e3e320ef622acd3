"""Engines that clean review files, and the timing of one: pandas, Dask, Polars, and sentiscale itself.

All but `sentiscale` do the same: read plain fastText files; split label and text; lower-case; drop
everything but a-z and white space; collapse runs of white space; drop rows without text; except `polars`,
drop rows whose text occurred before; write a Parquet file without compression (label int8, text), which was
the fastest to write of what was tried (CSV; Snappy, LZ4 and Zstandard inside). They do not report bad rows,
tokenize, count words, make a vocabulary, encode, split, or check what they wrote.

pandas            columns of the `str` type that pandas 3 uses by default (Arrow inside)
pandas-object     columns of Python strings, as up to pandas 2
dask              dask.dataframe on a LocalCluster of single-threaded processes, 16 MB blocks; compute()
                  brings the cleaned rows back to the client, which drops the duplicates and writes (with
                  64 MB blocks it took 1.6 times as long, as a dask.bag of Python functions 4 times)
polars            lazy and streaming, native expressions on as many threads; the fastest of its variants:
                  scan_csv no slower than scan_lines, one pattern for whole runs of unwanted characters, a
                  second for white space that is not one single space already
polars-dedupe     the same, and drops equal texts
sentiscale        `sentiscale prepare` with its default settings, everything it does: a prepared dataset
sentiscale-clean  only what the others do, by the parts of `sentiscale prepare --clean alpha`; reads and
                  cleans on as many threads; finds equal texts by hashes, as prepare does
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

from sentiscale.text.compiled import Bytes, Offsets, kernel
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
    warm_up: Path  # the first lines of the files, cleaned before the timed work


class TimedWork(BaseModel):
    """What a process measured on its own clock."""

    began_at: float  # on the host's monotonic clock; libraries are loaded, processes started
    warm_up_seconds: float
    seconds: float  # without the warm-up
    rows: int  # written, or labelled
    bytes_out: int = 0  # on disk


def time_engine(job: PrepareBenchJob, folder: Path) -> TimedWork:
    """Clean the files once, after a warm-up on a few lines of them."""
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
    import pyarrow.parquet as pq  # only now: not every engine needs it, and memory is measured

    return int(pq.read_metadata(out).num_rows)


NO_SEPARATOR = "\x01"
"""A character that no review holds: each line is one column."""

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
"""Cleans files into an output that does not exist yet."""

Cleaner = Callable[[int], AbstractContextManager[Clean]]
"""Loads libraries and starts processes for a number of workers; its `Clean` may be called several times."""


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

    # No dashboard: none of the others serves one either.
    options = {"n_workers": workers, "threads_per_worker": 1, "dashboard_address": None}
    cluster: Any = LocalCluster(**options)  # type: ignore[no-untyped-call]
    client: Any = Client(cluster)  # type: ignore[no-untyped-call]
    with cluster, client:
        yield clean


@contextmanager
def _polars(workers: int, *, dedupe: bool = False) -> Iterator[Clean]:
    os.environ["POLARS_MAX_THREADS"] = str(workers)  # before the import, which starts the threads
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
    """Labels and cleaned texts of one block, and their hashes, without bad rows and those without text."""
    import pyarrow as pa

    from sentiscale.data.corpus import read_reviews
    from sentiscale.text.clean import clean
    from sentiscale.text.labels import TWO, Reason

    raw, table = block
    reviews = read_reviews(raw.data, table, "required", too_long_record=raw.too_long)
    rows = clean(reviews.text, "alpha")
    texts = pa.LargeStringArray.from_buffers(len(rows), pa.py_buffer(rows.offsets), pa.py_buffer(rows.data))
    labels = pa.array((reviews.codes == TWO).astype(np.int8))
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
