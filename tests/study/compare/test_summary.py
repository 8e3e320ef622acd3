"""Medians, ranges and times to an accuracy."""

import pytest

from sentiscale.study.compare.summary import curves_of, first_reached, median_curve, summarise
from tests.study.compare.made import run


def test_row_has_median_and_range_over_the_seeds():
    (row,) = summarise([run("fast", 0, 10, 0.91), run("fast", 1, 30, 0.95), run("fast", 2, 12, 0.92)])
    assert (row.test_accuracy_median, row.test_accuracy_min, row.test_accuracy_max) == (0.92, 0.91, 0.95)
    assert (row.train_seconds_median, row.seeds) == (12, [0, 1, 2])


def test_points_of_a_contestant_are_rows_of_their_own():
    rows = summarise([run("fasttext", point="1 epoch"), run("fasttext", point="5 epochs"), run("fast")])
    assert [row.name for row in rows] == ["fasttext (1 epoch)", "fasttext (5 epochs)", "fast"]


@pytest.mark.parametrize(("target", "seconds"), [(0.5, 1.0), (0.9, 2.0), (0.93, 4.0), (0.95, float("inf"))])
def test_target_is_reached_at_the_first_validation_that_has_it(target, seconds):
    curve = ((1.0, 0.8), (2.0, 0.9), (3.0, 0.89), (4.0, 0.94))
    assert first_reached(run("fast", curve=curve), target) == seconds


def test_run_without_a_curve_reaches_targets_at_its_end():
    assert first_reached(run("tfidf-lr", seconds=9.0, valid=0.92), 0.92) == 9.0
    assert first_reached(run("tfidf-lr", seconds=9.0, valid=0.92, test=0.99), 0.93) == float("inf")


def test_time_to_an_accuracy_is_a_median_in_which_failing_counts_as_never():
    quick, slow, never = (((at, 0.925),) for at in (2.0, 6.0, 3.0))
    runs = [run("fast", 0, curve=quick), run("fast", 1, curve=slow), run("fast", 2, curve=((3.0, 0.5),))]
    (row,) = summarise(runs)
    assert row.to_accuracy["0.92"] == 6.0
    (row,) = summarise([runs[0], runs[2], run("fast", 3, curve=((3.0, 0.5),))])
    assert row.to_accuracy["0.92"] is None
    assert never


def test_timed_steps_have_a_speed_and_no_accuracy():
    speeds = [run("lstm", seed, None, None, rows_per_s=speed) for seed, speed in enumerate((9.0, 7.0, 8.0))]
    (row,) = summarise(speeds)
    assert (row.rows_per_s, row.rows_per_s_min, row.rows_per_s_max) == (8.0, 7.0, 9.0)
    assert row.test_accuracy_median is None
    assert curves_of(speeds) == []


def test_curve_is_the_median_of_matching_validations():
    runs = [
        run("fast", 0, curve=((0.0, 0.5), (1.0, 0.8), (2.0, 0.9))),
        run("fast", 1, curve=((0.0, 0.5), (3.0, 0.7))),
        run("fast", 2, curve=((0.0, 0.5), (2.0, 0.6), (4.0, 0.9))),
    ]
    assert median_curve(runs) == [(2.0, 0.7)]
