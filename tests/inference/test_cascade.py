"""Rows of which the n-gram model is sure skip the network, by the same rule in every way of use."""

import json
import tomllib
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import tomli_w

from sentiscale.config import CascadeSettings, PrepareSettings
from sentiscale.data.inputs import Inputs
from sentiscale.errors import DataError
from sentiscale.inference.batch import BatchJob
from sentiscale.inference.evaluate import evaluate
from sentiscale.inference.explain import explain
from sentiscale.inference.mlflow_model import _load_pyfunc
from sentiscale.inference.onnx_graph import onnx_bytes
from sentiscale.inference.onnx_runtime import OnnxPredictor
from sentiscale.inference.outputs import AddedColumns
from sentiscale.inference.predictor import Predictor
from sentiscale.inference.sklearn import SentimentClassifier
from sentiscale.model.cascade import Cascade, margins
from sentiscale.model.decision import Decision
from sentiscale.model.directory import cascade_table, load_model, save_model
from sentiscale.model.files import DIGESTS
from sentiscale.model.metrics import probabilities
from sentiscale.model.wide import Combination
from sentiscale.text.classes import Classes
from sentiscale.training.launch import train
from tests.inference.predict.conftest import WORDS, tiny_model
from tests.training.conftest import dataset, quick, reviews

__all__ = ["dataset", "reviews"]

CLOSE = 1e-5
KINDS = {
    2: Classes(),
    3: Classes(("negative", "neutral", "positive"), "ternary"),
    5: Classes(tuple(str(stars) for stars in range(1, 6)), "stars"),
}


def texts() -> list[str]:
    drawn = np.random.default_rng(5)
    return ["", *(" ".join(drawn.choice(WORDS, drawn.integers(1, 30))) for _ in range(299))]


@pytest.fixture(scope="module", params=KINDS, ids="K={}".format)
def model(request, tmp_path_factory):
    """The directory of a model whose n-gram model settles half of the texts."""
    classes = KINDS[request.param]
    plain = tiny_model(classes=None if request.param == 2 else classes)
    if request.param == 2:
        alone = Combination(0.0, 0.9, -0.05)
    else:
        each = np.linspace(0.8, 1.1, request.param)
        alone = Combination((0.0,) * request.param, tuple(each.tolist()), tuple((each / 9).tolist()))
    encoded = Predictor(plain).encoder.encode(texts())
    wide = plain.wide.logits(encoded.ids, encoded.offsets)
    cascade = Cascade(float(np.median(margins(alone.logits(0 * wide, wide)))) + 1e-3, alone)
    path = tmp_path_factory.mktemp("cascade") / "model"
    config = plain.config.model_copy(update={"cascade": cascade_table(cascade)})
    save_model(path, replace(plain, config=config, cascade=cascade))
    return path


@pytest.fixture(scope="module")
def expected(model):
    """Probabilities of the texts by the rule, (rows, K), and which rows the n-gram model settles."""
    loaded = load_model(model)
    full = Predictor(loaded, full=True)
    encoded = full.encoder.encode(texts())
    wide, alone = loaded.wide.logits(encoded.ids, encoded.offsets), loaded.cascade.calibration
    short = np.asarray(alone.wide, np.float32) * wide + np.asarray(alone.bias, np.float32)
    top = np.sort(short.reshape(len(short), -1), axis=1)
    settled = (np.abs(short) if short.ndim == 1 else top[:, -1] - top[:, -2]) >= loaded.cascade.margin
    assert 100 < settled.sum() < 200
    mixed = np.where(settled[:, None], probabilities(short), probabilities(full.logits(encoded)))
    assert np.abs(mixed - probabilities(full.logits(encoded))).max() > 0.05
    return mixed, settled


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=CLOSE)


def test_python_with_any_number_of_threads_and_chunks(model, expected, monkeypatch):
    predictor = Predictor.load(model)
    rows_read = []
    compute = predictor.network_logits
    monkeypatch.setattr(
        predictor, "network_logits", lambda *given: rows_read.append(len(given[1])) or compute(*given)
    )
    close(predictor.predict_proba(texts()), expected[0])
    assert sum(rows_read) == np.sum(~expected[1])
    monkeypatch.setattr("sentiscale.inference.predictor.BATCH_ROWS", 16)
    answers = []
    for threads in (1, 2, 5):
        with predictor.pool(threads) as pool:
            answers.append(pool.submit(texts()).result(60).probabilities)
    assert answers[0].tobytes() == answers[1].tobytes() == answers[2].tobytes()
    close(answers[0], expected[0])
    alone = [each.probabilities for each in predictor.stream(texts()[:60], chunk_rows=7)]
    close([list(row.values()) for row in alone], expected[0][:60])


