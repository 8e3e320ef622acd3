"""sentiscale beside a scikit-learn pipeline, on the same folds.

Run:    python examples/sklearn_pipeline.py [--rows 4000] [--data reviews.ft.txt]
Needs:  nothing but sentiscale; without --data it generates reviews, in which word order matters
Takes:  about a minute on two cores
"""

import argparse
import tempfile
import time
from pathlib import Path

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline

import sentiscale
from sentiscale.inference.sklearn import SentimentClassifier


def read(path: Path, rows: int) -> tuple[list[str], list[str]]:
    """Texts and labels of the first rows of a fastText file."""
    with open(path, encoding="utf-8") as file:
        pairs = [line.rstrip("\n").split(" ", 1) for line, _ in zip(file, range(rows), strict=False)]
    return [text for _, text in pairs], [label for label, _ in pairs]


def compare(texts: list[str], labels: list[str]) -> None:
    """Print accuracy over three folds, and the seconds of all three, for both."""
    tfidf = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    contestants = {
        "TF-IDF + logistic regression": make_pipeline(tfidf, LogisticRegression(C=10, max_iter=1000)),
        "sentiscale, preset fast": SentimentClassifier(preset="fast"),
    }
    for name, classifier in contestants.items():
        started_at = time.perf_counter()
        scores = cross_val_score(classifier, texts, labels, cv=3)
        seconds = time.perf_counter() - started_at
        folds = f"folds {scores.min():.3f} to {scores.max():.3f}"
        print(f"{name:30} accuracy {scores.mean():.3f} ({folds})  {seconds:.1f} s")  # noqa: T201


def main() -> None:
    """Read the flags, get reviews, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--data", type=Path, help="a fastText file; generated reviews without it")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = given.data or Path(folder, "reviews.ft.txt")
        if given.data is None:
            sentiscale.synth(given.rows, 5, out=path)
        compare(*read(path, given.rows))


if __name__ == "__main__":
    main()
