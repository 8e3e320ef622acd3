"""Run every step on generated reviews: synth, prepare, eda, train, evaluate, predict."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sentiscale.config import Settings, preset_values, resolve
from sentiscale.data.prepare import prepare
from sentiscale.datasets.output import synth
from sentiscale.errors import OutputExistsError
from sentiscale.inference.evaluate import evaluate
from sentiscale.inference.predictor import Prediction, Predictor
from sentiscale.records import RunRecord, Scores
from sentiscale.report.eda import eda
from sentiscale.training.launch import train
from sentiscale.util.progress import Progress

REVIEWS = "reviews.ft.txt"

EXAMPLES = (
    "The screen is superb and it brings me joy each day!",
    "Great screen, but the battery died in a week.",
    "Not bad at all.",
    "I expected it to be terrible, but it does its job perfectly.",
)


@dataclass(frozen=True)
class DemoResult:
    out: Path
    seconds: dict[str, float]
    """Seconds by step: synth, prepare, eda, train, evaluate, predict."""
    rows: dict[str, int]
    """Number of rows per split."""
    page: Path
    """Page written by `eda`."""
    record: RunRecord
    test: Scores
    """Scores on the test split."""
    predictions: list[tuple[str, Prediction]]


def demo(
    out: str | Path = "demo",
    *,
    rows: int = 20_000,
    seed: int = 0,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> DemoResult:
    """Run every step in the directory `out`, replacing an earlier demonstration there.

    Args:
        out: directory for reviews, prepared data and run.
        rows: number of reviews to generate.
        seed: seed of the generator and the training.
        settings: settings of preparation and training; by default those of `train`.
        progress: where to show progress.

    Raises: OutputExistsError when `out` contains something else.
    """
    out, progress, seconds = Path(out), progress or Progress(), {}
    settings = settings or resolve(base=preset_values(None), flags={"train.seed": seed})
    if out.exists() and any(out.iterdir()) and not (out / REVIEWS).exists():
        raise OutputExistsError(f"{out} is not from an earlier demonstration. Choose another --out.")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)

    @contextmanager
    def timed(step: str) -> Iterator[None]:
        started_at = time.perf_counter()
        yield
        seconds[step] = round(time.perf_counter() - started_at, 2)

    model = out / "run" / "model"
    with timed("synth"):
        synth(rows, seed, out=out / REVIEWS, progress=progress)
    with timed("prepare"):
        dataset = prepare(out / REVIEWS, out / "data", settings=settings.prepare, progress=progress)
    with timed("eda"):
        page = eda(dataset, out / "reviews.html", progress=progress).out
    with timed("train"):
        record = train(dataset, out / "run", settings, progress=progress)
    with timed("evaluate"):
        test = evaluate(model, dataset.path, progress=progress)
    with timed("predict"):
        predictions = list(zip(EXAMPLES, Predictor.load(model).predict(EXAMPLES), strict=True))
    return DemoResult(out, seconds, dataset.manifest.rows, page, record, test, predictions)
