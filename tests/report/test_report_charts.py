"""The charts of a scaling study: right places, labels within the chart and beside each other."""

import re
from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiscale.report.charts import CANVAS, PHONE, SIDE, Axis, Chart, PointLabel, place_labels
from sentiscale.report.scaling_bars import byte_bars, memory_bars, time_bars
from sentiscale.report.scaling_charts import efficiency_chart, karp_flatt_chart, seconds_chart, speedup_chart
from sentiscale.util.numbers import figure
from tests.report import studies

BESIDE = 0.16
"""How far points of the same number of cores may stand apart."""


def charts():
    for name in ("complete", "timings", "targets", "wide"):
        study = getattr(studies, name)()
        for family in study.families:
            for make in (speedup_chart, efficiency_chart, karp_flatt_chart):
                if (chart := make(family, "f")) is not None:
                    yield pytest.param(chart, id=f"{name}-{family.name}-{chart.name}")
        if (chart := seconds_chart(study.families)) is not None:
            yield pytest.param(chart, id=f"{name}-seconds")


@pytest.mark.parametrize("chart", list(charts()))
def test_nothing_leaves_the_chart_and_no_label_covers_another_even_on_a_phone(chart):
    assert chart.labels
    for label in chart.labels:
        assert PHONE.box(label).is_inside(CANVAS), label
    for one, other in combinations(chart.labels, 2):
        assert not PHONE.box(one).overlaps(PHONE.box(other)), (one.text, other.text)
    for shape in chart.shapes:
        numbers = [float(number) for number in re.findall(r"-?[\d.]+", shape.path.replace("h.01", ""))]
        assert 0 <= min(numbers) <= max(numbers) <= SIDE


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.integers(1, 20)), min_size=1, max_size=6))
def test_labels_of_any_points_stay_inside_and_keep_their_words(points):
    chart = Chart("c", "title", "about", Axis("x", 0, 1), Axis("y", 0, 1))
    wanted = [PointLabel((x, y), "w" * length, "replicas") for x, y, length in points]
    place_labels(chart, wanted, [label.point for label in wanted])
    assert [label.text for label in chart.labels] == [label.text for label in wanted]
    assert all(PHONE.box(label).is_inside(CANVAS) for label in chart.labels)


def lines(chart, style):
    """Ends of the paths of a style, back in units of the axes."""
    found = []
    for shape in chart.shapes:
        if set(style.split()) <= set(shape.style.split()):
            numbers = list(map(float, re.findall(r"[\d.]+", shape.path.replace("h.01", ""))))
            xs = [chart.x.low + x / SIDE * (chart.x.high - chart.x.low) for x in numbers[::2]]
            ys = [chart.y.low + (1 - y / SIDE) * (chart.y.high - chart.y.low) for y in numbers[1::2]]
            found.append(list(zip(xs, ys, strict=True)))
    return found


def test_lines_go_through_what_was_measured():
    chart = speedup_chart(studies.complete().families[1], "f")
    (replicas,) = lines(chart, "line replicas")[-1:]
    assert replicas[0] == pytest.approx((1, 1), abs=0.01)
    assert replicas[1] == pytest.approx((2, 1.83), abs=BESIDE)
    (ceiling,) = (line for line in lines(chart, "line copies") if len(line) == 2 and line[0][0] < 1.5)
    assert ceiling[-1] == pytest.approx((2, 1.92), abs=BESIDE)
    ((start, end),) = lines(chart, "line ideal")
    assert start == pytest.approx((0, 0), abs=0.01)
    assert end[1] / end[0] == pytest.approx(1, rel=0.01)
    intervals = [[y for _, y in line] for line in lines(chart, "whisker replicas")]
    assert pytest.approx([0.98 * 1.83, 1.016 * 1.83], abs=0.01) in intervals


def test_points_of_the_same_cores_stand_side_by_side():
    chart = speedup_chart(studies.complete().families[1], "f")
    dots = [shape for shape in chart.shapes if shape.style.startswith("dot ") and shape.tip]
    places = [shape.path.split()[0] for shape in dots]
    assert len(places) == len(set(places)) == 7


