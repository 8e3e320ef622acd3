"""Metrics and the joining of logits, with arithmetic a reader can check."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiscale.combine import Combination
from sentiscale.metrics import calibration_error, count, probabilities, score

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
    parts = count(logits[:cut], labels[:cut]) + count(logits[cut:], labels[cut:])
    whole = count(logits, labels)
    assert parts.rows == whole.rows == len(rows)
    assert parts.true_positive == whole.true_positive
    assert parts.loss_sum == pytest.approx(whole.loss_sum)


def test_one_class_has_no_auc():
    assert score(LOGITS[:2], LABELS[:2]).auc is None


def test_calibration_error_is_the_gap_between_confidence_and_accuracy():
    """Ten rows said positive with 0.8, seven of them are: a gap of 0.1."""
    labels = np.array([1] * 7 + [0] * 3, np.uint8)
    assert calibration_error(np.full(10, 0.8), labels) == pytest.approx(0.1)
    assert calibration_error(np.full(10, 0.2), 1 - labels) == pytest.approx(0.1)


def test_probabilities_survive_extreme_logits():
    assert probabilities(np.array([-1e30, 0, 1e30], np.float32)).tolist() == pytest.approx([0, 0.5, 1])


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
