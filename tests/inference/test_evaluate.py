"""Scores of `evaluate` for any number of classes, against scikit-learn's and counts by hand."""

import json
import re

import numpy as np
import pytest
from sklearn import metrics

from sentiscale import Model
from sentiscale.inference.evaluate import evaluate, mapped_tokens
from sentiscale.inference.predictor import Predictor
from sentiscale.model.decision import Decision
from sentiscale.model.directory import save_model
from sentiscale.text.classes import Classes
from tests.cli.conftest import cli
from tests.data.relabel import STARS, TERNARY, relabelled
from tests.inference.predict.conftest import tiny_model
from tests.training.conftest import dataset, reviews

__all__ = ["cli", "dataset", "reviews"]

MANY = Classes(tuple(f"[b]shop {number}[/b]" for number in range(24)), "labels")


@pytest.fixture
def saved(dataset, tmp_path):
    """Save a tiny model of some classes and the generated reviews with the same classes."""

    def save(classes, decision=None, names=None):
        save_model(tmp_path / "model", tiny_model(classes=classes, decision=decision))
        relabelled(dataset.path, tmp_path / "data", names or classes.names, classes.kind)
        return tmp_path / "model", tmp_path / "data"

    return save


def labels_and_chances(model, data):
    """True labels of the training split, and probabilities computed from the logits by the definition."""
    from sentiscale.data.prepared import PreparedDataset

    predictor, opened = Predictor.load(model), PreparedDataset.open(data)
    split = opened.split("train")
    logits = predictor.token_logits(mapped_tokens(predictor, opened, "train"), np.asarray(split.offsets))
    logits = logits.astype(float)
    if logits.ndim == 1:
        logits = np.column_stack([np.zeros(len(logits)), logits])
    powers = np.exp(logits)
    return np.asarray(split.labels).astype(int), powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("classes", [Classes(), TERNARY, STARS, MANY], ids=lambda each: len(each))
