"""Records of a study that were edited, half copied or come from a stranger."""

import json
import os
from functools import partial
from pathlib import Path

import pytest

from sentiscale import api
from sentiscale.errors import DataError
from sentiscale.records import read_jsonl
from sentiscale.study.compare.records import CompareRun
from sentiscale.study.compare.summary import summarise
from sentiscale.study.records import read_runs
from tests.conftest import REPOSITORY
from tests.study.analysis.made import two_cores

RESULTS = REPOSITORY / "benchmarks" / "results"


@pytest.fixture
def study(tmp_path) -> Path:
    """The records of a study of 35 runs."""
    lines = [run.model_dump_json() + "\n" for run in two_cores()]
    (tmp_path / "records.jsonl").write_text("".join(lines))
    return tmp_path


def change(study: Path, line: int, **fields: object) -> None:
    lines = (study / "records.jsonl").read_text().splitlines()
    lines[line - 1] = json.dumps(json.loads(lines[line - 1]) | fields)
    (study / "records.jsonl").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"seconds": 0}, "seconds"),
        ({"seconds": -1.0}, "seconds"),
        ({"seconds": 1e-320}, "seconds"),
        ({"seconds": 1e308}, "seconds"),
        ({"seconds": float("nan")}, "seconds"),
        ({"seconds": float("inf")}, "seconds"),
        ({"rows_per_s": float("inf")}, "rows_per_s"),
        ({"rows": -1}, "rows"),
        ({"rows": 2**63}, "rows"),
        ({"step_seconds": [0.0, 0.0]}, "step_seconds.0"),
        ({"accuracy": 1.5}, "accuracy"),
        ({"amount": {"target_accuracy": "high"}}, "amount.target_accuracy"),
        ({"amount": {"rows": float("inf")}}, "amount.rows"),
        ({"case": {"layout": "many"}}, "case.layout"),
        ({"case": {"layout": "0x1"}}, "case.layout"),
        ({"case": {"layout": "1x" + "9" * 5000}}, "case.layout"),
        ({"case": {"threads_per_rank": 0}}, "case.threads_per_rank"),
        ({"case": {"copies": -2}}, "case.copies"),
        ({"times_per_rank": [{}, {}, {}]}, "times_per_rank has 3 of 1 ranks"),
        ({"times_per_rank": [{"reduce": -1.0}]}, "times_per_rank.0.reduce"),
        ({"shape": {"cell": "transformer"}}, "shape: cell"),
        ({"shape": {"hidden_dim": "wide"}}, "shape: hidden_dim"),
        ({"shape": {"micro_batches": -1}}, "shape: micro_batches"),
        ({"host": {}}, "host.cpu_model"),
    ],
    ids=str,
)
@pytest.mark.parametrize("verb", [api.report, partial(api.plan, workers=(1, 2, 4))])
def test_an_impossible_number_is_reported_with_file_and_line(study, verb, fields, told):
    change(study, 4, **fields)
    with pytest.raises(DataError) as caught:
        verb(study)
    message = str(caught.value)
    assert message.startswith(f"{study / 'records.jsonl'}:4 is not a BenchRun: {told}")
    assert "\n" not in message
    assert len(message) < 500


@pytest.mark.parametrize(
    "line", [b"[" * 100_000, b'{"a":' * 100_000, b"\xff\xfe", b"", b"{}", b"NaN", b"9" * 10_000]
)
def test_a_line_that_is_no_record_is_reported(study, line):
    file = study / "records.jsonl"
    file.write_bytes(file.read_bytes() + line + b"\n")
    with pytest.raises(DataError, match=rf"records\.jsonl:{len(two_cores()) + 1} is not a BenchRun"):
        read_runs(study)


def test_a_half_copied_last_line_is_reported(study):
    file = study / "records.jsonl"
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(DataError, match=rf":{len(two_cores())} is not a BenchRun: .*EOF"):
        read_runs(study)


def test_records_that_are_no_file_are_refused_at_once(study):
    (study / "records.jsonl").unlink()
    os.mkfifo(study / "records.jsonl")
    with pytest.raises(DataError, match="is a FIFO"):
        read_runs(study)


@pytest.mark.parametrize("times", [{"update": 1e-320, "forward": 1e-320}, {"data": 1e15, "backward": 1e-300}])
def test_times_from_which_nothing_follows_are_refused_or_predicted_from(study, times):
    file = study / "records.jsonl"
    runs = [json.loads(line) for line in file.read_text().splitlines()]
    for run in runs:
        ranks = len(run["times_per_rank"]) or 1
        run["times_per_rank"] = [times] * ranks if run["case"]["layout"] == "1x1" and ranks == 1 else []
        run["times_per_rank"] *= run["case"]["copies"]
    file.write_text("".join(json.dumps(run) + "\n" for run in runs))
    try:
        made = api.plan(study, workers=(1, 2, 4))
    except DataError:
        return
    assert all(0 < row.rows_per_s < float("inf") for row in made.rows)


LINKS = {"ranks": 2, "host": None, "timings": [{"operation": "memory", "bytes": 64, "seconds": 1e-4}]}


@pytest.mark.parametrize(
    "fields",
    [
        {"ranks": 1},
        {"timings": []},
        {"timings": [{"operation": "memory", "bytes": -1, "seconds": 1.0}]},
        {"timings": [{"operation": "memory", "bytes": 64, "seconds": 0.0}]},
        {"timings": [{"operation": "memory", "bytes": 64, "seconds": float("nan")}]},
        {"timings": [{"operation": "broadcast", "bytes": size, "seconds": 1.0} for size in (64, 128)]},
    ],
    ids=str,
)
def test_an_impossible_network_measurement_is_refused(study, fields):
    host = two_cores()[0].host.model_dump()
    (study / "network.json").write_text(json.dumps(LINKS | {"host": host} | fields))
    with pytest.raises(DataError, match=r"network\.json is damaged: .* Measure again with --measure-network"):
        api.plan(study, workers=(1, 2, 4))


@pytest.mark.parametrize("content", [b"{", b"[" * 100_000, b"\xff"])
def test_a_broken_network_measurement_is_refused(study, content):
    (study / "network.json").write_bytes(content)
    with pytest.raises(DataError, match=r"network\.json"):
        api.plan(study, workers=(1, 2, 4))


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"test": {"accuracy": "good"}}, "test"),
        ({"test": {"loss": 0.1}}, "test"),
        ({"valid": {"accuracy": 7}}, "valid"),
        ({"train_seconds": -1}, "train_seconds"),
        ({"curve": [{"seconds": 1.0, "valid_accuracy": float("nan")}]}, "curve.0.valid_accuracy"),
        ({"seed": -1}, "seed"),
    ],
    ids=str,
)
def test_an_impossible_number_of_a_comparison_is_reported_with_file_and_line(tmp_path, fields, told):
    (path,) = RESULTS.glob("time-to-accuracy_*.jsonl")
    lines = path.read_text().splitlines()
    file = tmp_path / "records.jsonl"
    file.write_text("\n".join([*lines[:2], json.dumps(json.loads(lines[2]) | fields)]) + "\n")
    with pytest.raises(DataError, match=rf"records\.jsonl:3 is not a CompareRun: {told}"):
        summarise(list(read_jsonl(file, CompareRun)))
