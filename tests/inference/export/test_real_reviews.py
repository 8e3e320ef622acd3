"""Real reviews: both files pass their own check, and answers do not depend on how they are asked."""

import numpy as np
import pytest

import sentiscale
from sentiscale.inference.onnx_export import export
from sentiscale.inference.onnx_runtime import OnnxPredictor
from sentiscale.inference.predictor import Predictor
from sentiscale.model.metrics import probabilities


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_models_of_real_reviews_are_exported(real_data, tmp_path, cell):
    sample = real_data / "sample-2000.ft.txt"
    data = sentiscale.prepare(sample, tmp_path / "data", workers=1)
    run = sentiscale.train(data, tmp_path / "run", preset="fast", model=cell, epochs=1, layout="1x1")
    report = export(run.path / "model", tmp_path / "small.onnx", int8=True, check=sample)
    original, plain, small = report.forms
    assert plain.largest_difference <= 1e-5
    assert plain.changed == 0
    assert original.accuracy - small.accuracy <= 0.002
    assert small.megabytes < 0.3 * original.megabytes

    export(run.path / "model", tmp_path / "model.onnx")
    texts = [line.partition(" ")[2] for line in sample.read_text(encoding="utf-8").splitlines()[:300]]
    expected = [
        prediction.positive_probability for prediction in Predictor.load(run.path / "model").predict(texts)
    ]
    loaded = OnnxPredictor.load(tmp_path / "model.onnx")
    together = loaded.logits(loaded.encoder.encode(texts))
    alone = np.concatenate([loaded.logits(loaded.encoder.encode([text])) for text in texts])
    np.testing.assert_allclose(probabilities(together), expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(probabilities(alone), expected, rtol=0, atol=1e-5)
