"""The same verbs for two, three, five and many classes."""

import json

import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest

from sentiscale.data.inputs import Inputs
from sentiscale.errors import Interrupted
from sentiscale.inference.batch import BatchJob
from sentiscale.inference.outputs import AddedColumns, probability_columns
from sentiscale.inference.predictor import Predictor
from sentiscale.model.decision import Decision
from sentiscale.model.directory import save_model
from sentiscale.text.classes import BINARY, Classes
from tests.data.relabel import STARS, TERNARY
from tests.inference.predict.conftest import WORDS, tiny_model
from tests.inference.predict.test_resume import StopsAfter

SPAM = Classes(("spam", "ham"), "labels")
MANY = Classes(tuple(f"shop {number}" for number in range(24)), "labels")
ALL = pytest.mark.parametrize("classes", [Classes(), SPAM, TERNARY, STARS, MANY], ids=lambda each: len(each))
TEXTS = [" ".join(words) for words in np.random.default_rng(5).choice(WORDS, (60, 5)).tolist()]


@pytest.fixture
def saved(tmp_path):
    """Save a tiny model of some classes, and an input file with TEXTS."""

    def save(classes, decision=None):
        save_model(tmp_path / "model", tiny_model(classes=classes, decision=decision))
        (tmp_path / "in.txt").write_text("".join(text + "\n" for text in TEXTS))
        return tmp_path / "model"

    return save


def softmax(predictor):
    """Probabilities computed by the definition from the logits that the model combines."""
    logits = predictor.logits(predictor.encoder.encode(TEXTS)).astype(float)
    if logits.ndim == 1:
        logits = np.column_stack([np.zeros(len(logits)), logits])
    powers = np.exp(logits)
    return powers / powers.sum(axis=1, keepdims=True)


@ALL
def test_lines_have_the_label_its_probability_and_on_request_all_of_them(cli, saved, classes):
    model = saved(classes)
    chances = softmax(Predictor.load(model))
    labels = [classes.names[code] for code in chances.argmax(axis=1)]
    assert len(set(labels)) > 1
    lines = [line.split("\t") for line in cli("predict", model, "in.txt").stdout.splitlines()]
    assert [label for label, _ in lines] == labels
    assert [float(number) for _, number in lines] == pytest.approx(chances.max(axis=1), abs=6e-5)
    done = cli("predict", model, "in.txt", "--probabilities")
    assert "#" not in done.stdout
    full = [line.split("\t") for line in done.stdout.splitlines()]
    assert [row[:2] for row in full] == lines
    numbers = np.array([row[2:] for row in full], float)
    np.testing.assert_allclose(numbers[:, : len(classes)], chances, atol=6e-5)
    if classes is STARS:
        np.testing.assert_allclose(numbers[:, 5], chances @ [1, 2, 3, 4, 5], atol=6e-5)
    assert numbers.shape[1] == len(classes) + (classes is STARS)


@ALL
@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_tables_have_a_column_for_each_class(cli, saved, tmp_path, classes, suffix):
    model, out = saved(classes), tmp_path / f"out.{suffix}"
    done = cli("predict", model, "in.txt", "--out", out, "--probabilities", "--json")
    assert done.returncode == 0, done.stderr
    chances = softmax(Predictor.load(model))
    if suffix == "jsonl":
        rows = [json.loads(line) for line in out.read_text().splitlines()]
        assert all(list(row["probabilities"]) == list(classes.names) for row in rows)
        found = np.array([list(row["probabilities"].values()) for row in rows])
    else:
        table = {"csv": pyarrow.csv.read_csv, "parquet": pyarrow.parquet.read_table}[suffix](out)
        found = np.column_stack([table.column(name) for name in probability_columns(classes.names)])
        rows = table.to_pylist()
    np.testing.assert_allclose(found, chances, atol=1e-6)
    labels = [classes.names[code] for code in chances.argmax(axis=1)]
    assert [str(row["label"]) for row in rows] == labels
    assert [row["probability"] for row in rows] == pytest.approx(chances.max(axis=1), abs=1e-6)
    assert ("positive_probability" in rows[0]) == (len(classes) == 2)
    assert ("expected_star" in rows[0]) == (classes is STARS)
    if classes is STARS:
        assert [row["expected_star"] for row in rows] == pytest.approx(chances @ [1, 2, 3, 4, 5], abs=1e-5)
    summary = json.loads(done.stdout)
    assert summary["labels"] == {name: labels.count(name) for name in classes.names}
    assert (summary["positive"] is None) == (len(classes) > 2)


def test_documents_without_an_output_have_the_same_objects(cli, saved):
    model = saved(TERNARY)
    document = json.loads(cli("predict", model, "in.txt", "--json", "--probabilities").stdout)
    expected = Predictor.load(model).predict(TEXTS)
    assert [row["probabilities"] for row in document["predictions"]] == [
        pytest.approx(row.probabilities, abs=1e-6) for row in expected
    ]
    empty = json.loads(cli("predict", model, "-", "--json").stdout)
    assert empty["labels"] == dict.fromkeys(TERNARY.names, 0)


