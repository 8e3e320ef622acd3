"""Labelled rows out of a hat, and a simulated classifier on labels of which some were turned around."""

from collections.abc import Sequence
from dataclasses import fields
from itertools import pairwise
from typing import Any

import numpy as np

from sentiscale.label_errors.counts import ScoredBlock
from sentiscale.label_errors.facts import Mistake


def drawn_rows(rows: int, seed: int) -> ScoredBlock:
    """Rows of a decent classifier, with all lengths, shares and categories that matter."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, rows).astype(np.uint8)
    logits = random.normal(1.5, 2.0, rows) * np.where(labels == 1, 1, -1)
    lengths = random.integers(0, 61, rows)
    return ScoredBlock(
        logits=logits.astype(np.float32),
        labels=labels,
        lengths=lengths,
        unknown=np.round(random.random(rows) ** 4, 3),
        rare=random.random(rows) ** 2,
        categories=[f"shop {number}" for number in random.geometric(0.05, rows)],
    )


def drawn_classes(rows: int, classes: int, seed: int) -> ScoredBlock:
    """Rows of a decent classifier of K classes."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, rows).astype(np.uint8)
    logits = random.normal(0, 1.5, (rows, classes)) + 1.5 * np.eye(classes)[labels]
    nothing = np.zeros(rows)
    return ScoredBlock(logits.astype(np.float32), labels, nothing.astype(np.int64), nothing, nothing)


def mistake(logits: Sequence[float] = (-4.0,), label: int = 1, **changes: Any) -> Mistake:
    """A row with these logits, as `LabelledChunk.row` makes it."""
    values = np.array(logits, np.float32)
    block = ScoredBlock(
        values if len(logits) == 1 else values[None], np.array([label], np.uint8), *[np.zeros(1)] * 3
    )
    fields = {"file": "some/where/reviews.csv", "number": 7, "tokens": 9, "text": ""}
    return Mistake(
        **fields | changes,
        label=label,
        predicted=int(block.predicted[0]),
        logits=values,
        chances=block.chances[0],
        contradiction=float(block.contradiction[0]),
    )


def cut(block: ScoredBlock, ends: Sequence[int]) -> list[ScoredBlock]:
    """The same rows in several blocks."""
    columns = {field.name: getattr(block, field.name) for field in fields(ScoredBlock)}
    places = [0, *sorted(min(end, len(block.labels)) for end in ends), len(block.labels)]
    return [
        ScoredBlock(**{name: column[first:end] for name, column in columns.items() if column is not None})
        for first, end in pairwise(places)
    ]


def with_errors(rows: int, share: float, seed: int, strength: float = 6.0) -> tuple[ScoredBlock, np.ndarray]:
    """A calibrated classifier's answers on rows of which a share has the wrong label, and which those are."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, 2, rows)
    # Two normal distributions with means m and -m and variance 2 m: the logit is its own log-odds.
    logits = random.normal(np.where(truth == 1, strength, -strength), np.sqrt(2 * strength))
    wrong = random.random(rows) < share
    labels = np.where(wrong, 1 - truth, truth).astype(np.uint8)
    nothing = np.zeros(rows)
    return ScoredBlock(logits.astype(np.float32), labels, nothing.astype(np.int64), nothing, nothing), wrong