def test_an_interval_wider_than_the_chart_does_not_squeeze_the_points():
    family = studies.complete().families[1]
    rows = [replace(row, speedup_ci95=(0.1, 40.0)) if row.speedup != 1 else row for row in family.rows]
    assert speedup_chart(replace(family, rows=rows), "f").y.high <= 6


def test_ideal_of_a_base_that_is_not_serial_counts_from_that_base():
    chart = speedup_chart(studies.timings().families[0], "f")
    ((_, end),) = lines(chart, "line ideal")
    assert end[0] / end[1] == pytest.approx(8, rel=0.01)
    assert chart.title == "24 workers: 1.95 times 8 workers; ideal would be 3.00"


def test_ideal_ends_where_the_cores_end():
    family = studies.timings().families[0]
    rows = [family.rows[0], replace(family.rows[2], speedup=1.9)]
    chart = speedup_chart(replace(family, rows=rows, fits=[]), "f")
    ((_, end),) = lines(chart, "line ideal")
    assert end == pytest.approx((16, 2), abs=0.02)


def test_laws_are_dashed_beyond_the_largest_count_and_end_where_they_can_be_trusted():
    family = studies.timings().families[0]
    chart = speedup_chart(family, "f")
    for model in ("amdahl", "usl"):
        beyond = [line for shape, line in styled(chart) if {"law", model, "dashed"} <= shape]
        known = [line for shape, line in styled(chart) if {"law", model} <= shape and "dashed" not in shape]
        assert len(beyond) == len(known) == 1
        assert max(x for x, _ in known[0]) <= 28.1
        assert min(x for x, _ in beyond[0]) >= 27
        assert max(x for x, _ in beyond[0]) == pytest.approx(56, abs=0.2)
        assert max(y for _, y in known[0]) == pytest.approx(1.9, abs=0.25), "at the height of the points"


def styled(chart):
    for shape in chart.shapes:
        (line,) = lines(replace(chart, shapes=[shape]), shape.style)
        yield set(shape.style.split()), line


def test_law_has_the_same_height_whatever_unit_its_rate_is_in():
    family = studies.timings().families[0]
    scaled = [
        replace(f, parameters=f.parameters | {"lambda": 1e4 * f.parameters["lambda"]}) for f in family.fits
    ]
    assert speedup_chart(replace(family, fits=scaled), "f").shapes == speedup_chart(family, "f").shapes


@pytest.mark.parametrize("make", [speedup_chart, efficiency_chart, karp_flatt_chart])
@pytest.mark.parametrize("name", ["alone", "without_base"])
def test_no_chart_is_drawn_of_a_single_point_or_without_a_base(make, name):
    assert make(getattr(studies, name)().families[0], "f") is None


@pytest.mark.parametrize("make", [time_bars, memory_bars, byte_bars])
def test_no_bars_are_drawn_of_what_was_not_measured(make):
    assert make(studies.alone().families[0]) is None


def test_time_of_a_step_is_the_sum_of_its_phases():
    bars = time_bars(studies.complete().families[1])
    (serial, *_) = bars.bars
    assert serial.value == "63.8 ms"
    assert sum(part.width for part in serial.parts) * bars.axis.high / 100 == pytest.approx(63.8, abs=0.1)
    assert [bar.name for bar in bars.bars if bar.flag] == ["2x2"]
    assert "40 % of a step (1x2)" in bars.title, "not the oversubscribed case"


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (0, "0"),
        (1, "1.00"),
        (1.826, "1.83"),
        (9.999, "10.0"),
        (0.02134, "0.0213"),
        (-0.0456, "-0.0456"),
        (61.25, "61.2"),
        (999.6, "1,000"),
        (15_796, "15,796"),
        (1_234_567.8, "1,234,568"),
        (0.00012, "0.000120"),
        (1e-9, "< 0.00001"),
    ],
)
def test_numbers_have_three_digits_and_separators(value, told):
    assert figure(value) == told