def test_full_is_what_a_model_without_cascade_answers(model):
    plain = Predictor(replace(load_model(model), cascade=None))
    full = Predictor.load(model, full=True)
    assert full.predict_proba(texts()).tobytes() == plain.predict_proba(texts()).tobytes()


def test_files_services_and_other_interfaces(model, expected, tmp_path):
    from sentiscale.serving.worker import load, predictions

    predictor = Predictor.load(model)
    names = predictor.classes.names
    (tmp_path / "texts.txt").write_text("".join(text + "\n" for text in texts()))
    inputs = Inputs.find([str(tmp_path / "texts.txt")], PrepareSettings(), labelled=False, known=None)
    added = AddedColumns(predictor.classes, probabilities="columns")
    BatchJob(predictor, model, inputs, tmp_path / "out.parquet", added).run(workers=2)
    table = pq.read_table(tmp_path / "out.parquet")
    columns = [name for name in table.column_names if name.startswith("probability_")]
    close(np.column_stack([table[name] for name in columns]), expected[0])
    served, _ = load(model, 1)
    answers = predictions(served[True], texts())
    close([list(answer["probabilities"].values()) for answer in answers], expected[0])
    logged = _load_pyfunc(str(model)).predict(texts())
    close([[row["probabilities"][name] for name in names] for row in logged], expected[0])
    close(SentimentClassifier.load(model).predict_proba(texts()), expected[0])


def test_the_service_reads_all_rows_on_request(model):
    from sentiscale.serving.worker import load

    served, _ = load(model, 1, full=True)
    wanted = Predictor.load(model, full=True).predict_proba(texts())
    close(served[True].predict_proba(texts()), wanted)


@pytest.mark.parametrize("shape", [{}, {"cell": "gru", "bidirectional": True}], ids=["lstm", "gru"])
def test_onnx(model, shape, expected):
    loaded = load_model(model)
    if shape:
        other = tiny_model(classes=None if len(loaded.classes) == 2 else loaded.classes, **shape)
        loaded = replace(loaded, net=other.net)
    predictor, exported = Predictor(loaded), OnnxPredictor(onnx_bytes(loaded), threads=1)
    encoded = predictor.encoder.encode(texts())
    close(probabilities(exported.logits(encoded)), probabilities(predictor.logits(encoded)))
    for rows in (expected[1], ~expected[1]):  # batches of one branch only
        some = predictor.encoder.encode([text for text, chosen in zip(texts(), rows, strict=True) if chosen])
        close(probabilities(exported.logits(some)), probabilities(predictor.logits(some)))
    full = OnnxPredictor(onnx_bytes(loaded, full=True), threads=1)
    close(probabilities(full.logits(encoded)), probabilities(Predictor(loaded, full=True).logits(encoded)))


def test_explanations_add_up_to_the_logit_of_the_branch(model, expected):
    rows = [*np.flatnonzero(expected[1])[:4], *np.flatnonzero(~expected[1])[:4]]
    predictor = Predictor.load(model)
    for row, found in zip(rows, explain(predictor, [texts()[row] for row in rows]), strict=True):
        total = found.base + sum(word.contribution for word in found.words)
        assert total == pytest.approx(found.logit, abs=1e-5)
        close(list(found.prediction.probabilities.values()), expected[0][row])
        if expected[1][row]:  # a linear model: exact without integration
            assert found.gap == pytest.approx(0, abs=1e-5)


