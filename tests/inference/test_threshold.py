"""Thresholds: chosen as asked for, measured on other rows, stored in the model and applied."""

import json
import os
import stat

import numpy as np
import pytest

from sentiscale.errors import DataError, SentiscaleError, UsageError
from sentiscale.inference.predictor import Predictor
from sentiscale.inference.threshold import (
    Goal,
    LabelledPart,
    choose,
    clear_thresholds,
    costs_of,
    part_scores,
    ranking,
    set_threshold,
)
from sentiscale.model.decision import Decision
from sentiscale.model.directory import load_model
from sentiscale.model.files import FILES
from sentiscale.model.thresholds import read_threshold_report
from sentiscale.util.progress import Progress
from tests.serving.conftest import WORDS, write_model

NAMES = ("negative", "positive")


def calibrated(rows: int, *, classes: int = 2, share: float = 0.5, seed: int = 0) -> LabelledPart:
    """Rows whose labels are drawn with the very probabilities that the model gives."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(rows, classes)) * 2
    logits[:, 0] += np.log(share / (1 - share))
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    drawn = (chances.cumsum(axis=1) < generator.random(rows)[:, None]).sum(axis=1)
    return LabelledPart("test", chances, np.minimum(drawn, classes - 1).astype(np.uint8))


def measured(part: LabelledPart, decision: Decision, code: int) -> tuple[float, float]:
    """Precision and recall of a class."""
    given, wanted = decision.codes(part.chances) == code, part.labels == code
    return (given & wanted).sum() / given.sum(), (given & wanted).sum() / wanted.sum()


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("measure", ["precision", "abstain"])
def test_the_ranking_counts_what_the_decision_then_labels(classes, measure):
    """Also where other classes have thresholds, and a label may become unsure."""
    names = tuple("abcde"[:classes])
    part = calibrated(300, classes=classes, seed=classes)
    rest = Decision(names, {"a": 3.0}, {"b": 0.3, names[-1]: 0.6}, {"a": 0.2, "b": 0.4})
    code = 0
    ranked = ranking(part, rest, code, measure)
    assert len(ranked.scores) > 30
    for index in range(0, len(ranked.scores), 7):
        threshold = ranked.threshold(index)
        if measure == "abstain":
            decision = Decision(names, rest.weights, rest.thresholds, {**rest.abstain, "a": threshold})
        else:
            decision = Decision(names, rest.weights, {**rest.thresholds, "a": threshold}, rest.abstain)
        labelled = decision.codes(part.chances) == code
        assert labelled.sum() == ranked.labelled[index]
        assert (labelled & (part.labels == code)).sum() == ranked.right[index]


@pytest.mark.parametrize("classes", [2, 3])
def test_a_precision_holds_on_other_rows(classes):
    names = tuple("abc"[:classes])
    goal, decision, held = Goal("precision", "a", 0.9), Decision(names), 0
    others = calibrated(20_000, classes=classes, seed=100)
    for seed in range(12):
        _, after, notes = choose(goal, calibrated(800, classes=classes, seed=seed), decision)
        assert notes == []
        held += measured(others, after, 0)[0] >= 0.9
    assert held >= 9  # about 6 with the lowest threshold that has this precision where it is chosen


def test_a_precision_is_reached_on_the_rows_it_is_chosen_on_with_no_needless_loss():
    part = calibrated(20_000)
    threshold, after, _ = choose(Goal("precision", "negative", 0.9), part, Decision(NAMES))
    assert 0.9 <= measured(part, after, 0)[0] < 0.91
    assert after.thresholds == {"negative": threshold}


def test_few_rows_are_said():
    part = calibrated(400, share=0.05, seed=3)
    _, after, notes = choose(Goal("precision", "negative", 0.9), part, Decision(NAMES))
    assert measured(part, after, 0)[0] >= 0.9
    assert "the precision is uncertain" in notes[0]


def test_a_precision_that_rests_on_two_labels_is_said_to_be_uncertain():
    labels = np.array([0] * 40 + [1] * 960, np.uint8)
    own = np.linspace(0.01, 0.02, 1000)
    own[[0, 999]] = 0.8, 0.7  # one right and one wrong label above all others
    part = LabelledPart("valid", np.column_stack([own, 1 - own]), labels)
    _, _, notes = choose(Goal("precision", "negative", 0.2), part, Decision(NAMES))
    assert "the precision is uncertain: only 2 of" in notes[0]


def test_an_impossible_precision_is_refused_with_the_best_one():
    part = calibrated(2000)
    noise = part._replace(labels=np.random.default_rng(0).integers(0, 2, 2000).astype(np.uint8))
    with pytest.raises(
        SentiscaleError, match=r"no threshold gives 'negative' a precision of 0\.9"
    ) as refused:
        choose(Goal("precision", "negative", 0.9), noise, Decision(NAMES))
    assert refused.value.exit_code == 1
    assert "labels are right. Ask for less" in str(refused.value)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("target", [0.5, 0.83, 1.0])
def test_a_recall_takes_the_highest_threshold_that_has_it(classes, target):
    names, part = tuple("abc"[:classes]), calibrated(500, classes=classes)
    threshold, after, _ = choose(Goal("recall", "b", target), part, Decision(names))
    assert measured(part, after, 1)[1] >= target
    assert measured(part, Decision(names, thresholds={"b": threshold + 1e-5}), 1)[1] < target


def test_costs_are_minimal_and_near_those_of_calibrated_probabilities():
    part = calibrated(5000)
    costs = costs_of("fp=1,fn=5")

    def cost(threshold: float) -> float:
        decision = Decision(NAMES, thresholds={"negative": threshold})
        return part_scores(part, decision, decision, 0, costs).cost

    threshold, _, notes = choose(Goal("cost", "negative", costs=costs), part, Decision(NAMES))
    assert cost(threshold) <= min(cost(each) for each in np.linspace(0.02, 0.98, 25))
    assert threshold == pytest.approx(1 / 6, abs=0.05)
    assert "0.1667" in notes[0]


def test_the_cheapest_may_be_never_to_give_the_label():
    part = calibrated(300)
    labels = (part.chances[:, 0] > part.chances[:, 0].min()).astype(np.uint8)  # the least likely row only
    goal = Goal("cost", "negative", costs=costs_of({"fp": 100, "fn": 0.1}))
    _, after, _ = choose(goal, part._replace(labels=labels), Decision(NAMES))
    assert not (after.codes(part.chances) == 0).any()


def test_abstaining_is_for_one_class_or_for_all():
    part, rest = calibrated(100), Decision(NAMES, thresholds={"negative": 0.4})
    assert choose(Goal("abstain", None, 0.8), part, rest)[1].abstain == {"negative": 0.8, "positive": 0.8}
    after = choose(Goal("abstain", "negative", 0.8), part, rest)[1]
    assert (after.abstain, after.thresholds) == ({"negative": 0.8}, {"negative": 0.4})
    scores = part_scores(part, rest, after, None, None)
    labels = after.codes(part.chances)
    sure = labels < 2
    assert scores.unsure == pytest.approx(1 - sure.mean())
    assert scores.after.precision == (labels == part.labels)[sure].mean()
    assert scores.after.recall == (labels == part.labels).mean()


def test_scores_are_those_of_scikit_learn():
    from sklearn.metrics import precision_recall_fscore_support

    part = calibrated(500, classes=3)
    decision = Decision(("a", "b", "c"), thresholds={"b": 0.5})
    scores = part_scores(part, decision, decision, 1, None).after
    expected = precision_recall_fscore_support(part.labels, decision.codes(part.chances), labels=[1])
    assert (scores.precision, scores.recall, scores.f1, scores.rows) == pytest.approx(
        [values[0] for values in expected]
    )
    for name in ("precision", "recall", "f1"):
        low, high = scores.intervals[name]
        assert low < getattr(scores, name) < high < low + 0.2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "takes one of"),
        ({"precision": 0.9, "recall": 0.9}, "takes one of"),
        ({"precision": 1.5}, r"--precision is 1\.5"),
        ({"recall": 0.0}, r"--recall is 0\.0"),
        ({"precision": float("nan")}, "--precision is nan"),
        ({"cost": "fp=1"}, "fn: Field required"),
        ({"cost": "fp=1,fn=x"}, "fn is 'x'"),
        ({"cost": "fp=1,fn=-2"}, "fn is '-2'"),
        ({"cost": "fp=0,fn=0"}, "must be greater than 0"),
    ],
)
def test_goals_that_cannot_be_are_refused(arguments, message):
    with pytest.raises(UsageError, match=message):
        Goal.of("negative", **arguments)


def test_a_threshold_needs_a_class():
    with pytest.raises(UsageError, match="--class NAME"):
        Goal.of(precision=0.9)


@pytest.fixture
def model(tmp_path):
    return write_model(tmp_path / "model")


@pytest.fixture
def labelled(tmp_path, model):
    """Reviews of random words, labelled by the model itself with some mistakes."""
    generator = np.random.default_rng(1)
    texts = [" ".join(generator.choice(WORDS, generator.integers(2, 9))) for _ in range(600)]
    second = np.array([each.positive_probability for each in Predictor.load(model).predict(texts)])
    labels = 1 + (second > generator.random(len(texts)))
    path = tmp_path / "labelled.txt"
    path.write_text("".join(f"__label__{label} {text}\n" for label, text in zip(labels, texts, strict=True)))
    return path


def test_a_threshold_is_stored_and_applied(model, labelled):
    (model / "config.toml").chmod(0o640)
    (model / "notes.txt").write_text("mine")
    before = {path.name: path.stat() for path in model.iterdir()}
    plain = Predictor.load(model).predict_columns(["good", "bad film"])
    chosen = set_threshold(model, labelled, Goal.of("negative", recall=0.5))
    assert chosen.stored
    predictor = Predictor.load(model)
    texts = [line.split(" ", 1)[1] for line in labelled.read_text().splitlines()]
    found = predictor.predict_columns(texts)
    expected = found.probabilities[:, 0] >= chosen.entry.threshold
    assert 0 < expected.sum() < len(texts)
    assert ((found.codes == 0) == expected).all()
    argmax = Predictor.load(model, thresholds=False).predict_columns(texts)
    assert (argmax.codes == argmax.probabilities.argmax(axis=1)).all()
    assert (predictor.predict_columns(["good", "bad film"]).probabilities == plain.probabilities).all()
    after = {path.name: path.stat() for path in model.iterdir()}
    assert after.keys() == before.keys() | {"thresholds.json"}
    for name in ("vocab.txt", "weights.safetensors", "record.json", "notes.txt"):
        for value in ("st_ino", "st_mtime_ns", "st_mode"):
            assert getattr(after[name], value) == getattr(before[name], value)
    assert stat.S_IMODE(after["config.toml"].st_mode) == 0o640
    assert os.listdir(model.parent).count("model") == 1
    predictor.model.verify()


def test_the_report_has_both_parts_and_a_curve(model, labelled):
    chosen = set_threshold(model, labelled, Goal.of("negative", recall=0.8))
    (entry,) = read_threshold_report(model).entries
    assert entry == chosen.entry
    assert entry.chosen.rows + entry.reported.rows == 600
    assert 200 < entry.chosen.rows < 400
    assert entry.chosen.after.recall >= 0.8
    low, high = entry.reported.after.intervals["recall"]
    assert low < entry.reported.after.recall < high
    recalls = [point.recall for point in entry.curve]
    assert recalls == sorted(recalls)
    assert 20 < len(recalls) <= 200
    assert any("divides the rows" in note for note in chosen.notes)


def test_thresholds_of_classes_are_set_and_cleared_one_by_one(model, labelled):
    set_threshold(model, labelled, Goal.of("negative", recall=0.8))
    set_threshold(model, labelled, Goal.of("positive", recall=0.6))
    set_threshold(model, labelled, Goal.of(abstain=0.55))
    decision = load_model(model).config.decision
    assert set(decision.thresholds) == set(decision.abstain) == {"negative", "positive"}
    assert len(read_threshold_report(model).entries) == 3
    assert set(clear_thresholds(model, "negative").thresholds) == {"positive"}
    assert load_model(model).config.decision.abstain == {"positive": 0.55}
    assert clear_thresholds(model).is_default
    assert load_model(model).config.thresholds is None
    assert read_threshold_report(model) is None


def test_setting_and_clearing_gives_the_same_model(model, labelled):
    before = {name: (model / name).read_bytes() for name in (*FILES, "digests.json")}
    set_threshold(model, labelled, Goal.of("negative", recall=0.8))
    assert json.loads((model / "digests.json").read_text()) != json.loads(before["digests.json"])
    clear_thresholds(model)
    assert {name: (model / name).read_bytes() for name in before} == before


def test_the_model_stays_as_it_is_where_it_is_not_to_be_changed(model, labelled):
    before = (model / "config.toml").read_bytes()
    assert not set_threshold(model, labelled, Goal.of("negative", recall=0.8), store=False).stored
    with pytest.raises(UsageError, match="Did you mean 'negative'"):
        set_threshold(model, labelled, Goal.of("negatve", recall=0.8))
    assert (model / "config.toml").read_bytes() == before
    assert read_threshold_report(model) is None


def test_a_model_that_changed_meanwhile_is_left_alone(model, labelled):
    class Retrain(Progress):
        """Another process replaces the model while its rows are read."""

        def task(self, *arguments):
            write_model(model, seed=4)
            return super().task(*arguments)

    with pytest.raises(SentiscaleError, match="changed meanwhile; nothing was stored"):
        set_threshold(model, labelled, Goal.of("negative", recall=0.8), progress=Retrain())
    assert load_model(model).config.thresholds is None
    assert sorted(path.name for path in model.parent.iterdir()) == ["labelled.txt", "model"]


def test_a_model_behind_a_link_is_changed_in_its_place(model, labelled):
    link = model.with_name("current")
    link.symlink_to(model)
    set_threshold(link, labelled, Goal.of("negative", recall=0.8))
    assert link.is_symlink()
    assert load_model(model).config.decision.thresholds


def test_a_damaged_report_is_refused_until_it_is_cleared(model, labelled):
    (model / "thresholds.json").write_text("{}}")
    with pytest.raises(DataError, match=r"thresholds\.json is damaged: .* --clear"):
        set_threshold(model, labelled, Goal.of("negative", recall=0.8))
    clear_thresholds(model)
    assert read_threshold_report(model) is None


def test_rows_without_the_class_are_refused():
    part = calibrated(50)
    with pytest.raises(DataError, match="50 rows"):
        choose(Goal("recall", "negative", 0.8), part._replace(labels=np.ones(50, np.uint8)), Decision(NAMES))
