"""Lay a triage out for templates/triage.html: one file that needs no network."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from sentiscale.label_errors.counts import FEW_ROWS, Division, Group, KeptRow
from sentiscale.label_errors.facts import TriageFacts
from sentiscale.model.metrics import CalibrationBin
from sentiscale.report.charts import Axis, Chart, round_up
from sentiscale.report.eda_counting import CLASSES
from sentiscale.report.eda_samples import UNKNOWN_SIGN, Piece
from sentiscale.report.page import SummaryCard, render
from sentiscale.study.analysis.intervals import wilson
from sentiscale.util.numbers import count, percent

CLEAR = 0.01
"""A difference in accuracy that is worth a sentence where it is beyond chance."""
TOO_FAR = 0.02
"""The same for a difference between confidence and accuracy."""


def headline(facts: TriageFacts) -> str:
    """The page's title: `1,600 mistakes in 26,224 reviews`."""
    mistakes, rows = facts.everything.mistakes, facts.everything.rows
    return f"{count(mistakes)} mistake{'s' if mistakes != 1 else ''} in {count(rows)} reviews"


def findings(facts: TriageFacts) -> list[str]:
    """What stands out, one sentence each, the most important first."""
    told = [_doubt(facts), _classes(facts), *_weak(facts), _calibration(facts), *_off(facts)]
    return [sentence for sentence in told if sentence]


def limits(facts: TriageFacts) -> list[str]:
    """What the page cannot tell, one sentence each."""
    return [
        "A doubtful label is one that the model contradicts with certainty. Whether the label is wrong or "
        "the model does not understand the review (irony, a mixed opinion, praise for one thing and stars "
        "for another), it cannot tell. Read before you change anything.",
        "Label errors that the training rows share, the same misunderstanding again and again, are learnt "
        "and stay unseen. So do errors in reviews that the model is unsure of.",
        "With two classes the order by normalised margin is the order by confidence: the likeliest label "
        "errors are at the same time the most confident mistakes.",
        "The estimated share of wrong labels takes for granted that labels go wrong by class and not by how "
        "hard a review is. Mistakes on hard reviews make it too large.",
        "Intervals are Wilson's (1927), 95 %: of twenty groups that are all alike, one is outside by chance. "
        f"Groups with fewer than {FEW_ROWS} rows are grey and not named in the findings. Length, rare words "
        "and category go together; a group that is worse need not be worse for what names it.",
    ]


def spoken_interval(group: Group) -> str:
    """`91.2 % (90.3 to 92.0)`."""
    low, high = group.interval
    return f"{percent(group.accuracy)} ({100 * low:.1f} to {100 * high:.1f})"


def _doubt(facts: TriageFacts) -> str:
    doubt = facts.doubt
    if doubt is None:
        return "Only one label occurs, so nothing can be said about wrong labels."
    if not doubt.total:
        return "No label is contradicted with enough certainty to doubt it."
    kinds = [
        f"{count(rows)} labelled {name}" for name, rows in zip(CLASSES, doubt.doubted, strict=True) if rows
    ]
    of_rows = percent(doubt.total / facts.everything.rows)
    of_mistakes = percent(doubt.total / max(facts.everything.mistakes, 1), 0)
    return (
        f"{count(doubt.total)} labels are doubtful, {of_rows} of the reviews and {of_mistakes} of the "
        f"mistakes: {' and '.join(kinds)}."
    )


def _classes(facts: TriageFacts) -> str:
    """Whether one class is harder; empty without a clear difference."""
    groups = [
        Group(name, sum(row), row[label], 0, 0.0)
        for label, (name, row) in enumerate(zip(CLASSES, facts.confusion, strict=True))
    ]
    worse, better = sorted(groups, key=lambda group: group.accuracy)
    if worse.is_small or better.is_small or not _clearly_below(worse, better):
        return ""
    return (
        f"Reviews labelled {worse.name} are harder: {spoken_interval(worse)} right, against "
        f"{spoken_interval(better)} of those labelled {better.name}."
    )


def _weak(facts: TriageFacts) -> Iterable[str]:
    """For each division the groups that are clearly less accurate than the whole."""
    whole = facts.everything
    for division in facts.divisions:
        weak = [
            group
            for group in division.groups
            if not group.is_small
            and group.interval[1] < whole.accuracy - CLEAR / 2
            and group.accuracy < whole.accuracy - CLEAR
        ]
        if weak:
            worst = sorted(weak, key=lambda group: group.accuracy)[:3]
            named = "; ".join(f"{group.name}: {spoken_interval(group)}" for group in worst)
            yield f"Less accurate than all rows, by {division.title}: {named}."
        elif len(division.groups) > 1:
            yield f"By {division.title}, no group is clearly less accurate than all rows."


