"""Waiting and exchange told apart, and every second counted once."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiscale.study.bench.steps import around, passes
from sentiscale.study.bench.trace import times_per_rank, with_waiting, write_trace
from sentiscale.study.records import Case, Span

TWO = Case(layout="2x1")
ORDER = ("data", "forward", "backward", "reduce", "update", "reduce")


def rank(*phases: tuple[str, float], step: int = 0, begin: float = 0.0) -> list[Span]:
    """A rank that does these one after the other."""
    spans = []
    for phase, seconds in phases:
        spans.append(Span(phase=phase, step=step, begin=begin, end=begin + seconds))
        begin += seconds
    return spans


def test_a_rank_waits_until_the_last_one_comes_and_exchanges_after_that():
    fast = rank(("forward", 1), ("backward", 1), ("reduce", 4), ("update", 1), ("reduce", 2))
    slow = rank(("forward", 2), ("backward", 3), ("reduce", 1), ("update", 2), ("reduce", 1))
    first, second = times_per_rank(with_waiting([fast, slow], TWO))
    assert (first.waiting, first.reduce, first.update) == (3 + 1, 1 + 1, 1)
    assert (second.waiting, second.reduce) == (0, 2)
    assert (first.total, second.total) == (9, 9)


def test_replicas_of_one_stage_do_not_wait_for_the_other_stage_at_the_second_exchange():
    hybrid = Case(layout="2x2")
    outer = rank(("backward", 1), ("reduce", 1), ("update", 1), ("reduce", 1))
    inner = rank(("backward", 1), ("reduce", 1), ("update", 5), ("reduce", 1))
    found = times_per_rank(with_waiting([outer, inner, outer, inner], hybrid))
    assert [each.waiting for each in found] == [0, 0, 0, 0]
    assert [each.reduce for each in found] == [2, 2, 2, 2]


def test_trainings_side_by_side_wait_for_nobody():
    copies = Case(kind="copies", copies=2, collectives=False)
    early, late = rank(("reduce", 1)), rank(("reduce", 1), begin=0.5)
    assert [each.waiting for each in times_per_rank(with_waiting([early, late], copies))] == [0, 0]


def test_computing_is_cut_at_the_end_of_the_forward_pass_and_around_waiting():
    whole = Span(phase="compute", step=3, begin=0, end=10)
    assert [(s.phase, s.begin, s.end) for s in passes(whole, 4)] == [("forward", 0, 4), ("backward", 4, 10)]
    pieces = around(whole, [(1, 2), (5, 9)])
    assert [(s.phase, s.begin, s.end) for s in pieces] == [
        ("backward", 0, 1),
        ("waiting", 1, 2),
        ("backward", 2, 5),
        ("waiting", 5, 9),
        ("backward", 9, 10),
    ]


@given(st.lists(st.lists(st.floats(0, 5), min_size=6, max_size=6), min_size=1, max_size=4))
def test_no_second_is_lost_or_counted_twice(durations):
    timelines = [rank(*zip(ORDER, seconds, strict=True)) for seconds in durations]
    cut = with_waiting(timelines, Case(layout=f"{len(durations)}x1"))
    for seconds, spans, times in zip(durations, cut, times_per_rank(cut), strict=True):
        assert times.total == pytest.approx(sum(seconds), abs=1e-5)
        assert all(one.end <= other.begin for one, other in pairwise(spans))
    late = max(sum(seconds[:3]) for seconds in durations)
    assert all(span.begin >= late - 1e-9 for spans in cut for span in spans if span.phase == "reduce")


def test_a_trace_has_a_process_for_each_rank_and_begins_at_zero(tmp_path):
    spans = rank(("data", 0.001), ("forward", 0.002), ("reduce", 0.003), begin=100.0)
    write_trace([("2x1", [spans, spans]), ("1x1", [spans])], tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    names = {event["pid"]: event["args"]["name"] for event in events if event["name"] == "process_name"}
    assert list(names.values()) == ["2x1, rank 0", "2x1, rank 1", "1x1, rank 0"]
    first = [(e["name"], e["ts"], e["dur"]) for e in events if e["ph"] == "X" and e["pid"] == 1]
    assert first == [("data", 0, 1000), ("forward", 1000, 2000), ("reduce", 3000, 3000)]
