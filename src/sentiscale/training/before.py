"""What rank 0 learns before the first step, both at once: the wide part, and first word vectors."""

from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from safetensors.numpy import load_file, save

from sentiscale.atomic import write_file
from sentiscale.config import WideSettings
from sentiscale.data.prepared import Split
from sentiscale.progress import Progress
from sentiscale.training.clock import PhaseClock
from sentiscale.training.job import Job
from sentiscale.training.rundir import RunDir
from sentiscale.wide import WideModel, solve
from sentiscale.wordvectors import FloatArray, learn_vectors, rows_to_read


def learn_before(
    job: Job, threads: int, clock: PhaseClock, progress: Progress, *, with_vectors: bool
) -> tuple[WideModel | None, FloatArray | None]:
    """The wide part and the word vectors (V, E), as far as the settings want them.

    A run that goes on from a checkpoint finds its vectors in there: `with_vectors` is false.
    """
    settings, split = job.settings, job.dataset.split("train")

    def wide_part() -> WideModel | None:
        if not settings.wide.enabled:
            return None
        with clock.phase("wide"):
            return solve_once(split, settings.wide, job.run_dir, settings.train.seed, threads, progress)

    if not (with_vectors and settings.vectors.enabled):
        return wide_part(), None
    total = rows_to_read(len(split), len(split.tokens), settings.vectors)
    with ThreadPoolExecutor(1) as beside, progress.task("word vectors", total, "rows") as advance:
        vectors: Future[FloatArray] = beside.submit(
            learn_vectors, np.asarray(split.tokens), np.asarray(split.offsets),
            (job.dataset.manifest.vocab_size, settings.model.embedding_dim), settings.vectors,
            seed=settings.train.seed, threads=threads, advance=advance,
        )  # fmt: skip
        wide = wide_part()
        with clock.phase("vectors"):
            return wide, vectors.result()


def solve_once(
    split: Split, settings: WideSettings, run_dir: RunDir, seed: int, threads: int, progress: Progress
) -> WideModel:
    """Solve the wide part, or read it back where an earlier part of this run has solved it."""
    if run_dir.wide.exists():
        arrays = load_file(run_dir.wide)
        return WideModel(arrays["scales"], arrays["weights"], float(arrays["intercept"][0]), settings.longest)
    progress.say(f"solving the wide part on {len(split):,} rows")
    wide = solve(
        np.asarray(split.tokens), np.asarray(split.offsets), np.asarray(split.labels), settings, seed=seed,
        threads=threads,
    )  # fmt: skip
    arrays = {"scales": wide.scales, "weights": wide.weights, "intercept": np.array([wide.intercept])}
    write_file(run_dir.wide, save(arrays))
    return wide
