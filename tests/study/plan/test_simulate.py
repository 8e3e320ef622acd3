"""Steps worked out by hand, and what must hold for any network and any number of ranks."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentiscale.study.plan.costs import Curve, ParallelSetup, TrainingCosts
from sentiscale.study.plan.network import NetworkLink
from sentiscale.study.plan.simulate import REPORT_BYTES, MicroBatch, run_pipeline, simulate
from tests.study.plan.made import even_costs, network

REPORT = 1e-3 + REPORT_BYTES / 1e6
"""Two hosts tell each other six numbers: one round of 1 ms, at 1 MB/s."""


def test_one_rank_computes_and_sends_nothing():
    """4 rows of 10 ms, and 3 ms of update."""
    step = simulate(even_costs(update_fixed=0.003, dense_bytes=1e6), ParallelSetup(1, 1, 4), network())
    assert step.seconds == pytest.approx(0.043)
    assert (step.exchange, step.waiting) == (pytest.approx(0), pytest.approx(0))


def test_two_ranks_add_up_dense_gradients():
    """2 rows each: 20 ms. The ring: 2 rounds of 1 ms, 10 kB at 1 MB/s: 12 ms. Then the reports."""
    step = simulate(even_costs(dense_bytes=10_000, update_fixed=0.003), ParallelSetup(2, 1, 4), network())
    assert step.seconds == pytest.approx(0.020 + 0.012 + REPORT + 0.003)
    assert step.compute == pytest.approx(0.023)
    assert step.exchange == pytest.approx(0.012 + REPORT)


def sparse(forward_share: float = 0.5) -> TrainingCosts:
    """100 words a row that no other has; vectors of 1 float: 4 bytes of number and 4 of gradient each."""
    return even_costs(
        sparse=True,
        touched=Curve((1.0,), (100.0,)),
        embedding_dim=1,
        table_rows=10**6,
        forward_share=forward_share,
    )


def test_two_ranks_hand_out_rows_while_they_compute():
    """Numbers of 200 rows travel during the 10 ms of backward; then half their gradients (1.4 ms), reports,
    and the 200 rows each owns go to the other: two sizes and rows of 12 bytes (4.4 ms)."""
    step = simulate(sparse(), ParallelSetup(2, 1, 4), network())
    assert step.seconds == pytest.approx(0.020 + 0.0014 + REPORT + 2 * (1e-3 + 8e-6) + 1e-3 + 0.0024)


def test_row_numbers_that_arrive_late_hold_up_the_gradients():
    """All computing is forward: the numbers (1.4 ms) have nothing to hide behind."""
    early, late = (simulate(sparse(share), ParallelSetup(2, 1, 4), network()).seconds for share in (0.5, 1.0))
    assert late - early == pytest.approx(0.0014)


def test_ranks_of_one_host_use_memory_instead_of_the_wire():
    """20 ms; 4 barriers of 1 ms and 10 kB at 1 MB/s."""
    cluster = network(ranks_per_host=2, memory=NetworkLink(1e-3, 1e6))
    step = simulate(even_costs(dense_bytes=10_000), ParallelSetup(2, 1, 4), cluster)
    assert step.seconds == pytest.approx(0.020 + 0.004 + 0.010)


def test_ring_crosses_each_hosts_link_once_and_rows_share_it():
    """Two hosts of two ranks. A ring of four takes 6 rounds and 1.5 times the bytes, as four hosts would;
    half of each rank's rows leave its host, through a link it shares with another."""
    dense = even_costs(dense_bytes=10_000)
    together = simulate(dense, ParallelSetup(4, 1, 4), network(ranks_per_host=2)).seconds
    assert together == pytest.approx(simulate(dense, ParallelSetup(4, 1, 4), network()).seconds)
    assert together == pytest.approx(0.010 + 0.006 + 0.015 + 3 * (1e-3 + 48e-6))


def test_rows_of_neighbours_share_their_hosts_link():
    """Four ranks on two hosts, 100 words each, 0.5 MB/s for each of two neighbours: half of 400 bytes leaves
    (1.2 ms of messages + 0.4), reports in 3 rounds; two sizes and 100 owned rows of 12 bytes go across."""
    step = simulate(sparse(), ParallelSetup(4, 1, 4), network(ranks_per_host=2))
    exchange = 1.6e-3 + 3 * REPORT + 2 * (1e-3 + 8 / 5e5) + 1e-3 + 1200 / 5e5
    assert step.seconds == pytest.approx(0.010 + exchange)


def test_one_rank_alone_waits_for_nobody_however_ranks_differ():
    assert simulate(even_costs(spread=0.2), ParallelSetup(1, 1, 4), network()).seconds == pytest.approx(0.040)


def test_busy_neighbours_slow_a_rank_down():
    slow = even_costs(slowdown=Curve((1.0, 2.0), (1.0, 1.5)))
    assert simulate(slow, ParallelSetup(2, 1, 4), network(ranks_per_host=2)).compute == pytest.approx(0.030)
    assert simulate(slow, ParallelSetup(2, 1, 4), network(ranks_per_host=1)).compute == pytest.approx(0.020)


