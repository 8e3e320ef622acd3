"""Labelled files are read with the meaning that labels had in the model's training data."""

import json
from dataclasses import replace

import pytest

from sentiscale.model.directory import load_model, save_model
from sentiscale.text.label_reading import LabelReading
from tests.inference.predict.conftest import tiny_model

ZERO_ONE = {"0": "negative", "1": "positive"}
ONE_TWO = {"1": "negative", "2": "positive"}
MAPPED = {"0": "negative", "1": "drop", "2": "positive", "great": "positive"}


@pytest.fixture
def known(tmp_path):
    """Write a model whose training data had the given labels; None for a model that does not know them."""

    def write(values=None, scale=None):
        model = tiny_model()
        labels = LabelReading(values=values or {}, stars_scale=scale) if values or scale else None
        save_model(
            tmp_path / "model", replace(model, config=model.config.model_copy(update={"labels": labels}))
        )
        return tmp_path / "model"

    return write


def table(path, *values, name="label"):
    path.write_text(f"{name},text\n" + "".join(f"{value},good film {i}\n" for i, value in enumerate(values)))
    return path


def classes(document):
    """Number of rows held to be negative and positive."""
    return [sum(row) for row in document["confusion"]]


@pytest.mark.parametrize(
    ("values", "labels", "expected"),
    [
        (ZERO_ONE, "1 1 1", [0, 3]),
        (ONE_TWO, "1 1 1", [3, 0]),
        ({"-1": "negative", "1": "positive"}, "1 1", [0, 2]),
        (ZERO_ONE, "0 1 1", [1, 2]),
        (ZERO_ONE, "1.0 LABEL_0", [1, 1]),
        (ONE_TWO, "positive negative pos", [1, 2]),
        (ZERO_ONE, "yes no", [1, 1]),
        (MAPPED, "0 2 2 great", [1, 3]),
        (None, "0 1", [1, 1]),
        (None, "1 2", [1, 1]),
        (None, "2 2", [0, 2]),
        (ZERO_ONE, "-1 0", None),
        (None, "good good", [0, 2]),
    ],
)
def test_evaluate_reads_labels_as_the_training_did(cli, known, tmp_path, values, labels, expected):
    path = table(tmp_path / "t.csv", *labels.split())
    done = cli("evaluate", known(values), path, "--json")
    if expected is None:
        assert done.returncode == 3
        return
    document = json.loads(done.stdout)
    assert (classes(document), document["left_out"]) == (expected, {})
    assert sum(entry["rows"] for entry in document["label_values"].values()) == sum(expected)


@pytest.mark.parametrize(
    ("values", "labels", "told"),
    [
        (None, "1 1 1", "it is unclear which class '1' means. Say it: --label-map 1=positive or"),
        (ZERO_ONE, "1 2", "in the model's training data '1' meant positive"),
        (ONE_TWO, "0 1", "in the model's training data '1' meant negative"),
        (ZERO_ONE, "0 1 2", "three classes"),
        (ZERO_ONE, "1 2 3 4 5", "--stars-column label"),
        (None, "joy fear", "the meaning of 'fear', 'joy' is not known"),
        (ONE_TWO, "joy fear", "contains no labelled review; left out:\n  unknown_label 2: "),
    ],
)
@pytest.mark.parametrize("verb", ["evaluate", "triage", "predict"])
def test_labels_that_may_mean_something_else_are_refused(cli, known, tmp_path, verb, values, labels, told):
    path = table(tmp_path / "t.csv", *labels.split())
    flags = {"triage": ("--out", "p.html"), "predict": ("--labelled",), "evaluate": ()}[verb]
    done = cli(verb, known(values), path, *flags)
    if told.startswith("contains") and verb == "predict":
        assert "unknown_label 2" in done.stderr
        return
    assert done.returncode == 3
    assert told.replace("contains", "holds" if verb == "triage" else "contains") in done.stderr


def test_the_flag_wins_over_the_model(cli, known, tmp_path):
    path = table(tmp_path / "t.csv", "1", "2", "2")
    done = cli("evaluate", known(ZERO_ONE), path, "--label-map", "1=negative,2=positive", "--json")
    assert classes(json.loads(done.stdout)) == [1, 2]
    done = cli("evaluate", known(ZERO_ONE), path, "--label-map", "2=drop", "--json")
    document = json.loads(done.stdout)
    assert (classes(document), document["left_out"]) == ([0, 1], {"neutral": 2})


def test_dropped_labels_stay_dropped_and_are_said(cli, known, tmp_path):
    path = table(tmp_path / "t.csv", "1", "2", "neutral", "", "maybe", "0")
    document = json.loads(cli("evaluate", known(MAPPED), path, "--json").stdout)
    assert classes(document) == [1, 1]
    assert document["left_out"] == {"neutral": 2, "no_label": 1, "unknown_label": 1}
    assert document["left_out_examples"]["unknown_label"]["label"] == "maybe"
    assert document["label_values"]["1"] == {"rows": 1, "class": None, "reason": "neutral"}
    done = cli("evaluate", known(MAPPED), path)
    assert "left out 4 rows without a usable label or text:" in done.stdout
    assert "t.csv:6: label 'maybe': good film 4" in done.stdout


