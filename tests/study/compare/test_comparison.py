"""The whole of it: runs in processes of their own, kept, gone on with, told."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

from sentiscale.cli import app
from sentiscale.data.prepare import prepare
from sentiscale.datasets.output import synth
from sentiscale.errors import DataError, UsageError
from sentiscale.records import read_jsonl
from sentiscale.study.compare.comparison import compare, environment
from sentiscale.study.compare.contestants import CONTESTANTS
from sentiscale.study.compare.records import CompareConditions, CompareRun
from sentiscale.study.records import RECORDS
from tests.study.compare.conftest import ONE_THREAD

MODELS = ["fast", "tfidf-lr"]


def test_every_contestant_is_trained_and_scored(comparison, dataset):
    assert [(run.model, run.seed) for run in comparison.runs] == [("fast", 7), ("tfidf-lr", 7)]
    for run in comparison.runs:
        assert run.test["rows"] == dataset.manifest.rows["test"]
        assert 0 < run.train_seconds < run.process_seconds
        assert run.cpu_seconds > 0


def test_ours_has_a_curve_that_begins_with_the_wide_part(comparison):
    for run in comparison.runs:
        if run.model == "fast":
            assert len(run.curve) == 3
            assert run.curve[-1].seconds <= run.train_seconds


def test_records_hold_what_was_returned_and_nothing_else_is_left(comparison):
    out = comparison.plot.parent
    kept = {run.key: run for run in read_jsonl(out / RECORDS, CompareRun)}
    assert kept == {run.key: run for run in comparison.runs}
    assert sorted(path.name for path in out.iterdir()) == [RECORDS, "time-to-accuracy.svg"]


def test_finished_runs_are_not_done_again(comparison, dataset, quick):
    out = comparison.plot.parent
    before = (out / RECORDS).read_bytes()
    again = compare(dataset.path, MODELS, out=out, seeds=(7,), conditions=ONE_THREAD, settings=quick)
    assert (out / RECORDS).read_bytes() == before
    assert {run.key for run in again.runs} == {run.key for run in comparison.runs}


def test_other_settings_are_other_runs(comparison, dataset, tmp_path):
    """A record answers only for the settings it was made with."""
    done = {run.key for run in comparison.runs}
    others = compare(
        dataset.path, ["tfidf-lr"], out=tmp_path, seeds=(7,), conditions=CompareConditions(threads=2)
    )
    assert not done & {run.key for run in others.runs}


def test_runs_on_other_data_are_not_mixed(comparison, quick, tmp_path):
    synth(300, 6, out=tmp_path / "reviews.txt")
    other = prepare(tmp_path / "reviews.txt", tmp_path / "data", workers=1)
    with pytest.raises(UsageError, match=r"holds runs on other data.*Choose another --out"):
        compare(other.path, MODELS, out=comparison.plot.parent, conditions=ONE_THREAD, settings=quick)


def test_data_without_a_test_split_is_refused_before_anything_is_run(tmp_path):
    synth(300, 6, out=tmp_path / "reviews.txt")
    data = prepare(tmp_path / "reviews.txt", tmp_path / "data", workers=1, split=(0.9, 0.1, 0.0))
    with pytest.raises(DataError, match="split 'test'"):
        compare(data.path, ["tfidf-lr"], out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_failed_run_is_told_with_its_own_words(dataset, quick, tmp_path):
    conditions = CompareConditions(threads=64, layout="64x1")
    with pytest.raises(
        UsageError, match=r"the run of fast, seed 0 ended with exit code 2: layout 64x1 needs"
    ):
        compare(dataset.path, ["fast"], out=tmp_path, seeds=(0,), conditions=conditions, settings=quick)
    assert "layout 64x1 needs" in (tmp_path / "failed.log").read_text()


def test_peers_do_not_inherit_what_our_command_line_sets_for_itself(comparison, monkeypatch):
    monkeypatch.setenv("GOMP_SPINCOUNT", "400")
    ours, peer = comparison.runs[0], comparison.runs[-1]
    assert environment(ours, CONTESTANTS["fast"])["GOMP_SPINCOUNT"] == "400"
    assert "GOMP_SPINCOUNT" not in environment(peer, CONTESTANTS["tfidf-lr"])
    assert environment(peer, CONTESTANTS["tfidf-lr"])["OMP_NUM_THREADS"] == "1"


@pytest.fixture
def compare_verb():
    """The verb in this process: exit code, output and messages."""
    return lambda *flags: CliRunner().invoke(app, ["compare", *map(str, flags)])


def test_command_prints_what_it_promises(sentiscale, compare_verb, dataset, tmp_path):
    done = sentiscale("compare", dataset.path, "--models", "tfidf-lr", "--seeds", "4", "--out", "c", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert set(document) == {"data", "host", "rows", "runs", "plot"}
    (row,) = document["rows"]
    promised = {
        "model",
        "seeds",
        "train_seconds_median",
        "test_accuracy_median",
        "test_accuracy_min",
        "test_accuracy_max",
        "valid_accuracy_median",
        "core_seconds_median",
        "rows_per_s",
        "to_accuracy",
    }
    assert promised <= set(row)
    assert row["seeds"] == [4]
    assert "0.90" in row["to_accuracy"]
    flags = ["--models", "tfidf-lr", "--seeds", "4", "--out", tmp_path / "c", "-q"]
    table = compare_verb(dataset.path, *flags)  # finished runs are only summarized
    assert f"{row['test_accuracy_median']:.4f}" in table.stdout
    assert table.stderr == ""


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--models", "lstn"), "Did you mean 'lstm'?"),
        (("--seeds", "1,x"), "--seeds is '1,x'; it takes whole numbers"),
        (("--time-limit", "0"), "must be above 0 seconds"),
        (("--layout", "3"), "layout"),
        (("--set", "train.epoch=3"), "unknown setting 'train.epoch'. Did you mean 'epochs'?"),
    ],
)
def test_mistakes_are_told_before_anything_is_run(compare_verb, dataset, tmp_path, flags, message):
    done = compare_verb(dataset.path, "--out", tmp_path / "c", *flags)
    assert done.exit_code == 2
    assert message in done.stderr
    assert isinstance(done.exception, SystemExit)
    assert not (tmp_path / "c").exists()


def test_interrupted_comparison_keeps_what_is_finished(dataset, tmp_path):
    command = [sys.executable, "-m", "sentiscale", "compare", str(dataset.path), "--models", "tfidf-lr"]
    command += ["--seeds", ",".join(map(str, range(50))), "--out", str(tmp_path / "c"), "--quiet"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    records = tmp_path / "c" / RECORDS
    give_up_at = time.monotonic() + 300
    while not (records.exists() and records.stat().st_size) and time.monotonic() < give_up_at:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGTERM)
    _, messages = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "finished runs are kept" in messages
    assert len(list(read_jsonl(records, CompareRun))) >= 1
    assert list((tmp_path / "c").glob(".run-*")) == [], "the folder of the run that was ended is removed"
