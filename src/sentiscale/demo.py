"""The whole way on generated reviews: write them, prepare, look at them, train, evaluate, predict."""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from sentiscale.config import Settings, preset_values, resolve
from sentiscale.data.prepare import prepare
from sentiscale.datasets.output import synth
from sentiscale.errors import OutputExistsError
from sentiscale.inference.evaluate import evaluate
from sentiscale.inference.predictor import Prediction, Predictor
from sentiscale.model.metrics import Scores
from sentiscale.records import RunRecord
from sentiscale.report.eda import eda
from sentiscale.training.loop import train
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
    """What the demonstration made."""

    out: Path
    """The directory with all of it."""
    seconds: dict[str, float]
    """By step: synth, prepare, eda, train, evaluate, predict."""
    rows: dict[str, int]
    """Of each split."""
    page: Path
    """What there is to see in the reviews."""
    record: RunRecord
    """Of the training."""
    test: Scores
    """How good the model is on the test split."""
    predictions: list[tuple[str, Prediction]]
    """A few texts, and what the model says of them."""


def demo(
    out: str | Path = "demo",
    *,
    rows: int = 20_000,
    seed: int = 0,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> DemoResult:
    """Run every step into the directory `out`, replacing an earlier demonstration there.

    Args:
        out: directory for reviews, prepared data and run.
        rows: reviews to generate.
        seed: of the generator and the training.
        settings: of preparation and training; by default those of `train`.
        progress: where to show how it goes.

    Raises: OutputExistsError when `out` holds something else.
    """
    out, progress, seconds = Path(out), progress or Progress(), {}
    settings = settings or resolve(base=preset_values(None), flags={"train.seed": seed})
    if out.exists() and any(out.iterdir()) and not (out / REVIEWS).exists():
        raise OutputExistsError(f"{out} is not from an earlier demonstration. Choose another --out.")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)

    def timed(step: str, since: float) -> float:
        seconds[step] = round(time.perf_counter() - since, 2)
        return time.perf_counter()

    at = time.perf_counter()
    synth(rows, seed, out=out / REVIEWS, progress=progress)
    at = timed("synth", at)
    dataset = prepare(out / REVIEWS, out / "data", settings=settings.prepare, progress=progress)
    at = timed("prepare", at)
    page = eda(dataset, out / "reviews.html", progress=progress)
    at = timed("eda", at)
    record = train(dataset, out / "run", settings, progress=progress)
    at = timed("train", at)
    test = evaluate(out / "run" / "model", dataset.path, progress=progress)
    at = timed("evaluate", at)
    answers = Predictor.load(out / "run" / "model").predict(EXAMPLES)
    timed("predict", at)
    return DemoResult(
        out, seconds, dataset.manifest.rows, page.out, record, test, list(zip(EXAMPLES, answers, strict=True))
    )
