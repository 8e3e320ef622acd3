"""Weights of classes and rows in the loss: what they do to gradients, labels and probabilities."""

import numpy as np
import pytest
import torch

from sentiscale.config import TrainSettings
from sentiscale.data.batches import make_batch
from sentiscale.data.prepare import prepare
from sentiscale.data.prepared import PreparedDataset, Split
from sentiscale.datasets.output import synth
from sentiscale.errors import UsageError
from sentiscale.inference.evaluate import rows_of_split
from sentiscale.inference.predictor import Predictor
from sentiscale.model.metrics import probabilities
from sentiscale.model.wide import fit_wide
from sentiscale.parallel.layout import Layout
from sentiscale.parallel.precision import Precision
from sentiscale.parallel.runner import WholeRunner
from sentiscale.parallel.world import World
from sentiscale.training.launch import make_job, train
from sentiscale.training.row_weights import class_weights, row_weights
from sentiscale.training.run_directory import RunDir
from sentiscale.training.setup import fingerprint
from tests.parallel.learning import MAX_TOKENS, Case, awkward_split
from tests.training.conftest import quick


def repeated(split: Split, times: np.ndarray) -> Split:
    """The split with each row as often as `times` says."""
    rows = np.repeat(np.arange(len(split)), times)
    parts = [split.tokens[split.offsets[row] : split.offsets[row + 1]] for row in rows]
    offsets = np.cumsum([0, *map(len, parts)])
    return Split("train", np.concatenate(parts), offsets, split.labels[rows])


def gradients(split: Split, case: Case, weights: np.ndarray | None) -> dict[str, torch.Tensor]:
    """Gradients of one step on all rows."""
    runner = WholeRunner(case.config(), World(Layout(1, 1), 0, torch.device("cpu")))
    batch = make_batch(split, np.arange(len(split)), MAX_TOKENS, row_weights=weights)
    runner.forward_backward(batch, 0)
    named = runner.net.named_parameters()
    return {name: value.grad for name, value in named if not name.startswith("embedding")}


@pytest.mark.parametrize(("classes", "head"), [(2, None), (3, "softmax"), (5, "ordinal")])
def test_a_row_of_weight_two_moves_the_network_like_the_row_twice(classes, head):
    split, case = awkward_split(12, classes=classes), Case(classes=classes, head=head)
    times = 1 + np.arange(12) % 2
    weighted = gradients(split, case, (times / times.mean()).astype(np.float32))
    twice, once = gradients(repeated(split, times), case, None), gradients(split, case, None)
    for name, expected in twice.items():
        assert (weighted[name] - expected).abs().max() < 1e-7, name  # weights are float32
    assert max((once[name] - twice[name]).abs().max() for name in twice) > 1e-3


@pytest.fixture(scope="module")
def lopsided(tmp_path_factory) -> PreparedDataset:
    """Generated reviews of which one in ten is negative."""
    folder = tmp_path_factory.mktemp("lopsided")
    synth(5000, 5, out=folder / "all.txt")
    lines = (folder / "all.txt").read_text().splitlines()
    negative = [line for line in lines if line.startswith("__label__1")]
    positive = [line for line in lines if line.startswith("__label__2")]
    kept = [*negative[: len(positive) // 9], *positive]
    (folder / "reviews.txt").write_text("\n".join(kept) + "\n")
    return prepare(folder / "reviews.txt", folder / "data", workers=1, split=(0.5, 0.25, 0.25))


def test_balanced_weights_are_those_of_scikit_learn(lopsided):
    from sklearn.utils.class_weight import compute_class_weight

    labels = np.asarray(lopsided.split("train").labels)
    expected = compute_class_weight("balanced", classes=np.array([0, 1]), y=labels)
    settings = TrainSettings(class_weight="balanced")
    found = class_weights(settings, lopsided.manifest)
    assert list(found.values()) == pytest.approx(expected)
    of_rows = row_weights(lopsided.split("train"), settings, lopsided.manifest)
    assert of_rows.mean() == pytest.approx(1)
    assert of_rows[labels == 0].sum() == pytest.approx(of_rows[labels == 1].sum(), rel=1e-4)


def test_weights_favour_a_class_and_leave_probabilities_calibrated(lopsided, tmp_path):
    recalls = {}
    for weight in (None, "balanced"):
        settings = quick(train__class_weight=weight, vectors__enabled=False)
        record = train(lopsided, tmp_path / str(weight), settings)
        predictor = Predictor.load(tmp_path / str(weight) / "model")
        rows = rows_of_split(predictor, lopsided, "test")
        chances, negative = probabilities(rows.logits), rows.labels == 0
        assert chances[:, 0].mean() == pytest.approx(negative.mean(), abs=0.04)
        assert record.test["ece"] < 0.06
        codes = predictor.decision.codes(chances)
        recalls[weight] = (codes == 0)[negative].mean()
        assert record.test["confusion"][0][0] == (codes == 0)[negative].sum()
    assert record.settings["train"]["class_weight"] == "balanced"
    weights = predictor.decision.weights
    assert weights == pytest.approx(class_weights(TrainSettings(class_weight="balanced"), lopsided.manifest))
    assert (codes == (chances * list(weights.values())).argmax(axis=1)).all()
    assert recalls["balanced"] > recalls[None] + 0.1


def test_the_ngram_model_is_fitted_with_the_weights(lopsided, tmp_path):
    settings = lopsided.resolve(quick(train__class_weight="negative=9", train__epochs=0.1))
    train(lopsided, tmp_path / "run", settings)
    model, split = Predictor.load(tmp_path / "run").model, lopsided.split("train")

    def expected(weights):
        arrays = map(np.asarray, (split.tokens, split.offsets, split.labels))
        return fit_wide(*arrays, settings.wide, seed=0, threads=1, row_weights=weights).weights

    weights = row_weights(split, settings.train, lopsided.manifest)
    assert np.allclose(model.wide.weights, expected(weights), atol=1e-3)  # training flushes denormals
    assert not np.allclose(model.wide.weights, expected(None), atol=0.1)


def test_a_run_with_other_weights_is_another_run(dataset):
    """So a resumed run cannot take over the n-gram model of other weights."""
    of_weights = {
        fingerprint(quick(train__class_weight=weight), Precision("fp32"), dataset.manifest.digest)
        for weight in ("none", "balanced", "negative=2", "negative=3")
    }
    assert len(of_weights) == 4


def test_weights_of_classes_that_do_not_exist_are_refused_before_ranks_start(dataset, tmp_path):
    settings = quick(train__class_weight="negatve=3")
    with pytest.raises(UsageError, match=r"'negatve', which is no class .* Did you mean 'negative'"):
        make_job(dataset, RunDir(tmp_path / "run"), settings, resume=False, force=False, layout_choice=None)


@pytest.mark.parametrize("text", ["negative=x", "negative=0", "negative=nan", "balancd", "a=1,a=2", ""])
def test_weights_that_cannot_be_are_refused_with_what_is_allowed(text):
    with pytest.raises(UsageError, match="it is none, balanced, or the weight of each class"):
        quick(train__class_weight=text)


def test_weights_are_read_as_flags_write_them():
    weight = quick(train__class_weight="negative=3, a=b=0.5").train.class_weight
    assert weight == {"negative": 3.0, "a=b": 0.5}
    assert quick(train__class_weight="none").train.class_weight is None
