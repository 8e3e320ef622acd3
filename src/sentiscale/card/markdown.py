"""A model card as Markdown with the front matter that model hubs read."""

import json
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any

from sentiscale.analysis.markdown import grid, plain, said
from sentiscale.analysis.page import seconds
from sentiscale.card.facts import Card, Evaluation, Slice, Slices

SHOWN_COSTS = {
    "epochs": "passes over the training rows", "steps": "optimiser steps",
    "rows_per_s": "reviews/s in the steps",
    "layout": "layout (replicas x stages)", "threads_per_rank": "threads a process", "precision": "precision",
    "core_hours": "core-hours", "peak_memory_mb": "peak memory of a process (MB)",
}  # fmt: skip


def markdown(card: Card) -> str:
    """The whole card: front matter, then one section each of what Mitchell et al. (2019) ask for."""
    parts = [
        front_matter(card),
        f"# {plain(card.name)}",
        _summary(card),
        *_use(card),
        *_limits(card),
        *_evaluations(card),
        *_slices(card),
        *_data(card),
        *_training(card),
    ]
    return "\n\n".join(parts) + "\n"


def front_matter(card: Card) -> str:
    """YAML between rules. Its values are written as JSON, which is YAML, so no text can break out of it."""
    fields: dict[str, Any] = {
        "language": card.language,
        "license": card.license,
        "library_name": "sentiscale",
        "pipeline_tag": "text-classification",
        "tags": ["sentiment-analysis", card.model["cell"], *(["n-grams"] if card.model["wide"] else [])],
        "metrics": ["accuracy", "f1"],
    }
    lines = [f"{name}: {json.dumps(value)}" for name, value in fields.items() if value is not None]
    if card.evaluations:
        lines += ["model-index:", f"- {json.dumps(_index(card, card.evaluations[0]))}"]
    return "\n".join(("---", *lines, "---"))


def _index(card: Card, found: Evaluation) -> dict[str, Any]:
    """The model's results in the form of Hugging Face's `model-index`."""
    metrics = [{"type": part.name, "value": round(part.share, 6)} for part in found.proportions]
    if found.f1 is not None:
        metrics.append({"type": "f1", "value": round(found.f1, 6)})
    return {
        "name": card.name,
        "results": [
            {
                "task": {"type": "text-classification", "name": "Sentiment classification"},
                "dataset": {
                    "name": f"prepared data {card.data_digest[:12]}",
                    "type": "reviews",
                    "split": found.split,
                },
                "metrics": metrics,
            }
        ],
    }


def _summary(card: Card) -> str:
    model = card.model
    wide = (
        f", beside a linear model of hashed n-grams up to {model['wide_longest']} words "
        f"({model['wide_buckets']:,} buckets)"
        if model["wide"]
        else ""
    )
    return (
        f"Labels reviews as negative or positive, with a probability. {model['cell'].upper()} of "
        f"{model['layers']} x {model['hidden_dim']} units over {model['vocab_size']:,} words of "
        f"{model['embedding_dim']} numbers each{wide}: {model['parameters']:,} parameters. Trained with "
        f"sentiscale {plain(card.versions.get('sentiscale', ''))} on {card.trained_at}, run {plain(card.id)}."
    )


def _use(card: Card) -> Iterable[str]:
    yield "## How to use it"
    yield (
        "For sorting, counting and reading reviews like those it was trained on. It is not made to decide "
        "about people, nor for text that is no review."
    )
    yield (
        '```bash\npip install sentiscale\necho "Not bad at all!" | sentiscale predict MODEL\n```\n\n'
        "```python\nfrom sentiscale import Predictor\n\n"
        'print(Predictor.load("MODEL").predict("Not bad at all!"))\n```'
    )
    yield "`MODEL` is the directory with `config.toml` and `weights.safetensors`. Nothing in it is executed."


def _limits(card: Card) -> Iterable[str]:
    yield "## Limits"
    yield "\n".join(f"- {said(sentence)}" for sentence in card.limits)


def _evaluations(card: Card) -> Iterable[str]:
    yield "## How good it is"
    if not card.evaluations:
        yield "The run has no scores."
    for found in card.evaluations:
        yield f"### On the {found.split} split: {found.rows:,} rows"
        yield grid(["", "share", "count", "95 % interval"], [
            [part.name, f"{part.share:.4f}", f"{part.count:,} of {part.of:,}", _interval(part.low, part.high)]
            for part in found.proportions
        ])  # fmt: skip
        auc = "undefined (one class)" if found.auc is None else f"{found.auc:.4f}"
        yield f"Loss {found.loss:.4f} nats a row; F1 {found.f1 or 0.0:.4f}; area under the ROC curve {auc}."
        if found.split == "valid":
            yield "Weights were chosen and probabilities calibrated on this split: it flatters the model."
        yield _confusion(found)
        yield from _calibration(found)
    yield (
        "Intervals are Wilson's (1927): they speak of other rows of the same kind, not of other training "
        "runs or other sources. Precision, recall and F1 are those of the positive class."
    )


