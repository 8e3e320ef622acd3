"""Records of earlier versions stay readable: those of published results."""

import pytest

from sentiscale.records import read_jsonl
from sentiscale.study.compare.records import CompareRun
from sentiscale.study.compare.summary import summarise
from sentiscale.study.records import read_runs
from tests.conftest import REPOSITORY

RESULTS = REPOSITORY / "benchmarks" / "results"


def test_runs_of_a_scaling_study_are_read():
    (path,) = RESULTS.glob("scaling-study_*.jsonl")
    runs = read_runs(path)
    assert len(runs) == len(path.read_text().splitlines())
    assert {run.case.kind for run in runs} >= {"train", "copies"}
    assert all(run.case.ranks == len(run.times_per_rank) for run in runs if run.steps)


def test_runs_of_a_comparison_are_read():
    (path,) = RESULTS.glob("time-to-accuracy_*.jsonl")
    runs = list(read_jsonl(path, CompareRun))
    rows = {row.name: row for row in summarise(runs)}
    assert rows["balanced"].test_accuracy_median == pytest.approx(0.94, abs=0.02)