def test_names_of_columns_are_safe_and_no_two_alike():
    names = ("very good", "very_good", "Very Good", "1-2", "\u00e9t\u00e9", "a;b", "\U0001f600", "!!")
    assert probability_columns(names) == [
        "probability_very_good",
        "probability_very_good_",
        "probability_very_good__",
        "probability_1_2",
        "probability_\u00e9t\u00e9",
        "probability_a_b",
        "probability_6",
        "probability_7",
    ]


def test_class_names_stay_what_they_are(cli, saved, tmp_path):
    """Names with quotes, commas and markup in lines, CSV, JSON and the tables of `evaluate`."""
    names = ('say "no", really', "[red]x[/red]", "\u4e2d\u6587", "a" * 100)
    model = saved(Classes(names, "labels"))
    labels = {line.split("\t")[0] for line in cli("predict", model, "in.txt").stdout.splitlines()}
    assert {names[0], names[1]} & labels
    assert labels <= {*names}
    for suffix in ("csv", "jsonl"):
        cli("predict", model, "in.txt", "--out", f"out.{suffix}", "--probabilities")
    table = pyarrow.csv.read_csv(tmp_path / "out.csv")
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert table.column("label").to_pylist() == [row["label"] for row in rows]
    assert set(rows[0]["probabilities"]) == {*names}


DECISION = {"thresholds": {"neutral": 0.3}, "abstain": {"positive": 0.6, "negative": 0.5}}


def test_thresholds_decide_unless_they_are_switched_off(cli, saved):
    model = saved(TERNARY, Decision(TERNARY.names, **DECISION))
    chances = softmax(Predictor.load(model))
    expected = []
    for negative, neutral, positive in chances:
        if neutral >= 0.3:
            expected.append("neutral")
        elif positive > negative:
            expected.append("positive" if positive >= 0.6 else "unsure")
        else:
            expected.append("negative" if negative >= 0.5 else "unsure")
    assert {*expected} == {*TERNARY.names, "unsure"}
    lines = cli("predict", model, "in.txt").stdout.splitlines()
    assert [line.split("\t")[0] for line in lines] == expected
    shown = [
        max(row) if label == "unsure" else row[TERNARY.names.index(label)]
        for row, label in zip(chances, expected, strict=True)
    ]
    assert [float(line.split("\t")[1]) for line in lines] == pytest.approx(shown, abs=6e-5)
    document = json.loads(cli("predict", model, "in.txt", "--json").stdout)
    assert document["labels"]["unsure"] == expected.count("unsure")
    lines = cli("predict", model, "in.txt", "--no-threshold").stdout.splitlines()
    assert [line.split("\t")[0] for line in lines] == [TERNARY.names[code] for code in chances.argmax(axis=1)]
    assert [row.label for row in Predictor.load(model, thresholds=False).predict(TEXTS)] == [
        line.split("\t")[0] for line in lines
    ]


def test_a_job_is_not_resumed_with_other_thresholds(saved, tmp_path, monkeypatch):
    monkeypatch.setattr("sentiscale.data.inputs.BLOCK_BYTES", 200)
    model = saved(TERNARY, Decision(TERNARY.names, **DECISION))

    def job(*, thresholds):
        predictor = Predictor.load(model, thresholds=thresholds)
        inputs, added = Inputs.find([str(tmp_path / "in.txt")]), AddedColumns(predictor.classes)
        return BatchJob(predictor, model, inputs, tmp_path / "out.csv", added)

    with pytest.raises(Interrupted):
        job(thresholds=True).run(workers=1, progress=StopsAfter(3))
    result = job(thresholds=False).run(workers=1, resume=True)
    assert result.summary.labels == counted(model, thresholds=False)
    with pytest.raises(Interrupted):
        job(thresholds=True).run(workers=1, progress=StopsAfter(3))
    result = job(thresholds=True).run(workers=1, resume=True)
    assert result.summary.labels == counted(model, thresholds=True)


def counted(model, *, thresholds):
    labels = Predictor.load(model, thresholds=thresholds).predict_columns(TEXTS).labels.tolist()
    counts = {name: labels.count(name) for name in (*TERNARY.names, "unsure")}
    return counts if counts["unsure"] else {name: counts[name] for name in TERNARY.names}


@ALL
def test_python_has_the_same_shapes_for_all_classes(saved, classes):
    predictor = Predictor.load(saved(classes))
    assert predictor.classes.names == classes.names
    found = predictor.predict_columns(TEXTS)
    chances = softmax(predictor)
    np.testing.assert_allclose(predictor.predict_proba(TEXTS), chances, atol=1e-6)
    assert predictor.predict_proba([]).shape == (0, len(classes))
    rows = predictor.predict(TEXTS)
    assert [row.label for row in rows] == found.labels.tolist()
    assert [row.probability for row in rows] == found.probability.tolist()
    assert list(predictor.stream(iter(TEXTS))) == rows
    for row, own in zip(rows, found.probabilities.tolist(), strict=True):
        assert row.probabilities == dict(zip(classes.names, own, strict=True))
        assert row.positive_probability == (own[1] if len(classes) == 2 else None)
    if classes is STARS:
        assert [row.expected_star for row in rows] == pytest.approx(chances @ [1, 2, 3, 4, 5], abs=1e-5)
    else:
        assert rows[0].expected_star is None


def test_two_classes_keep_the_columns_they_had(saved):
    assert AddedColumns(Classes(BINARY)).schema.names == [
        *("line", "label", "probability", "positive_probability", "truncated", "unknown_share")
    ]
