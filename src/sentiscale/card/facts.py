"""What a model card says, as plain values: what `sentiscale card --json` prints."""

from typing import Any

from pydantic import Field

from sentiscale.metrics import CalibrationBin
from sentiscale.records import Record, TrainedOn


class Proportion(Record):
    """A counted share."""

    name: str
    """What was counted: accuracy, precision or recall."""
    count: int
    """Rows for which it holds."""
    of: int
    """Rows that were looked at."""
    share: float
    """`count` over `of`."""
    low: float
    """Of the 95 % interval (Wilson, 1927)."""
    high: float
    """Its upper end."""


class Slice(Record):
    """Test rows that have something in common."""

    name: str
    """What they have in common: a range of lengths, a class, a category."""
    rows: int
    """How many there are."""
    positive_share: float
    """Of the rows, by their labels."""
    confidence: float
    """Mean probability of the labels given."""
    accuracy: float
    """Share of them labelled correctly."""
    low: float
    """Of the 95 % interval of the accuracy."""
    high: float
    """Its upper end."""


class Slices(Record):
    """One way to divide the rows; every row is in one slice."""

    by: str
    """What divides them, as a heading."""
    slices: list[Slice]
    """In the order they are shown in."""


class Evaluation(Record):
    """What was found on one split."""

    split: str
    """test or valid."""
    rows: int
    """How many were scored."""
    loss: float
    """Mean binary cross-entropy, in nats."""
    f1: float | None
    """Harmonic mean of precision and recall."""
    auc: float | None
    """Area under the ROC curve; None when only one class occurs."""
    ece: float | None
    """Expected calibration error over 15 equal bins of confidence (Guo et al., 2017)."""
    confusion: list[list[int]]
    """[[true negatives, false positives], [false negatives, true positives]]."""
    proportions: list[Proportion]
    """Accuracy, precision and recall."""
    calibration: list[CalibrationBin]
    """Confidence against accuracy; empty in records from before it was kept."""


class Card(Record):
    """A model card after Mitchell et al. (2019), "Model cards for model reporting"."""

    name: str
    """What the model is called: the folder's name, or as the caller says."""
    run: str
    """Path of the run or model directory."""
    language: str | None
    """As the caller says; nothing in a run tells it."""
    license: str | None
    """As the caller says, too."""
    trained_at: str | None
    """Date the training ended, as in 2026-11-23."""
    id: str
    """Of the run, as in its record."""
    model: dict[str, Any]
    """Cell, sizes, parameters, vocabulary, cleaning."""
    evaluations: list[Evaluation]
    """Test first, where there was one."""
    slices: list[Slices]
    """Ways to divide the scored rows; empty where `slices_note` says why."""
    slices_note: str
    """On what the slices were found, or why there are none."""
    data: TrainedOn | None
    """None where neither record nor data are there to tell."""
    data_digest: str
    """Identity of the prepared data, as in their manifest."""
    settings: dict[str, Any]
    """What it was trained with: sections model, wide, vectors and train."""
    cost: dict[str, Any]
    """Seconds, core hours, speed, memory and the machine."""
    versions: dict[str, str]
    """Of sentiscale and the libraries it was trained with, by name."""
    git_commit: str | None
    """Commit of the folder the training was started in, if that was a repository."""
    limits: list[str] = Field(default_factory=list)
    """What the model cannot do, one sentence each."""
