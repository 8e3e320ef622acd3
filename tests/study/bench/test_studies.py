"""A scaling study from Python: the same as the verbs, and wrong names are told apart from right ones."""

import pytest

from sentiscale.api import bench, plan, report
from sentiscale.errors import DataError, UsageError
from tests.study.bench.conftest import SMALL, STEPS, UNLIMITED


def test_a_study_is_measured_and_reported_in_one_line(dataset, tmp_path):
    small = {name.replace(".", "__"): value for name, value in SMALL.items()}
    measured = bench(
        dataset.path,
        tmp_path / "study",
        layouts=("1x1",),
        threads=(1,),
        baselines=False,
        batch_sizes=(16,),
        models=("lstm",),
        repeats=1,
        steps=2,
        limit_cores=UNLIMITED,
        **small,
    )
    (run,) = measured.runs
    assert (run.case.layout, run.steps, run.shape["hidden_dim"]) == ("1x1", 2, 8)
    found = report(measured, out=tmp_path / "report.html", markdown=tmp_path / "report.md")
    assert found.amounts == ["2 steps"]
    assert "2 steps" in (tmp_path / "report.md").read_text()
    assert (tmp_path / "report.html").exists()


def test_a_plan_is_made_from_sizes():
    found = plan(workers=(2,), seconds_per_row=0.01, vocab=1000, embedding=8, hidden=8, layers=1)
    assert found.rows[0].batch_size == 32


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda data: bench(data, "out", layout="2x1"), "unknown 'layout'. Did you mean 'layouts'?"),
        (lambda data: bench(data, "out", rows=10, steps=STEPS), "rows and steps all set the length"),
        (lambda data: bench(data, "out", model__hiden_dim=8), "hidden_dim"),
        (lambda data: plan(data, workers=(2,), netwrk="1gbit"), "Did you mean 'network'?"),
        (lambda data: report(data, timings="times.csv"), "got both"),
        (lambda data: report(), "got neither"),
    ],
)
def test_what_cannot_be_meant_is_refused(dataset, call, message):
    with pytest.raises(UsageError, match=message.replace("?", r"\?")):
        call(dataset.path)


def test_a_directory_without_runs_is_refused(tmp_path):
    with pytest.raises(DataError, match="`sentiscale bench --out` wrote"):
        report(tmp_path / "nothing")
