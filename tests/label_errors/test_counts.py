"""Counts do not depend on how rows come in blocks, and every division has every row once."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiscale.label_errors.counts import (
    MOST_CATEGORIES,
    CategoryTally,
    ReviewCounts,
    ReviewGroup,
    ScoredBlock,
    Tally,
)
from sentiscale.model.metrics import calibration_bins, probabilities, score
from sentiscale.text.classes import Classes
from tests.label_errors.made_rows import cut, drawn_rows

SOME = st.tuples(st.integers(1, 400), st.integers(0, 2**32 - 1))


def counted(blocks) -> ReviewCounts:
    counting = ReviewCounts(Classes(), frequent_words=100, kept_tokens=60, by_category=True)
    for block in blocks:
        counting.add(block)
    return counting


@given(SOME, st.lists(st.integers(0, 400), max_size=6))
def test_every_division_has_every_row_once_however_they_come(some, ends):
    rows = drawn_rows(*some)
    counting = counted(cut(rows, ends))
    whole = counting.everything()
    assert whole.rows == len(rows.labels)
    assert whole.correct == rows.correct.sum()
    scores = score(rows.logits, rows.labels)
    assert counting.confusion[:, :2].tolist() == scores.confusion
    assert counting.loss_sum / whole.rows == pytest.approx(scores.loss)
    divisions = counting.divisions("shop")
    assert [division.key for division in divisions] == ["length", "unknown", "rare", "category"]
    for division in divisions:
        groups = division.groups
        assert all(group.rows for group in groups)
        assert sum(group.rows for group in groups) == whole.rows
        assert sum(group.correct for group in groups) == whole.correct
        assert sum(group.positive for group in groups) == rows.labels.sum()
        confidence = sum(group.confidence * group.rows for group in groups)
        assert confidence / whole.rows == pytest.approx(rows.confidence.mean())
        assert len({group.name for group in groups}) == len(groups)


@given(SOME, st.lists(st.integers(0, 400), max_size=3))
def test_calibration_is_that_of_the_metrics(some, ends):
    rows = drawn_rows(*some)
    expected = calibration_bins(probabilities(rows.logits), rows.labels)
    found = counted(cut(rows, ends)).calibration()
    assert [(part.low, part.high, part.rows) for part in found] == [
        (part.low, part.high, part.rows) for part in expected
    ]
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.confidence == pytest.approx(theirs.confidence)
        assert ours.accuracy == pytest.approx(theirs.accuracy)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=300), st.integers(1, 10))
def test_bands_are_of_about_equal_size(keys, parts):
    """No band is larger than its share and the rows that are all alike at its end."""
    tally = Tally(1)
    tally.add(np.array(keys), drawn_rows(len(keys), 0))
    bands = tally.bands(parts)
    alike = max(Counter(keys).values())
    assert bands[0][0] == min(keys)
    assert bands[-1][1] == max(keys) + 1
    assert all(end == first for (_, end), (first, _) in pairwise(bands))
    for first, end in bands:
        rows = sum(first <= key < end for key in keys)
        assert 0 < rows < len(keys) / parts + alike


def test_groups_by_hand():
    """Four rows: the first three right; lengths 3, 3, 60 (all that is kept) and 9."""
    block = ScoredBlock(
        logits=np.array([2.0, -1.0, 3.0, 0.5], np.float32),
        labels=np.array([1, 0, 1, 0], np.uint8),
        lengths=np.array([3, 3, 60, 9]),
        unknown=np.array([0.0, 0.01, 0.011, 1.0]),
        rare=np.array([0.0, 0.002, 0.5, 1.0]),
        categories=["a", "b", "a", "a"],
    )
    length, unknown, rare, category = (part.groups for part in counted([block]).divisions("shop"))
    assert [(group.name, group.rows, group.correct) for group in length] == [
        ("3", 2, 2),
        ("4 to 9", 1, 0),
        ("10 and more", 1, 1),
    ]
    assert [(group.name, group.rows, group.correct) for group in unknown] == [
        ("none", 1, 1),
        ("up to 1 %", 1, 1),
        ("1 to 2 %", 1, 1),
        ("more than 10 %", 1, 0),
    ]
    assert [group.name for group in rare] == ["none", "up to 0.2 %", "0.2 to 50 %", "50 to 100 %"]
    assert [(group.name, group.rows, group.positive) for group in category] == [("a", 3, 2), ("b", 1, 0)]


def test_a_group_knows_what_its_rows_allow_to_say():
    """80 of 100: Wilson's interval is 0.711 to 0.867 (R: binom::binom.wilson(80, 100))."""
    group = ReviewGroup("g", 100, 80, 50, confidence=0.9)
    assert group.interval == (pytest.approx(0.7112, abs=1e-4), pytest.approx(0.8666, abs=1e-4))
    assert (group.mistakes, group.is_small, group.is_off) == (20, False, True)
    assert group.gap == pytest.approx(0.1)
    small = ReviewGroup("s", 99, 80, 50, confidence=0.9)
    assert (small.is_small, small.gap, small.is_off) == (True, None, False)


