"""What `triage` says in sentences: what stands out, and what none of it can tell."""

from collections.abc import Iterable

from sentiscale.analysis.counting import CLASSES
from sentiscale.analysis.page import count, percent
from sentiscale.analysis.triage_counts import FEW_ROWS, Division, Group
from sentiscale.analysis.triage_facts import TriageFacts

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
            group for group in division.groups
            if not group.is_small and group.interval[1] < whole.accuracy - CLEAR / 2
            and group.accuracy < whole.accuracy - CLEAR
        ]  # fmt: skip
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
            for division in facts.divisions for group in division.groups
            if group.is_off and sign * (group.gap or 0) > TOO_FAR
        ]  # fmt: skip
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
