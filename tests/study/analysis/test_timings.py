"""Somebody's table of times: read, judged, refused."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentiscale.errors import DataError
from sentiscale.study.analysis.timings import TimedRun, read_timings, study_of_timings
from tests.conftest import REPOSITORY

CLASSIC = REPOSITORY / "examples" / "classic-timings.csv"


@pytest.fixture
def table(tmp_path):
    def write(text):
        path = tmp_path / "times.csv"
        path.write_text(text)
        return path

    return write


@pytest.fixture(scope="module")
def classic():
    return study_of_timings(read_timings(CLASSIC))


def test_published_figures_by_hand():
    """One run each: 15,796 / 8,108 = 1.948 over 8, 65 % of 3; (1/1.948 - 1/3) / (2/3) = 0.270."""
    table = {8: 15796, 12: 11626, 16: 9372, 20: 8575, 24: 8108, 28: 10683}
    (family,) = study_of_timings([TimedRun(n, seconds, "DDP") for n, seconds in table.items()]).families
    rows = {row.workers: row for row in family.rows}
    assert rows[24].speedup == pytest.approx(1.948, abs=5e-4)
    assert rows[24].efficiency == pytest.approx(0.649, abs=5e-4)
    assert rows[24].karp_flatt == pytest.approx(0.270, abs=5e-4)
    assert 22 < family.fits[-1].best_workers < 26
    assert "rises from 0.208 at 12 workers to 0.547 at 28" in family.trend


def test_repeats_move_the_base_and_both_ways_are_told(classic):
    """The median of both runs with 8 is 16,619.5: 2.05 times, 68 %; the published one gives 65 %."""
    rows = {row.workers: row for row in classic.families[0].rows}
    assert rows[8].repeats == 2
    assert rows[8].seconds_ci95 == (15796, 17443)
    assert rows[24].efficiency == pytest.approx(16619.5 / 8108 / 3)
    assert "1.95 times and 65 % (serial share 0.270) over the faster" in classic.findings[0]
    assert "2.15 times and 72 %" in classic.findings[0]


def test_best_number_of_workers_is_near_24(classic):
    assert classic.recommendation.layout == "24x1"
    assert classic.families[0].name == "DDP"
    usl = classic.families[0].fits[-1]
    assert usl.model == "usl"
    assert 22 < usl.best_workers < 26
    assert "maximum at 25 workers" in classic.findings[0]


def test_serial_share_rises(classic):
    assert "the serial share rises from 0.0986 at 12 workers to 0.500 at 28" in classic.findings[1]


def test_spread_of_repeats_is_told(classic):
    """17,443 / 15,796 = 1.104 and 10,838 / 9,372 = 1.156."""
    assert (
        "Repeats of the same run differ by 10 % to 16 %: differences smaller than this mean nothing here."
        in classic.findings
    )


def test_faster_single_run_of_another_strategy_is_no_reason_to_change(classic):
    """7,784 s with 28 workers is 4 % less than 8,108, in a series that went from 10,612 to 13,565 before."""
    assert classic.recommendation.confidence.startswith("Low")
    assert "may be as good" in classic.recommendation.confidence
    assert any("times go up and down with the workers (slow at 20" in caveat for caveat in classic.caveats)


@pytest.mark.parametrize(
    "part",
    [
        "the base is 8 workers, not one and not serial",
        "13 of 15 cases were run once",
        "all workers share one GPU",
        "not whether all runs ended at the same accuracy",
        "nothing below 8 cores was measured",
    ],
)
def test_what_cannot_be_concluded_is_said(classic, part):
    assert any(part in caveat for caveat in classic.caveats)


def test_without_repeats_nothing_tells_a_difference_from_chance():
    study = study_of_timings([TimedRun(1, 10.0, "x"), TimedRun(2, 6.0, "x")])
    assert "every figure is a single run" in study.recommendation.confidence
    assert any("Every case was run once" in caveat for caveat in study.caveats)


def test_one_point_gives_caveats_and_no_advice():
    study = study_of_timings([TimedRun(4, 10.0, "x"), TimedRun(4, 11.0, "x")])
    assert study.recommendation is None
    assert study.families[0].fits == []
    assert any("one number of workers only" in caveat for caveat in study.caveats)


def test_table_may_have_spaces_comments_repeats_and_quotes(table):
    path = table('# mine\n\nSeconds , workers,strategy\n 12.5, 2 ,"a, b"\n# later\n13,2,"a, b"\n9,4,\n')
    assert read_timings(path) == [
        TimedRun(2, 12.5, "a, b"),
        TimedRun(2, 13.0, "a, b"),
        TimedRun(4, 9.0, "all runs"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("# only a comment\n", "is empty"),
        ("workers,seconds\n", "a header but no runs"),
        ("workers,time\n8,1\n", r"csv:1 has the columns 'workers,time' and no 'seconds'"),
        ("worker,seconds\n8,1\n", "Did you mean 'workers'"),
        ("8,15796\n", "no 'workers'; the first line must be"),
        ("workers,seconds,gpu\n8,1,x\n", "allowed, once each: workers, seconds and strategy"),
        ("workers,seconds,seconds\n8,1,2\n", "allowed, once each: workers, seconds and strategy"),
        ("workers,seconds\n8,fast\n", r"csv:2: seconds is 'fast'; it must be a number from 1e-09"),
        ("workers,seconds\n8,1\n9,nan\n", r"csv:3: seconds is 'nan'"),
        ("workers,seconds\n8,0\n", "seconds is '0'"),
        ("workers,seconds\n8,-3\n", "seconds is '-3'"),
        ("workers,seconds\n8,inf\n", "seconds is 'inf'"),
        ("workers,seconds\n8,\n", "seconds is ''"),
        (
            "# one\nworkers,seconds\n\n0,1\n",
            r"csv:4: workers is '0'; it must be a whole number of at least 1",
        ),
        ("workers,seconds\n2.5,1\n", "workers is '2.5'"),
        ("workers,seconds\neight,1\n", "workers is 'eight'"),
        ("workers,seconds\n999999999999,1\n", "workers is '999999999999'"),
        ("workers,seconds\n8\n", "has 1 column; the header has 2"),
    ],
)
def test_bad_tables_are_refused_with_file_and_line(table, text, message):
    with pytest.raises(DataError, match=message) as raised:
        read_timings(table(text))
    assert "times.csv" in str(raised.value)


def test_unreadable_tables_are_refused(tmp_path):
    with pytest.raises(DataError, match="cannot read"):
        read_timings(tmp_path / "missing.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00w")
    with pytest.raises(DataError, match="not UTF-8"):
        read_timings(tmp_path / "binary.csv")


TABLES = st.lists(
    st.builds(TimedRun, st.integers(1, 2000), st.floats(1e-3, 1e7), st.sampled_from("ab")),
    min_size=1,
    max_size=12,
)


@given(TABLES)
@settings(max_examples=40, deadline=None)
def test_any_table_gives_a_study_that_knows_no_order_within_a_strategy(timings):
    study = study_of_timings(timings)
    assert study.caveats
    for family in study.families:
        assert family.rows[0].efficiency == 1
    order = sorted(random.Random(0).sample(timings, len(timings)), key=lambda one: one.strategy)
    assert study_of_timings(order) == study_of_timings(sorted(timings, key=lambda one: one.strategy))
