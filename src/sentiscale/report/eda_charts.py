"""Charts of the page about prepared data: lengths, cut-offs, vocabulary and telling words."""

import itertools
import math
from collections.abc import Sequence

import numpy as np

from sentiscale.report.charts import Axis, Chart, Point, PointLabel, place_labels_where_free, round_up, steps
from sentiscale.report.eda_counts import CLASSES, TRAINING_CUT, Lengths
from sentiscale.report.eda_words import SIGNIFICANT, Vocabulary, WordScores
from sentiscale.text.vocab import SPECIAL
from sentiscale.util.numbers import count, percent

CROWD = 1500
"""Approximate number of dots without tooltip in the word chart."""
NAMED, LABELLED = 150, 40
"""Numbers of words per class whose dots have a tooltip, and for which a label is tried."""
RAREST = 10
"""Smallest number of occurrences for a word to appear in the word chart."""


def length_chart(lengths: Lengths) -> Chart:
    """Histogram of review lengths by class, with the preparation's cut-off."""
    all_edges, all_rows = lengths.histogram()
    shown = int(np.searchsorted(all_edges, 1.2 * lengths.quantile(0.995))) or 1
    edges = all_edges[: shown + 1].tolist()
    rows = all_rows[:, : len(edges) - 1]
    top = round_up(1.15 * float(rows.max()))
    chart = Chart(
        "lengths",
        "Reviews by length",
        f"Histogram of reviews by their number of tokens, one outline per class. Half of the reviews"
        f" have at most {lengths.quantile(0.5)} tokens, 95 % at most {lengths.quantile(0.95)}.",
        Axis("tokens of a review", 0, edges[-1]),
        Axis("reviews", 0, top),
    )
    for label, name in enumerate(CLASSES):
        outline = steps(edges, rows[label].tolist())
        chart.area(outline, name, name)
        chart.line(outline, name)
    for left, right, (negative, positive) in zip(edges[:-1], edges[1:], rows.T.tolist(), strict=True):
        span = str(right) if right == left + 1 else f"{left + 1} to {right}"
        chart.band(left, right, f"{span} tokens: {count(negative)} negative, {count(positive)} positive")
    if lengths.max_tokens <= edges[-1]:
        chart.rule(lengths.max_tokens, f"cut-off {lengths.max_tokens}")
    return chart


def cut_chart(lengths: Lengths) -> Chart:
    longest = max(min(lengths.max_tokens, lengths.quantile(1)), 2)
    points = np.unique(np.linspace(1, longest, 100).round().astype(int)).tolist()
    cuts = [lengths.cut(length) for length in points]
    chart = Chart(
        "cuts",
        "What a cut-off keeps",
        "Two rising curves over the cut-off in tokens: the share of all tokens it keeps, and the share of the"
        " reviews it leaves whole. The table has the values for the usual cut-offs.",
        Axis("cut-off in tokens", 0, longest),
        Axis("share kept", 0, 1, percent=True),
    )
    chart.line([(cut.max_tokens, cut.tokens_kept) for cut in cuts], "accent thick", "tokens kept")
    chart.line([(cut.max_tokens, cut.rows_whole) for cut in cuts], "second thick", "reviews left whole")
    if longest > TRAINING_CUT:
        chart.rule(TRAINING_CUT, f"training reads {TRAINING_CUT}", low=True)
    for cut in lengths.usual_cuts():
        told = (
            f"{percent(cut.tokens_kept)} of the tokens kept, {percent(cut.rows_whole)} of the reviews whole"
        )
        chart.dots([(cut.max_tokens, cut.tokens_kept)], "accent", f"cut at {cut.max_tokens}: {told}")
        chart.dots([(cut.max_tokens, cut.rows_whole)], "second", f"cut at {cut.max_tokens}: {told}")
    return chart


def zipf_chart(vocabulary: Vocabulary) -> Chart:
    curve = [point for point in vocabulary.curve() if point.count > 0]
    first, last = curve[0], curve[-1]
    chart = Chart(
        "zipf",
        "Zipf curve",
        f"Frequency of words over their rank, both axes logarithmic. The first word, {first.word}, occurs"
        f" {count(first.count)} times, the last one {count(last.count)} times.",
        Axis("rank of the word", 1, max(last.rank, 10), log=True),
        Axis("occurrences in training", _power_below(last.count), max(first.count * 1.5, 10), log=True),
    )
    anchor = vocabulary.ranked(min(100, math.isqrt(len(vocabulary.words))))
    law = anchor.count * anchor.rank
    reach = min(last.rank, law / chart.y.low)
    chart.line(
        [(max(1, law / chart.y.high), min(law, chart.y.high)), (reach, law / reach)], "dashed", "1 / rank"
    )
    chart.line([(point.rank, point.count) for point in curve], "accent thick", "words")
    for point in vocabulary.landmarks():
        place = (point.rank, point.count)
        chart.dots([place], "accent", f"rank {count(point.rank)}: {point.word}, {count(point.count)} times")
        chart.label(place, point.word, "word", "above" if chart.x.at(point.rank) < 0.85 else "left")
    return chart


