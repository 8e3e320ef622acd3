"""Which cases a study holds, in which order, and which it leaves out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiscale.config import resolve
from sentiscale.errors import UsageError
from sentiscale.study.bench.plan import (
    Amount,
    BenchRequest,
    arrangements,
    in_random_order,
    plan_of,
    replicas,
    runnable_plan,
)
from sentiscale.study.bench.study import RemainingTime

ONE_MODEL = BenchRequest(models=("lstm",), batch_sizes=(128,))


def of(request: BenchRequest, cores: int = 2):
    return plan_of(request, {"cpu": cores}).cases


def told(cases) -> list[tuple]:
    return [(c.layout, c.threads_per_rank, c.collectives, c.copies) for c in cases]


def test_two_cores_get_all_that_a_parallel_run_is_judged_by():
    assert told(of(ONE_MODEL)) == [
        ("1x1", 1, False, 1),
        ("1x1", 1, True, 1),
        ("1x1", 2, False, 1),
        ("1x1", 1, False, 2),
        ("2x1", 1, True, 1),
        ("1x2", 1, True, 1),
        ("2x2", 1, True, 1),
    ]
    assert len(of(BenchRequest())) == 7 * 3 * 2


@given(st.integers(1, 64))
def test_one_layout_at_most_is_larger_than_the_machine(cores):
    beyond = [case for case in of(ONE_MODEL, cores) if case.workers > cores]
    assert len(beyond) <= 1
    assert all(case.kind == "train" and case.threads_per_rank == 1 for case in beyond)
    keys = [case.key for case in of(ONE_MODEL, cores)]
    assert len(set(keys)) == len(keys)


def test_baselines_come_with_whatever_layout_was_asked_for_unless_they_are_declined():
    only = ONE_MODEL.model_copy(update={"layouts": ("2x1",), "threads": (1,)})
    assert told(of(only))[:4] == told(of(ONE_MODEL))[:4]
    assert told(of(only.model_copy(update={"baselines": False}))) == [("2x1", 1, True, 1)]


def test_copies_and_replicas_share_the_batch_in_strong_scaling_and_have_it_each_in_weak():
    strong, weak = of(ONE_MODEL), of(ONE_MODEL.model_copy(update={"scaling": "weak"}))
    assert {case.batch_size for case in strong} == {128}
    assert {case.scaling for case in weak} == {"weak"}
    assert all(case.batch_size == 128 * replicas(case) for case in weak)
    assert not {case.key for case in strong} & {case.key for case in weak}
    amount = Amount(rows=1024)
    assert {amount.steps_of(case) for case in [*strong, *weak]} == {8}


def test_threads_that_were_asked_for_and_do_not_fit_are_left_out_with_a_reason():
    request = ONE_MODEL.model_copy(update={"layouts": ("1x1", "2x1"), "threads": (1, 2)})
    _, beyond = arrangements(request, 2, "cpu")
    assert [(each.case.layout, each.case.threads_per_rank) for each in beyond] == [("2x1", 2)]
    assert "keeps 4 cores busy and this machine has 2" in beyond[0].reason


def test_cases_that_cannot_run_are_left_out_before_anything_starts():
    request = ONE_MODEL.model_copy(update={"batch_sizes": (16, 5000), "devices": ("cpu", "cuda")})
    plan = runnable_plan(request, resolve(), 1000, {"cpu": 2, "cuda": 0})
    assert {(case.device, case.batch_size) for case in plan.cases} == {("cpu", 16)}
    reasons = {each.reason for each in plan.left_out}
    assert "a batch of 5,000 rows is more than the 1,000 rows to train on" in reasons
    assert any("PyTorch sees no GPU" in reason for reason in reasons)
    with pytest.raises(UsageError, match="none of the cases"):
        runnable_plan(
            request.model_copy(update={"batch_sizes": (5000,)}), resolve(), 1000, {"cpu": 2, "cuda": 0}
        )


def test_what_does_not_train_one_model_to_the_end_has_no_time_to_accuracy():
    request = ONE_MODEL.model_copy(update={"amount": Amount(target_accuracy=0.9)})
    plan = runnable_plan(request, resolve(), 1000, {"cpu": 2})
    assert [case.layout for case in plan.cases] == ["1x1", "1x1", "2x1", "1x2", "2x2"]
    assert {case.copies for case in plan.cases} == {1}
    assert len(plan.left_out) == 2


def test_every_round_holds_every_case_once_in_an_order_of_its_own_that_the_seed_fixes():
    cases = of(ONE_MODEL)
    order = list(in_random_order(cases, 5, seed=1))
    rounds = [[case.key for repeat, case in order if repeat == number] for number in range(5)]
    assert [repeat for repeat, _ in order] == sorted(repeat for repeat, _ in order)
    assert all(sorted(each) == sorted(case.key for case in cases) for each in rounds)
    assert len({tuple(each) for each in rounds}) == 5
    assert order == list(in_random_order(cases, 5, seed=1))
    assert order != list(in_random_order(cases, 5, seed=2))


def test_time_left_follows_what_runs_have_taken():
    cases = of(ONE_MODEL)
    remaining = RemainingTime(Amount(rows=2560))
    before = remaining.estimate(cases)
    for case in cases[:3]:
        remaining.learn(case, 100.0)
    after = remaining.estimate(cases)
    assert before is not None
    assert after is not None
    assert after > 300 + 3 * before
    assert remaining.estimate([]) == 0
    assert RemainingTime(Amount(target_accuracy=0.9)).estimate(cases) is None
