"""A run's settings and figures as flat names and values, the form that trackers take.

A name without a dot is a column of `metrics.jsonl` or a figure of `record.json`; with a dot it is a path in
`record.json`: `test.accuracy`, `train.lr`.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from sentiscale.records import EpochMetrics, RunRecord
from sentiscale.tracking.seam import Scalar

SECTIONS = ("model", "wide", "vectors", "train")
"""Of the settings: those that say what is trained and how."""
FACTS = ("layout", "world_size", "threads_per_rank", "precision", "oversubscribed", "data_digest")
FIGURES = (
    "train_seconds", "steps", "epochs", "best_step", "rows_per_s", "tokens_per_s", "flops_utilisation",
    "bytes_reduced_per_step",
)  # fmt: skip


def settings_of(record: RunRecord) -> dict[str, Scalar]:
    """What was set and what it ran on, by dotted name; what is None is left out."""
    values = {name: getattr(record, name) for name in FACTS}
    settings = {section: record.settings.get(section, {}) for section in SECTIONS}
    named = {**values, **dict(flat(settings)), **dict(flat({"host": record.host.model_dump()}))}
    return {name: value for name, value in named.items() if isinstance(value, Scalar)}


def points_of(metrics: EpochMetrics) -> dict[str, float]:
    """The values of one validation, by column of `metrics.jsonl`."""
    columns = metrics.model_dump(exclude={"step"})
    return {name: float(value) for name, value in columns.items() if value is not None}


def scores_of(record: RunRecord) -> dict[str, float]:
    """Final scores and costs; lists such as the confusion matrix stay in `record.json`."""
    scores = dict(flat({"valid": record.valid, "test": record.test or {}}))
    figures = {name: getattr(record, name) for name in FIGURES}
    if record.peak_memory_mb_per_rank:
        figures["peak_memory_mb"] = max(record.peak_memory_mb_per_rank)
    named = {**scores, **figures}
    return {name: float(value) for name, value in named.items() if isinstance(value, int | float)}


def flat(nested: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Names and values of nested mappings, names joined by dots."""
    for key, value in nested.items():
        if isinstance(value, Mapping):
            yield from ((f"{key}.{name}", inner) for name, inner in flat(value))
        else:
            yield key, value
