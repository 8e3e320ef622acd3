"""Metrics and the joining of logits, with arithmetic a reader can check."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiscale.model.metrics import (
    calibration_bins,
    confusion,
    expected_calibration_error,
    loss_sum,
    probabilities,
    score,
)
from sentiscale.model.wide import Combination
from sentiscale.records import Scores

LOGITS = np.array([2.0, -1.0, 0.5, -3.0], np.float32)
LABELS = np.array([1, 1, 0, 0], np.uint8)


def test_counts_and_scores_of_four_rows():
    scores = score(LOGITS, LABELS)
    assert scores.confusion == [[1, 1], [1, 1]]
    assert scores.accuracy == 0.5
    assert scores.precision == scores.recall == scores.f1 == 0.5
    assert scores.auc == 0.75  # of the four pairs, only (-1, 0.5) is in the wrong order
    expected = np.log1p(np.exp([-2.0, 1.0, 0.5, -3.0])).mean()
    assert scores.loss == pytest.approx(expected)


@given(st.lists(st.tuples(st.floats(-50, 50, width=32), st.integers(0, 1)), max_size=40), st.integers(0, 40))
def test_counts_of_parts_add_up_to_counts_of_the_whole(rows, cut):
    logits = np.array([row[0] for row in rows], np.float32)
    labels = np.array([row[1] for row in rows], np.uint8)
    codes = probabilities(logits).argmax(axis=1)
    parts = confusion(labels[:cut], codes[:cut], 2) + confusion(labels[cut:], codes[cut:], 2)
    assert np.array_equal(parts, confusion(labels, codes, 2))
    assert parts.sum() == len(rows)
    loss = loss_sum(logits[:cut], labels[:cut]) + loss_sum(logits[cut:], labels[cut:])
    assert loss == pytest.approx(loss_sum(logits, labels))


def test_one_class_has_no_auc():
    assert score(LOGITS[:2], LABELS[:2]).auc is None


def test_calibration_error_is_the_gap_between_confidence_and_accuracy():
    """Ten rows said positive with 0.8, seven of them are: a gap of 0.1."""
    labels = np.array([1] * 7 + [0] * 3, np.uint8)
    chances = np.tile([0.2, 0.8], (10, 1))
    assert expected_calibration_error(calibration_bins(chances, labels)) == pytest.approx(0.1)
    assert expected_calibration_error(calibration_bins(1 - chances, 1 - labels)) == pytest.approx(0.1)


def test_calibration_bins_of_five_rows():
    """All right but the second, a positive row that is said to be negative with 0.8."""
    positive = np.array([0.8, 0.2, 0.98, 1.0, 0.5])
    bins = calibration_bins(np.c_[1 - positive, positive], np.array([1, 1, 1, 1, 0], np.uint8))
    assert [bin_.rows for bin_ in bins] == [1, 2, 2]  # a confidence of 1 belongs to the last bin
    assert [bin_.accuracy for bin_ in bins] == [1.0, 0.5, 1.0]
    assert [bin_.confidence for bin_ in bins] == pytest.approx([0.5, 0.8, 0.99])
    assert [(bin_.low, bin_.high) for bin_ in bins] == [(7 / 15, 8 / 15), (12 / 15, 13 / 15), (14 / 15, 1.0)]


@given(st.lists(st.tuples(st.floats(-30, 30, width=32), st.integers(0, 1)), max_size=60))
def test_calibration_bins_hold_every_row_once(rows):
    logits = np.array([row[0] for row in rows], np.float32)
    labels = np.array([row[1] for row in rows], np.uint8)
    chances = probabilities(logits)
    bins = calibration_bins(chances, labels)
    assert sum(bin_.rows for bin_ in bins) == len(rows)
    right = int(np.sum(chances.argmax(axis=1) == labels))
    assert sum(bin_.rows * bin_.accuracy for bin_ in bins) == pytest.approx(right)
    for bin_ in bins:
        assert bin_.low - 1e-12 <= bin_.confidence <= bin_.high + 1e-12
        assert bin_.rows > 0


def test_scores_keep_their_bins_and_agree_with_the_calibration_error():
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 3, 500).astype(np.float32)
    labels = (generator.random(500) < 0.5).astype(np.uint8)
    scores = Scores.model_validate_json(score(logits, labels).model_dump_json())
    assert scores.calibration == calibration_bins(probabilities(logits), labels)
    gaps = [bin_.rows * abs(bin_.accuracy - bin_.confidence) for bin_ in scores.calibration]
    assert scores.ece == pytest.approx(sum(gaps) / 500)
    assert scores.ece == expected_calibration_error(calibration_bins(probabilities(logits), labels))


def test_scores_from_before_the_bins_were_kept_stay_readable():
    old = score(LOGITS, LABELS).model_dump(exclude={"calibration"})
    assert Scores.model_validate(old).calibration == []


def test_probabilities_survive_extreme_logits():
    found = probabilities(np.array([-1e30, 0, 1e30], np.float32))
    assert found[:, 1].tolist() == pytest.approx([0, 0.5, 1])


def test_two_weak_parts_together_beat_each():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 4000).astype(np.uint8)
    signal = labels * 2.0 - 1
    first, second = ((signal + generator.normal(0, 1.5, 4000)).astype(np.float32) for _ in range(2))
    joined = Combination.fit(first, second, labels)
    accuracy = score(joined.logits(first, second), labels).accuracy
    assert accuracy > max(score(first, labels).accuracy, score(second, labels).accuracy) + 0.03


def test_fitting_repairs_an_overconfident_scale():
    generator = np.random.default_rng(0)
    true_logits = generator.normal(0, 1.5, 5000)
    labels = (generator.random(5000) < 1 / (1 + np.exp(-true_logits))).astype(np.uint8)
    shouted = (5 * true_logits + 2).astype(np.float32)
    joined = Combination.fit(shouted, None, labels)
    assert joined.net == pytest.approx(0.2, abs=0.02)
    assert joined.bias == pytest.approx(-0.4, abs=0.1)
    assert score(joined.logits(shouted, None), labels).ece < score(shouted, labels).ece / 4


def test_one_class_leaves_the_network_as_it_is():
    assert Combination.fit(LOGITS, None, np.ones(4, np.uint8)) == Combination()
