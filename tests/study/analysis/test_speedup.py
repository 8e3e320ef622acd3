"""Tables computed by hand: speedup, efficiency, serial share, ceilings, phases."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentiscale.errors import DataError
from sentiscale.study.analysis.scaling import study_of
from sentiscale.study.analysis.speedup import karp_flatt
from tests.study.analysis.made import disturbed, host, run, runs, times, two_cores


def rows_of(found):
    """The rows of the only family, by layout and threads; copies apart."""
    (family,) = study_of(found).families
    return {
        (row.case.kind, row.case.layout, row.case.threads_per_rank, row.case.collectives): row
        for row in family.rows
    }


SERIAL, DDP1 = ("train", "1x1", 1, False), ("train", "1x1", 1, True)


def test_table_by_hand():
    """120 s serial, 40 s on 4 ranks: 3 times, 75 %, and (1/3 - 1/4) / (1 - 1/4) = 1/9 serial."""
    big = host(cores=8)
    found = rows_of(
        [
            run(120, collectives=False, host=big),
            run(125, host=big),
            run(40, layout="4x1", host=big, oversubscribed=False),
            run(100, kind="copies", copies=4, host=big, oversubscribed=False, collectives=False),
        ]
    )
    serial, one, four = found[SERIAL], found[DDP1], found[("train", "4x1", 1, True)]
    assert (serial.speedup, serial.efficiency, serial.karp_flatt) == (1, 1, None)
    assert one.speedup == pytest.approx(0.96)
    assert one.karp_flatt is None
    assert four.speedup == pytest.approx(3)
    assert four.efficiency == pytest.approx(0.75)
    assert four.karp_flatt == pytest.approx(1 / 9)
    copies = found[("copies", "1x1", 1, False)]
    assert copies.speedup == pytest.approx(1.2)
    assert copies.karp_flatt is None, "a ceiling of the machine has no serial share"


def test_medians_and_ranges_of_five():
    found = rows_of(two_cores())
    row = found[("train", "2x1", 1, True)]
    assert row.repeats == 5
    assert row.seconds_median == pytest.approx(12 / 1.8)
    assert row.seconds_ci95 == pytest.approx((0.99 * 12 / 1.8, 1.01 * 12 / 1.8))
    assert row.speedup == pytest.approx(1.8)
    low, high = row.speedup_ci95
    assert 1.8 * 0.99 / 1.01 <= low < 1.8 < high <= 1.8 * 1.01 / 0.99


def test_one_repeat_has_no_intervals():
    row = rows_of(two_cores(factors=[1.0]))[("train", "2x1", 1, True)]
    assert (row.repeats, row.seconds_ci95, row.speedup_ci95) == (1, None, None)
    assert row.speedup == pytest.approx(1.8)


def test_rows_come_serial_first_and_copies_last():
    (family,) = study_of(random.Random(1).sample(two_cores(), 35)).families
    shown = [(row.case.kind, row.case.layout, row.case.threads_per_rank) for row in family.rows]
    assert shown[0] == ("train", "1x1", 1)
    assert shown[-1][0] == "copies"
    assert [layout for _, layout, _ in shown[:-1]] == ["1x1", "1x1", "1x1", "2x1", "1x2", "2x2"]


def test_without_serial_the_fewest_cores_are_the_base_and_it_is_said():
    study = study_of(runs(10, layout="2x1", host=host(cores=8)) + runs(6, layout="4x1", host=host(cores=8)))
    (family,) = study.families
    assert [row.efficiency for row in family.rows] == pytest.approx([1, 10 / 6 / 2])
    assert family.rows[1].karp_flatt == pytest.approx(karp_flatt(10 / 6, 2))
    assert "not plain serial" in family.base
    assert any("plain serial was not measured" in caveat for caveat in study.caveats)


def test_only_oversubscribed_runs_have_no_base():
    study = study_of(runs(10, layout="2x2"))
    assert study.families[0].rows[0].speedup is None
    assert study.recommendation is None
    assert any("no base" in caveat for caveat in study.caveats)


def test_one_run_alone_is_no_crash():
    study = study_of([run(10, collectives=False)])
    assert study.families[0].rows[0].efficiency == 1
    assert study.families[0].fits == []
    assert study.recommendation.confidence.startswith("Low")
    assert any("run once" in caveat for caveat in study.caveats)


def test_weak_scaling_counts_work_a_second_and_stays_apart():
    """Twice the rows in 1.25 times the time: 1.6 times the work a second, 80 %."""
    weak = (
        run(10, scaling="weak", collectives=False),
        run(12.5, scaling="weak", layout="2x1", batch_size=256, rows=2 * 8192),
    )
    families = study_of([*weak, *two_cores()]).families
    assert [family.scaling for family in families] == ["strong", "weak"]
    row = families[1].rows[1]
    assert row.speedup == pytest.approx(1.6)
    assert row.efficiency == pytest.approx(0.8)
    assert row.karp_flatt is None
    assert families[1].fits == []


def test_other_hosts_data_and_settings_are_never_mixed():
    found = [
        *two_cores(),
        *two_cores(host=host(cpu_model="Epyc")),
        *two_cores(data_digest="e" * 64),
        *two_cores(batch_size=32),
        *two_cores(model="gru"),
        *two_cores(precision="bf16"),
        *two_cores(rows=4096),
        *two_cores(device="cuda"),
    ]
    study = study_of(found)
    assert len(study.families) == 8
    assert len({family.name for family in study.families}) == 8
    assert all(len(family.rows) == 7 for family in study.families)
    assert any("2 machines" in caveat for caveat in study.caveats)
    assert any("different data" in caveat for caveat in study.caveats)


def test_load_and_software_do_not_make_another_host():
    study = study_of(two_cores() + two_cores(factors=[1.0], host=host(load_1m=2.0, python="3.12.1")))
    assert len(study.families) == 1


def test_the_same_directory_twice_counts_once():
    assert study_of(two_cores() * 2).families == study_of(two_cores()).families


def test_oversubscribed_rows_enter_no_fit():
    with_it = study_of(two_cores()).families[0]
    without = study_of([one for one in two_cores() if not one.oversubscribed]).families[0]
    assert with_it.rows[5].oversubscribed
    assert with_it.fits == without.fits
    fast = [*two_cores(), *runs(0.1, layout="4x1")]
    assert study_of(fast).families[0].fits == without.fits


def test_more_workers_than_cores_is_seen_without_the_flag():
    (row,) = study_of(runs(5, layout="4x1", oversubscribed=False)).families[0].rows
    assert row.oversubscribed


def test_disturbed_repeats_are_counted():
    found = [*runs(10, collectives=False), *runs(6, layout="2x1", interference=disturbed())]
    study = study_of(found)
    assert [row.disturbed for row in study.families[0].rows] == [0, 5]
    assert any("5 of 10 runs were disturbed" in caveat for caveat in study.caveats)


def test_phases_are_milliseconds_of_a_step_least_and_most_over_ranks():
    """64 steps; the second rank waits for the first, which computes longer."""
    ranks = [times(forward=3.2, backward=3.2, reduce=0.64), times(forward=1.6, backward=3.2, waiting=2.24)]
    more = {"times_per_rank": ranks, "bytes_per_step": [7, 9], "peak_memory_mb_per_rank": [300.0, 200.0]}
    found = [*runs(10, collectives=False), *runs(7.04, layout="2x1", **more)]
    row = rows_of(found)[("train", "2x1", 1, True)]
    assert row.times["forward"] == pytest.approx((25, 50))
    assert row.times["reduce"] == pytest.approx((0, 10))
    assert row.times["waiting"] == pytest.approx((0, 35))
    assert row.waiting_share == pytest.approx(2.24 / 7.04)
    assert row.bytes_per_step == 9
    assert row.peak_memory_mb_per_rank == [300, 200]


def test_time_to_accuracy_counts_seconds_and_misses_have_no_speedup():
    target = {"amount": {"target_accuracy": 0.9}, "rows_per_s": 800.0}
    found = [
        *runs(60, collectives=False, accuracy=0.91, reached=True, **target),
        *runs(40, layout="2x1", accuracy=0.901, reached=True, **target),
        *runs(90, layout="1x2", accuracy=0.88, reached=False, **target),
    ]
    study = study_of(found)
    rows = {row.case.layout: row for row in study.families[0].rows}
    assert rows["2x1"].speedup == pytest.approx(1.5)
    assert rows["1x2"].speedup is None
    assert (rows["1x2"].reached, rows["2x1"].reached) == (0, 5)
    assert any("target accuracy" in caveat for caveat in study.caveats)
    assert any("0.8800 to 0.9100" in caveat for caveat in study.caveats)


def test_no_runs_are_refused():
    with pytest.raises(DataError, match="no run"):
        study_of([])


@given(st.randoms(use_true_random=False), st.lists(st.floats(0.8, 1.25), min_size=1, max_size=5))
@settings(max_examples=15, deadline=None)
def test_order_of_runs_is_irrelevant_and_efficiency_is_one_at_the_base(order, factors):
    found = two_cores(factors=factors)
    expected = study_of(found)
    shuffled = list(found)
    order.shuffle(shuffled)
    assert study_of(shuffled) == expected
    assert expected.families[0].rows[0].efficiency == 1


@given(st.floats(1e-3, 1e3))
@settings(max_examples=15, deadline=None)
def test_a_slower_clock_changes_no_ratio(unit):
    plain, scaled = (study_of(two_cores(12.0 * factor)).families[0].rows for factor in (1.0, unit))
    for one, other in zip(plain, scaled, strict=True):
        assert other.speedup == pytest.approx(one.speedup)
        assert other.efficiency == pytest.approx(one.efficiency)
        assert (other.speedup_ci95 or 0) == pytest.approx(one.speedup_ci95 or 0)
