"""The command: one JSON document, a table for people, refusals with the promised exit codes."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sentiscale.cli import app
from sentiscale.records import append_jsonl
from tests.study.plan.made import replicas, serial, stages, study

KEYS = {
    "workers",
    "layout",
    "hosts",
    "batch_size",
    "step",
    "seconds_per_epoch",
    "seconds_range",
    "rows_per_s",
    "speedup",
    "speedup_range",
    "efficiency",
    "efficiency_range",
    "ceiling",
    "communication_share",
    "cost_per_epoch",
    "trust",
    "doubts",
}


@pytest.fixture
def records(tmp_path) -> Path:
    """A directory as `bench` leaves it."""
    folder = tmp_path / "bench"
    folder.mkdir()
    for run in study(stages(64), stages(128)):
        append_jsonl(folder / "records.jsonl", run)
    return folder


@pytest.fixture
def plan():
    """The verb in this process: exit code, output and messages."""
    return lambda *flags: CliRunner().invoke(app, ["plan", *map(str, flags)])


def test_json_is_one_document_with_everything_in_it(records, plan):
    flags = ["--workers", "2,4,8", "--network", "1gbit", "--price-per-hour", "2", "--json"]
    done = plan(records, *flags)
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert [set(row) for row in document["rows"]] == [KEYS] * 3
    assert [row["workers"] for row in document["rows"]] == [2, 4, 8]
    assert [row["hosts"] for row in document["rows"]] == [1, 2, 4]
    assert document["rows"][0]["trust"] == "checked"
    assert document["network"]["name"] == "1gbit"
    assert document["best_workers"] in (2, 4, 8)
    assert len(document["checks"]) == 5
    assert all(abs(check["error"]) < 0.2 for check in document["checks"] if check["layout"] == "2x1")
    assert json.loads(plan(records, *flags).stdout) == document, "the same, run again"


def test_table_and_sentences_for_people(records, plan):
    done = plan(records / "records.jsonl", "--workers", "1,2,64", "--stages", "1")
    assert done.exit_code == 0, done.stderr
    assert "not to be trusted, 64 ranks: 1 rows at a time" in done.stdout
    assert "a second host makes it" in done.stdout
    assert "checked against 5 measured cases" in done.stdout
    assert "--network was not given" in done.stdout


def test_stages_and_weak_scaling(records, plan):
    done = plan(records, "--workers", "2,4", "--stages", "2", "--scaling", "weak", "--json")
    assert [row["layout"] for row in json.loads(done.stdout)["rows"]] == ["1x2", "2x2"]
    assert [row["batch_size"] for row in json.loads(done.stdout)["rows"]] == [64, 128]


def test_classic_shape_needs_no_records(plan):
    done = plan("--shape", "classic", "--workers", "8,24", "--json")
    document = json.loads(done.stdout)
    assert [row["batch_size"] for row in document["rows"]] == [256, 768]
    assert {row["trust"] for row in document["rows"]} == {"not to be trusted"}


def test_sizes_need_no_shape(plan):
    flags = ["--seconds-per-row", "0.01", "--bytes", "1e6", "--workers", "1,2", "--json"]
    rows = json.loads(plan(*flags).stdout)["rows"]
    assert rows[0]["speedup"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("flags", "code", "reason"),
    [
        ([], 2, "give either RECORDS"),
        (["{records}", "--shape", "classic"], 2, "give either RECORDS"),
        (["{records}", "--workers", "2,x"], 2, "--workers is '2,x'"),
        (["{records}", "--network", "10gbits"], 2, "Did you mean '10gbit'"),
        (["{records}", "--scaling", "both"], 2, "strong or weak"),
        (["{records}", "--model", "gru"], 3, "there are: lstm fp32"),
        (["{records}", "--workers", "3", "--stages", "2"], 2, "do not divide"),
        (["--shape", "clasic"], 2, "Did you mean 'classic'"),
        (["--vocab", "10"], 2, "--seconds-per-row is missing"),
        (["--seconds-per-row", "0.1"], 2, "give --bytes"),
        (["{records}/nothing"], 3, "does not exist"),
    ],
)
def test_what_cannot_be_planned_is_refused(records, plan, flags, code, reason):
    done = plan(*(flag.format(records=records) for flag in flags))
    assert done.exit_code == code
    assert reason in done.stderr
    assert isinstance(done.exception, SystemExit)


@pytest.mark.parametrize(
    ("runs", "reason"),
    [
        ([], "contains no runs"),
        ([serial(64)], "no case with two replicas"),
        ([replicas(64)], "no plain serial run"),
    ],
)
def test_records_without_a_needed_case_are_refused(tmp_path, plan, runs, reason):
    (tmp_path / "records.jsonl").touch()
    for run in runs:
        append_jsonl(tmp_path / "records.jsonl", run)
    done = plan(tmp_path, "--workers", "2")
    assert done.exit_code == 3
    assert reason in done.stderr


def test_network_that_cannot_be_read_is_refused(records, plan):
    (records / "network.json").write_text("{")
    done = plan(records)
    assert done.exit_code == 3
    assert "--measure-network" in done.stderr


@pytest.mark.slow
def test_measured_network_is_kept_beside_the_records(records, plan):
    """Two real ranks exchange for a few seconds."""
    done = plan(records, "--measure-network", "--workers", "2", "--json")
    assert done.exit_code == 0, done.stderr
    kept = json.loads((records / "network.json").read_text())
    assert {each["operation"] for each in kept["timings"]} >= {"all_reduce", "all_gather", "all_to_all"}
    again = plan(records, "--workers", "2", "--json")
    assert json.loads(again.stdout) == json.loads(done.stdout)
    assert json.loads(done.stdout)["assumptions"] == [
        "hosts are joined by 10gbit, as --network was not given"
    ]
