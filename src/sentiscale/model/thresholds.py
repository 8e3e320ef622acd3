"""The report on a model's thresholds: how each was chosen, what it scores, and a curve to choose others from.

The file `thresholds.json` of a model directory is for readers; predictions follow `config.toml` alone.
"""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from sentiscale.errors import DataError, quoted
from sentiscale.records import Amount, ClassScores, Count, Fraction, Interval, Record, load_record
from sentiscale.text.classes import MAX_CLASSES

THRESHOLDS = "thresholds.json"
MAX_POINTS = 200
"""Points of a stored curve."""

Measure = Literal["precision", "recall", "cost", "abstain"]


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError(f"{quoted(text)} has a character that cannot be printed")
    return text


ShortText = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(_printable)]


class Costs(Record):
    """What mistakes on a class cost, in any unit."""

    fp: Amount
    """Cost of a row of another class that is given the label."""
    fn: Amount
    """Cost of a row of the class that is not given the label."""


class ThresholdScores(Record):
    """Scores of a class on some labelled rows, without thresholds and with them."""

    part: ShortText
    """Which rows: a split, or a part of a file."""
    rows: Count
    """Number of rows, of all classes."""
    before: ClassScores
    """Scores without thresholds: the most probable class, or with class weights the one they favour."""
    after: ClassScores
    """Scores with the thresholds of the model, this one included."""
    unsure: Fraction = 0.0
    """Share of rows that are labelled unsure with them."""
    cost_before: Amount | None = None
    """Mean cost of a row without thresholds; None if no costs were given."""
    cost: Amount | None = None
    """Mean cost of a row with them; None if no costs were given."""
    cost_interval: Interval | None = None
    """95 % interval of the mean cost; None if no costs were given."""


class ThresholdPoint(Record):
    """Precision and recall that a threshold would give."""

    recall: Fraction
    """Share of the class's rows that would be given its label."""
    precision: Fraction
    """Share of the rows given the label that would be of the class."""
    threshold: Fraction
    """The threshold."""


class ThresholdEntry(Record):
    """A threshold of one class, or of every class, and what it scores.

    For every class, precision is the share of labels that are right, without unsure rows, and recall the
    share of all rows whose label is right.
    """

    class_name: ShortText | None
    """The class; None if the threshold holds for every class."""
    measure: Measure
    """What was asked for; `abstain` makes labels unsure, the others decide between the class and the rest."""
    target: Fraction | None = None
    """The value asked for; None for costs."""
    costs: Costs | None = None
    """The costs asked for; None for other measures."""
    threshold: Fraction
    """Smallest probability of the label."""
    chosen: ThresholdScores
    """Scores on the rows that the threshold was chosen on, which are too good by selection."""
    reported: ThresholdScores
    """Scores on other rows."""
    data: ShortText
    """Path of the labelled data."""
    data_digest: Annotated[str, Field(max_length=128)] | None = None
    """Digest of prepared data; None for a file."""
    date: datetime
    """When the threshold was set."""
    curve: Annotated[list[ThresholdPoint], Field(max_length=MAX_POINTS)] = Field(default_factory=list)
    """Precision against recall on the rows reported on, from high thresholds to low ones."""


class ThresholdReport(Record):
    """Contents of `thresholds.json`."""

    entries: Annotated[list[ThresholdEntry], Field(max_length=2 * MAX_CLASSES)] = Field(default_factory=list)
    """The thresholds of the model, in the order in which they were set."""

    def without(self, class_name: str | None, measure: Measure | None = None) -> "ThresholdReport":
        """Return the report without the entries of a class, or all if it is None, that a new one replaces.

        With a measure, an entry for abstaining is replaced by one for abstaining only, any other by the rest.
        """

        def replaced(entry: ThresholdEntry) -> bool:
            same = measure is None or (entry.measure == "abstain") == (measure == "abstain")
            return same and class_name in (None, entry.class_name)

        return ThresholdReport(entries=[entry for entry in self.entries if not replaced(entry)])


def read_threshold_report(path: Path) -> ThresholdReport | None:
    """Read the report of a model directory; None if the model has none.

    The file may come from anyone: texts in it must be escaped on pages.

    Raises: DataError when the file cannot be read, or a value in it is not possible.
    """
    try:
        return load_record(path / THRESHOLDS, ThresholdReport)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except DataError as error:
        raise DataError(f"{error} Delete the file, or remove all thresholds with --clear.") from error
