"""`sentiscale report`: the promised JSON, files, words and errors."""

import json

import pytest

from sentiscale.records import append_jsonl
from tests.cli.conftest import cli  # noqa: F401 - a fixture
from tests.study.analysis.made import two_cores
from tests.study.analysis.test_timings import CLASSIC


@pytest.fixture
def bench(tmp_path):
    folder = tmp_path / "bench"
    folder.mkdir()
    for one in two_cores():
        append_jsonl(folder / "records.jsonl", one)
    return folder


def test_json_has_what_is_promised_and_writes_no_page(cli, bench, tmp_path):  # noqa: F811
    done = cli("report", bench, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    row = next(row for row in found["rows"] if row["layout"] == "2x1")
    assert {
        "layout",
        "workers",
        "threads",
        "repeats",
        "seconds_median",
        "ci95",
        "speedup",
        "efficiency",
        "karp_flatt",
        "rows_per_s",
        "oversubscribed",
    } <= set(row)
    assert row["speedup"] == pytest.approx(1.8)
    assert row["ci95"][0] < row["seconds_median"] < row["ci95"][1]
    assert {"model", "sigma", "kappa", "lambda", "best_workers", "residual"} <= set(found["fit"])
    assert (found["fit"]["model"], found["fit"]["kappa"]) == ("amdahl", None)
    assert {"layout", "threads", "why"} <= set(found["recommendation"])
    assert found["recommendation"]["layout"] == "2x1"
    assert not (tmp_path / "report.html").exists()


def test_timings_give_a_usl(cli):  # noqa: F811
    found = json.loads(cli("report", "--timings", CLASSIC, "--json").stdout)
    assert found["fit"]["model"] == "usl"
    assert found["fit"]["best_workers"] == pytest.approx(24, abs=2)
    assert {row["family"] for row in found["rows"]} == {family["name"] for family in found["families"]}


def test_page_markdown_and_table(cli, bench, tmp_path):  # noqa: F811
    done = cli("report", bench, bench, "--markdown", "report.md")
    assert done.returncode == 0, done.stderr
    assert "1.80 times plain serial" in done.stdout
    assert "2x2 (more ranks than cores)" in done.stdout
    assert "page: report.html" in done.stdout
    for name in ("report.html", "report.md"):
        assert "1.80 times plain serial" in (tmp_path / name).read_text()
    assert cli("report", bench, "--out", "report.html").returncode == 0, "a report may be made again"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "got neither"),
        (("bench", "--timings", CLASSIC), 2, "got both"),
        (("nothing",), 3, "nothing does not exist"),
        (("empty",), 3, "empty/records.jsonl does not exist"),
        (("void",), 3, "void/records.jsonl contains no run"),
        (("spoilt",), 3, "spoilt/records.jsonl:36 is not a BenchRun"),
        (("bench", "--out", "empty"), 2, "empty is a directory"),
    ],
)
def test_mistakes_end_in_a_message(cli, bench, tmp_path, arguments, code, message):  # noqa: F811
    for name, text in (
        ("empty", None),
        ("void", ""),
        ("spoilt", (bench / "records.jsonl").read_text() + "{}\n"),
    ):
        (tmp_path / name).mkdir()
        if text is not None:
            (tmp_path / name / "records.jsonl").write_text(text)
    done = cli("report", *arguments)
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr
