"""Charts of the page about prepared data: lengths, cut-offs, vocabulary and telling words."""

import itertools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sentiscale.report.charts import (
    Axis,
    Chart,
    Point,
    PointLabel,
    class_styles,
    place_labels_where_free,
    round_up,
    steps,
)
from sentiscale.report.eda_counts import TRAINING_CUT, Lengths
from sentiscale.report.eda_words import SIGNIFICANT, TermCounts, Vocabulary
from sentiscale.text.classes import Classes
from sentiscale.text.vocab import SPECIAL
from sentiscale.util.numbers import count, percent

Counts = NDArray[np.int64]
FloatArray = NDArray[np.float64]

OUTLINES = 5
"""Most classes that have outlines of their own in the histogram of lengths."""
CROWD = 1500
"""Approximate number of dots without tooltip in the word chart."""
NAMED, LABELLED = 150, 40
"""Numbers of words per class whose dots have a tooltip, and for which a label is tried."""
RAREST = 10
"""Smallest number of occurrences for a word to appear in the word chart."""


def length_chart(lengths: Lengths, classes: Classes) -> Chart:
    """Histogram of review lengths, by class if there are few, with the preparation's cut-off."""
    all_edges, all_rows = lengths.histogram()
    names, styles = classes.names, class_styles(classes)
    is_split = len(classes) <= OUTLINES
    if not is_split:
        all_rows, names, styles = all_rows.sum(axis=0, keepdims=True), ("all reviews",), ["accent"]
    shown = int(np.searchsorted(all_edges, 1.2 * lengths.quantile(0.995))) or 1
    edges = all_edges[: shown + 1].tolist()
    rows = all_rows[:, : len(edges) - 1]
    top = round_up(1.15 * float(rows.max()))
    chart = Chart(
        "lengths",
        "Reviews by length",
        f"Histogram of reviews by number of tokens{', one outline per class' if is_split else ''}. Half of"
        f" the reviews have at most {lengths.quantile(0.5)} tokens, 95 % at most {lengths.quantile(0.95)}.",
        Axis("tokens of a review", 0, edges[-1]),
        Axis("reviews", 0, top),
    )
    for name, style, heights in zip(names, styles, rows.tolist(), strict=True):
        outline = steps(edges, heights)
        chart.area(outline, style, name)
        chart.line(outline, style)
    for left, right, heights in zip(edges[:-1], edges[1:], rows.T.tolist(), strict=True):
        span = str(right) if right == left + 1 else f"{left + 1} to {right}"
        parts = (f"{count(height)} {name}" for name, height in zip(names, heights, strict=True))
        chart.band(left, right, f"{span} tokens: {', '.join(parts)}")
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


def word_chart(counts: TermCounts, words: Sequence[str], classes: Classes) -> Chart:
    """Words by number of occurrences and z score, for two classes."""
    totals, z = counts.all, counts.contrast(1).z
    low, high = float(min(z.min(), -3)), float(max(z.max(), 3))
    first, second = classes.names
    chart = Chart(
        "words",
        "Frequent or telling?",
        f"Each dot is a word. Frequent words are on the right, words that indicate {second} reviews are at"
        f" the top and words that indicate {first} reviews at the bottom. Most words lie near the middle"
        " line. The tables below list the most telling words.",
        Axis("occurrences in training", RAREST, 2 * max(float(totals[len(SPECIAL) :].max()), 100), log=True),
        Axis("z score", -round_up(-low * 1.08), round_up(high * 1.08)),
    )
    chart.dots(_crowd(totals, z), "faint")
    chart.label((chart.x.low, chart.y.high), f"indicate {second}", "rule positive")
    chart.label((chart.x.low, chart.y.low), f"indicate {first}", "rule foot negative")
    strongest, styles = _strongest(totals, z), class_styles(classes)
    places = {i: (float(totals[i]), float(z[i])) for ids in strongest for i in ids}
    for style, ids in zip(styles, strongest, strict=True):
        for i in ids[::-1]:
            chart.dots([places[i]], style, f"{words[i]}: z {z[i]:.1f}, {count(totals[i])} times")
    # Labels are placed by decreasing strength, alternating between the classes.
    sides = [[(i, style) for i in ids[:LABELLED]] for style, ids in zip(styles, strongest, strict=True)]
    labelled = [word for pair in itertools.zip_longest(*sides) for word in pair if word]
    place_labels_where_free(chart, [PointLabel(places[i], words[i], style) for i, style in labelled])
    return chart


def _crowd(totals: Counts, z: FloatArray) -> list[Point]:
    """Evenly spaced sample of the words that occur often enough for the chart."""
    frequent = np.flatnonzero(totals >= RAREST)
    chosen = frequent[frequent >= len(SPECIAL)][:: max(1, len(frequent) // CROWD)]
    return list(zip(totals[chosen].tolist(), z[chosen].tolist(), strict=True))


def _strongest(totals: Counts, z: FloatArray) -> tuple[list[int], list[int]]:
    """Word ids of the most telling words of each class, strongest first."""
    clear = np.flatnonzero((np.abs(z) >= SIGNIFICANT) & (totals >= RAREST))
    ordered = clear[np.argsort(-np.abs(z[clear]), kind="stable")]
    first, second = ordered[z[ordered] < 0], ordered[z[ordered] > 0]
    return first[:NAMED].tolist(), second[:NAMED].tolist()


def _power_below(value: float) -> float:
    """Largest power of ten that does not exceed a count."""
    power: float = 10.0 ** int(np.floor(np.log10(max(value, 1))))
    return power
