"""`sentiscale bench --prepare --predict`: the real command, resumed, and what it refuses."""

import json

import pytest

from sentiscale.records import read_jsonl
from sentiscale.study.analysis.scaling import study_of
from sentiscale.study.bench.preparation import ENGINES
from sentiscale.study.bench.study import open_study
from sentiscale.study.records import BenchRun
from tests.study.bench.conftest import UNLIMITED
from tests.study.bench.test_predicting import data, reviews, run_directory  # noqa: F401 - fixtures

MEASURED = {"sentiscale", "pandas"}
"""Engines, if they are installed: test_preparing.py measures all of them."""
INSTALLED = {engine.name for engine in ENGINES.values() if engine.missing is None} & MEASURED
HASTY = ["--repeats", "1", "--limit", str(UNLIMITED), "--threads", "1", "--no-train"]


@pytest.fixture(scope="module", autouse=True)
def _few_engines():
    with pytest.MonkeyPatch.context() as patch:
        for name in ENGINES.keys() - MEASURED:
            patch.delitem(ENGINES, name)
        yield


@pytest.fixture(scope="module")
def command(data, tmp_path_factory):  # noqa: F811
    """The verb in this process: its exit code, and its output as JSON or its message."""
    from typer.testing import CliRunner

    from sentiscale.cli import app

    out = tmp_path_factory.mktemp("bench") / "out"

    def run(*flags: object):
        words = ["bench", data.path, "--out", out, *HASTY, "--quiet", "--json", *flags]
        done = CliRunner().invoke(app, list(map(str, words)))
        return done.exit_code, done.stdout if done.exit_code == 0 else done.stderr

    run.out = out
    return run


@pytest.fixture(scope="module")
def first(command, reviews, run_directory):  # noqa: F811
    """What the command printed the first time."""
    code, printed = command("--prepare", reviews, "--predict", run_directory)
    assert code == 0, printed
    return json.loads(printed)


def test_both_kinds_are_measured_and_told(first, command):
    cases = first["cases"]
    assert {case["kind"] for case in cases} == {"prepare", "predict"}
    assert {case["engine"] for case in cases if case["kind"] == "prepare"} == INSTALLED
    assert all(case["rows_per_s"] > 0 and case["repeats"] == 1 for case in cases)
    missing = {each["case"]["engine"] for each in first["left_out"]}
    assert missing == set(ENGINES) - INSTALLED
    assert all("sentiscale[bench]" in each["reason"] for each in first["left_out"])
    assert [path.name for path in command.out.iterdir()] == ["records.jsonl"]


def test_records_know_how_quiet_it_was(first, command):
    runs = list(read_jsonl(command.out / "records.jsonl", BenchRun))
    assert len(runs) == first["runs"] == len(first["cases"])
    assert all(run.interference is not None for run in runs)


def test_a_report_says_that_the_engines_did_not_do_the_same_work(first, command):
    study = study_of(list(read_jsonl(command.out / "records.jsonl", BenchRun)))
    said = [finding for finding in study.findings if finding.startswith("Preparation")]
    assert len(said) == 1
    assert "sentiscale prepares completely" in said[0]
    assert "all others only clean" in said[0]


def test_finished_runs_are_not_done_again(first, command, reviews, run_directory):  # noqa: F811
    before = (command.out / "records.jsonl").read_bytes()
    code, printed = command("--prepare", reviews, "--predict", run_directory)
    assert code == 0, printed
    assert json.loads(printed)["cases"] == first["cases"]
    assert (command.out / "records.jsonl").read_bytes() == before


def test_runs_of_another_file_are_not_taken_for_these(first, command, reviews):  # noqa: F811
    other = reviews.with_name("other.txt")
    other.write_bytes(reviews.read_bytes()[:-1] + b"x\n")
    code, message = command("--prepare", other)
    assert code == 2
    assert "other texts" in message


def test_preparation_that_is_not_asked_for_is_no_concern(first, command, run_directory, reviews):  # noqa: F811
    """Prediction of the same texts goes on beside kept runs of preparation, and the other way round."""
    code, printed = command("--prepare", reviews)
    assert code == 0, printed
    assert {case["kind"] for case in json.loads(printed)["cases"]} == {"prepare"}


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        ([], 2, "--no-train leaves nothing"),
        (["--prepare", "nowhere.txt"], 3, "nowhere.txt does not exist"),
        (["--predict", "nowhere"], 3, "nowhere"),
    ],
)
def test_mistakes_are_told_before_anything_is_run(command, flags, code, words):
    found, message = command(*flags)
    assert found == code
    assert words in message


def test_they_are_measured_together_with_training(dataset, settings, small_request, tmp_path, reviews):  # noqa: F811
    with open_study(dataset.path, tmp_path, small_request, settings) as alone:
        training = alone.plan.cases
    with open_study(dataset.path, tmp_path, small_request, settings, prepare=[reviews]) as study:
        assert study.plan.cases[: len(training)] == training
        assert {case.kind for case in study.plan.cases} == {"train", "copies", "prepare"}
        assert set(study.others) == {"prepare"}
