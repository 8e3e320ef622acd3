"""The usual ways to clean review files, as rivals of `sentiscale prepare`; bench_prepare.py runs them.

Run:      python benchmarks/prepare_peers.py {pandas,pandas-object,dask,polars,polars-dedupe} OUT FILE... \
[--cores 2]
Does:     what sentiscale.study.bench.engines describes; OUT is a Parquet file
Prints:   one JSON document: rows written; seconds from the first read to the last write, imports and the
          start of Dask's processes left out; seconds of that start
"""

import argparse
import json
import time
from pathlib import Path

from sentiscale.study.bench.engines import CLEANERS

RECIPES = [name for name in CLEANERS if not name.startswith("sentiscale")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", choices=RECIPES)
    parser.add_argument("out", type=Path)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--cores", type=int, default=2)
    arguments = parser.parse_args()
    print(json.dumps(run(arguments)))


def run(arguments: argparse.Namespace) -> dict[str, float]:
    """Clean with one recipe; what it took."""
    began_at = time.perf_counter()
    with CLEANERS[arguments.recipe](arguments.cores) as clean:
        started_at = time.perf_counter()
        clean(arguments.files, arguments.out)
        seconds = time.perf_counter() - started_at
    import pyarrow.parquet as pq  # only now: not all recipes need it, and memory is measured

    rows = pq.read_metadata(arguments.out).num_rows
    return {"rows": rows, "seconds": seconds, "start_seconds": started_at - began_at}


if __name__ == "__main__":
    main()
