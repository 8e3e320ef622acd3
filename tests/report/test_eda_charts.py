"""Axes, shapes and labels of charts: always within the chart, whatever the data."""

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sentiscale.report.charts import SIDE, Axis, Chart, PointLabel, place_labels_where_free, round_up, steps
from sentiscale.util.numbers import duration, percent, short_number, size

finite = st.floats(-1e9, 1e9)


def chart(x: Axis, y: Axis) -> Chart:
    return Chart("c", "title", "about", x, y)


@given(finite, st.floats(0.001, 1e9))
def test_linear_ticks_are_few_ordered_and_within(low, span):
    axis = Axis("x", low, low + span)
    assume(axis.high - axis.low > 1e-6 * abs(low))  # else neighbouring numbers cannot be told apart
    places = [place for place, _ in axis.ticks()]
    assert 3 <= len(places) <= 11
    assert places == sorted(places)
    assert 0 <= places[0] <= places[-1] <= 1


@given(st.floats(0.001, 1e6), st.floats(1.01, 1e9))
def test_logarithmic_ticks_are_few_ordered_and_within(low, factor):
    axis = Axis("x", low, low * factor, log=True)
    places = [place for place, _ in axis.ticks()]
    assert 1 <= len(places) <= 9
    assert places == sorted(places)
    assert 0 <= places[0] <= places[-1] <= 1


def test_ticks_are_the_numbers_a_person_would_choose():
    assert [text for _, text in Axis("", 0, 25_000).ticks()] == ["0", "5k", "10k", "15k", "20k", "25k"]
    assert [text for _, text in Axis("", 0, 1, percent=True).ticks()] == [
        "0 %",
        "25 %",
        "50 %",
        "75 %",
        "100 %",
    ]
    assert [text for _, text in Axis("", 1, 20_000, log=True).ticks()] == ["1", "10", "100", "1k", "10k"]
    assert [text for _, text in Axis("", 3, 60, log=True).ticks()] == ["5", "10", "20", "50"]


@given(st.lists(st.tuples(finite, finite), min_size=1, max_size=20))
def test_shapes_never_leave_the_chart(points):
    drawn = chart(Axis("x", -5, 5), Axis("y", 0, 100))
    drawn.line(points, "accent")
    drawn.area(points, "accent")
    drawn.dots(points, "faint")
    drawn.band(points[0][0], points[-1][0], "tip")
    drawn.rule(points[0][0], "rule")
    for shape in drawn.shapes:
        numbers = [float(number) for number in re.findall(r"-?[\d.]+", shape.path.replace("h.01", ""))]
        assert numbers
        assert min(numbers) >= 0
        assert max(numbers) <= SIDE
    assert all(0 <= label.x <= 1 and 0 <= label.y <= 1 for label in drawn.labels)


def test_the_top_of_the_chart_is_the_high_end():
    drawn = chart(Axis("x", 0, 10), Axis("y", 0, 1))
    drawn.line([(0, 0), (5, 0.5), (10, 1)], "accent")
    assert drawn.shapes[0].path == "M0 1000L500 500L1000 0"


def test_outline_of_a_histogram_goes_up_and_down_at_the_edges():
    assert steps([0, 10, 20], [3, 1]) == [(0, 3), (10, 3), (10, 1), (20, 1)]


@given(st.floats(1e-6, 1e12))
def test_axis_ends_are_at_or_a_little_above_the_data(value):
    assert value * (1 - 1e-9) <= round_up(value) <= 1.5 * value


def test_labels_touch_neither_each_other_nor_a_dot():
    drawn = chart(Axis("x", 0, 1), Axis("y", 0, 1))
    crowd = [PointLabel((0.5 + i / 1000, 0.5), f"word{i}", "positive") for i in range(30)]
    apart = [PointLabel((0.1, 0.9), "alone", "positive"), PointLabel((0.999, 0.1), "edge", "positive")]
    place_labels_where_free(drawn, [*crowd, *apart])
    shown = {label.text: label for label in drawn.labels}
    assert {"alone", "edge"} <= set(shown)
    assert shown["edge"].side == "left"
    assert len(shown) <= 4, "of a crowd in one place at most the outer ones"


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (short_number(950), "950"),
        (short_number(12_345), "12.3k"),
        (short_number(3.4e6), "3.4M"),
        (percent(0), "0 %"),
        (percent(1), "100 %"),
        (percent(0.00001), "< 0.1 %"),
        (percent(0.99999), "> 99.9 %"),
        (percent(0.12345, 2), "12.35 %"),
        (duration(1.5), "1.5 s"),
        (duration(150), "2 min 30 s"),
        (size(820), "820 bytes"),
        (size(1.7e9), "1.7 GB"),
    ],
)
def test_numbers_are_written_for_people(told, expected):
    assert told == expected
