"""What records tell: the costs they were made from come back, and what is missing is said."""

import pytest

from sentiscale.errors import DataError, UsageError
from sentiscale.study.plan.measured import RunSelection, costs_of, dense_bytes, select_runs
from sentiscale.study.plan.network import (
    ClusterSpec,
    CollectiveTiming,
    LinkTimings,
    NetworkLink,
    parse_network,
    traffic,
)
from sentiscale.study.plan.prediction import checks_of, error_of
from sentiscale.study.records import Interference
from tests.study.plan.made import (
    DENSE_BYTES,
    HOST,
    SHAPE,
    copies,
    replicas,
    serial,
    stages,
    step_of,
    study,
    touched,
)


def test_computing_by_rows_comes_back_between_and_beyond_the_measurements():
    compute = costs_of(study()).compute
    for rows in (16, 32, 50, 100, 256):
        assert compute.at(rows) == pytest.approx(step_of(rows), rel=1e-9)


def test_copies_tell_how_ranks_of_a_host_slow_each_other():
    assert costs_of(study()).slowdown.at(2) == pytest.approx(1.25)
    assert len(costs_of([serial(64), replicas(64)]).slowdown.x) == 1


def test_bytes_tell_how_many_words_a_batch_touches():
    costs = costs_of(study())
    assert costs.dense_bytes == DENSE_BYTES
    for rows in (8, 16, 40, 256):
        assert costs.distinct_rows(rows) == pytest.approx(touched(rows), rel=0.01)
    assert costs.distinct_rows(10**9) == 1000, "no more than there are words"


def test_update_costs_by_the_row():
    costs = costs_of(study())
    assert costs.update_per_row == pytest.approx(1e-6, rel=0.02)
    assert costs.update_fixed == pytest.approx(0, abs=1e-6)


def test_spread_comes_from_the_wait_of_two_ranks():
    """The later of two normal times lies sigma / sqrt(pi) after the mean."""
    compute = 1.25 * step_of(32)
    assert costs_of([serial(64), replicas(64)]).spread == pytest.approx(
        1e-4 * 3.14159**0.5 / compute, rel=1e-3
    )


@pytest.mark.parametrize(
    ("shape", "parameters"),
    [
        (
            {"cell": "lstm", "embedding_dim": 400, "hidden_dim": 512, "layers": 2, "pooling": "last"},
            4 * 512 * (400 + 512 + 2) + 4 * 512 * (512 + 512 + 2) + 513,
        ),
        (
            {"cell": "gru", "embedding_dim": 4, "hidden_dim": 5, "bidirectional": True},
            2 * 3 * 5 * (4 + 5 + 2) + 20 + 1,
        ),
    ],
)
def test_dense_bytes_are_those_of_the_network(shape, parameters):
    assert dense_bytes(shape) == 4 * parameters


def test_dense_bytes_agree_with_torch():
    from sentiscale.config import ModelSettings
    from sentiscale.model.network import SentimentNet

    settings = ModelSettings(**SHAPE)
    net = SentimentNet(settings, 50)
    weights = sum(p.numel() for name, p in net.named_parameters() if not name.startswith("embedding"))
    assert dense_bytes(settings.model_dump()) == 4 * weights


def test_prediction_of_two_replicas_is_held_against_their_runs():
    """Computing is made to fit, so what is left is exchange and waiting: 0.3 ms of 20 to 80."""
    cluster = ClusterSpec(2, parse_network("10gbit"), memory=NetworkLink(2.5e-5, 1e9))
    checks = checks_of(study(stages(64), stages(128)), cluster)
    assert [(check.layout, check.batch_size) for check in checks] == [
        ("1x2", 64),
        ("1x2", 128),
        ("2x1", 32),
        ("2x1", 64),
        ("2x1", 128),
    ]
    assert max(abs(check.error) for check in checks if check.stages == 1) < 0.02
    assert error_of(checks, 1) < 0.02


def test_a_prediction_that_is_wrong_shows():
    """Replicas that take twice as long as copies let one expect."""
    checks = checks_of(
        [serial(64), serial(128), copies(128), replicas(128, slowdown=2.5)],
        ClusterSpec(2, parse_network("10gbit")),
    )
    assert checks[0].error == pytest.approx(-0.5, abs=0.02)


def test_serial_run_is_needed():
    with pytest.raises(DataError, match="no plain serial run"):
        costs_of([replicas(64)])


def test_what_is_not_recorded_is_named():
    with pytest.raises(DataError, match=r"gru.*there are: lstm fp32 1 threads"):
        select_runs(study(), RunSelection(model="gru"))


def test_two_hosts_are_not_mixed():
    other = HOST.model_copy(update={"cpu_model": "another"})
    with pytest.raises(UsageError, match="different cpu_model"):
        select_runs([serial(64), serial(64).model_copy(update={"host": other})], RunSelection())


def test_two_data_sets_are_not_mixed():
    with pytest.raises(UsageError, match="different data"):
        select_runs([serial(64), serial(64).model_copy(update={"data_digest": "e"})], RunSelection())


def test_link_comes_back_from_the_times_it_gives():
    link, found = NetworkLink(5e-5, 8e8), []
    for operation in ("all_reduce", "all_gather", "all_to_all", "memory"):
        for size in (64, 2**16, 2**21):
            seconds = link.seconds(*traffic(operation, size, 4))
            found.append(CollectiveTiming(operation=operation, bytes=size, seconds=seconds))
    times = LinkTimings(ranks=4, host=HOST, timings=found)
    for fitted in (times.fitted_link(memory=False), times.fitted_link(memory=True)):
        assert fitted.latency == pytest.approx(link.latency)
        assert fitted.bandwidth == pytest.approx(link.bandwidth)


def test_with_one_batch_size_words_grow_as_heaps_law_says():
    """Twice the rows hold 2 ** 0.65 times the words."""
    costs = costs_of([serial(64), replicas(64)])
    assert costs.distinct_rows(64) / costs.distinct_rows(32) == pytest.approx(2**0.65)


def test_disturbed_runs_are_counted():
    busy = Interference(cores_before=1.0, cores_during=1.5, disturbed=True)
    runs = [serial(64), serial(64).model_copy(update={"interference": busy}), replicas(64)]
    assert costs_of(runs).unknown == (
        "1 of 3 runs, during which other programs were busy, count as any other",
    )