def _calibration(facts: TriageFacts) -> str:
    off = 100 * facts.ece
    verdict = "can be taken at their word" if facts.ece < CLEAR else "should be taken with care"
    return (
        f"Probabilities are off by {off:.1f} percentage points on average (expected calibration error), so "
        f"they {verdict} on rows like these."
    )


def _off(facts: TriageFacts) -> Iterable[str]:
    """Groups in which the model is surer, or less sure, than it has reason to be."""
    for sign, said in ((1, "too sure"), (-1, "not sure enough")):
        named = [
            f"{division.title} {group.name} ({abs(100 * (group.gap or 0)):.1f} points)"
            for division in facts.divisions
            for group in division.groups
            if group.is_off and sign * (group.gap or 0) > TOO_FAR
        ]
        if named:
            yield f"The model is {said} in: {'; '.join(named)}."


def _clearly_below(worse: Group, better: Group) -> bool:
    return worse.interval[1] < better.interval[0] and better.accuracy - worse.accuracy > CLEAR


def division_title(division: Division) -> str:
    """A heading with the range of the mistakes: `Mistakes by length in tokens: 4.1 % to 8.9 %`."""
    shares = [1 - group.accuracy for group in division.groups if not group.is_small]
    if len(shares) < 2:
        return f"Mistakes by {division.title}"
    return f"Mistakes by {division.title}: {percent(min(shares))} to {percent(max(shares))}"


LONGEST_SHOWN = 3_000
"""Characters of a review that the page shows."""
BOUNDS = (0.15, 0.4, 0.75)
"""Shares of a review's largest contribution from which a word is tinted faintly, clearly, strongly."""
LEAST_LARGEST = 0.3
"""Logit that the largest contribution counts as at least: where no word says much, no tint is strong."""
MOST_TICKS = 4
ROOM = 1.02
"""The longest bar ends a little before the end of its scale."""

Tint = tuple[int, int, float]
"""A word's first character, one past its last, and what it contributed to the logit."""


@dataclass(frozen=True)
class ReadRow:
    """A kept row as it is shown."""

    row: KeptRow
    text: str
    """As a person reads it; of prepared data the cleaned one, unless the raw one was kept."""
    tints: Sequence[Tint] = ()
    """Empty where contributions are not known."""

    @property
    def label(self) -> str:
        """What the label says."""
        return CLASSES[self.row.label]

    @property
    def given(self) -> str:
        """What the model says."""
        return CLASSES[1 - self.row.label]

    @property
    def place(self) -> str:
        """File and line, the folders left out: they may tell more than they should."""
        return f"{PurePath(self.row.file).name}:{self.row.number}"

    @property
    def pieces(self) -> list[Piece]:
        """The text, cut where it is long, with its words tinted."""
        return tinted(self.text[:LONGEST_SHOWN], self.tints)

    @property
    def more(self) -> int:
        """Characters that are not shown."""
        return max(0, len(self.text) - LONGEST_SHOWN)


@dataclass(frozen=True)
class GroupBar:
    """One group: a bar of its mistakes, solid up to the interval's low end, faint up to its high end."""

    group: Group
    sure: float
    """Per cent of the scale."""
    maybe: float
    value: str
    interval: str

    @property
    def tip(self) -> str:
        """The figures behind the bar."""
        told = f"{count(self.group.mistakes)} of {count(self.group.rows)}"
        return f"{self.group.name}: {told}, {self.interval}"


