"""Confident learning: what the paper's formulas give, whatever the blocks; wrong labels are found."""

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from sentiscale.label_errors.doubt import STEPS, DoubtGrid, LabelDoubt
from tests.label_errors.made_rows import cut, drawn_rows, with_errors


def judged(blocks) -> LabelDoubt | None:
    grid = DoubtGrid()
    for block in blocks:
        grid.add(block.labels, block.opposite_probability)
    return grid.result()


def plain_joint(labels, chances) -> tuple[list[float], list[list[int]], list[int]]:
    """Thresholds, confident joint and doubtful rows straight from equations 1 and 2 of the paper."""
    thresholds = [chances[labels == c, c].mean() for c in (0, 1)]
    joint, doubtful = [[0, 0], [0, 0]], []
    for row, (label, chance) in enumerate(zip(labels, chances, strict=True)):
        reached = [c for c in (0, 1) if chance[c] >= thresholds[c]]
        if reached:
            sure = max(reached, key=lambda c: chance[c])
            joint[label][sure] += 1
            if sure != label and chance[sure] > 0.5:
                doubtful.append(row)
    return thresholds, joint, doubtful


@example((7, 1), [3])
@given(st.tuples(st.integers(2, 300), st.integers(0, 2**32 - 1)), st.lists(st.integers(0, 300), max_size=4))
def test_it_is_the_paper(some, ends):
    rows = drawn_rows(*some)
    assume(0 < rows.labels.sum() < len(rows.labels))
    other = rows.opposite_probability
    chances = np.where((rows.labels == 1)[:, None], np.c_[other, 1 - other], np.c_[1 - other, other])
    thresholds, joint, doubtful = plain_joint(rows.labels, chances)
    near = [np.abs(chances[:, c] - at).min() for c in (0, 1) for at in (thresholds[c], 0.5)]
    assume(min(near) > 2 / STEPS)  # a row within a step of a threshold may fall on either side
    found = judged(cut(rows, ends))
    assert found.thresholds == pytest.approx(thresholds)
    assert found.joint == joint
    assert found.total == len(doubtful)
    assert doubtful == [
        row
        for row, (label, p) in enumerate(zip(rows.labels.tolist(), other.tolist(), strict=True))
        if found.is_doubtful(label, p)
    ]


def test_by_hand():
    """Three rows a class; the thresholds are (0.9 + 0.9 + 0.3) / 3 = 0.7 and (0.8 + 0.8 + 0.5) / 3 = 0.7."""
    grid = DoubtGrid()
    grid.add(np.array([0, 0, 0, 1, 1, 1], np.uint8), np.array([0.1, 0.1, 0.7001, 0.2, 0.2, 0.5]))
    found = grid.result()
    assert found.thresholds == (pytest.approx(0.7, abs=1e-4), pytest.approx(0.7))
    assert found.joint == [[2, 1], [0, 2]]
    assert found.doubted == (1, 0)
    assert found.estimated == [[pytest.approx(1 / 3), pytest.approx(1 / 6)], [0.0, 0.5]]
    assert found.noise == pytest.approx(1 / 6)


def test_one_class_alone_has_no_doubt():
    grid = DoubtGrid()
    assert grid.result() is None
    grid.add(np.array([1, 1], np.uint8), np.array([0.9, 0.1]))
    assert grid.result() is None


@pytest.mark.parametrize("other", [0.0, 0.5, 1.0])
def test_answers_that_are_all_the_same_do_no_harm(other):
    grid = DoubtGrid()
    grid.add(np.array([0, 1] * 5, np.uint8), np.full(10, other))
    found = grid.result()
    assert 0 <= found.noise <= 1
    assert found.total == (10 if other == 1.0 else 0)
    assert found.is_doubtful(0, 1.0)
    assert not found.is_doubtful(0, 0.5)


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3])
def test_wrong_labels_are_found_and_their_share_is_estimated(share):
    """A calibrated classifier, 96 % right: most doubtful labels are wrong, and most wrong ones doubtful."""
    rows, wrong = with_errors(20_000, share, seed=1)
    found = judged([rows])
    other = rows.opposite_probability
    pairs = zip(rows.labels.tolist(), other.tolist(), strict=True)
    doubtful = np.array([found.is_doubtful(label, chance) for label, chance in pairs])
    precision, recall = wrong[doubtful].mean(), doubtful[wrong].mean()
    surest = np.argsort(-other)[: int(wrong.sum() / 2)]
    assert wrong[surest].mean() > 0.9, "the first half of the ranking"
    assert precision > 0.5
    assert precision > 4 * share or precision > 0.9
    assert recall > 0.6
    assert found.noise == pytest.approx(share, abs=0.02)


def test_classes_that_go_wrong_unevenly_are_told_apart():
    rows, _ = with_errors(20_000, 0.0, seed=2)
    random = np.random.default_rng(3)
    turned = (rows.labels == 1) & (random.random(len(rows.labels)) < 0.1)
    labels = np.where(turned, 0, rows.labels).astype(np.uint8)
    grid = DoubtGrid()
    grid.add(
        labels, np.where(labels == rows.labels, rows.opposite_probability, 1 - rows.opposite_probability)
    )
    negative, positive = grid.result().doubted
    assert negative > 3 * positive
