"""Do class weights and thresholds keep what they promise on reviews of which 5 % are negative?

Run:      python benchmarks/bench_lopsided.py TRAIN.ft.txt.zst TEST.ft.txt.zst --work DIR [--out FILE.jsonl]
          fastText lines with as many negative as positive reviews; data and runs in DIR are kept and reused
Fixed:    40,000 training rows, 2,000 of them negative, and 20,000 balanced ones, drawn with seed 0;
          --preset fast, one process
Varies:   --class-weight; how a threshold is chosen; the rows it is chosen on, drawn 200 times from one half
          of the test reviews, with the precision measured on the other half
Expect:   10 minutes; recall of the negative reviews rises with weights, the calibration error stays below
          0.02, and thresholds hold on other rows more often than the lowest one with enough precision
"""

import argparse
import contextlib
import json
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from measured import provenance
from results_page import heading

from sentiscale.config import PrepareSettings
from sentiscale.errors import SentiscaleError
from sentiscale.inference.evaluate import evaluate, rows_of_files
from sentiscale.inference.predictor import Predictor
from sentiscale.inference.threshold import Goal, LabelledPart, choose, ranking, set_threshold
from sentiscale.model.decision import Decision
from sentiscale.model.metrics import probabilities
from sentiscale.util.progress import Progress
from sentiscale.util.proportions import wilson

DRAWS = 200
TARGETS = (0.8, 0.9, 0.95)
COSTS = ("fp=1,fn=5", "fp=5,fn=1")


class Trained(NamedTuple):
    """A model, and what it was trained with."""

    title: str
    data: str
    weight: str


MODELS = (
    Trained("5 % negative, no weights", "lopsided", "none"),
    Trained("5 % negative, balanced weights", "lopsided", "balanced"),
    Trained("50 % negative, no weights", "even", "none"),
)


class Population(NamedTuple):
    """Rows to choose a threshold on: their number, and the share of the class among them."""

    model: Trained
    label: str
    rows: int
    share: float


POPULATIONS = (
    Population(MODELS[0], "negative", 2000, 0.05),
    Population(MODELS[0], "negative", 4000, 0.05),
    Population(MODELS[2], "negative", 2000, 0.5),
    Population(MODELS[2], "positive", 2000, 0.5),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, help="also append the figures here, one JSON line a run")
    arguments = parser.parse_args()
    about = provenance()
    draw_rows(arguments.train, arguments.test, arguments.work)
    figures: dict[str, Any] = {"models": [], "held": []}
    for model in MODELS:
        figures["models"].append(figures_of(model, train(model, arguments.work), arguments.work))
    for population in POPULATIONS:
        figures["held"] += how_often_it_holds(population, arguments.work)
    command = f"python benchmarks/bench_lopsided.py {arguments.train.name} {arguments.test.name} --work DIR"
    print("\n".join([*heading("Lopsided data", command, about), *page(figures)]))
    if arguments.out:
        with arguments.out.open("a") as file:
            file.write(json.dumps({**about, **figures}, default=str) + "\n")


def draw_rows(train_file: Path, test_file: Path, work: Path) -> None:
    """Write the training and test rows; the test file is also written whole."""
    work.mkdir(parents=True, exist_ok=True)
    wanted = {
        "lopsided-train.txt": (train_file, 2000, 38_000),
        "lopsided-test.txt": (test_file, 690, 13_110),
        "even-train.txt": (train_file, 10_000, 10_000),
        "even-test.txt": (test_file, None, None),
    }
    for name, (source, negative, positive) in wanted.items():
        if not (work / name).exists():
            lines = pa.input_stream(source, compression="zstd").read().decode().splitlines()
            if negative is not None:
                generator = random.Random(0)
                first = [line for line in lines if line.startswith("__label__1 ")]
                second = [line for line in lines if line.startswith("__label__2 ")]
                lines = generator.sample(first, negative) + generator.sample(second, positive)
                generator.shuffle(lines)
            (work / name).write_text("\n".join(lines) + "\n")


