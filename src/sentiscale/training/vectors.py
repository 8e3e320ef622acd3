"""Where the embedding starts: rank 0 learns word vectors, all replicas take them over."""

import numpy as np

from sentiscale.progress import Progress
from sentiscale.training.setup import Training
from sentiscale.wordvectors import learn_vectors, rows_to_read


def start_with_vectors(training: Training, threads: int, progress: Progress) -> None:
    """Learn first word vectors and begin with them; a time limit ends the learning early."""
    settings, split, clock = training.settings, training.train_split, training.clock
    limit = settings.train.time_limit
    vectors = None
    with clock.phase("vectors"):
        if training.world.is_main:
            rows = rows_to_read(len(split), len(split.tokens), settings.vectors)
            with progress.task("word vectors", rows, "rows") as advance:

                def go_on(rows: float) -> bool:
                    advance(rows, "")
                    return limit is None or clock.seconds() < limit

                vectors = learn_vectors(
                    np.asarray(split.tokens), np.asarray(split.offsets),
                    (training.dataset.manifest.vocab_size, settings.model.embedding_dim), settings.vectors,
                    seed=settings.train.seed, threads=threads, go_on=go_on,
                )  # fmt: skip
        training.learner.runner.start_from(vectors)
