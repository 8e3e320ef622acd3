"""The triage page: one HTML file that needs no network."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from sentiscale.label_errors.counts import FEW_ROWS, Division, ReviewGroup
from sentiscale.label_errors.facts import Mistake, TriageFacts, accuracy_text
from sentiscale.model.metrics import CalibrationBin
from sentiscale.report.charts import Axis, Bar, BarChart, BarPart, Chart, round_up
from sentiscale.report.eda_counts import CLASSES
from sentiscale.report.eda_samples import UNKNOWN_SIGN, TextPiece
from sentiscale.report.page import render
from sentiscale.study.analysis.intervals import wilson
from sentiscale.util.numbers import count, percent

LONGEST_SHOWN = 3_000
"""Characters of a review that the page shows."""
BOUNDS = (0.15, 0.4, 0.75)
"""Shares of a review's largest contribution from which a word is tinted faintly, clearly, strongly."""
LEAST_LARGEST = 0.3
"""Logit that the largest contribution counts as at least: where no word says much, no tint is strong."""
ROOM = 1.02
"""The longest bar ends a little before the end of its scale."""

Tint = tuple[int, int, float]
"""A word's first character, one past its last, and what it contributed to the logit."""


@dataclass(frozen=True)
class ShownMistake:
    """A mistake as the page shows it."""

    row: Mistake
    text: str
    """For a person; of prepared data the cleaned text, unless the raw one was kept."""
    tints: Sequence[Tint] = ()
    """Empty where contributions are not known."""

    @property
    def place(self) -> str:
        """File and line, without folders: they may tell more than they should."""
        return f"{PurePath(self.row.file).name}:{self.row.number}"

    @property
    def pieces(self) -> list[TextPiece]:
        """The text, cut where it is long, with its words tinted."""
        return tinted(self.text[:LONGEST_SHOWN], self.tints)

    @property
    def more(self) -> int:
        """Characters that are not shown."""
        return max(0, len(self.text) - LONGEST_SHOWN)


def triage_page(
    facts: TriageFacts, doubtful: Sequence[ShownMistake], drawn: Sequence[ShownMistake], note: str
) -> str:
    """The page as HTML.

    Args:
        facts: all numbers.
        doubtful: rows with a doubtful label; the most confident mistakes where no label is doubtful.
        drawn: mistakes drawn at random.
        note: where the texts come from; may be empty.
    """
    model = PurePath(facts.model)  # RUN/model is known by the name of RUN
    return render(
        "triage.html",
        facts=facts,
        classes=CLASSES,
        name=(model.parent.name or "model") if model.name == "model" else model.name,
        data=PurePath(facts.data).name,
        accuracy=accuracy_text(facts.everything),
        doubtful=doubtful,
        drawn=drawn,
        note=note,
        views=[(division, mistake_bars(division)) for division in facts.divisions],
        few_rows=FEW_ROWS,
        reliability=reliability_chart(facts.calibration),
    )


def tinted(text: str, tints: Sequence[Tint]) -> list[TextPiece]:
    """Cut a text into pieces, its words graded by what they contributed: above 0 speaks for positive."""
    largest = max([LEAST_LARGEST, *(abs(share) for _, _, share in tints)])
    pieces: list[TextPiece] = []
    at = 0
    for start, end, share in tints:
        word = text[start:end]
        strength = sum(abs(share) >= bound * largest for bound in BOUNDS)
        if start < at or not word or (strength == 0 and word != UNKNOWN_SIGN):
            continue
        side = CLASSES[share > 0] if strength else "unknown"
        pieces += [TextPiece(text[at:start]), TextPiece(word, side, strength)]
        at = start + len(word)
    pieces.append(TextPiece(text[at:]))
    return [piece for piece in pieces if piece.text]


def mistake_bars(division: Division) -> BarChart:
    """Share of mistakes of each group, on one scale that large groups set."""
    counted = [group for group in division.groups if not group.is_small]
    high = round_up(ROOM * max((1 - group.interval[0] for group in counted or division.groups), default=1.0))
    axis = Axis("", 0, min(high, 1.0), percent=True)
    title = f"Mistakes by {division.title}"
    shares = [1 - group.accuracy for group in counted]
    if len(shares) > 1:
        title += f": {percent(min(shares))} to {percent(max(shares))}"
    return BarChart(
        title,
        f"Share of mistakes by {division.title}, one line for each group.",
        "share of mistakes; the pale end is the 95 % interval",
        [_bar(group, axis.high) for group in division.groups],
        axis,
    )


def _bar(group: ReviewGroup, high: float) -> Bar:
    """Solid up to the interval's low end, pale up to its high end."""
    least, most = 1 - group.interval[1], 1 - group.interval[0]
    solid = round(100 * min(least / high, 1), 2)
    pale = round(100 * min(most / high, 1) - solid, 2)
    interval = f"{100 * least:.1f} to {100 * most:.1f} %"
    return Bar(
        group.name,
        [BarPart(solid, "accent"), BarPart(pale, "accent pale")],
        percent(1 - group.accuracy),
        interval,
        "few rows" if group.is_small else "",
        tip=f"{group.name}: {count(group.mistakes)} of {count(group.rows)}, {interval}",
    )


def reliability_chart(bins: Sequence[CalibrationBin]) -> Chart:
    """How often the model is right, by how sure it is."""
    intervals = [wilson(round(part.accuracy * part.rows), part.rows) for part in bins]
    low = min([0.5, *(least for least, _ in intervals)])
    chart = Chart(
        "reliability",
        "As sure as it is right?",
        "Accuracy over mean confidence, one dot for each bin of confidence, with 95 % intervals; on the"
        " diagonal a model is exactly as sure as it is right, below it too sure.",
        Axis("probability of the predicted class", 0.5, 1, percent=True),
        Axis("share of right answers", 0.1 * int(10 * low), 1, percent=True),
    )
    chart.line([(0.5, 0.5), (1, 1)], "ideal dashed", "as sure as right")
    for part, ends in zip(bins, intervals, strict=True):
        chart.line([(part.confidence, end) for end in ends], "whisker accent")
        shares = f"{percent(part.confidence)} sure, {percent(part.accuracy)} right"
        tip = f"{shares}, {count(part.rows)} reviews"
        chart.dots([(part.confidence, part.accuracy)], "accent", tip)
    return chart
