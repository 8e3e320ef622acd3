"""Gather what a model card says, from a run's record, its model and the data it was trained on."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sentiscale.analysis.proportions import wilson
from sentiscale.card.categories import rows_by_category
from sentiscale.card.facts import Card, Evaluation, Proportion, Slices
from sentiscale.card.slices import by_category, divided, usual_slices
from sentiscale.card.words import limits_of
from sentiscale.config import PrepareSettings
from sentiscale.data.prepared import PreparedDataset
from sentiscale.errors import DataError, UsageError
from sentiscale.evaluation import ScoredRows, rows_of_split
from sentiscale.metrics import Scores, score
from sentiscale.modeldir import SavedModel
from sentiscale.predictor import Predictor
from sentiscale.progress import Progress
from sentiscale.records import RunRecord, TrainedOn, reason_of

COSTS = ("train_seconds", "steps", "epochs", "rows_per_s", "layout", "threads_per_rank", "precision")


@dataclass(frozen=True)
class CardChoices:
    """What a caller may add to what the run itself knows."""

    name: str | None = None
    language: str | None = None
    license: str | None = None
    data: Path | None = None
    """Prepared data, where they are no longer at the path of the record."""
    reviews: Path | None = None
    """A labelled table with a column of categories."""
    by: str | None = None
    """That column."""
    reading: PrepareSettings = field(default_factory=PrepareSettings)
    """How the table is read."""


def make_card(run: str | Path, choices: CardChoices | None = None, progress: Progress | None = None) -> Card:
    """Describe a trained model: a run directory, or a model directory with its record.

    Scores come from the record. Slices are found by labelling the test split again, if its data are there.

    Raises:
        UsageError: one of `reviews` and `by` without the other.
        DataError: there is no model or record, or data that were named cannot be used.
    """
    choices, progress = choices or CardChoices(), progress or Progress()
    if (choices.reviews is None) != (choices.by is None):
        raise UsageError("--reviews FILE and --by COLUMN go together: slices by the categories of a table.")
    path = Path(run)
    model_path = path if (path / "config.toml").exists() else path / "model"
    record = _record(path, model_path)
    predictor = Predictor.load(model_path)
    slices, note = _slices(record, predictor, choices, progress)
    if choices.reviews is not None and choices.by is not None:
        rows, names = rows_by_category(predictor, choices.reviews, choices.by, choices.reading, progress)
        where = f"{choices.by} (in {choices.reviews.name}{_seen(record, choices.reviews)})"
        slices = [*slices, divided(where, rows, *by_category(names))]
    card = Card(
        name=choices.name or (path.resolve().parent if path == model_path else path.resolve()).name,
        run=str(path),
        language=choices.language,
        license=choices.license,
        trained_at=(record.finished_at or record.started_at).date().isoformat(),
        id=record.id,
        model=model_facts(predictor.model),
        evaluations=evaluations_of(record),
        slices=slices,
        slices_note=note,
        data=_data(record, choices),
        data_digest=record.data_digest,
        settings={name: record.settings.get(name, {}) for name in ("model", "wide", "vectors", "train")},
        cost=cost_of(record),
        versions=record.versions,
        git_commit=record.git_commit,
    )
    return card.model_copy(update={"limits": limits_of(card)})


def _seen(record: RunRecord, table: Path) -> str:
    """A warning where the table is one of the files that the model's data were made from."""
    known = {Path(name).resolve() for name in record.data.inputs} if record.data else set()
    return ", which the model's data were made from: it flatters" if table.resolve() in known else ""


def model_facts(model: SavedModel) -> dict[str, Any]:
    """The model's shape, and what it takes."""
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
    }


def evaluations_of(record: RunRecord) -> list[Evaluation]:
    """What the run found on its test and validation splits."""
    found = (("test", record.test), ("valid", record.valid))
    return [evaluation(split, Scores.model_validate(scores)) for split, scores in found if scores]


def evaluation(split: str, scores: Scores) -> Evaluation:
    """Scores with their counts and intervals."""
    (true_negative, false_positive), (false_negative, true_positive) = scores.confusion
    counted = (
        ("accuracy", true_negative + true_positive, scores.rows),
        ("precision", true_positive, true_positive + false_positive),
        ("recall", true_positive, true_positive + false_negative),
    )
    return Evaluation(
        split=split,
        **scores.model_dump(include={"rows", "loss", "f1", "auc", "ece", "confusion"}),
        proportions=[_proportion(name, count, of) for name, count, of in counted],
        calibration=scores.calibration,
    )


def cost_of(record: RunRecord) -> dict[str, Any]:
    """What training took, and on what."""
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
            f"{path} has no model; a card describes a finished run. `sentiscale runs` lists runs."
        )
    for place in (path, model_path):
        try:
            return RunRecord.model_validate_json((place / "record.json").read_bytes())
        except FileNotFoundError:
            continue
        except (OSError, ValidationError) as error:
            raise DataError(
                f"{place / 'record.json'} cannot be read: {reason_of(error)}. Copy or train it again."
            ) from error
    raise DataError(
        f"{path} has no record.json, which says how the model was trained and how good it is. "
        "Copy it from where the model was trained."
    )


def _proportion(name: str, count: int, of: int) -> Proportion:
    low, high = wilson(count, of)
    return Proportion(name=name, count=count, of=of, share=count / max(of, 1), low=low, high=high)


def _data(record: RunRecord, choices: CardChoices) -> TrainedOn | None:
    """What the record says of the data; of an older record, what `choices.data` says if they are the same."""
    if record.data is not None or choices.data is None:
        return record.data
    dataset = PreparedDataset.open(choices.data, verify=False)
    if dataset.manifest.digest != record.data_digest:
        return None
    return dataset.described()


def _slices(
    record: RunRecord, predictor: Predictor, choices: CardChoices, progress: Progress
) -> tuple[list[Slices], str]:
    """The usual slices of the test split, and a sentence on how they came about or why there are none."""
    place = choices.data or (Path(record.data.path) if record.data else None)
    if place is None:
        return [], "The record does not say where the prepared data are. Name them with --data for slices."
    if choices.data is None and not place.exists():
        return [], "The prepared data are no longer where they were, so there are no slices (see --data)."
    dataset = PreparedDataset.open(place)
    split = "test" if dataset.manifest.rows.get("test") else "valid"
    same = dataset.manifest.digest == record.data_digest
    if not same and choices.data is None:
        return [], "Other data lie now where the prepared data were, so there are no slices (see --data)."
    progress.say(f"labelling the {split} split, {dataset.manifest.rows[split]:,} rows")
    rows = rows_of_split(predictor, dataset, split)
    return usual_slices(rows, predictor.model.config.max_tokens), _how(rows, split, same, record)


def _how(rows: ScoredRows, split: str, same: bool, record: RunRecord) -> str:
    accuracy = score(rows.logits, rows.labels).accuracy
    whose = f"the {split} split" if same else f"the {split} split of other data than it was trained on"
    told = f"Found by labelling all {len(rows.labels):,} rows of {whose} in fp32: accuracy {accuracy:.4f}."
    return (
        told
        if record.precision == "fp32"
        else f"{told} The scores above are of the run, in {record.precision}."
    )
