"""`sentiscale runs`: what is found, what is said of it, and in which order."""

import json
import shutil

import pytest

from sentiscale.study.runs import runs_in
from sentiscale.training.run_directory import RunDir
from tests.study.runs.conftest import change, silent


def test_every_state_is_told_from_the_others(copied):
    copied("done")
    copied("stopped", status="interrupted", failure="Interrupted: SIGINT received")
    copied("broken", status="failed", failure="SentiscaleError: loss is nan")
    silent(copied("killed", status="running"))
    copied("elsewhere", status="running")
    (copied("damaged") / "record.json").write_text('{"id": ')
    early = copied("early")
    for name in ("record.json", "metrics.jsonl"):
        (early / name).unlink()
    folder = early.parent
    assert {run.run.rpartition("/")[2]: run.status for run in runs_in([folder])} == {
        "done": "finished",
        "stopped": "interrupted",
        "broken": "failed",
        "killed": "lost",
        "elsewhere": "running",
        "damaged": "damaged",
        "early": "lost",
    }


def test_a_run_that_goes_on_here_is_known_by_its_lock(copied):
    run = silent(copied("run", status="running"))
    assert runs_in([run])[0].status == "lost"
    with RunDir(run).logging():
        silent(run)
        assert runs_in([run])[0].status == "running"
    assert runs_in([run])[0].status == "lost"


def test_figures_are_those_of_the_record(finished, dataset):
    (run,) = runs_in([finished])
    record = json.loads((finished / "record.json").read_text())
    assert run.accuracy == record["test"]["accuracy"]
    assert run.split == "test"
    assert run.train_rows == dataset.manifest.rows["train"]
    assert (run.cell, run.wide, run.layout) == ("lstm", True, "1x1")
    assert run.train_seconds == record["train_seconds"]


def test_an_unfinished_run_shows_its_best_validation(copied):
    run = copied("stopped", status="interrupted")
    points = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    (found,) = runs_in([run])
    assert found.split == "valid"
    assert found.accuracy == max(point["valid_accuracy"] for point in points)


def test_models_and_prepared_data_are_no_runs(finished, dataset, tmp_path):
    shutil.copytree(finished / "model", tmp_path / "model")
    assert runs_in([dataset.path, tmp_path]) == []


def test_a_run_that_is_named_twice_is_there_once(copied):
    run = copied("run")
    (run.parent / "link").symlink_to(run)
    assert [found.run for found in runs_in([run.parent, run, run.parent / "link"])] == [str(run)]


def test_records_of_earlier_versions_are_read(copied):
    run = copied("old")
    record = json.loads((run / "record.json").read_text())
    del record["data"], record["settings"]["track"]
    (run / "record.json").write_text(json.dumps(record))
    (found,) = runs_in([run])
    assert (found.status, found.train_rows) == ("finished", None)


@pytest.mark.parametrize(
    ("by", "order"),
    [
        ("accuracy", ["good", "bad", "none"]),
        ("seconds", ["bad", "good", "none"]),
        ("when", ["none", "bad", "good"]),
    ],
)
def test_order(cli, copied, by, order):
    score = {"loss": 0.5, "rows": 100}
    made = (
        ("good", {"accuracy": 0.9, **score}, 20.0, "2026-01-01T00:00:00Z"),
        ("bad", {"accuracy": 0.8, **score}, 10.0, "2026-01-02T00:00:00Z"),
    )
    for name, test, seconds, when in made:
        copied(name, test=test, train_seconds=seconds, started_at=when)
    never = copied("none", status="failed", metrics=[], steps=0, started_at="2026-01-03T00:00:00Z")
    listed = json.loads(cli("runs", never.parent, "--sort", by, "--json").stdout)["runs"]
    assert [run["run"].rpartition("/")[2] for run in listed] == order


def test_table_names_every_run_and_its_failure(cli, copied):
    copied("a-name-that-is-longer-than-most-names-of-runs")
    run = copied("broken", status="failed", failure="SentiscaleError: loss is nan")
    done = cli("runs", run.parent)
    assert done.returncode == 0
    header, *lines = done.stdout.splitlines()
    assert header.split() == [
        "run",
        "when",
        "model",
        "layout",
        "rows",
        "accuracy",
        "loss",
        "seconds",
        "reviews/s",
        "status",
    ]
    assert "a-name-that-is-longer-than-most-names-of-runs" in done.stdout
    assert any(line.endswith("failed") for line in lines)
    assert f"{run}: SentiscaleError: loss is nan" in done.stdout


def test_different_data_are_pointed_out(cli, copied):
    copied("a")
    other = change(copied("b"), data_digest="f" * 64)
    assert "different data" in cli("runs", other.parent).stdout
    assert "different data" not in cli("runs", other).stdout


def test_no_runs_and_no_folder(cli, tmp_path):
    done = cli("runs")
    assert (done.returncode, done.stdout) == (0, "no run in .; `sentiscale train DATA --out RUN` makes one\n")
    assert cli("runs", tmp_path / "nothing").returncode == 3
    (tmp_path / "file").touch()
    assert "is a file" in cli("runs", tmp_path / "file").stderr


def test_flags_that_do_not_go_together(cli):
    for flags, told in (
        (("--sort", "acuracy"), "Did you mean 'accuracy'?"),
        (("--yes",), "needs --clean"),
        (("--clean", "--yes", "--dry-run"), "use only one of them"),
        (("--clean", "--compare"), "cannot be combined"),
        (("--compare",), "Give two or more"),
    ):
        done = cli("runs", *flags)
        assert done.returncode == 2, flags
        assert told in done.stderr
