"""What a model card says, as plain values: what `sentiscale card --json` prints."""

from typing import Any

from pydantic import Field

from sentiscale.metrics import CalibrationBin
from sentiscale.records import Record, TrainedOn


class Proportion(Record):
    """A counted share."""

    name: str
    count: int
    of: int
    share: float
    low: float
    """Of the 95 % interval (Wilson, 1927)."""
    high: float


class Slice(Record):
    """Test rows that have something in common."""

    name: str
    rows: int
    positive_share: float
    """Of the rows, by their labels."""
    confidence: float
    """Mean probability of the labels given."""
    accuracy: float
    low: float
    """Of the 95 % interval of the accuracy."""
    high: float


class Slices(Record):
    """One way to divide the rows; every row is in one slice."""

    by: str
    slices: list[Slice]


class Evaluation(Record):
    """What was found on one split."""

    split: str
    rows: int
    loss: float
    f1: float | None
    auc: float | None
    ece: float | None
    confusion: list[list[int]]
    """[[true negatives, false positives], [false negatives, true positives]]."""
    proportions: list[Proportion]
    """Accuracy, precision and recall."""
    calibration: list[CalibrationBin]


class Card(Record):
    """A model card after Mitchell et al. (2019), "Model cards for model reporting"."""

    name: str
    run: str
    language: str | None
    """As the caller says; nothing in a run tells it."""
    license: str | None
    trained_at: str | None
    id: str
    model: dict[str, Any]
    """Cell, sizes, parameters, vocabulary, cleaning."""
    evaluations: list[Evaluation]
    """Test first, where there was one."""
    slices: list[Slices]
    slices_note: str
    """On what the slices were found, or why there are none."""
    data: TrainedOn | None
    """None where neither record nor data are there to tell."""
    data_digest: str
    settings: dict[str, Any]
    cost: dict[str, Any]
    versions: dict[str, str]
    git_commit: str | None
    limits: list[str] = Field(default_factory=list)