def test_categories_beyond_the_shown_ones_are_put_together():
    tally = CategoryTally()
    names = [f"c{number}" for number in range(30) for _ in range(30 - number)] + ["others"] * 40
    tally.add(names, drawn_rows(len(names), 1))
    groups = tally.groups(3)
    assert [(group.name, group.rows) for group in groups] == [
        ("others", 40),
        ("c0", 30),
        ("c1", 29),
        ("28 others", sum(range(1, 29))),
    ]


def test_a_column_of_ever_new_values_takes_bounded_memory():
    tally = CategoryTally()
    for first in range(0, 3 * MOST_CATEGORIES, 5000):
        tally.add([f"id{first + number}" for number in range(5000)], drawn_rows(5000, first))
    assert tally.is_full
    assert len(tally.numbers) == MOST_CATEGORIES + 1
    assert sum(group.rows for group in tally.groups(20)) == 3 * MOST_CATEGORIES


def test_a_decision_counts_for_mistakes_but_not_for_calibration():
    """Of three classes; the first row is unsure, and the last is right only by the decision."""
    logits = np.log([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6], [0.5, 0.4, 0.1]]).astype(np.float32)
    nothing = np.zeros(4)
    block = ScoredBlock(
        logits,
        np.array([0, 1, 0, 1], np.uint8),
        nothing.astype(int),
        nothing,
        nothing,
        ["a", "b", "b", "b"],
        np.array([3, 1, 2, 1]),
    )
    counting = ReviewCounts(
        Classes(("x", "y", "z"), "labels"), frequent_words=1, kept_tokens=1, by_category=True
    )
    counting.add(block)
    assert counting.confusion.tolist() == [[0, 0, 1, 1], [0, 2, 0, 0], [0, 0, 0, 0]]
    assert (counting.everything().rows, counting.everything().correct) == (3, 2)
    assert counting.everything().confidence == pytest.approx((0.8 + 0.6 + 0.4) / 3)
    label, *_, category = counting.divisions("shop")
    assert [(group.name, group.rows, group.correct) for group in label.groups] == [("x", 1, 0), ("y", 2, 2)]
    assert [(group.name, group.rows) for group in category.groups] == [("b", 3)]
    assert counting.calibration() == calibration_bins(probabilities(logits), block.labels)


def test_contradictions_rank_as_normalised_margins():
    """m = 0.6 - 0.1 of three classes; with two, the log-odds of the other class."""
    logits = np.log([[0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [1e-12, 1.0, 1e-12]]).astype(np.float32)
    nothing = np.zeros(3)
    block = ScoredBlock(logits, np.array([2, 1, 0], np.uint8), nothing.astype(int), nothing, nothing)
    assert np.tanh(block.contradiction[:2] / 2) == pytest.approx([0.5, 0.2 - 0.7])
    assert block.contradiction[2] == pytest.approx(np.log(2 / 3e-12), rel=1e-4), (
        "not rounded to a margin of 1"
    )
    two = drawn_rows(100, 1)
    as_three = np.column_stack([np.zeros(100), two.logits, np.full(100, -1e3)]).astype(np.float32)
    same = ScoredBlock(as_three, two.labels, two.lengths, two.unknown, two.rare)
    assert same.contradiction == pytest.approx(two.contradiction, rel=1e-5, abs=1e-6)


def test_a_block_without_rows_changes_nothing():
    rows = drawn_rows(50, 3)
    empty = cut(rows, [])[0:0] or [drawn_rows(0, 0)]
    with_empty = counted([*empty, rows, *empty])
    assert with_empty.divisions("shop") == counted([rows]).divisions("shop")