def test_scores_are_those_of_scikit_learn(cli, saved, classes):
    model, data = saved(classes)
    done = cli("evaluate", model, data, "--split", "train", "--json")
    assert done.returncode == 0, done.stderr
    found, (truth, chances) = json.loads(done.stdout), labels_and_chances(model, data)
    given, every = chances.argmax(axis=1), range(len(classes))
    assert found["classes"] == list(classes.names)
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(truth, given))
    assert found["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(truth, given))
    assert found["macro_f1"] == pytest.approx(
        metrics.f1_score(truth, given, average="macro", zero_division=0)
    )
    assert found["loss"] == pytest.approx(metrics.log_loss(truth, chances, labels=every), abs=1e-6)
    assert found["majority_share"] == max(np.bincount(truth)) / len(truth)
    assert found["confusion"] == [
        [sum((truth == row) & (given == column)).item() for column in every] for row in every
    ]
    scores = metrics.precision_recall_fscore_support(truth, given, labels=every, zero_division=0)
    for name, precision, recall, f1, rows in zip(classes.names, *scores, strict=True):
        own = found["per_class"][name]
        assert (own["precision"], own["recall"], own["f1"]) == pytest.approx((precision, recall, f1))
        assert own["rows"] == rows
        assert own["intervals"]["recall"][0] <= recall <= own["intervals"]["recall"][1]
    low, high = found["intervals"]["accuracy"]
    assert low < found["accuracy"] < high
    if classes is STARS:
        stars = truth + 1, given + 1
        assert found["mae"] == pytest.approx(metrics.mean_absolute_error(*stars))
        kappa = metrics.cohen_kappa_score(*stars, weights="quadratic")
        assert found["quadratic_kappa"] == pytest.approx(kappa)
        sides = chances[:, 3:].sum(axis=1) > chances[:, :2].sum(axis=1)
        assert found["binary_accuracy"] == pytest.approx(np.mean((sides == (truth > 2))[truth != 2]))
    else:
        assert found["mae"] is found["quadratic_kappa"] is None
    assert Model.load(model).evaluate(data, split="train").accuracy == found["accuracy"]


@pytest.mark.parametrize("classes", [Classes(), STARS, MANY], ids=lambda each: len(each))
def test_the_text_has_the_scores_and_the_confusions(cli, saved, classes):
    model, data = saved(classes)
    done = cli("evaluate", model, data, "--split", "train")
    assert done.returncode == 0, done.stderr
    found = evaluate(model, data, split="train")
    headline, *lines = done.stdout.splitlines()
    shown = (found.accuracy, *found.intervals["accuracy"], found.balanced_accuracy, found.majority_share)
    assert re.findall(r"0\.\d{4}", headline) == [f"{score:.4f}" for score in shown]
    assert f"{found.rows:,} rows" in headline
    per_class = next(line.split() for line in lines if line.startswith(classes.names[0] + " "))
    own = found.per_class[classes.names[0]]
    assert f"{own.rows:,}" in per_class
    assert f"{own.recall:.4f}" in per_class
    matrix = "\n".join(lines[lines.index("", lines.index("") + 1) :])
    numbers = [int(number.replace(",", "")) for number in re.findall(r"(?<= )[\d,]+(?= |$)", matrix, re.M)]
    if classes is MANY:
        wrong = [rows for row, counts in enumerate(found.confusion) for rows in np.delete(counts, row)]
        assert numbers == sorted(wrong, reverse=True)[:12]
    else:
        assert numbers[-len(classes) :] == found.confusion[-1]


def test_unsure_rows_are_counted_apart_unless_thresholds_are_off(cli, saved):
    model, data = saved(TERNARY, Decision(TERNARY.names, abstain=dict.fromkeys(TERNARY.names, 0.6)))
    truth, chances = labels_and_chances(model, data)
    sure = chances.max(axis=1) >= 0.6
    arguments = ("evaluate", model, data, "--split", "train")
    found = json.loads(cli(*arguments, "--json").stdout)
    assert 0 < found["unsure"] == np.sum(~sure) < len(truth)
    assert found["accuracy"] == pytest.approx(np.mean((chances.argmax(axis=1) == truth)[sure]))
    assert f"{np.sum(~sure):,} of these rows are labelled unsure" in cli(*arguments).stdout
    found = json.loads(cli(*arguments, "--no-threshold", "--json").stdout)
    assert found["unsure"] == 0
    assert found["accuracy"] == pytest.approx(np.mean(chances.argmax(axis=1) == truth))


def test_classes_of_prepared_data_are_matched_by_name(cli, saved, dataset, tmp_path):
    model, data = saved(TERNARY)
    relabelled(dataset.path, tmp_path / "two", ("neutral", "negative"), "labels")
    (truth, _), (_, chances) = labels_and_chances(model, tmp_path / "two"), labels_and_chances(model, data)
    found = evaluate(model, tmp_path / "two", split="train")
    assert found.accuracy == pytest.approx(np.mean(np.array([1, 0])[truth] == chances.argmax(axis=1)))
    assert [found.per_class[name].rows for name in TERNARY.names] == [*np.bincount(truth)[::-1], 0]
    relabelled(dataset.path, tmp_path / "other", ("good", "bad", "neutral"), "labels")
    done = cli("evaluate", model, tmp_path / "other")
    assert done.returncode == 3
    assert "'good', 'bad', 'neutral'" in done.stderr
    assert "'negative', 'neutral', 'positive'" in done.stderr


@pytest.mark.parametrize(
    ("classes", "column", "values"),
    [
        (TERNARY, "label", ["negative", "neutral", "Positive"]),
        (TERNARY, "stars", ["1", "3", "5"]),
        (STARS, "stars", ["1", "2", "3", "4", "5"]),
        (Classes(("angry", "glad", "sad"), "labels"), "label", ["angry", "Glad", "sad"]),
    ],
)
def test_labels_of_files_are_read_for_the_classes_of_the_model(cli, saved, tmp_path, classes, column, values):
    """Also for a model that was not trained on files: its classes say what labels mean."""
    model, _ = saved(classes)
    rows = [
        (code, value, f"film {code} is not good {row}")
        for row in range(9)
        for code, value in enumerate(values)
    ]
    (tmp_path / "in.csv").write_text(
        f"{column},text\n" + "".join(f"{value},{text}\n" for _, value, text in rows)
    )
    (tmp_path / "in.txt").write_text("".join(f"__label__{value} {text}\n" for _, value, text in rows))
    predictions = Predictor.load(model).predict_columns([text for *_, text in rows])
    positions = np.array([code * (len(classes) - 1) // (len(values) - 1) for code, *_ in rows])
    accuracy = np.mean(predictions.codes == positions)
    for file in ("in.csv", "in.txt") if column == "label" else ("in.csv",):
        found = json.loads(cli("evaluate", model, file, "--json").stdout)
        assert found["accuracy"] == pytest.approx(accuracy)
        assert np.sum(found["confusion"], axis=1).tolist() == [9] * len(classes)
        done = cli("predict", model, file, "--labelled", "--json")
        assert json.loads(done.stdout)["accuracy"] == pytest.approx(accuracy), done.stderr


def test_labels_in_an_order_that_files_cannot_have_are_refused(cli, saved, tmp_path):
    model, _ = saved(Classes(("B", "C", "a"), "labels"))
    (tmp_path / "in.csv").write_text("label,text\n" + "a,good\nB,bad\nC,awful\n" * 5)
    for verb, flags in {"evaluate": (), "predict": ("--labelled",)}.items():
        done = cli(verb, model, "in.csv", *flags)
        assert done.returncode == 3
        assert "'B', 'C', 'a'" in done.stderr
    assert cli("predict", model, "in.csv").returncode == 0