def test_slowest_of_many_ranks_decides():
    """The largest of 1,024 normal times lies about 3.2 standard deviations above the mean."""
    step = simulate(even_costs(spread=0.05), ParallelSetup(1024, 1, 1024), network(0.0, 1e15), steps=300)
    assert step.waiting / step.compute == pytest.approx(3.2 * 0.05, rel=0.15)


def test_the_same_seed_gives_the_same_numbers():
    costs = even_costs(spread=0.1, step_factors=(0.5, 1.0, 1.5))
    steps = [simulate(costs, ParallelSetup(4, 1, 8), network(), seed=seed) for seed in (1, 1, 2)]
    assert steps[0] == steps[1] != steps[2]


def micro(**changes: float) -> MicroBatch:
    values = {"look_up": 0.0, "head": 0.0, "scatter": 0.0, "forward": 1.0, "backward": 2.0} | changes
    return MicroBatch(**{name: np.array([value]) for name, value in values.items()}, vectors=0.0)


FREE = NetworkLink(0.0, 1e15)


@pytest.mark.parametrize("parts", [1, 2, 3, 5])
def test_inner_stage_that_never_waits_sets_the_pace(parts):
    outer, inner = run_pipeline(micro(), parts, FREE)
    assert inner == pytest.approx(3.0 * parts)
    assert outer == pytest.approx(3.0 * parts)


def test_pipeline_of_one_part_takes_turns():
    """Look up 1, there 0.5, forward 1, back 0.5, head 3, there 0.5, backward 2, back 0.5, scatter 4."""
    times = run_pipeline(micro(look_up=1.0, head=3.0, scatter=4.0), 1, NetworkLink(0.5, 1e15))
    assert [float(each[0]) for each in times] == pytest.approx([13.0, 8.5])


def test_pipeline_of_two_parts_overlaps():
    """The outer stage looks both up by 2. Inner: forward 0 from 2 to 3, forward 1 to 4; head 0 by 3.5, so
    backward 0 from 4 to 6; head 1 from 4 to 4.5; backward 1 to 8. Scatter 0 from 6 to 7, 1 from 8 to 9."""
    times = run_pipeline(micro(look_up=1.0, head=0.5, scatter=1.0), 2, FREE)
    assert [float(each[0]) for each in times] == pytest.approx([9.0, 8.0])


def test_messages_of_one_direction_leave_one_after_the_other():
    """Two tensors of 2 s each are ready at 0: they arrive at 2 and 4. Forwards end at 3 and 5, gradients
    of pooled rows weigh nothing; backward 0 from 5 to 7, its 2 s back at 9; backward 1 to 9, back at 11."""
    times = run_pipeline(replace(micro(), vectors=2.0), 2, NetworkLink(0.0, 1.0))
    assert [float(each[0]) for each in times] == pytest.approx([11.0, 9.0])


def staged(**changes: object) -> TrainingCosts:
    return even_costs(outer_share=0.0, activations=Curve((1.0,), (1000.0,)), **changes)


def test_two_stages_do_not_divide_the_work():
    """All work is the inner stage's: 4 rows of 10 ms, and nothing on the wire takes time."""
    step = simulate(staged(), ParallelSetup(1, 2, 4), network(0.0, 1e15))
    assert step.seconds == pytest.approx(0.040)


def test_hybrid_divides_rows_among_replicas_and_adds_up_gradients():
    step = simulate(staged(dense_bytes=10_000), ParallelSetup(2, 2, 4), network(0.0, 1e6, ranks_per_host=2))
    assert step.seconds == pytest.approx(0.020 + 0.010 + 3 * 48e-6)


any_link = st.builds(NetworkLink, st.floats(1e-7, 1e-2), st.floats(1e5, 1e11))


@settings(max_examples=60)
@given(
    any_link, st.floats(1.0, 100.0), st.integers(0, 10), st.sampled_from([1, 2, 8]), st.sampled_from([1, 2])
)
def test_a_better_network_is_never_slower(link, factor, doublings, per_host, stages):
    costs = replace(
        staged(dense_bytes=1e6, spread=0.05),
        sparse=True,
        touched=Curve((1.0,), (50.0,)),
        embedding_dim=16,
        table_rows=10**6,
    )
    setting = ParallelSetup(2**doublings, stages, 2048)
    worse = network(link.latency, link.bandwidth, per_host)
    better = network(link.latency / factor, link.bandwidth * factor, per_host)
    assert (
        simulate(costs, setting, better, steps=5).seconds
        <= simulate(costs, setting, worse, steps=5).seconds + 1e-12
    )


@settings(max_examples=60)
@given(any_link, st.integers(0, 10), st.sampled_from([1, 2, 64]), st.floats(0, 0.3))
def test_parts_of_a_step_add_up(link, doublings, per_host, spread):
    step = simulate(
        even_costs(dense_bytes=1e6, spread=spread),
        ParallelSetup(2**doublings, 1, 2048),
        network(link.latency, link.bandwidth, per_host),
        steps=5,
    )
    assert min(step.compute, step.waiting + 1e-9, step.exchange) >= 0
    assert step.compute + step.waiting + step.exchange == pytest.approx(step.seconds)
