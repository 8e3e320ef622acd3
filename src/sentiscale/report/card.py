"""Build a model card from a run's record, its model and the data that the model was trained on."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationError

from sentiscale.config import TRAINING_SECTIONS, PrepareSettings
from sentiscale.data.corpus import Corpus
from sentiscale.data.prepared import PreparedDataset
from sentiscale.errors import DataError, UsageError
from sentiscale.inference.evaluate import ScoredRows, rows_of_files, rows_of_split
from sentiscale.inference.predictor import Predictor
from sentiscale.model.decision import Decision
from sentiscale.model.directory import SavedModel
from sentiscale.model.metrics import class_scores, probabilities, score, score_intervals, summary
from sentiscale.model.thresholds import ThresholdEntry, read_threshold_report
from sentiscale.records import (
    CalibrationBin,
    ClassScores,
    Interval,
    Record,
    RunRecord,
    Scores,
    TrainedOn,
    load_record,
    reason_of,
)
from sentiscale.report.page import render_markdown
from sentiscale.text.classes import Classes
from sentiscale.text.formats import format_of
from sentiscale.text.vocab import SPECIAL
from sentiscale.util.progress import Progress
from sentiscale.util.proportions import wilson
from sentiscale.util.templates import finding, sentences

NO_CATEGORY = "(none)"


def rows_by_category(
    predictor: Predictor, table: Path, column: str, settings: PrepareSettings, progress: Progress
) -> tuple[ScoredRows, list[str]]:
    """Predict the reviews of a table and read the category of each review.

    Raises:
        UsageError: the file is not a table or does not have the column.
        DataError: the file cannot be read or contains no labelled review.
    """
    if not table.is_file():
        raise DataError(f"{table} is not a file. Pass one CSV, JSONL or Parquet file with --reviews.")
    categories = categories_of(table, column, settings)
    rows = rows_of_files(predictor, str(table), settings, progress)
    lines = rows.lines.tolist() if rows.lines is not None else []
    return rows, [categories.get(line, NO_CATEGORY) for line in lines]


def categories_of(table: Path, column: str, settings: PrepareSettings) -> dict[int, str]:
    """Read the category of each line: the file is read with the category column in place of the review."""
    named = {"text_column": column, "title_column": column, "label_column": None, "stars_column": None}
    corpus = Corpus.find([table], settings.model_copy(update=named), labels="none")
    if not format_of(corpus.sources[0].table).has_columns:
        raise UsageError(f"{table} has lines, no columns; --by {column} needs a CSV, JSONL or Parquet file.")
    found: dict[int, str] = {}
    for block in corpus.blocks():
        names = (bytes(text).decode("utf-8", "replace").strip() for text in block.text.to_pylist())
        found |= {line: name or NO_CATEGORY for line, name in zip(block.line.tolist(), names, strict=True)}
    return found


class Proportion(Record):
    name: str
    """Name of the metric: accuracy, precision or recall."""
    count: int
    """Number of rows predicted correctly among the counted rows."""
    of: int
    """Number of rows counted for the metric."""
    share: float
    """`count` divided by `of`."""
    low: float
    """Lower end of the 95 % interval (Wilson, 1927)."""
    high: float
    """Upper end of the 95 % interval."""


class Slice(Record):
    """Scores of the rows that share a property, such as a range of lengths."""

    name: str
    """Shared property of the rows: a range of lengths, a class or a category."""
    rows: int
    """Number of rows."""
    positive_share: float | None
    """Of two classes, the share of rows with the second, "positive"; None for more classes."""
    confidence: float
    """Mean probability of the predicted labels."""
    accuracy: float
    """Share of rows predicted correctly."""
    low: float
    """Lower end of the accuracy's 95 % interval."""
    high: float
    """Upper end of the accuracy's 95 % interval."""


class Slices(Record):
    """One division of the rows into slices; every row is in exactly one slice."""

    by: str
    """Property by which the rows are divided, as a heading."""
    slices: list[Slice]
    """Slices in display order."""


