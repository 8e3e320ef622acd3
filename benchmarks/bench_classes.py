"""Compare sentiscale with fastText and multinomial logistic regression on three or more classes.

Usage: python benchmarks/bench_classes.py REVIEWS.csv --out DIR [--seeds 0,1,2]

REVIEWS.csv has the columns stars, title, text and category, as the real reviews that the project is measured
on. Prepares it as stars, as negative, neutral and positive, and as categories; trains every contestant on the
same rows; chooses the setting of each peer by validation; prints a table of the test scores in Markdown.
Logistic regression does not depend on the seed and runs once.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from sentiscale.config import PrepareSettings
from sentiscale.data.prepare import prepare
from sentiscale.study.compare.comparison import compare
from sentiscale.study.compare.summary import CompareRow
from sentiscale.util.terminal import make_progress

TASKS = {
    "stars": (PrepareSettings(classes="stars"), "mae"),
    "ternary": (PrepareSettings(classes="ternary"), "macro_f1"),
    "labels": (PrepareSettings(classes="labels", label_column="category"), "accuracy"),
}
"""How the data are prepared, and the score by which the setting of a peer is chosen."""
CHOSEN_BY_LOW = {"mae"}
COLUMNS = ("accuracy", "macro_f1", "mae", "quadratic_kappa", "loss", "ece")


def best_points(rows: Sequence[CompareRow], score: str) -> list[CompareRow]:
    """Return the row of each contestant with the best median validation score."""
    best: dict[str, CompareRow] = {}
    for row in rows:
        known = best.get(row.model)
        if known is None or validated(row, score) > validated(known, score):
            best[row.model] = row
    return list(best.values())


def validated(row: CompareRow, score: str) -> float:
    if score == "accuracy":
        return row.valid_accuracy_median or 0.0
    value = row.valid_scores_median[score]
    return -value if score in CHOSEN_BY_LOW else value


def table(rows: Sequence[CompareRow]) -> str:
    lines = [f"| | training s | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 2) + "|"]
    for row in rows:
        scores = {"accuracy": row.test_accuracy_median, **row.test_scores_median}
        cells = [f"{scores[name]:.4f}" if name in scores else "-" for name in COLUMNS]
        lines.append(f"| {row.name} | {row.train_seconds_median:,.1f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("reviews", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--models", default="fast,balanced,fasttext-tuned")
    parser.add_argument("--seeds", default="0,1,2")
    given = parser.parse_args()
    seeds = tuple(map(int, given.seeds.split(",")))
    for task in given.tasks.split(","):
        settings, score = TASKS[task]
        data = given.out / f"data-{task}"
        if not data.exists():
            prepare(given.reviews, data, settings=settings)
        out, progress = given.out / task, make_progress(quiet=False)
        ours = compare(data, given.models.split(","), out=out, seeds=seeds, progress=progress)
        linear = compare(data, ["tfidf-multinomial"], out=out, seeds=seeds[:1], progress=progress)
        print(f"\n{task}: settings of peers chosen by validation {score}, medians of seeds {given.seeds}\n")
        print(table(best_points([*ours.rows, *linear.rows], score)), flush=True)


if __name__ == "__main__":
    main()