def run_verb(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", "sentiscale", *map(str, arguments), "--quiet"], check=True)


def train(model: Trained, work: Path) -> Path:
    """Prepare and train, unless it is done; returns the run."""
    data, run = work / f"{model.data}-data", work / f"{model.data}-{model.weight}"
    if not data.exists():
        files = (work / f"{model.data}-{split}.txt" for split in ("train", "test"))
        run_verb("prepare", next(files), "--test", next(files), "--out", data)
    if not (run / "model").exists():
        flags = ("--preset", "fast", "--layout", "1x1", "--threads-per-rank", 1)
        run_verb("train", data, "--out", run, "--class-weight", model.weight, *flags)
    return run


def figures_of(model: Trained, run: Path, work: Path) -> dict[str, Any]:
    """Scores on the test split, and what a threshold for a precision of 0.95 gives."""
    data = work / f"{model.data}-data"
    scores = evaluate(run, data)
    rows = rows_of_test(run, work / f"{model.data}-test.txt")
    entry = set_threshold(run, data, Goal.of("negative", precision=0.95), store=False).entry
    after = entry.reported.after
    return {
        "title": model.title,
        "accuracy": scores.accuracy,
        "balanced_accuracy": scores.balanced_accuracy,
        "negative": scores.per_class["negative"].model_dump(),
        "ece": scores.ece,
        "mean_negative": float(rows.chances[:, 0].mean()),
        "true_negative": float((rows.labels == 0).mean()),
        "threshold": entry.threshold,
        "precision": after.precision,
        "interval": after.intervals["precision"],
        "recall": after.recall,
    }


def rows_of_test(run: Path, file: Path) -> LabelledPart:
    predictor = Predictor.load(run)
    rows = rows_of_files(predictor, str(file), PrepareSettings(), Progress())
    return LabelledPart("test", probabilities(rows.logits), rows.labels)


def how_often_it_holds(population: Population, work: Path) -> Iterator[dict[str, Any]]:
    """Draw rows to choose on from one half of the test reviews, and measure on rows of the other half."""
    model, label, count, share = population
    part = rows_of_test(work / f"{model.data}-{model.weight}", work / "even-test.txt")
    rest = Decision(("negative", "positive"))
    code = rest.names.index(label)
    generator = np.random.default_rng(0)
    found: dict[tuple[str, float], list[tuple[bool, bool, float]]] = {}
    paid: dict[tuple[str, str], list[float]] = {}
    for _ in range(DRAWS):
        order = generator.permutation(len(part.labels))
        chosen = drawn(part, order[: len(order) // 2], code, share, count)
        others = drawn(part, order[len(order) // 2 :], code, share, None)
        for target in TARGETS:
            for name, threshold in thresholds(chosen, rest, label, target).items():
                given, wanted = others.chances[:, code] >= threshold, others.labels == code
                right, labelled = int((given & wanted).sum()), int(given.sum())
                upper = wilson(right, labelled)[1]
                outcome = (right >= target * labelled, upper >= target, right / wanted.sum())
                found.setdefault((name, target), []).append(outcome)
        for text in COSTS:
            costs = Goal.of(label, cost=text)
            fp, fn = costs.costs.fp, costs.costs.fn
            by_name = {"lowest cost": choose(costs, chosen, rest)[0], "calibrated": fp / (fp + fn)}
            for name, threshold in by_name.items():
                given, wanted = others.chances[:, code] >= threshold, others.labels == code
                cost = fp * (given & ~wanted).mean() + fn * (wanted & ~given).mean()
                paid.setdefault((name, text), []).append(cost)
    about = {"model": model.title, "label": label, "rows": count}
    for (name, target), outcomes in found.items():
        reached, not_below, recall = np.mean(outcomes, axis=0).tolist()
        held = {"reached": reached, "not_below": not_below, "recall": recall, "of": len(outcomes)}
        yield {**about, "rule": name, "target": target, **held}
    for (name, text), values in paid.items():
        yield {**about, "rule": name, "target": text, "cost": float(np.mean(values)), "of": len(values)}


def thresholds(chosen: LabelledPart, rest: Decision, label: str, target: float) -> dict[str, float]:
    """The threshold that the command chooses, and the lowest with the precision; without unreachable ones."""
    found = {}
    ranked = ranking(chosen, rest, rest.names.index(label), "precision")
    enough = np.flatnonzero(ranked.right >= target * ranked.labelled)
    if len(enough):
        found["lowest"] = ranked.threshold(int(enough[-1]))
    with contextlib.suppress(SentiscaleError):  # no threshold reaches it
        found["chosen"] = choose(Goal("precision", label, target), chosen, rest)[0]
    return found


def drawn(part: LabelledPart, rows: np.ndarray, code: int, share: float, count: int | None) -> LabelledPart:
    """Take rows with this share of the class: `count`, or as many as there are."""
    own, other = rows[part.labels[rows] == code], rows[part.labels[rows] != code]
    count = count or int(min(len(own) / share, len(other) / (1 - share)))
    wanted = round(count * share)
    taken = np.concatenate([own[:wanted], other[: count - wanted]])
    return LabelledPart("drawn", part.chances[taken], part.labels[taken])


FIRST = ("trained on", "label", "rows to choose on")


def page(figures: dict[str, Any]) -> list[str]:
    models, held = figures["models"], figures["held"]
    return [
        "## Class weights",
        *weights_table(models),
        "## `threshold --class negative --precision 0.95`",
        *table(
            ("trained on", "threshold", "precision on test", "95 % interval: from", "to", "recall on test"),
            [
                [row["title"], row["threshold"], row["precision"], *row["interval"], row["recall"]]
                for row in models
            ],
        ),
        f"## How often a precision holds on other rows, of {DRAWS} draws",
        *precision_table([row for row in held if "recall" in row]),
        "## Mean cost of a row on other rows",
        *cost_table([row for row in held if "cost" in row]),
    ]


def weights_table(models: list[dict[str, Any]]) -> list[str]:
    of_negative = ("negative: recall", "precision")
    shares = ("mean probability of negative", "share of negative")
    return table(
        ("trained on", "accuracy", "balanced accuracy", *of_negative, "ECE", *shares),
        [
            [
                *(row[key] for key in ("title", "accuracy", "balanced_accuracy")),
                *(row["negative"][key] for key in ("recall", "precision")),
                *(row[key] for key in ("ece", "mean_negative", "true_negative")),
            ]
            for row in models
        ],
    )


def precision_table(rows: list[dict[str, Any]]) -> list[str]:
    held = ("draws with a threshold", "precision reached", "or not significantly below", "recall")
    ordered = sorted(rows, key=lambda row: (row["model"], row["label"], row["rows"], row["target"]))
    return table(
        (*FIRST, "asked for", "rule", *held),
        [
            [
                *(row["model"], row["label"], f"{row['rows']:,}", str(row["target"]), row["rule"]),
                *(str(row["of"]), row["reached"], row["not_below"], row["recall"]),
            ]
            for row in ordered
        ],
    )


def cost_table(rows: list[dict[str, Any]]) -> list[str]:
    return table(
        (*FIRST, "costs", "lowest cost on the rows", "threshold of calibrated probabilities"),
        [
            [row["model"], row["label"], f"{row['rows']:,}", row["target"], row["cost"], other["cost"]]
            for row, other in zip(rows[::2], rows[1::2], strict=True)
        ],
    )


def table(titles: Sequence[str], rows: list[list[Any]]) -> list[str]:
    """A Markdown table; numbers have four decimals."""
    texts = [[f"{cell:.4f}" if isinstance(cell, float) else cell for cell in row] for row in rows]
    lines = [titles, ["---"] * len(titles), *texts]
    return ["", *(f"| {' | '.join(line)} |" for line in lines), ""]


if __name__ == "__main__":
    main()
