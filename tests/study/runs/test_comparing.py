"""`sentiscale runs --compare`: what differs, what came of it, and what to beware of."""

import json

import pytest

from sentiscale.errors import DataError
from sentiscale.study.runs import compare_runs
from tests.study.runs.conftest import change


def scores(right: int, of: int) -> dict[str, object]:
    """Scores of a test with so many right answers; half of the rows are positive."""
    wrong = of - right
    confusion = [[of // 2, 0], [wrong, of - of // 2 - wrong]]
    others = {"loss": 0.5, "f1": 0.5, "auc": 0.5, "ece": 0.1}
    return {"accuracy": right / of, "rows": of, "confusion": confusion, **others}


def with_setting(run, section: str, **values: object):
    settings = json.loads((run / "record.json").read_text())["settings"]
    settings[section] |= values
    return change(run, settings=settings)


def test_only_what_differs_is_listed(copied):
    first, second = copied("a"), with_setting(copied("b"), "train", lr=0.5)
    found = compare_runs([first, second])
    assert [(line.name, line.values) for line in found.settings] == [("train.lr", [0.004, 0.5])]
    assert found.runs == [str(first), str(second)]
    assert found.notes == [
        "The 95 % intervals of all test accuracies overlap: the difference may be chance. "
        "Compare several seeds with `sentiscale compare`."
    ]


def test_results_stand_side_by_side_with_intervals(copied):
    first, second = copied("a", test=scores(900, 1000)), copied("b", test=scores(700, 1000))
    results = {line.name: line.values for line in compare_runs([first, second]).results}
    assert results["test.accuracy"] == [0.9, 0.7]
    assert results["test.accuracy_ci95"] == [[0.8798, 0.9171], [0.6709, 0.7276]]
    assert compare_runs([first, second]).notes == []
    assert "failure" not in results


def test_what_makes_figures_incomparable_is_said(copied):
    first = copied("a")
    host = json.loads((first / "record.json").read_text())["host"] | {"cores": 64}
    second = copied("b", data_digest="f" * 64, host=host, status="interrupted")
    notes = " ".join(compare_runs([first, second]).notes)
    for told in ("different data", "different machines", "1 of 2 did not finish"):
        assert told in notes


def test_three_runs_in_a_table(cli, copied):
    runs = [copied(name) for name in "abc"]
    done = cli("runs", "--compare", *runs)
    assert done.returncode == 0
    assert done.stdout.splitlines()[1] == "none"
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("test.accuracy "))
    assert len(line.split()) == 4
    document = json.loads(cli("runs", "--compare", *runs, "--json").stdout)
    assert document.keys() == {"runs", "settings", "results", "notes"}


def test_what_is_no_run_is_named(copied, tmp_path):
    with pytest.raises(DataError, match="is not a run directory"):
        compare_runs([copied("a"), tmp_path])