def test_triage_and_predict_say_what_they_leave_out(cli, known, tmp_path):
    path = table(tmp_path / "t.csv", "0", "1", "neutral", "maybe")
    done = cli("triage", known(ZERO_ONE), path, "--out", "p.html")
    assert "left out 2 rows" in done.stdout
    assert "label 'maybe'" in done.stdout
    document = json.loads(cli("triage", known(ZERO_ONE), path, "--out", "q.html", "--json").stdout)
    assert (document["rejected"], document["left_out"]) == (2, {"neutral": 1, "unknown_label": 1})
    document = json.loads(cli("predict", known(ZERO_ONE), path, "--labelled", "--json").stdout)
    assert (document["rows"], document["rejected_by_reason"]) == (2, {"neutral": 1, "unknown_label": 1})
    assert document["accuracy"] == 0.5
    assert "unknown label 'maybe'" in cli("predict", known(ZERO_ONE), path, "--labelled").stderr


def test_stars_are_read_on_the_scale_of_the_training(cli, known, tmp_path):
    path = table(tmp_path / "t.csv", "1", "4", "5", "6", name="rating")
    document = json.loads(cli("evaluate", known(scale=(0, 10)), path, "--json").stdout)
    assert (classes(document), document["left_out"]) == ([2, 1], {"neutral": 1})
    table(path, "1", "4", "5", name="rating")
    assert classes(json.loads(cli("evaluate", known(), path, "--json").stdout)) == [1, 2]
    told = cli("evaluate", known(scale=(0, 10)), path)
    assert told.returncode == 3
    assert "--stars-scale 0-10; otherwise: --stars-scale 1-5" in told.stderr
    same = cli("evaluate", known(scale=(0, 10)), path, "--stars-scale", "0-10", "--json")
    assert classes(json.loads(same.stdout)) == [2, 0]
    again = cli("evaluate", known(scale=(0, 10)), path, "--stars-scale", "1-5", "--json")
    assert classes(json.loads(again.stdout)) == [1, 2]
    table(path, "1", "11", name="rating")
    assert "stars from 0 to 10 were expected" in cli("evaluate", known(scale=(0, 10)), path).stderr


@pytest.mark.parametrize("piped", [True, False])
def test_lines_are_compared_with_the_labels_of_the_training(cli, known, tmp_path, piped):
    def predict(model, lines, *flags):
        (tmp_path / "lines.txt").write_text(lines)
        source = () if piped else ("lines.txt",)
        return cli("predict", model, *source, "--labelled", *flags, stdin=lines if piped else "")

    ones = "__label__1 good\n__label__1 good\n"
    positive = predict(known(ZERO_ONE), ones)
    negative = predict(known(ONE_TWO), ones)
    rates = [float(done.stderr.split("accuracy ")[1].split()[0]) for done in (positive, negative)]
    assert sorted(rates) == [0.0, 1.0]
    wrong = predict(known(ZERO_ONE), "__label__0 bad\n__label__7 good\n")
    assert wrong.returncode == 3
    assert "'7'" in wrong.stderr
    unknown = predict(known(), ones)
    assert (unknown.returncode, "unclear which class '1' means" in unknown.stderr) == (3, True)
    assert predict(known(), ones + "__label__2 good\n").returncode == 0
    assert predict(known(), ones, "--label-map", "1=positive,2=negative").returncode == 0
    said = predict(
        known(ZERO_ONE), "__label__7 good\n__label__8 bad\n", "--label-map", "7=positive,8=negative"
    )
    assert said.returncode == 0, said.stderr
    assert "on 2 rows" in said.stderr


def test_a_label_after_the_text_is_not_part_of_the_review(cli, known, tmp_path):
    model = known()
    assert (
        cli("predict", model, stdin="good __label__1\n").stdout
        == cli("predict", model, stdin="good\n").stdout
    )


def test_the_meaning_survives_in_the_model_directory(known):
    assert load_model(known(MAPPED, (0, 10))).config.labels == LabelReading(
        values=MAPPED, stars_scale=(0, 10)
    )
    assert load_model(known()).config.labels is None


def test_training_stores_what_the_labels_meant(tmp_path):
    from sentiscale import train
    from sentiscale.data.prepare import prepare

    rows = [f"{i % 3},the film is {('bad', 'fine', 'good')[i % 3]} again {i}" for i in range(90)]
    (tmp_path / "a.csv").write_text("label,text\n" + "\n".join(rows) + "\n")
    data = prepare(tmp_path / "a.csv", tmp_path / "data", label_map="0=negative,1=drop,2=positive")
    small = {"model__hidden_dim": 8, "model__embedding_dim": 8, "wide__bits": 12, "epochs": 1}
    run = train(data.path, tmp_path / "run", **small)
    expected = {"0": "negative", "1": "drop", "2": "positive"}
    assert load_model(run.path / "model").config.labels.values == expected
