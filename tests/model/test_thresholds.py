"""thresholds.json of a model directory: read as written, and refused when someone changed it."""

import json
import os
from datetime import UTC, datetime

import pytest

from sentiscale.errors import DataError
from sentiscale.model.thresholds import (
    THRESHOLDS,
    ThresholdEntry,
    ThresholdPoint,
    ThresholdReport,
    ThresholdScores,
    read_threshold_report,
)
from sentiscale.records import ClassScores


def entry(class_name: str | None, measure: str = "precision") -> ThresholdEntry:
    scores = ClassScores(precision=0.9, recall=0.5, f1=0.64, rows=40, intervals={"precision": (0.8, 0.95)})
    part = ThresholdScores(part="test", rows=100, before=scores, after=scores)
    return ThresholdEntry(
        class_name=class_name,
        measure=measure,
        target=0.9,
        threshold=0.7,
        chosen=part,
        reported=part,
        data="data",
        date=datetime(2026, 1, 2, tzinfo=UTC),
        curve=[ThresholdPoint(recall=0.5, precision=0.9, threshold=0.7)],
    )


def test_a_report_is_read_as_it_was_written(tmp_path):
    report = ThresholdReport(entries=[entry("negative"), entry(None, "abstain")])
    (tmp_path / THRESHOLDS).write_text(report.model_dump_json())
    assert read_threshold_report(tmp_path) == report


def test_a_model_need_not_have_a_report(tmp_path):
    assert read_threshold_report(tmp_path) is None
    assert read_threshold_report(tmp_path / "missing") is None


def test_a_new_entry_replaces_those_of_its_class_and_kind():
    report = ThresholdReport(entries=[entry("a"), entry("a", "abstain"), entry("b", "recall")])

    def left(*which):
        return [(each.class_name, each.measure) for each in report.without(*which).entries]

    assert left("a", "cost") == [("a", "abstain"), ("b", "recall")]
    assert left("a", "abstain") == [("a", "precision"), ("b", "recall")]
    assert left("a") == [("b", "recall")]
    assert left(None, "abstain") == [("a", "precision"), ("b", "recall")]
    assert left(None) == []


POINT = {"recall": 0.5, "precision": 0.9, "threshold": 0.7}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"threshold": 1.5}, r"entries\.0\.threshold is 1\.5: .*less than or equal to 1"),
        ({"threshold": None}, r"entries\.0\.threshold"),
        ({"class_name": "a\x1b[31m"}, r"entries\.0\.class_name.* cannot be printed"),
        ({"class_name": "a" * 5000}, r"entries\.0\.class_name.* at most 1000"),
        ({"measure": "luck"}, r"entries\.0\.measure is 'luck'"),
        ({"data": ""}, r"entries\.0\.data is ''"),
        ({"curve": [POINT] * 201}, r"entries\.0\.curve.* at most 200"),
        ({"curve": [POINT | {"recall": -1}]}, r"entries\.0\.curve\.0\.recall is -1"),
        ({"date": "yesterday"}, r"entries\.0\.date is 'yesterday'"),
    ],
)
def test_an_impossible_value_is_refused_with_its_field(tmp_path, changes, message):
    values = json.loads(ThresholdReport(entries=[entry("negative")]).model_dump_json())
    values["entries"][0] |= changes
    (tmp_path / THRESHOLDS).write_text(json.dumps(values))
    with pytest.raises(DataError, match=message) as refused:
        read_threshold_report(tmp_path)
    assert str(tmp_path / THRESHOLDS) in str(refused.value)


@pytest.mark.parametrize("content", ["", "[]", "{", "[" * 100_000, '{"entries": 3}'])
def test_what_is_no_report_is_refused(tmp_path, content):
    (tmp_path / THRESHOLDS).write_text(content)
    with pytest.raises(DataError, match=r"thresholds\.json is damaged"):
        read_threshold_report(tmp_path)


def test_a_fifo_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / THRESHOLDS)
    with pytest.raises(DataError, match="is a FIFO"):
        read_threshold_report(tmp_path)
