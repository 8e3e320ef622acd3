"""Runs on data of more than two classes, and with weights of classes and rows."""

import numpy as np
import pytest

from sentiscale.data.prepared import PreparedDataset
from sentiscale.errors import UsageError
from sentiscale.inference.predictor import Predictor
from sentiscale.model.directory import load_model
from sentiscale.training.launch import train
from tests.data.relabel import STARS, TERNARY, relabelled
from tests.training.conftest import quick
from tests.training.test_resume import SETTINGS, assert_same_weights, start, wait_for_checkpoint


@pytest.fixture(scope="module")
def stars(dataset, tmp_path_factory) -> PreparedDataset:
    return relabelled(dataset.path, tmp_path_factory.mktemp("stars") / "data", STARS.names, STARS.kind)


@pytest.fixture(scope="module")
def ternary(dataset, tmp_path_factory) -> PreparedDataset:
    return relabelled(dataset.path, tmp_path_factory.mktemp("ternary") / "data", TERNARY.names, TERNARY.kind)


def test_a_killed_run_resumes_as_if_never_stopped(stars, tmp_path):
    settings = SETTINGS | {"train.epochs": 1.0, "train.layout": "1x1"}
    flags = {key.replace(".", "__"): value for key, value in settings.items()}
    undisturbed = train(stars, tmp_path / "undisturbed", quick(**flags))
    run = tmp_path / "run"
    process = start(stars, run, **settings)
    wait_for_checkpoint(run, process)
    process.kill()
    process.communicate()
    record = train(stars, run, resume=True)
    assert_same_weights(run, tmp_path / "undisturbed")
    assert record.valid == undisturbed.valid


@pytest.mark.parametrize("head", ["ordinal", "softmax"])
def test_the_model_directory_gives_the_scores_of_the_run(stars, tmp_path, head):
    record = train(stars, tmp_path / "run", quick(model__head=head, train__layout="1x1"))
    predictor = Predictor.load(tmp_path / "run" / "model")
    split = stars.split("test")
    logits = predictor.token_logits(np.asarray(split.tokens), np.asarray(split.offsets))
    assert logits.shape == (len(split), 5)
    assert (logits.argmax(axis=1) == split.labels).mean() == pytest.approx(record.test["accuracy"])
    assert predictor.classes == STARS
    assert predictor.model.config.model.head == head
    found = predictor.predict("This is great.")
    assert found.expected_star == pytest.approx(
        sum(int(star) * share for star, share in found.probabilities.items())
    )


def test_a_model_of_more_classes_names_them_and_one_of_two_is_as_before(stars, ternary, dataset, tmp_path):
    stored = {}
    for name, data in (("stars", stars), ("ternary", ternary), ("binary", dataset)):
        train(data, tmp_path / name, quick(train__epochs=0.1, wide__enabled=False, train__layout="1x1"))
        config = load_model(tmp_path / name / "model").config
        stored[name] = (config.model.head, config.kind, config.classes)
    assert stored == {
        "stars": ("softmax", "stars", STARS.names),
        "ternary": ("softmax", "ternary", TERNARY.names),
        "binary": (None, None, None),
    }


def test_an_ordinal_head_needs_an_order(stars, tmp_path):
    unordered = relabelled(stars.path, tmp_path / "data", ("a", "b", "c"), "labels")
    with pytest.raises(UsageError, match="needs classes in an order"):
        train(unordered, tmp_path / "run", quick(model__head="ordinal", train__layout="1x1"))


def test_class_weights_move_labels_and_keep_probabilities(ternary, tmp_path):
    """The weights count in the label; the mean probability of a class stays near its share."""
    labels, shares = {}, {}
    split = ternary.split("valid")
    for name, weights in (("none", None), ("neutral", {"neutral": 5.0})):
        settings = quick(train__class_weight=weights, train__layout="1x1", train__epochs=2.0)
        train(ternary, tmp_path / name, settings)
        predictor = Predictor.load(tmp_path / name / "model")
        logits = predictor.token_logits(np.asarray(split.tokens), np.asarray(split.offsets))
        powers = np.exp(logits.astype(float))
        chances = powers / powers.sum(axis=1, keepdims=True)
        labels[name] = (predictor.decision.codes(chances) == 1).mean()
        shares[name] = chances[:, 1].mean()
    assert labels["neutral"] > labels["none"] + 0.15
    assert shares["neutral"] == pytest.approx((split.labels == 1).mean(), abs=0.04)
    plain = Predictor.load(tmp_path / "neutral" / "model", thresholds=False)
    assert plain.decision.is_default


def test_a_weight_of_an_unknown_class_is_refused(ternary, tmp_path):
    with pytest.raises(UsageError, match=r"'neutrl', which is no class of the data\. Did you mean 'neutral'"):
        train(ternary, tmp_path / "run", quick(train__class_weight={"neutrl": 2.0}, train__layout="1x1"))
