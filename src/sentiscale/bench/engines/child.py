"""The process of one run: `python -m sentiscale.bench.engines.child {prepare,predict} JOB OUTCOME`."""

import json
import sys
import time
from pathlib import Path

from sentiscale.atomic import write_file
from sentiscale.bench.engines.cleaners import CLEANERS
from sentiscale.bench.engines.jobs import PredictJob, PrepareJob, Timed
from sentiscale.errors import SentiscaleError

WARM_UP_TEXTS = 512


def prepare(job: PrepareJob) -> Timed:
    """Clean the files once, after a few lines of them."""
    out = job.folder / "out"
    with CLEANERS[job.engine](job.workers) as clean:
        began_at = time.perf_counter()
        clean([job.warm_up], job.folder / "warm-up")
        warm_at = time.perf_counter()
        clean(job.files, out)
        ended_at = time.perf_counter()
    return Timed(
        began_at=began_at,
        warm_up_seconds=warm_at - began_at,
        seconds=ended_at - warm_at,
        rows=rows_of(out),
        bytes_out=sum(path.stat().st_size for path in (out, *out.rglob("*")) if path.is_file()),
    )


def rows_of(out: Path) -> int:
    """Rows of prepared data, or of a Parquet file."""
    if out.is_dir():
        from sentiscale.data.prepared import PreparedDataset

        return sum(PreparedDataset.open(out, verify=False).manifest.rows.values())
    import pyarrow.parquet as pq  # only now: not every engine needs it, and memory is measured

    return int(pq.read_metadata(out).num_rows)


def predict(job: PredictJob) -> Timed:
    """Label the texts once, after some of them."""
    from sentiscale.parallel.process import torch_threads
    from sentiscale.predictor import Predictor

    texts: list[str] = json.loads(job.texts.read_bytes())
    with torch_threads(job.threads):
        predictor = Predictor.load(job.model)
        began_at = time.perf_counter()
        for _ in predictor.stream(texts[:WARM_UP_TEXTS], job.batch_size):
            pass
        warm_at = time.perf_counter()
        rows = sum(1 for _ in predictor.stream(texts, job.batch_size))
        ended_at = time.perf_counter()
    return Timed(began_at=began_at, warm_up_seconds=warm_at - began_at, seconds=ended_at - warm_at, rows=rows)


def main(what: str, job: str, out: str) -> int:
    """Do one job; returns the exit code."""
    text = Path(job).read_bytes()
    try:
        if what == "predict":
            found = predict(PredictJob.model_validate_json(text))
        else:
            found = prepare(PrepareJob.model_validate_json(text))
    except SentiscaleError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    write_file(Path(out), found.model_dump_json())
    return 0


if __name__ == "__main__":  # Dask's processes import this module as well
    sys.exit(main(*sys.argv[1:]))
