"""What do explanations cost, do their sums come out, and do they name the words that decide?

Run:      python benchmarks/bench_explain.py RUN/model REVIEWS.ft.txt.zst [--rows 300] [--out explain.jsonl]
          REVIEWS are labelled fastText lines that took no part in training
Fixed:    reviews of 30 to 150 tokens, drawn with seed 0; one thread      Varies: points of the integral
Timed:    `explain` of one review of 90 to 110 tokens at a time, and of many in one call; the first calls,
          which compile, are left out
Gap:      |what the integral leaves over| in the logit, before more points are taken
Deletion: how much the logit falls when the k words with the largest, with random and with the smallest
          contributions are taken out of the raw text, which is then labelled anew
Expect:   2 minutes; top > random > bottom, and random near 0
Not for:  comparing models: another logit scale gives other falls
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from measured import provenance

from sentiscale.inference import explain as explaining
from sentiscale.inference.explain import STEPS, Explanation, explain
from sentiscale.inference.predictor import Predictor

POINTS = (8, 16, 32, 64)
TAKEN = (1, 3, 5, 10)
READ_BYTES = 60_000_000
"""Raw bytes that reviews are drawn from."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("reviews", help="fastText lines, plain or compressed")
    parser.add_argument("--rows", type=int, default=300)
    parser.add_argument("--out", type=Path, help="also append the figures here, one JSON line a run")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    predictor = Predictor.load(arguments.model)
    texts = drawn(predictor, arguments.reviews, arguments.rows)
    explain(predictor, texts[:2])  # compiles
    figures = {
        "rows": len(texts),
        "milliseconds_one_review": alone(predictor, texts),
        "reviews_per_second_together": together(predictor, texts),
        "gap": gaps(predictor, texts),
        "fall": deletion(predictor, texts),
    }
    print("\n".join(page(figures)))
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        with arguments.out.open("a") as file:
            file.write(json.dumps({**provenance(), **figures}) + "\n")


def drawn(predictor: Predictor, path: str, rows: int) -> list[str]:
    """Random reviews of 30 to 150 tokens."""
    with pa.input_stream(path) as file:
        lines = file.read(READ_BYTES).decode("utf-8", "replace").splitlines()[:-1]
    order = np.random.default_rng(0).permutation(len(lines))
    texts = [lines[i].split(" ", 1)[1] for i in order[: 5 * rows] if " " in lines[i]]
    lengths = predictor.encoder.encode(texts).lengths
    return [text for text, length in zip(texts, lengths, strict=True) if 30 <= length <= 150][:rows]


def alone(predictor: Predictor, texts: Sequence[str]) -> dict[str, float]:
    """Median milliseconds for one review of about 100 tokens, by the points of the integral."""
    lengths = predictor.encoder.encode(texts).lengths
    middling = [text for text, length in zip(texts, lengths, strict=True) if 90 <= length <= 110][:20]
    found = {f"{points} points": timed(predictor, middling, points) for points in POINTS}
    return {**found, "label only": median(seconds(lambda t=t: predictor.predict(t)) for t in middling) * 1000}


def timed(predictor: Predictor, texts: Sequence[str], points: int) -> float:
    return median(seconds(lambda t=t: explain(predictor, [t], steps=points)) for t in texts) * 1000


def seconds(work: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def together(predictor: Predictor, texts: Sequence[str]) -> float:
    return len(texts) / seconds(lambda: explain(predictor, texts))


def gaps(predictor: Predictor, texts: Sequence[str]) -> dict[str, dict[str, float]]:
    """What the integral leaves over with so many points and no more, and by default."""
    by_points = {}
    most, explaining.MAX_STEPS = explaining.MAX_STEPS, 0
    for points in POINTS:
        by_points[f"{points} points"] = spread(explain(predictor, texts, steps=points))
    explaining.MAX_STEPS = most
    return {**by_points, f"default, {STEPS} points first": spread(explain(predictor, texts))}


def spread(explanations: Sequence[Explanation]) -> dict[str, float]:
    sizes = np.array([abs(explanation.gap) for explanation in explanations])
    return {
        "median": float(np.median(sizes)),
        "p95": float(np.quantile(sizes, 0.95)),
        "largest": float(sizes.max()),
        "above_tolerance": float((sizes > explaining.TOLERANCE).mean()),
    }


def deletion(predictor: Predictor, texts: Sequence[str]) -> dict[str, dict[str, float]]:
    """Mean fall of the logit when words are taken out, by how many and which."""
    explanations = explain(predictor, texts)
    before = logits(predictor, texts)
    generator = np.random.default_rng(0)
    falls = {}
    for count in TAKEN:
        chosen: dict[str, list[str]] = {"largest": [], "random": [], "smallest": []}
        for text, explanation in zip(texts, explanations, strict=True):
            order = np.argsort([-share.contribution for share in explanation.words])
            for name, places in (
                ("largest", order[:count]),
                ("random", generator.choice(len(order), count, replace=False)),
                ("smallest", order[-count:]),
            ):
                chosen[name].append(without(text, explanation, places.tolist()))
        falls[str(count)] = {
            name: float((before - logits(predictor, cut)).mean()) for name, cut in chosen.items()
        }
    return falls


def logits(predictor: Predictor, texts: Sequence[str]) -> np.ndarray:
    return predictor.logits(predictor.encoder.encode(texts)).astype(np.float64)


def without(text: str, explanation: Explanation, places: Sequence[int]) -> str:
    """The text without some of its words."""
    kept, at = [], 0
    for place in sorted(places):
        kept.append(text[at : explanation.words[place].start])
        at = explanation.words[place].end
    return " ".join([*kept, text[at:]])


def page(figures: dict[str, Any]) -> list[str]:
    """The figures as Markdown."""
    lines = [
        f"{figures['rows']} reviews, one thread",
        "",
        "| one review of 90-110 tokens | ms |",
        "|---|---|",
    ]
    lines += [f"| {name} | {value:.1f} |" for name, value in figures["milliseconds_one_review"].items()]
    lines += ["", f"Together: {figures['reviews_per_second_together']:.0f} reviews/s", ""]
    lines += ["| left over by the integral | median | p95 | largest | above 0.01 |", "|---|---|---|---|---|"]
    for name, gap in figures["gap"].items():
        lines.append(
            f"| {name} | {gap['median']:.4f} | {gap['p95']:.4f} | {gap['largest']:.4f} "
            f"| {100 * gap['above_tolerance']:.0f} % |"
        )
    lines += ["", "| words taken out | largest | random | smallest |", "|---|---|---|---|"]
    for count, fall in figures["fall"].items():
        lines.append(f"| {count} | {fall['largest']:.2f} | {fall['random']:.2f} | {fall['smallest']:.2f} |")
    return lines


if __name__ == "__main__":
    main()
