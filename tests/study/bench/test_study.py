"""A study in real processes: what its records say, and what is not done again."""

import json
from itertools import pairwise

import pytest

from sentiscale.api import plan, report
from sentiscale.errors import UsageError
from sentiscale.records import read_jsonl
from sentiscale.study.analysis.wording import case_name
from sentiscale.study.bench.study import TRACED_STEPS, BenchStudy, open_study
from sentiscale.study.bench.training import TrainingCases
from sentiscale.study.records import BenchRun
from tests.study.bench.conftest import STEPS, UNLIMITED


@pytest.fixture
def by_name(measured) -> dict[str, BenchRun]:
    return {case_name(run.case): run for run in measured.runs}


def test_every_case_has_a_whole_record(measured, dataset):
    stored = list(read_jsonl(measured.out / "records.jsonl", BenchRun))
    assert stored == measured.runs
    assert {run.case.key for run in stored} == {case.key for case in measured.plan.cases}
    for run in stored:
        assert run.steps == len(run.step_seconds) == STEPS
        assert run.rows == STEPS * 16
        assert run.data_digest == dataset.manifest.digest
        assert len(run.times_per_rank) == len(run.peak_memory_mb_per_rank) == run.case.ranks
        assert run.start_seconds > 0.3
        assert run.warm_up_seconds > 0
        assert run.interference is not None
        assert run.shape["hidden_dim"] == 8
        assert 1 <= run.shape["tokens_per_row"] <= 32


def test_every_second_of_the_steps_is_counted_once(measured):
    for run in measured.runs:
        for times in run.times_per_rank:
            assert times.total <= run.seconds + 1e-4
            assert times.backward > 0
            assert min(times.model_dump().values()) >= 0
    # Between phases a busy machine may take the core away; not from all ranks of all runs.
    shares = [times.total / run.seconds for run in measured.runs for times in run.times_per_rank]
    assert max(shares) > 0.8


def test_only_ranks_that_compute_apart_wait_for_others(by_name):
    assert by_name["serial"].times_per_rank[0].waiting == 0
    assert sum(times.waiting for times in by_name["2x1"].times_per_rank) > 0
    assert all(times.waiting == 0 for times in by_name["2 copies"].times_per_rank)
    assert by_name["2x1"].times_per_rank[0].forward > 0
    assert all(times.forward == 0 < times.waiting for times in by_name["1x2"].times_per_rank)


def test_one_rank_sends_through_the_exchange_only_where_it_is_asked_to(by_name):
    assert by_name["serial"].bytes_per_step == [0]
    alone, both = by_name["DDP, 1 rank"].bytes_per_step, by_name["2x1"].bytes_per_step
    assert alone[0] > 0
    assert max(both) > alone[0], "rows of the embedding have nowhere else to go"
    assert by_name["2 copies"].bytes_per_step == [0, 0]


def test_rates_of_trainings_side_by_side_are_added(by_name):
    run = by_name["2 copies"]
    slowest = run.rows / run.seconds
    assert slowest <= run.rows_per_s <= 2 * slowest


def test_finished_runs_are_not_done_again_and_others_are_refused(measured, dataset, settings, small_request):
    def study(settings=settings, amount=small_request.amount, seed=small_request.seed) -> BenchStudy:
        return BenchStudy(measured.plan, seed, TrainingCases(dataset, settings, amount, seed), {})

    again = study().run(measured.out, limit_cores=UNLIMITED)
    assert again.runs == measured.runs
    with pytest.raises(UsageError, match="their seed was 4, not 5"):
        study(seed=5).run(measured.out)
    wider = settings.model_copy(update={"model": settings.model.model_copy(update={"hidden_dim": 9})})
    with pytest.raises(UsageError, match="hidden_dim was 8, not 9"):
        study(settings=wider).run(measured.out)
    more = small_request.amount.model_copy(update={"steps": STEPS + 1})
    with pytest.raises(UsageError, match="Choose another --out"):
        study(amount=more).run(measured.out)


def test_runs_and_their_directory_give_the_same_report(measured):
    assert report(measured).families == report(measured.out).families


def test_a_plan_is_made_from_the_directory(measured):
    (row,) = plan(measured.out, workers=(1,)).rows
    assert (row.layout, row.speedup) == ("1x1", 1.0)


@pytest.mark.slow
def test_a_real_trace_has_phases_that_do_not_overlap(measured, dataset, settings, small_request, tmp_path):
    training = TrainingCases(dataset, settings, small_request.amount, small_request.seed)
    BenchStudy(measured.plan, small_request.seed, training, {}).write_trace(tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    names = {event["pid"]: event["args"]["name"] for event in events if event["name"] == "process_name"}
    assert {"serial, rank 0", "2x1, rank 1", "1x2, rank 1"} <= set(names.values())
    for process in names:
        mine = [event for event in events if event["ph"] == "X" and event["pid"] == process]
        spans = sorted((event["ts"], event["ts"] + event["dur"]) for event in mine)
        assert len(spans) >= TRACED_STEPS * 4
        assert all(end <= begin + 0.2 for (_, end), (begin, _) in pairwise(spans))


@pytest.mark.slow
def test_time_to_a_target_is_that_of_training_and_comes_with_the_accuracy(
    dataset, settings, small_request, tmp_path
):
    amount = small_request.amount.model_copy(update={"steps": None, "target_accuracy": 0.5})
    target = small_request.model_copy(update={"amount": amount, "layouts": ("2x1",), "baselines": False})
    with open_study(dataset.path, tmp_path / "out", target, settings) as study:
        (run,) = study.run(tmp_path / "out", limit_cores=UNLIMITED).runs
    assert run.accuracy is not None
    assert run.reached == (run.accuracy >= 0.5)
    assert run.phases["eval"] > 0
    assert run.seconds > 0