def _confusion(found: Evaluation) -> str:
    names = ("truly negative", "truly positive")
    lines = [
        [name, *(f"{count:,}" for count in row)] for name, row in zip(names, found.confusion, strict=True)
    ]
    return grid(["", "said negative", "said positive"], lines)


def _calibration(found: Evaluation) -> Iterable[str]:
    if found.ece is not None:
        yield f"Calibration: expected error {found.ece:.4f} over 15 bins (Guo et al., 2017)."
    if found.calibration:
        yield grid(["confidence", "rows", "mean confidence", "accuracy"], [
            [
                f"{part.low:.2f} to {part.high:.2f}", f"{part.rows:,}",
                f"{part.confidence:.3f}", f"{part.accuracy:.3f}",
            ]
            for part in found.calibration
        ])  # fmt: skip


def _slices(card: Card) -> Iterable[str]:
    yield "## Parts of the rows"
    yield plain(card.slices_note)
    for division in card.slices:
        yield _division(division)


def _division(division: Slices) -> str:
    headings = [f"by {division.by}", "rows", "positive", "accuracy", "95 % interval", "mean confidence"]
    return grid(headings, [_slice_cells(part) for part in division.slices])


def _slice_cells(part: Slice) -> list[str]:
    return [
        part.name,
        f"{part.rows:,}",
        f"{100 * part.positive_share:.0f} %",
        f"{part.accuracy:.4f}",
        _interval(part.low, part.high),
        f"{part.confidence:.4f}",
    ]


def _data(card: Card) -> Iterable[str]:
    yield "## Data"
    told = [
        f"Digest of the prepared data: `{card.data_digest[:16]}`.",
        f"Cleaning: `{card.model['cleaning']}`.",
    ]
    if card.data is None:
        yield " ".join([*told, "Rows and classes are not in the record (see `--data`)."])
        return
    names = ", ".join(plain(PurePath(path).name) for path in card.data.inputs)
    yield " ".join(
        [*told, f"{card.data.duplicates:,} rows with the text of another one left out. From: {names}."]
    )
    yield grid(["split", "rows", "negative", "positive", "share of positive"], [
        _split_cells(split, rows, card.data.labels.get(split, {})) for split, rows in card.data.rows.items()
    ])  # fmt: skip


def _split_cells(split: str, rows: int, labels: Mapping[str, int]) -> list[str]:
    negative, positive = labels.get("negative", 0), labels.get("positive", 0)
    return [split, f"{rows:,}", f"{negative:,}", f"{positive:,}", f"{positive / max(rows, 1):.3f}"]


def _training(card: Card) -> Iterable[str]:
    host, cost = card.cost["host"], card.cost
    yield "## Training and its cost"
    gpu = f", {plain(host['gpu'])}" if host["gpu"] else ""
    yield (
        f"{seconds(cost['train_seconds'])} on {host['cores']} cores of {plain(host['cpu_model'])}{gpu}, "
        "everything after preparation included. Energy was not measured."
    )
    yield grid(["", "value"], [
        [SHOWN_COSTS[name], _shown(value)]
        for name, value in cost.items() if name in SHOWN_COSTS and value is not None
    ])  # fmt: skip
    yield "Settings:"
    yield "```toml\n" + "\n".join(_toml(card.settings)) + "\n```"
    versions = ", ".join(f"{plain(name)} {plain(version)}" for name, version in card.versions.items())
    commit = f" Commit `{card.git_commit[:12]}`." if card.git_commit else ""
    yield f"Versions: {versions}; Python {plain(host['python'])}, {plain(host['system'])}.{commit}"


def _toml(settings: Mapping[str, Mapping[str, Any]]) -> Iterable[str]:
    """Settings as `--config` takes them; those that are None are the default."""
    for section, values in settings.items():
        yield f"[{section}]"
        yield from (f"{name} = {json.dumps(value)}" for name, value in values.items() if value is not None)


def _interval(low: float, high: float) -> str:
    return f"{low:.4f} to {high:.4f}"


def _shown(value: Any) -> str:
    return f"{value:,.4g}" if isinstance(value, float) and abs(value) < 1000 else (
        f"{value:,.0f}" if isinstance(value, int | float) else str(value)
    )  # fmt: skip