class Evaluation(Record):
    split: str
    """Name of the evaluated split, "test" or "valid"."""
    rows: int
    """Number of scored rows."""
    loss: float
    """Mean cross-entropy, in nats."""
    f1: float | None
    """Harmonic mean of precision and recall; of more than two classes, their mean."""
    auc: float | None
    """Area under the ROC curve; None when only one class occurs."""
    ece: float | None
    """Expected calibration error over 15 equal bins of confidence (Guo et al., 2017)."""
    short_share: float | None
    """Share of the rows answered without the network; None without a cascade."""
    short_accuracy: float | None
    """Accuracy of these rows."""
    network_accuracy: float | None
    """Accuracy of the other rows."""
    confusion: list[list[int]]
    """Number of rows by true class (list) and label (entry), without those labelled unsure."""
    unsure: int
    """Number of rows labelled unsure; they count as missed in every recall."""
    proportions: list[Proportion]
    """Accuracy and, of two classes, precision and recall of the second."""
    per_class: dict[str, ClassScores]
    """Scores of each class, with 95 % intervals."""
    means: dict[str, float]
    """Macro F1, balanced accuracy and, of stars, mean absolute error and quadratic weighted kappa."""
    intervals: dict[str, Interval]
    """95 % intervals of the means."""
    majority: str
    """The most frequent class."""
    majority_share: float
    """Its share of the rows: the accuracy of a model that always predicts it."""
    calibration: list[CalibrationBin]
    """Bins of confidence with their accuracy; empty for records written before this field existed."""


class ModelCard(Record):
    """A model card after Mitchell et al. (2019), "Model cards for model reporting"."""

    name: str
    """Name of the model: the value the caller passes, or the name of the run's folder."""
    run: str
    """Path of the run or model directory."""
    language: str | None
    """Language of the reviews, as passed by the caller; a run does not record it."""
    license: str | None
    """License of the model, as passed by the caller."""
    trained_at: str | None
    """Date on which training ended, as in 2026-11-23."""
    id: str
    """Id of the run, as in its record."""
    classes: list[str]
    """Names of the classes."""
    kind: str
    """How the classes were formed: binary, ternary, stars or labels."""
    decision: dict[str, dict[str, float]]
    """Weights, thresholds and limits of abstention, by class; all empty for the most probable class."""
    thresholds: list[ThresholdEntry]
    """How the thresholds were chosen and what they score; empty without thresholds."""
    model: dict[str, Any]
    """Cell, layer sizes, number of parameters, vocabulary size and cleaning rule of the model."""
    evaluations: list[Evaluation]
    """Scores by split, the test split first if there is one."""
    slices: list[Slices]
    """Divisions of the scored rows; if empty, `slices_note` contains the reason."""
    slices_note: str
    """Data on which the slices were computed, or the reason why there are none."""
    data: TrainedOn | None
    """Description of the training data; None if it is neither in the record nor available as data."""
    data_digest: str
    """Digest of the prepared data, as in their manifest."""
    settings: dict[str, Any]
    """Settings of the training: the sections model, wide, vectors and train."""
    cost: dict[str, Any]
    """Training seconds, core-hours, speed, memory and machine."""
    versions: dict[str, str]
    """Versions of sentiscale and its libraries at training time, by name."""
    git_commit: str | None
    """Commit of the working directory in which training was started, if it was a git repository."""
    limits: list[str] = Field(default_factory=list)
    """Limitations of the model, one sentence each."""


