"""The usual ways to clean review files, as rivals of `sentiscale prepare`; bench_prepare.py runs them.

Run:      python benchmarks/prepare_peers.py {pandas,pandas-object,dask,polars,polars-dedupe} OUT FILE... \
[--cores 2]
Does:     reads plain fastText files; takes label and text apart; lower-cases; drops everything but a-z and
          white space; makes runs of white space one space; drops rows without text; except `polars`, drops
          rows whose text was there before; writes OUT, a Parquet file without compression (label int8,
          text), which is the quickest to write of what was tried (CSV; Snappy, LZ4 and Zstandard inside)
Does not: report bad rows, tokenise, count words, make a vocabulary, encode, split, or check what it wrote
Prints:   one JSON document: rows written; seconds from the first read to the last write, imports and the
          start of Dask's processes left out; seconds of that start

pandas         columns of the `str` type that pandas 3 uses by default (Arrow inside)
pandas-object  columns of Python strings, as up to pandas 2
dask           dask.dataframe on a LocalCluster of single-threaded processes, 16 MB blocks; compute() brings
               the cleaned rows back to the client, which drops the duplicates and writes (with 64 MB blocks
               it took 1.6 times as long, as a dask.bag of Python functions 4 times)
polars         lazy and streaming, native expressions on `--cores` threads. Of several ways to write it this
               was the quickest: scan_csv no slower than scan_lines, one pattern for whole runs of unwanted
               characters, a second for white space that is not one single space already
"""

import argparse
import csv
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

NO_SEPARATOR = "\x01"
"""A character that no review holds: each line is one column."""

LABEL = len("__label__")
TEXT = LABEL + 2
BLOCK = "16MB"

Outcome = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", choices=RECIPES)
    parser.add_argument("out", type=Path)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--cores", type=int, default=2)
    arguments = parser.parse_args()
    print(json.dumps(RECIPES[arguments.recipe](arguments.files, arguments.out, arguments.cores)))


def read_options() -> dict[str, Any]:
    """One column with the line as it is: no quotes, no other separators."""
    return {
        "sep": NO_SEPARATOR, "header": None, "names": ["line"], "quoting": csv.QUOTE_NONE,
        "lineterminator": "\n",
    }  # fmt: skip


def clean_frame(lines: Any) -> Any:
    """The classic recipe on a DataFrame of pandas."""
    frame = lines["line"].str.split(" ", n=1, expand=True)
    frame.columns = ["label", "text"]
    frame["label"] = (frame["label"] == "__label__2").astype("int8")
    frame["text"] = frame["text"].str.lower()
    frame["text"] = frame["text"].str.replace(r"[^a-z\s]", "", regex=True)
    frame["text"] = frame["text"].str.replace(r"\s+", " ", regex=True).str.strip()
    return frame[frame["text"].str.len() > 0]


def clean_with_pandas(files: list[Path], out: Path, cores: int) -> Outcome:
    import pandas as pd

    started_at = time.perf_counter()
    lines = pd.concat([pd.read_csv(file, **read_options()) for file in files], ignore_index=True)
    frame = clean_frame(lines).drop_duplicates("text")
    frame.to_parquet(out, index=False, compression=None)
    return {"rows": len(frame), "seconds": time.perf_counter() - started_at}


def clean_with_python_strings(files: list[Path], out: Path, cores: int) -> Outcome:
    import pandas as pd

    pd.set_option("future.infer_string", False)
    return clean_with_pandas(files, out, cores)


def clean_with_dask(files: list[Path], out: Path, cores: int) -> Outcome:
    import dask.dataframe as dd
    from distributed import Client, LocalCluster

    began_at = time.perf_counter()
    # No dashboard: none of the others serves one either.
    options = {"n_workers": cores, "threads_per_worker": 1, "dashboard_address": None}
    with LocalCluster(**options) as cluster, Client(cluster):
        started_at = time.perf_counter()
        lines = dd.read_csv([str(file) for file in files], blocksize=BLOCK, **read_options())
        cleaned = lines.map_partitions(clean_frame, meta={"label": "int8", "text": "str"})
        frame = cleaned.compute().drop_duplicates("text")
        frame.to_parquet(out, index=False, compression=None)
        ended_at = time.perf_counter()
    return {"rows": len(frame), "seconds": ended_at - started_at, "start_seconds": started_at - began_at}


def clean_with_polars(files: list[Path], out: Path, cores: int, *, dedupe: bool = False) -> Outcome:
    os.environ["POLARS_MAX_THREADS"] = str(cores)  # before the import, which starts the threads
    import polars as pl

    started_at = time.perf_counter()
    lines = pl.scan_csv(
        files, separator=NO_SEPARATOR, has_header=False, quote_char=None, schema={"line": pl.String}
    )
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
    seconds = time.perf_counter() - started_at
    return {"rows": pl.scan_parquet(out).select(pl.len()).collect().item(), "seconds": seconds}


def clean_and_dedupe_with_polars(files: list[Path], out: Path, cores: int) -> Outcome:
    return clean_with_polars(files, out, cores, dedupe=True)


RECIPES: dict[str, Callable[[list[Path], Path, int], Outcome]] = {
    "pandas": clean_with_pandas,
    "pandas-object": clean_with_python_strings,
    "dask": clean_with_dask,
    "polars": clean_with_polars,
    "polars-dedupe": clean_and_dedupe_with_polars,
}


if __name__ == "__main__":
    main()
