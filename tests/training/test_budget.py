"""How a time limit is divided; the clock of these tests stands still or moves by a second a reading."""

import math
import re
from functools import partial
from itertools import count

import pytest

import sentiscale
from sentiscale.training import budget as budget_module
from sentiscale.training.budget import LEAST_SCORED, LEAST_SECONDS, WRITING_SECONDS, TimeBudget
from sentiscale.training.launch import train
from tests.training.conftest import quick
from tests.training.test_train import weights


def at(seconds: float, limit: float | None = 60, **fields: float) -> TimeBudget:
    """A budget whose clock stands at `seconds` after the start."""
    return TimeBudget(limit, 1000.0, now=lambda: 1000.0 + seconds, **fields)


def test_without_a_limit_nothing_is_cut():
    budget = at(1e9, None)
    assert budget.wide_seconds() == budget.vector_seconds() == math.inf
    assert budget.scored_rows(1.0) is None
    assert budget.stopwatch(budget.wide_seconds())() == 0
    assert not budget.over()


@pytest.mark.parametrize(("seconds", "expected"), [(0, 30), (40, 10), (59.5, LEAST_SECONDS), (60, 0)])
def test_the_ngram_model_gets_half_of_the_time_left(seconds, expected):
    assert at(seconds).wide_seconds() == expected
    assert at(0, earlier=seconds).wide_seconds() == expected


@pytest.mark.parametrize(("seconds", "expected"), [(0, 11.5), (36, 2.5), (45, 0)])
def test_word_vectors_get_a_quarter_of_what_scoring_and_writing_leave(seconds, expected):
    assert at(seconds).vector_seconds() == expected


def test_training_stops_when_scoring_and_writing_need_the_rest():
    assert not at(45.9).over()
    assert at(46).over()
    measured = 60 - WRITING_SECONDS - 1.5
    assert not at(measured - 0.1, scoring=1.5).over()
    assert at(measured, scoring=1.5).over()


def test_a_split_may_take_a_tenth_of_the_limit():
    assert at(0).scored_rows(0.001) == 6000
    assert at(50).scored_rows(0.001) == 6000
    assert at(0).scored_rows(1.0) == LEAST_SCORED


@pytest.fixture
def ticking(monkeypatch):
    """Every reading of the clock is a second later than the one before; splits are scored on 50 rows."""

    def budget(limit: float | None, started_at: float, earlier: float) -> TimeBudget:
        return TimeBudget(limit, 0.0, earlier, now=partial(next, count()))

    monkeypatch.setattr("sentiscale.training.setup.TimeBudget", budget)
    monkeypatch.setattr("sentiscale.model.wide.CHUNK_ROWS", 16)
    monkeypatch.setattr(budget_module, "SCORING_SHARE", 0.0)
    monkeypatch.setattr(budget_module, "LEAST_SCORED", 50)


def limited(dataset, out, limit: float, **options: bool):
    return train(dataset, out, quick(train__time_limit=limit, train__epochs=50.0), **options)


def test_a_limited_run_says_what_it_cut_and_can_be_resumed(ticking, dataset, tmp_path):
    record, again = (limited(dataset, tmp_path / name, 100.0) for name in ("run", "again"))
    assert record.cuts.wide_rows == 19 * 16  # 0.4 of half the limit: a second for each chunk
    assert record.cuts.wide_passes == 30 / 19
    assert record.cuts.vector_rows is None
    assert record.cuts.scored_rows == 50
    assert 0 < record.epochs < 50
    rows = dataset.manifest.rows
    for scores, split in ((record.valid, "valid"), (record.test, "test")):
        assert (scores["rows"], scores["sampled_from"]) == (50, rows[split])
    whole = sentiscale.evaluate(tmp_path / "run" / "model", dataset.path)
    assert (whole.rows, whole.sampled_from) == (rows["test"], None)
    assert again.cuts == record.cuts, "the same seed and clock"
    assert again.valid == record.valid
    longer = limited(dataset, tmp_path / "run", 160.0, resume=True)
    assert longer.steps > record.steps
    assert longer.cuts == record.cuts, "the n-gram model and the validation rows stay the same"
    assert longer.metrics[: len(record.metrics)] == record.metrics
    assert (weights(tmp_path / "run")["wide.weights"] == weights(tmp_path / "again")["wide.weights"]).all()


@pytest.mark.parametrize("layout", ["1x1", "2x1"])
def test_a_limit_that_start_up_uses_leaves_everything_out_and_says_so(dataset, tmp_path, layout):
    settings = quick(train__time_limit=1e-3, train__layout=layout, train__precision="fp32")
    record = train(dataset, tmp_path / "run", settings)
    assert record.status == "finished"
    assert (record.steps, record.cuts.wide_rows, record.cuts.vector_rows) == (0, 0, 0)
    assert record.phases.wide < record.train_seconds
    assert all(name.startswith("net.") for name in weights(tmp_path / "run"))
    log = (tmp_path / "run" / "train.log").read_text()
    assert "no n-gram model" in log
    assert re.search(r"train with --force --time-limit \d+", log)
