"""Plans: speedups, ranges, doubts, refusals, and what is said of them."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiscale.errors import DataError, UsageError
from sentiscale.study.plan.costs import Curve, ParallelSetup
from sentiscale.study.plan.measured import costs_of
from sentiscale.study.plan.plan import about_trust, best_row, hosts_that_pay, rates_by_host, sentences
from sentiscale.study.plan.prediction import CapacityRequest, PerformanceModel, PlanCheck, predict
from tests.study.plan.made import copies, even_costs, network, replicas, serial, stages, study

CHECKED = (PlanCheck("2x1", 64, 1.0, 1.1, 0.0), PlanCheck("1x2", 64, 1.0, 1.1, 0.0))


def forecast(cluster=None, **costs) -> PerformanceModel:
    wide = Curve((1.0, 4096.0), (0.010, 40.96))
    slowdown = Curve((1.0, 64.0), (1.0, 1.0))
    return PerformanceModel(
        even_costs(compute=wide, slowdown=slowdown, **costs), cluster or network(), CHECKED
    )


def question(*workers: int, **more) -> CapacityRequest:
    return CapacityRequest(workers, **{"batch_size": 64, "rows": 6400, **more})


def test_one_rank_is_one_times_as_fast():
    [row] = predict(forecast(), question(1))
    assert (row.speedup, row.efficiency, row.communication_share) == (1, 1, 0)
    assert row.seconds_per_epoch == pytest.approx(64.0)


def test_two_ranks_by_hand():
    """0.32 s of computing, two rounds and 10 kB (12 ms), the reports (1.048 ms)."""
    [row] = predict(forecast(dense_bytes=10_000), question(2))
    assert row.step.seconds == pytest.approx(0.32 + 0.012 + 0.001048)
    assert row.speedup == pytest.approx(0.64 / 0.333048)
    assert row.communication_share == pytest.approx(0.013048 / 0.333048)


def test_weak_scaling_keeps_the_rows_of_a_rank():
    rows = predict(forecast(), question(1, 4, scaling="weak"))
    assert [row.batch_size for row in rows] == [64, 256]
    assert rows[1].step.compute == pytest.approx(rows[0].step.compute)
    assert rows[1].speedup == pytest.approx(4, rel=0.02)
    assert rows[1].seconds_per_epoch == pytest.approx(16.0, rel=0.02)


def test_price_is_of_whole_hosts():
    """Three ranks take two hosts of two; 64 rows a step, 100 steps."""
    [row] = predict(forecast(network(ranks_per_host=2)), question(3, price_per_hour=7.2))
    assert row.hosts == 2
    assert row.cost_per_epoch == pytest.approx(row.seconds_per_epoch / 3600 * 7.2 * 2)


@given(st.integers(0, 6), st.floats(0, 0.3), st.sampled_from([1, 4]))
def test_efficiency_stays_below_its_ceiling(doublings, spread, per_host):
    cluster = network(ranks_per_host=per_host)
    [row] = predict(forecast(cluster, dense_bytes=1e5, spread=spread), question(2**doublings))
    assert row.efficiency <= row.ceiling * (1 + 1e-9)
    assert row.ceiling <= 1.1  # a seed's 200 steps may draw times a little below their mean
    assert row.seconds_range[0] <= row.seconds_per_epoch <= row.seconds_range[1]
    assert row.speedup_range[0] <= row.speedup <= row.speedup_range[1]


def test_what_replicas_send_must_have_been_measured():
    costs = costs_of([serial(64), copies(64)])
    with pytest.raises(DataError, match="no case with two replicas"):
        predict(PerformanceModel(costs, network()), question(2))
    assert predict(PerformanceModel(costs, network()), question(1))


def test_stages_must_have_been_measured():
    with pytest.raises(DataError, match="no layout 1x2"):
        predict(PerformanceModel(costs_of(study()), network()), question(2, stages=2))
    assert predict(PerformanceModel(costs_of(study(stages(64))), network()), question(2, stages=2))


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (question(0), "from 1 to 1,024"),
        (question(2048), "from 1 to 1,024"),
        (question(3, stages=2), "do not divide"),
        (question(128), "cannot share 64 rows"),
    ],
)
def test_counts_that_cannot_be_are_refused(asked, reason):
    with pytest.raises(UsageError, match=reason):
        predict(forecast(outer_share=0.1, activations=Curve((1.0,), (1.0,))), asked)


def test_too_few_rows_a_rank_are_not_to_be_trusted():
    """Copies computed 16 rows at a time; half of that is still trusted, less is not."""
    found = PerformanceModel(costs_of(study()), network(), CHECKED)
    fair, beyond = predict(found, question(8, 16))
    assert (fair.trust, beyond.trust) == ("computed", "not to be trusted")
    assert "4 rows at a time on a rank; measured were 16 to 128" in beyond.doubts[0]


def test_more_neighbours_than_measured_are_not_to_be_trusted():
    found = PerformanceModel(costs_of(study()), network(ranks_per_host=8), CHECKED)
    assert "8 ranks of one host compute at once" in predict(found, question(8))[0].doubts[0]
    alone = PerformanceModel(costs_of([serial(64), replicas(64)]), network(ranks_per_host=2), CHECKED)
    assert "by how much was not measured" in predict(alone, question(2))[0].doubts[0]


def test_without_a_check_nothing_is_to_be_trusted():
    found = replace(forecast(), checks=())
    assert predict(found, question(2))[0].trust == "not to be trusted"
    assert "not checked" not in about_trust(CHECKED)
    assert about_trust([]).startswith("nothing here was checked")


def test_best_count_is_the_fewest_that_are_nearly_as_fast():
    rows = predict(forecast(dense_bytes=30_000), question(1, 2, 4, 8, 16, 32))
    best = best_row(rows)
    fastest = max(row.rows_per_s for row in rows)
    assert best.rows_per_s * 1.03 >= fastest
    assert all(row.rows_per_s * 1.03 < fastest for row in rows if row.workers < best.workers)


@pytest.mark.parametrize(
    ("rates", "hosts"), [([10, 9], 1), ([10, 14, 17], 1), ([10, 19, 25, 29], 3), ([10, 20, 30], 3)]
)
def test_hosts_pay_while_each_adds_half_of_the_first(rates, hosts):
    assert hosts_that_pay(rates) == hosts


def test_a_second_host_that_only_costs_is_said_to():
    """0.32 s saved, and 2 s of exchange at 1 MB/s."""
    said = sentences(predict(slow := forecast(dense_bytes=2e6), question(1, 2)), slow, question(1, 2))
    assert any("and is slower than one: stay with one host" in text for text in said)
    fast = forecast(network(1e-5, 1e9), dense_bytes=2e6)
    assert any(
        "a second host makes it 1.9" in text
        for text in sentences(predict(fast, question(1, 2)), fast, question(1, 2))
    )


def test_hosts_are_counted_full():
    rates = rates_by_host(forecast(network(1e-6, 1e12, ranks_per_host=4)), question(16))
    assert rates == pytest.approx([400, 800, 1200, 1600], rel=0.02)
    assert ParallelSetup(2, 2, 8).ranks == 4