def test_evaluate_says_the_share_and_the_accuracy_of_both_branches(model, expected, tmp_path):
    names = Predictor.load(model).classes.names
    if len(names) != 2:
        pytest.skip("one form of labels is enough")
    kept = [row for row, text in enumerate(texts()) if text]
    truth = np.random.default_rng(1).integers(2, size=len(kept))
    lines = [f"__label__{1 + code} {texts()[row]}\n" for row, code in zip(kept, truth, strict=True)]
    (tmp_path / "rows.txt").write_text("".join(lines))
    scores = evaluate(model, tmp_path / "rows.txt")
    right, settled = expected[0][kept].argmax(axis=1) == truth, expected[1][kept]
    assert scores.accuracy == pytest.approx(right.mean())
    assert scores.short_share == pytest.approx(settled.mean())
    assert scores.short_accuracy == pytest.approx(right[settled].mean())
    assert scores.network_accuracy == pytest.approx(right[~settled].mean())
    assert evaluate(model, tmp_path / "rows.txt", full=True).short_share is None


HOSTILE = {
    "margin": (-1.0, float("nan"), float("inf"), "a", [1.0]),
    "wide": (float("nan"), 1e30, [1.0] * 7),
    "bias": (float("inf"), [0.0] * 7),
    "other": (1,),
}


@pytest.mark.parametrize(
    ("key", "value"), [(key, value) for key, values in HOSTILE.items() for value in values], ids=str
)
def test_a_damaged_table_is_refused_in_one_line(model, tmp_path, key, value):
    values = tomllib.loads((model / "config.toml").read_text())
    values["cascade"][key] = value
    copy = tmp_path / "model"
    copy.mkdir()
    for file in model.iterdir():
        if file.name != DIGESTS:
            (copy / file.name).write_bytes(file.read_bytes())
    (copy / "config.toml").write_text(tomli_w.dumps(values))
    with pytest.raises(DataError, match=r"config\.toml is damaged") as refusal:
        load_model(copy)
    assert "\n" not in str(refusal.value)


def logits_of(classes: int, rows: int = 4000):
    """Labels, logits of an n-gram model and of both models, which knows more."""
    drawn = np.random.default_rng(2)
    labels = drawn.integers(classes, size=rows).astype(np.uint8)
    if classes == 2:
        signal = labels * 2.0 - 1
        return labels, *((signal * size + drawn.normal(size=rows) * 2).astype(np.float32) for size in (2, 3))
    signal = np.eye(classes)[labels] * 2
    noise = drawn.normal(size=(2, rows, classes))
    return labels, *(
        (signal * size + each).astype(np.float32) for size, each in zip((1, 2), noise, strict=True)
    )


@pytest.mark.parametrize("classes", [2, 4])
def test_the_smallest_margin_within_the_bounds(classes):
    labels, wide, full = logits_of(classes)
    decision = Decision(tuple("abcd"[:classes]))
    bounds = {"max_accuracy_loss": 0.9, "max_loss_increase": 9.0, "max_ece_increase": 0.9}
    chosen = {}
    for most in (0.01, 0.05):
        settings = CascadeSettings(max_changed=most, **bounds)
        cascade = Cascade.fit(wide, full, labels, settings, decision)
        for margin in (cascade.margin, cascade.margin - 0.25):
            short, settled = replace(cascade, margin=margin).logits(wide)
            codes = decision.codes(probabilities(short)), decision.codes(probabilities(full))
            changed = np.mean(settled & (codes[0] != codes[1]))
            assert (changed <= most) == (margin == cascade.margin)
        chosen[most] = cascade.margin
    assert chosen[0.05] < chosen[0.01]
    for none in ({"enabled": False}, {"least_rows": 4001}):
        assert Cascade.fit(wide, full, labels, CascadeSettings(**none), decision) is None


def test_training_stores_it_and_scores_with_it(dataset, tmp_path):
    loose = {
        "cascade__least_rows": 1,
        "cascade__max_changed": 0.5,
        "cascade__max_accuracy_loss": 0.5,
        "cascade__max_loss_increase": 9.0,
        "cascade__max_ece_increase": 0.5,
    }
    record = train(dataset, tmp_path / "run", quick(train__precision="fp32", **loose))
    model = load_model(tmp_path / "run" / "model")
    assert model.cascade is not None
    assert record.cascade == {"margin": model.cascade.margin, "short_share": record.valid["short_share"]}
    again = evaluate(tmp_path / "run", dataset.path, split="valid")
    for name in ("accuracy", "loss", "short_share", "short_accuracy", "network_accuracy"):
        assert getattr(again, name) == pytest.approx(record.valid[name], abs=1e-5)
    assert 0 < again.short_share < 1
    assert json.loads((tmp_path / "run" / "record.json").read_text())["cascade"] == record.cascade
