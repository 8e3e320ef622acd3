"""Render the triage page, a self-contained HTML file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from sentiscale.label_errors.counts import FEW_ROWS, Division, ReviewGroup
from sentiscale.label_errors.facts import Mistake, TriageFacts, accuracy_text
from sentiscale.records import CalibrationBin
from sentiscale.report.charts import Axis, Bar, BarChart, BarPart, Chart, class_styles, round_up
from sentiscale.report.eda_samples import UNKNOWN_SIGN, TextPiece
from sentiscale.report.page import render
from sentiscale.text.classes import UNSURE
from sentiscale.util.numbers import count, percent
from sentiscale.util.proportions import wilson

LONGEST_SHOWN = 3_000
"""Maximum number of characters of a review that the page shows."""
BOUNDS = (0.15, 0.4, 0.75)
"""Minimum shares of a review's largest contribution for a weak, medium and strong tint of a word."""
LEAST_LARGEST = 0.3
"""Lower limit, as a logit, for the largest contribution; without it, negligible words would get a strong
tint in reviews in which no word contributes much."""
MATRIX_CLASSES, MOST_EXCHANGES = 12, 20
"""Most classes for which a matrix is readable; for more, the page lists the largest of its entries."""
ROOM = 1.02
"""Length of the scale relative to the longest bar."""

Tint = tuple[int, int, float]
"""Position of a word's first character, position after its last, and the word's contribution to the logit."""


@dataclass(frozen=True)
class ShownMistake:
    """A mistake with the text and contributions that the page shows."""

    row: Mistake
    text: str
    """Text for display; for prepared data, the cleaned text unless the original one was stored."""
    tints: Sequence[Tint] = ()
    """Contributions of the words; empty if they are unknown."""

    @property
    def place(self) -> str:
        """File name and line, without folders, which may reveal private information."""
        return f"{PurePath(self.row.file).name}:{self.row.number}"

    def pieces(self, styles: Sequence[str]) -> list[TextPiece]:
        """The text, truncated if it is long, as pieces with tinted words; see `tinted`."""
        return tinted(self.text[:LONGEST_SHOWN], self.tints, styles)

    @property
    def more(self) -> int:
        """Number of characters that are not shown."""
        return max(0, len(self.text) - LONGEST_SHOWN)


def triage_page(
    facts: TriageFacts, doubtful: Sequence[ShownMistake], drawn: Sequence[ShownMistake], note: str
) -> str:
    """Render the page as HTML.

    Args:
        facts: results of the analysis.
        doubtful: rows with a doubtful label, or the most confident mistakes if no label is doubtful.
        drawn: randomly drawn mistakes.
        note: remark about the origin of the texts; may be empty.
    """
    model = PurePath(facts.model)  # RUN/model is shown as RUN
    return render(
        "triage.html",
        facts=facts,
        names=(*facts.classes.names, UNSURE),
        styles=(*class_styles(facts.classes), ""),
        most_classes=MATRIX_CLASSES,
        most_exchanges=MOST_EXCHANGES,
        confusions=facts.exchanges(facts.confusion)[:MOST_EXCHANGES],
        suggestions=facts.exchanges(facts.doubt.doubted)[:MOST_EXCHANGES] if facts.doubt else [],
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


def tinted(text: str, tints: Sequence[Tint], styles: Sequence[str]) -> list[TextPiece]:
    """Split a text into pieces, with words tinted by contribution: `styles` of those below 0 and above 0."""
    largest = max([LEAST_LARGEST, *(abs(share) for _, _, share in tints)])
    pieces: list[TextPiece] = []
    at = 0
    for start, end, share in tints:
        word = text[start:end]
        strength = sum(abs(share) >= bound * largest for bound in BOUNDS)
        if start < at or not word or (strength == 0 and word != UNKNOWN_SIGN):
            continue
        style = styles[share > 0] if strength else "unknown"
        pieces += [TextPiece(text[at:start]), TextPiece(word, style, strength)]
        at = start + len(word)
    pieces.append(TextPiece(text[at:]))
    return [piece for piece in pieces if piece.text]


def mistake_bars(division: Division) -> BarChart:
    """Chart the share of mistakes of each group, on a scale determined by the large groups."""
    counted = [group for group in division.groups if not group.is_small]
    high = round_up(ROOM * max((1 - group.interval[0] for group in counted or division.groups), default=1.0))
    axis = Axis("", 0, min(high, 1.0), percent=True)
    title = f"Mistakes by {division.title}"
    shares = [1 - group.accuracy for group in counted]
    if len(shares) > 1:
        title += f": {percent(min(shares))} to {percent(max(shares))}"
    return BarChart(
        title,
        f"Share of mistakes by {division.title}, one line per group.",
        "share of mistakes; the pale end is the 95 % interval",
        [_bar(group, axis.high) for group in division.groups],
        axis,
    )


def _bar(group: ReviewGroup, high: float) -> Bar:
    """Create a bar that is solid up to the interval's lower end and pale up to its upper end."""
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
    """Chart accuracy against mean confidence."""
    intervals = [wilson(round(part.accuracy * part.rows), part.rows) for part in bins]
    low = min([0.5, *(least for least, _ in intervals)])
    least = min([0.5, *(0.1 * int(10 * part.confidence) for part in bins)])
    chart = Chart(
        "reliability",
        "Confidence and accuracy",
        "Accuracy against mean confidence, one dot per confidence bin, with 95 % intervals. On the diagonal,"
        " confidence equals accuracy; below it, the model is overconfident.",
        Axis("probability of the most probable class", least, 1, percent=True),
        Axis("accuracy", min(least, 0.1 * int(10 * low)), 1, percent=True),
    )
    chart.line([(least, least), (1, 1)], "ideal dashed", "perfect calibration")
    for part, ends in zip(bins, intervals, strict=True):
        chart.line([(part.confidence, end) for end in ends], "whisker accent")
        shares = f"confidence {percent(part.confidence)}, accuracy {percent(part.accuracy)}"
        tip = f"{shares}, {count(part.rows)} reviews"
        chart.dots([(part.confidence, part.accuracy)], "accent", tip)
    return chart