def coverage_chart(vocabulary: Vocabulary) -> Chart:
    """Share of training tokens covered, by vocabulary size."""
    size = vocabulary.size
    chart = Chart(
        "coverage",
        "Vocabulary size and coverage",
        f"Rising curve of the share of training tokens that the most frequent words cover. All {count(size)}"
        f" words of the vocabulary cover {percent(vocabulary.coverage(size).share, 2)}.",
        Axis("--vocab-size", 10 if size > 100 else 3, max(size, 20), log=True),
        Axis("training tokens covered", 0, 1, percent=True),
    )
    curve = [(point.size, point.share) for point in vocabulary.coverage_curve() if point.size >= chart.x.low]
    chart.area([*curve], "accent")
    chart.line(curve, "accent thick")
    for point in vocabulary.usual_coverage():
        told = f"{count(point.size)} words cover {percent(point.share, 2)} of the training tokens"
        chart.dots([(point.size, point.share)], "accent", told)
    chart.rule(size, f"this vocabulary: {count(size)}", low=True)
    return chart


def word_chart(scores: WordScores, words: Sequence[str]) -> Chart:
    """Words by number of occurrences and z score."""
    totals = scores.counts.sum(axis=0)
    low, high = float(min(scores.z.min(), -3)), float(max(scores.z.max(), 3))
    chart = Chart(
        "words",
        "Frequent or telling?",
        "Each dot is a word. Frequent words are on the right, words that indicate positive reviews at the top"
        " and words that indicate negative reviews at the bottom. Most words lie near the middle line. The"
        " tables below list the most telling words.",
        Axis("occurrences in training", RAREST, 2 * max(float(totals[len(SPECIAL) :].max()), 100), log=True),
        Axis("z score", -round_up(-low * 1.08), round_up(high * 1.08)),
    )
    chart.dots(_crowd(scores), "faint")
    chart.label((chart.x.low, chart.y.high), "indicate positive", "rule positive")
    chart.label((chart.x.low, chart.y.low), "indicate negative", "rule foot negative")
    strongest = _strongest(scores)
    places = {i: (float(totals[i]), float(scores.z[i])) for ids in strongest for i in ids}
    for label, ids in zip(CLASSES, strongest, strict=True):
        for i in ids[::-1]:
            chart.dots([places[i]], label, f"{words[i]}: z {scores.z[i]:.1f}, {count(totals[i])} times")
    place_labels_where_free(
        chart, [PointLabel(places[i], words[i], label) for i, label in _alternating(strongest)]
    )
    return chart


def _alternating(strongest: tuple[list[int], list[int]]) -> list[tuple[int, str]]:
    """Words to label, strongest first, alternating between the classes."""
    sides = [[(i, label) for i in ids[:LABELLED]] for label, ids in zip(CLASSES, strongest, strict=True)]
    return [word for pair in itertools.zip_longest(*sides) for word in pair if word]


def _crowd(scores: WordScores) -> list[Point]:
    """Evenly spaced sample of the words that occur often enough for the chart."""
    totals = scores.counts.sum(axis=0)
    frequent = np.flatnonzero(totals >= RAREST)
    chosen = frequent[frequent >= len(SPECIAL)][:: max(1, len(frequent) // CROWD)]
    return list(zip(totals[chosen].tolist(), scores.z[chosen].tolist(), strict=True))


def _strongest(scores: WordScores) -> tuple[list[int], list[int]]:
    """Word ids of the most telling words of each class, strongest first."""
    clear = np.flatnonzero((np.abs(scores.z) >= SIGNIFICANT) & (scores.counts.sum(axis=0) >= RAREST))
    ordered = clear[np.argsort(-np.abs(scores.z[clear]), kind="stable")]
    negative, positive = ordered[scores.z[ordered] < 0], ordered[scores.z[ordered] > 0]
    return negative[:NAMED].tolist(), positive[:NAMED].tolist()


def _power_below(value: float) -> float:
    """Largest power of ten that does not exceed a count."""
    power: float = 10.0 ** int(np.floor(np.log10(max(value, 1))))
    return power