@dataclass(frozen=True)
class DivisionView:
    """A division with its bars."""

    division: Division
    title: str
    bars: list[GroupBar]
    axis: Axis

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Few enough of the axis' ticks to have room on a phone."""
        ticks = self.axis.ticks()
        return ticks[:: -(-len(ticks) // MOST_TICKS)]


def triage_page(facts: TriageFacts, doubtful: Sequence[ReadRow], drawn: Sequence[ReadRow], note: str) -> str:
    """The page as HTML.

    Args:
        facts: all numbers.
        doubtful: rows with a doubtful label; the most confident mistakes where no label is doubtful.
        drawn: mistakes drawn by lot.
        note: how the texts that are shown came about; may be empty.
    """
    return render(
        "triage.html",
        facts=facts,
        classes=CLASSES,
        name=PurePath(facts.model).name if PurePath(facts.model).name != "model" else _run_name(facts.model),
        data=PurePath(facts.data).name,
        headline=headline(facts),
        accuracy=spoken_interval(facts.everything),
        findings=findings(facts),
        limits=limits(facts),
        cards=_cards(facts),
        doubtful=doubtful,
        drawn=drawn,
        note=note,
        views=[division_view(division) for division in facts.divisions],
        reliability=reliability_chart(facts.calibration),
        points=points,
    )


def _run_name(model: str) -> str:
    """RUN/model is known by the name of RUN."""
    return PurePath(model).parent.name or "model"


def _cards(facts: TriageFacts) -> list[SummaryCard]:
    everything, doubt = facts.everything, facts.doubt
    low, high = everything.interval
    cards = [
        SummaryCard(
            "Reviews", count(everything.rows), f"{percent(everything.positive / everything.rows)} positive"
        ),
        SummaryCard("Accuracy", percent(everything.accuracy), f"95 %: {100 * low:.1f} to {100 * high:.1f}"),
        SummaryCard(
            "Mistakes", count(everything.mistakes), f"{percent(1 - everything.accuracy)} of the reviews"
        ),
    ]
    if doubt is not None:
        of_rows = f"{percent(doubt.total / everything.rows)} of the reviews"
        cards.append(SummaryCard("Doubtful labels", count(doubt.total), of_rows))
    return cards


def tinted(text: str, tints: Sequence[Tint]) -> list[Piece]:
    """Cut a text into pieces, its words graded by what they contributed: above 0 speaks for positive."""
    largest = max([LEAST_LARGEST, *(abs(share) for _, _, share in tints)])
    pieces: list[Piece] = []
    at = 0
    for start, end, share in tints:
        word = text[start:end]
        strength = sum(abs(share) >= bound * largest for bound in BOUNDS)
        if start < at or not word or (strength == 0 and word != UNKNOWN_SIGN):
            continue
        pieces.append(Piece(text[at:start]))
        pieces.append(Piece(word, CLASSES[share > 0], strength) if strength else Piece(word, "unknown"))
        at = start + len(word)
    pieces.append(Piece(text[at:]))
    return [piece for piece in pieces if piece.text]


def division_view(division: Division) -> DivisionView:
    """Bars of the mistakes of each group, on one scale that large groups set."""
    counted = [group for group in division.groups if not group.is_small] or division.groups
    high = round_up(ROOM * max((1 - group.interval[0] for group in counted), default=1.0))
    bars = [_bar(group, min(high, 1.0)) for group in division.groups]
    return DivisionView(division, division_title(division), bars, Axis("", 0, min(high, 1.0), percent=True))


def _bar(group: Group, high: float) -> GroupBar:
    least, most = 1 - group.interval[1], 1 - group.interval[0]
    sure = round(100 * min(least / high, 1), 2)
    maybe = round(100 * min(most / high, 1) - sure, 2)
    interval = f"{100 * least:.1f} to {100 * most:.1f} %"
    return GroupBar(group, sure, maybe, percent(1 - group.accuracy), interval)


def points(gap: float) -> str:
    """A difference of shares in percentage points, with its sign: `+1.2`, `0.0`."""
    shown = f"{100 * gap:+.1f}"
    return "0.0" if float(shown) == 0 else shown


def reliability_chart(bins: Sequence[CalibrationBin]) -> Chart:
    """How often the model is right, by how sure it is."""
    low = min([0.5, *(wilson(round(part.accuracy * part.rows), part.rows)[0] for part in bins)])
    chart = Chart(
        "reliability",
        "As sure as it is right?",
        "Accuracy over mean confidence, one dot for each bin of confidence, with 95 % intervals; on the"
        " diagonal a model is exactly as sure as it is right, below it too sure.",
        Axis("probability of the class given", 0.5, 1, percent=True),
        Axis("share of right answers", 0.1 * int(10 * low), 1, percent=True),
    )
    chart.line([(0.5, 0.5), (1, 1)], "ideal dashed", "as sure as right")
    for part in bins:
        least, most = wilson(round(part.accuracy * part.rows), part.rows)
        chart.line([(part.confidence, least), (part.confidence, most)], "whisker accent")
        told = f"{percent(part.confidence)} sure, {percent(part.accuracy)} right, {count(part.rows)} reviews"
        chart.dots([(part.confidence, part.accuracy)], "accent", told)
    return chart
