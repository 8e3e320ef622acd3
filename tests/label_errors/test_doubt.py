"""Confident learning: what the paper's formulas give, whatever the blocks; wrong labels are found."""

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from sentiscale.label_errors import doubt
from sentiscale.label_errors.doubt import STEPS, DoubtCounter, LabelDoubt
from tests.label_errors.made_rows import cut, drawn_classes, drawn_rows, with_errors


def judged(blocks) -> LabelDoubt | None:
    counter = DoubtCounter(blocks[0].chances.shape[1])
    for block in blocks:
        counter.add(block.labels, block.chances)
    return counter.result()


def plain_joint(labels, chances) -> tuple[list[float | None], list[list[int]], list[int | None]]:
    """Thresholds, confident joint and suggested classes straight from equations 1 and 2 of the paper."""
    classes = range(chances.shape[1])
    thresholds = [float(chances[labels == c, c].mean()) if (labels == c).any() else None for c in classes]
    joint, suggested = [[0 for _ in classes] for _ in classes], []
    for label, chance in zip(labels, chances, strict=True):
        reached = [c for c in classes if thresholds[c] is not None and chance[c] >= thresholds[c]]
        sure = max(reached, key=lambda c: chance[c]) if reached else label
        if reached:
            joint[label][sure] += 1
        suggested.append(sure if sure != label and chance[sure] > chance[label] else None)
    return thresholds, joint, suggested


@example(2, (7, 1), [3])
@given(
    st.sampled_from([2, 3, 5, 24]),
    st.tuples(st.integers(2, 300), st.integers(0, 2**32 - 1)),
    st.lists(st.integers(0, 300), max_size=4),
)
def test_it_is_the_paper(classes, some, ends):
    rows = drawn_rows(*some) if classes == 2 else drawn_classes(some[0], classes, some[1])
    assume(len(set(rows.labels.tolist())) > 1)
    thresholds, joint, suggested = plain_joint(rows.labels, rows.chances)
    near = [np.abs(rows.chances[:, c] - at).min() for c, at in enumerate(thresholds) if at is not None]
    assume(min(near) > 2 / STEPS)  # a row within a step of a threshold may fall on either side
    found = judged(cut(rows, ends))
    assert [at is None for at in found.thresholds] == [at is None for at in thresholds]
    assert [at for at in found.thresholds if at is not None] == pytest.approx(
        [at for at in thresholds if at is not None]
    )
    assert found.joint == joint
    assert found.total == sum(code is not None for code in suggested)
    pairs = zip(rows.labels.tolist(), rows.chances, strict=True)
    assert [found.suggested(label, chances) for label, chances in pairs] == suggested


def test_probabilities_beyond_what_memory_may_hold_are_on_disk(monkeypatch):
    rows = drawn_classes(1000, 5, 1)
    expected = judged([rows])
    monkeypatch.setattr(doubt, "MOST_IN_MEMORY", 1000)
    monkeypatch.setattr(doubt, "BLOCK_ROWS", 7)
    found = judged(cut(rows, [100, 101, 600]))
    assert (found.joint, found.doubted) == (expected.joint, expected.doubted)


def test_by_hand():
    """Three rows a class; the thresholds are (0.9 + 0.9 + 0.3) / 3 = 0.7 and (0.8 + 0.8 + 0.5) / 3 = 0.7."""
    counter = DoubtCounter(2)
    second = np.array([0.1, 0.1, 0.7001, 0.8, 0.8, 0.5])
    counter.add(np.array([0, 0, 0, 1, 1, 1], np.uint8), np.c_[1 - second, second])
    found = counter.result()
    assert found.thresholds == (pytest.approx(0.7, abs=1e-4), pytest.approx(0.7))
    assert found.joint == [[2, 1], [0, 2]]
    assert found.doubted == [[0, 1], [0, 0]]
    assert found.estimated == [[pytest.approx(1 / 3), pytest.approx(1 / 6)], [0.0, 0.5]]
    assert found.noise == pytest.approx(1 / 6)


def test_one_class_alone_has_no_doubt():
    assert DoubtCounter(2).result() is None
    counter = DoubtCounter(3)
    counter.add(np.array([1, 1], np.uint8), np.array([[0.9, 0.1, 0.0], [0.1, 0.9, 0.0]]))
    assert counter.result() is None


@pytest.mark.parametrize("other", [0.0, 0.5, 1.0])
def test_answers_that_are_all_the_same_do_no_harm(other):
    counter = DoubtCounter(2)
    own = np.full(10, 1 - other)
    labels = np.array([0, 1] * 5, np.uint8)
    counter.add(labels, np.where(labels[:, None] == 0, np.c_[own, 1 - own], np.c_[1 - own, own]))
    found = counter.result()
    assert 0 <= found.noise <= 1
    assert found.total == (10 if other == 1.0 else 0)
    assert found.suggested(0, np.array([0.0, 1.0])) == 1
    assert found.suggested(0, np.array([0.5, 0.5])) is None


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3])
def test_wrong_labels_are_found_and_their_share_is_estimated(share):
    """A calibrated classifier, 96 % right: most doubtful labels are wrong, and most wrong ones doubtful."""
    rows, wrong = with_errors(20_000, share, seed=1)
    found = judged([rows])
    pairs = zip(rows.labels.tolist(), rows.chances, strict=True)
    doubtful = np.array([found.suggested(label, chances) is not None for label, chances in pairs])
    precision, recall = wrong[doubtful].mean(), doubtful[wrong].mean()
    surest = np.argsort(-rows.contradiction)[: int(wrong.sum() / 2)]
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
    counter = DoubtCounter(2)
    counter.add(labels, rows.chances)
    negative, positive = counter.result().doubted_per_label
    assert negative > 3 * positive