def markdown(card: ModelCard) -> str:
    """Render the card as Markdown: front matter, then the sections of Mitchell et al. (2019)."""
    found = card.evaluations[0] if card.evaluations else None
    decided = {entry.class_name for entry in card.thresholds if entry.measure != "abstain"}
    return render_markdown(
        "card.md",
        card=card,
        lopsided=found if found and found.majority_share > LOPSIDED else None,
        matrix_classes=MATRIX_CLASSES,
        confusions=[largest_confusions(card.classes, each.confusion) for each in card.evaluations],
        curves=[
            (entry, entry.curve[:: -(-len(entry.curve) // CURVE_POINTS)])
            for entry in card.thresholds
            if entry.curve and (entry.measure != "abstain" or entry.class_name not in decided)
        ],
        front_matter=front_matter(card),
        inputs=[PurePath(path).name for path in card.data.inputs] if card.data else [],
    )


def largest_confusions(names: Sequence[str], confusion: list[list[int]]) -> list[tuple[str, str, int, int]]:
    """Return the most frequent mistakes: true class, label, rows, and rows of the true class with a label."""
    found = [
        (names[code], names[label], rows, sum(line))
        for code, line in enumerate(confusion)
        for label, rows in enumerate(line)
        if rows and label != code
    ]
    return sorted(found, key=lambda each: -each[2])[:MOST_CONFUSIONS]


def front_matter(card: ModelCard) -> str:
    """YAML front matter for model hubs; values are written as JSON, which is valid YAML and safely quoted."""
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
    return "\n".join(lines)


def _index(card: ModelCard, found: Evaluation) -> dict[str, Any]:
    """Results in the format of Hugging Face's `model-index`."""
    metrics = [{"type": part.name, "value": round(part.share, 6)} for part in found.proportions]
    if found.f1 is not None:
        named = {"name": "macro F1"} if len(card.classes) > 2 else {}
        metrics.append({"type": "f1", **named, "value": round(found.f1, 6)})
    data = {"name": f"prepared data {card.data_digest[:12]}", "type": "reviews", "split": found.split}
    task = {"type": "text-classification", "name": "Sentiment classification"}
    return {"name": card.name, "results": [{"task": task, "dataset": data, "metrics": metrics}]}


LOPSIDED = 0.6
"""Share of the most frequent class above which accuracy alone misleads."""
MATRIX_CLASSES, MOST_CONFUSIONS = 12, 20
"""Most classes for which a confusion matrix is readable; for more, the card lists the largest confusions."""
CURVE_POINTS = 12
"""Most points of a precision-recall curve that the card lists."""
LENGTHS = (8, 16, 32, 64, 128, 256)
"""Upper bounds of the slices by length, in tokens."""
UNKNOWN = (0.0, 0.01, 0.02, 0.05, 0.1)
"""Upper bounds of the slices by share of unknown words."""
MOST_CATEGORIES = 50
"""Number of categories that are listed separately, those with the most rows."""


def usual_slices(rows: ScoredRows, read_tokens: int, decision: Decision) -> list[Slices]:
    """Divide rows by length, by whether the network reads all of them, by unknown words and by class.

    Args:
        rows: scored rows.
        read_tokens: number of tokens of a review that the network reads.
        decision: how labels follow from probabilities.
    """
    longer = (rows.lengths > read_tokens).astype(int)
    return [
        divided("length in tokens", rows, *by_length(rows.lengths), decision),
        divided(
            f"what the network reads ({read_tokens} tokens)",
            rows,
            longer,
            ["wholly", "beginning and end only"],
            decision,
        ),
        divided("unknown words", rows, *by_share(rows.unknown), decision),
        divided("true class", rows, rows.labels.astype(int), decision.names, decision),
    ]


def by_length(lengths: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.intp], list[str]]:
    """Divide rows by length; returns the slice index of each row and the names of the slices."""
    firsts = (1, *(end + 1 for end in LENGTHS))
    names = [f"{first} to {end}" for first, end in zip(firsts, LENGTHS, strict=False)]
    return np.searchsorted(LENGTHS, lengths), [*names, f"{firsts[-1]} and more"]


def by_share(shares: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.intp], list[str]]:
    """Divide rows by share, from 0 to 1; returns the slice index of each row and the names of the slices."""
    names = [f"up to {100 * end:g} %" for end in UNKNOWN[1:]]
    return np.searchsorted(UNKNOWN, shares), ["none", *names, f"more than {100 * UNKNOWN[-1]:g} %"]


def by_category(categories: Sequence[str]) -> tuple[npt.NDArray[np.intp], list[str]]:
    """Divide rows by category; returns the slice index of each row and the names, most frequent first.

    Categories after the first MOST_CATEGORIES are combined into one slice.
    """
    counts = Counter(categories)
    names = sorted(counts, key=lambda name: (-counts[name], name))
    place = {name: min(rank, MOST_CATEGORIES) for rank, name in enumerate(names)}
    if len(names) > MOST_CATEGORIES:
        names = [*names[:MOST_CATEGORIES], f"{len(names) - MOST_CATEGORIES} others"]
    return np.array([place[name] for name in categories], np.intp), names


def divided(
    by: str, rows: ScoredRows, place: npt.NDArray[np.integer], names: Sequence[str], decision: Decision
) -> Slices:
    """Score the rows of each slice; rows labelled unsure and slices without rows are left out.

    Args:
        by: property by which the rows are divided.
        rows: all rows.
        place: slice of each row (rows,), as an index into `names`.
        names: names of the slices.
        decision: how labels follow from probabilities.
    """
    chances = probabilities(rows.logits)
    codes = decision.codes(chances)
    kept = np.flatnonzero(codes < len(decision.names))
    columns = (None, (codes == rows.labels)[kept], rows.labels[kept] == 1, chances[kept, codes[kept]])
    sums = [np.bincount(place[kept], weights, minlength=len(names)).tolist() for weights in columns]
    binary = len(decision.names) == 2
    slices = []
    for name, count, hits, positive, confidence in zip(names, *sums, strict=True):
        if count:
            low, high = wilson(int(hits), count)
            slices.append(
                Slice(
                    name=name,
                    rows=count,
                    positive_share=positive / count if binary else None,
                    confidence=confidence / count,
                    accuracy=hits / count,
                    low=low,
                    high=high,
                )
            )
    return Slices(by=by, slices=slices)


RARE_ROWS = 30
"""Smallest number of rows for a slice to be listed among the limitations."""
UNEVEN = 0.02
"""Smallest difference from the overall accuracy for a slice to be listed among the limitations."""


def limits_of(card: ModelCard) -> list[str]:
    """List the limitations of the model, one sentence each, with this model's numbers where known."""
    model = card.model
    limits = [
        finding("classes", kind=card.kind, names=card.classes),
        finding("language", language=card.language),
        finding("vocabulary", words=model["vocab_size"] - len(SPECIAL)),
        finding("length", read=model["max_tokens"], stored=model["stored_tokens"], wide=model["wide"]),
        finding("sources"),
        finding("people"),
        finding("probabilities", evaluation=card.evaluations[0] if card.evaluations else None),
    ]
    for division in card.slices:
        rows = sum(part.rows for part in division.slices)
        accuracy = sum(part.accuracy * part.rows for part in division.slices) / max(rows, 1)
        weak = [
            part
            for part in division.slices
            # Worse by more than the threshold, with the whole interval below the overall accuracy.
            if part.rows >= RARE_ROWS and part.accuracy < accuracy - UNEVEN and part.high < accuracy
        ]
        if weak:
            limits.append(finding("weak_slices", by=division.by, accuracy=accuracy, slices=weak))
    return sentences(__package__, "card.jinja", limits)


BRANCHES = ("short_share", "short_accuracy", "network_accuracy")
"""Scores of models with a cascade."""
MEANS = ("macro_f1", "balanced_accuracy", "mae", "quadratic_kappa")
COSTS = ("train_seconds", "steps", "epochs", "rows_per_s", "layout", "threads_per_rank", "precision")


@dataclass(frozen=True)
class CardChoices:
    """Information for a card that the run's record does not contain."""

    name: str | None = None
    language: str | None = None
    license: str | None = None
    data: Path | None = None
    """Path of the prepared data, if they are no longer at the path in the record."""
    reviews: Path | None = None
    """Labelled table with a column of categories."""
    by: str | None = None
    """Name of the category column."""
    reading: PrepareSettings = field(default_factory=PrepareSettings)
    """Settings for reading the table."""


def make_card(
    run: str | Path, choices: CardChoices | None = None, progress: Progress | None = None
) -> ModelCard:
    """Build the card of a run directory, or of a model directory with its record.

    Scores are taken from the record. Slices are computed by predicting the test split again, if its data are
    available.

    Raises:
        UsageError: only one of `reviews` and `by` is set.
        DataError: there is no model or record, or the given data cannot be used.
    """
    choices, progress = choices or CardChoices(), progress or Progress()
    if (choices.reviews is None) != (choices.by is None):
        raise UsageError("--reviews FILE and --by COLUMN must be passed together, to slice by category.")
    path = Path(run)
    model_path = path if (path / "config.toml").exists() else path / "model"
    record = _record(path, model_path)
    predictor = Predictor.load(model_path)
    slices, note = _slices(record, predictor, choices, progress)
    if choices.reviews is not None and choices.by is not None:
        rows, names = rows_by_category(predictor, choices.reviews, choices.by, choices.reading, progress)
        left_out = f", {rows.left_out.total:,} rows left out" if rows.left_out.total else ""
        where = f"{choices.by} (in {choices.reviews.name}{left_out}{_seen(record, choices.reviews)})"
        for line in rows.left_out.lines():
            progress.say(line)
        slices = [*slices, divided(where, rows, *by_category(names), predictor.decision)]
    card = ModelCard(
        name=choices.name or (path.resolve().parent if path == model_path else path.resolve()).name,
        run=str(path),
        language=choices.language,
        license=choices.license,
        trained_at=(record.finished_at or record.started_at).date().isoformat(),
        id=record.id,
        classes=list(predictor.classes.names),
        kind=predictor.classes.kind,
        decision=decision_facts(predictor.decision),
        thresholds=threshold_entries(model_path),
        model=model_facts(predictor.model),
        evaluations=evaluations_of(record, predictor.classes),
        slices=slices,
        slices_note=note,
        data=_data(record, choices),
        data_digest=record.data_digest,
        settings={name: record.settings.get(name, {}) for name in TRAINING_SECTIONS},
        cost=cost_of(record),
        versions=record.versions,
        git_commit=record.git_commit,
    )
    return card.model_copy(update={"limits": limits_of(card)})


def _seen(record: RunRecord, table: Path) -> str:
    """Warning for the heading if the model's data were prepared from the table; otherwise empty."""
    known = {Path(name).resolve() for name in record.data.inputs} if record.data else set()
    return ", which the model's data were made from: it flatters" if table.resolve() in known else ""


def model_facts(model: SavedModel) -> dict[str, Any]:
    """Model sizes, vocabulary size, token limits and cleaning rule, for the card."""
    config = model.config
    return {
        **config.model.model_dump(exclude={"dropout"}),
        "wide": model.wide is not None,
        "wide_longest": config.wide_longest,
        "wide_buckets": len(model.wide.weights) if model.wide else None,
        "parameters": model.parameters,
        "vocab_size": len(model.vocab),
        "max_tokens": config.max_tokens,
        "stored_tokens": config.stored_tokens,
        "cleaning": config.cleaning,
        "cleaning_version": config.cleaning_version,
    }


def decision_facts(decision: Decision) -> dict[str, dict[str, float]]:
    """The parts of a decision, each by class."""
    parts = {"weights": decision.weights, "thresholds": decision.thresholds, "abstain": decision.abstain}
    return {name: dict(values) for name, values in parts.items()}


def threshold_entries(model_path: Path) -> list[ThresholdEntry]:
    report = read_threshold_report(model_path)
    return report.entries if report else []


def evaluations_of(record: RunRecord, classes: Classes) -> list[Evaluation]:
    """Scores of the run on its test and validation splits."""
    found = (("test", record.test), ("valid", record.valid))
    try:
        return [
            evaluation(split, Scores.model_validate(scores), classes) for split, scores in found if scores
        ]
    except ValidationError as error:
        raise DataError(f"the scores in record.json are incomplete: {reason_of(error)}.") from error


def evaluation(split: str, scores: Scores, classes: Classes) -> Evaluation:
    """Add counts and intervals to the scores of a split, and the scores that older records do not have."""
    answered = np.array(scores.confusion)
    if answered.shape != (len(classes), len(classes)):
        raise DataError(
            f"the scores of the {split} split in record.json are not those of {len(classes)} classes."
        )
    rows = np.array(
        [scores.per_class[name].rows if name in scores.per_class else 0 for name in classes.names]
    )
    unsure = np.maximum(rows - answered.sum(axis=1), 0)
    found = np.column_stack([answered, unsure])
    per_class, right = class_scores(found, classes, intervals=True), np.diagonal(answered)
    counted = [("accuracy", int(right.sum()), int(answered.sum()))]
    if len(classes) == 2:
        given, of = int(answered[:, 1].sum()), int(found[1].sum())
        counted += [("precision", int(right[1]), given), ("recall", int(right[1]), of)]
    means = {name: value.item() for name, value in summary(found, classes).items() if name in MEANS}
    ends = score_intervals(found, classes, None)
    majority = int(found.sum(axis=1).argmax())
    return Evaluation(
        split=split,
        **scores.model_dump(include={"rows", "loss", "f1", "auc", "ece", "confusion", *BRANCHES}),
        unsure=int(unsure.sum()),
        proportions=[_proportion(name, count, of) for name, count, of in counted],
        per_class=per_class,
        means=means,
        intervals={name: ends[name] for name in means},
        majority=classes.names[majority],
        majority_share=float(found[majority].sum() / max(found.sum(), 1)),
        calibration=scores.calibration,
    )


def cost_of(record: RunRecord) -> dict[str, Any]:
    """Time, memory and machine of the training."""
    peaks = record.peak_memory_mb_per_rank
    return {
        **{name: getattr(record, name) for name in COSTS},
        "core_hours": round(record.train_seconds * record.world_size * record.threads_per_rank / 3600, 4),
        "peak_memory_mb": max(peaks) if peaks else None,
        "host": record.host.model_dump(exclude={"load_1m"}),
    }


def _record(path: Path, model_path: Path) -> RunRecord:
    if not (model_path / "config.toml").exists():
        raise DataError(
            f"{path} has no model; a card requires a finished run. List runs with `sentiscale runs`."
        )
    for place in (path, model_path):
        try:
            return load_record(place / "record.json", RunRecord)
        except FileNotFoundError:
            continue
    raise DataError(
        f"{path} has no record.json, which contains the model's settings and scores. "
        "Copy it from the run directory of the training."
    )


def _proportion(name: str, count: int, of: int) -> Proportion:
    low, high = wilson(count, of)
    return Proportion(name=name, count=count, of=of, share=count / max(of, 1), low=low, high=high)


def _data(record: RunRecord, choices: CardChoices) -> TrainedOn | None:
    """Training data as described in the record or, for older records, in matching `choices.data`."""
    if record.data is not None or choices.data is None:
        return record.data
    dataset = PreparedDataset.open(choices.data, verify=False)
    if dataset.manifest.digest != record.data_digest:
        return None
    return dataset.described()


def _slices(
    record: RunRecord, predictor: Predictor, choices: CardChoices, progress: Progress
) -> tuple[list[Slices], str]:
    """Slices of the test split, with a note on how they were computed or why there are none."""
    place = choices.data or (Path(record.data.path) if record.data else None)
    if place is None:
        return [], "The record does not contain the path of the prepared data. Pass --data to compute slices."
    if choices.data is None and not place.exists():
        return [], "The prepared data are no longer at the recorded path. Pass --data to compute slices."
    dataset = PreparedDataset.open(place)
    split = "test" if dataset.manifest.rows.get("test") else "valid"
    same = dataset.manifest.digest == record.data_digest
    if not same and choices.data is None:
        return [], "The recorded path now contains different data. Pass --data to compute slices."
    progress.say(f"predicting the {split} split, {dataset.manifest.rows[split]:,} rows")
    rows = rows_of_split(predictor, dataset, split)
    read = predictor.model.config.max_tokens
    return usual_slices(rows, read, predictor.decision), _how(rows, predictor, split, same, record)


def _how(rows: ScoredRows, predictor: Predictor, split: str, same: bool, record: RunRecord) -> str:
    scores = score(rows.logits, rows.labels, predictor.classes, predictor.decision)
    accuracy, unsure = scores.accuracy, scores.unsure
    whose = f"the {split} split" if same else f"the {split} split of a different dataset"
    told = (
        f"Computed by predicting all {len(rows.labels):,} rows of {whose} in fp32: accuracy {accuracy:.4f}."
    )
    if unsure:
        told += f" The {unsure:,} rows labelled unsure are left out."
    if not predictor.decision.is_default:
        told += " Labels are decided as described above."
    return (
        told
        if record.precision == "fp32"
        else f"{told} The scores above are those of the run, in {record.precision}."
    )
