"""Loading an exported file, and what happens with one that is none."""

import subprocess
import sys

import numpy as np
import onnx
import pytest

from sentiscale.errors import DataError, UsageError
from sentiscale.inference.onnx_graph import onnx_bytes
from sentiscale.inference.onnx_runtime import OnnxMetadata, OnnxPredictor
from sentiscale.inference.predictor import Predictor
from tests.inference.export.conftest import made


@pytest.fixture(scope="module")
def content() -> bytes:
    return onnx_bytes(made(), data_digest="abc")


def test_the_file_says_what_a_caller_needs(content):
    metadata = OnnxPredictor(content).metadata
    assert (metadata.labels, metadata.cleaning, metadata.weights) == (
        ("negative", "positive"),
        "words",
        "fp32",
    )
    assert (metadata.max_tokens, metadata.stored_tokens, metadata.data_digest) == (13, 40, "abc")
    assert (metadata.padding_id, metadata.unknown_id) == (0, 1)
    assert metadata.vocab() == made().vocab
    assert OnnxMetadata.read(metadata.properties(), "x") == metadata
    assert all(isinstance(value, str) for value in metadata.properties().values())


def test_texts_are_encoded_as_the_model_does(content):
    texts = ["w1 w2, W3!", "", "nothing known", "w5 " * 50]
    original, exported = Predictor(made()), OnnxPredictor(content)
    rows = exported.encoder.encode(texts)
    assert rows.ids.tolist() == original.encoder.encode(texts).ids.tolist()
    np.testing.assert_allclose(exported.logits(rows), original.logits(rows), atol=2e-5)


def test_a_service_that_runs_the_file_needs_no_torch(content, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    code = f"""
import sys
from sentiscale.inference.onnx_runtime import OnnxPredictor
predictor = OnnxPredictor.load({str(path)!r})
predictor.logits(predictor.encoder.encode(["w1 w2"]))
assert not {{"torch", "sklearn", "onnx"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_rows_give_no_logits(content):
    assert OnnxPredictor(content).token_logits(np.zeros(0, np.int32), np.zeros(1, np.int64)).shape == (0,)


def test_a_missing_or_damaged_file_is_a_data_error(content, tmp_path):
    with pytest.raises(DataError, match=r"does not exist\. Create it with: sentiscale export"):
        OnnxPredictor.load(tmp_path / "absent.onnx")
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(content[:1000])
    with pytest.raises(DataError, match=r"damaged\.onnx cannot be loaded by ONNX Runtime"):
        OnnxPredictor.load(damaged)


def test_somebody_else_s_onnx_file_is_a_data_error(content, tmp_path):
    model = onnx.load_from_string(content)
    del model.metadata_props[:]
    with pytest.raises(DataError, match="does not contain its vocabulary"):
        OnnxPredictor(model.SerializeToString())
    properties = OnnxMetadata.read({**OnnxPredictor(content).metadata.properties()}, "x").properties()
    with pytest.raises(DataError, match="has format 'other-2'; this release reads sentiscale-onnx-1"):
        OnnxMetadata.read({**properties, "format": "other-2"}, "x")


def test_threads_below_one_are_refused(content):
    with pytest.raises(UsageError, match="threads is 0"):
        OnnxPredictor(content, threads=0)


def test_without_the_extra_one_sentence_says_what_to_install(content, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UsageError, match=r"pip install 'sentiscale\[export\]'"):
        OnnxPredictor(content)
