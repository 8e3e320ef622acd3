"""The ONNX file gives the probabilities of the model, whatever its shape and whatever the batch."""

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentiscale.errors import UsageError
from sentiscale.inference.onnx_graph import IR_VERSION, OPSET, onnx_bytes
from sentiscale.inference.onnx_runtime import OnnxPredictor
from sentiscale.inference.predictor import Predictor
from sentiscale.model.decision import Decision
from sentiscale.model.metrics import probabilities
from sentiscale.model.ngrams import Ngrams
from sentiscale.text.classes import Classes
from tests.data.relabel import STARS, TERNARY
from tests.inference.export.conftest import MAX_TOKENS, WORDS, both, made, ragged

TOLERANCE = 1e-5

ROW = st.lists(st.integers(1, WORDS + 1), max_size=40)
BATCH = st.lists(ROW, min_size=1, max_size=9)

SHAPES = {
    "lstm": {},
    "gru": {"cell": "gru"},
    "lstm, max": {"pooling": "max"},
    "gru, max": {"cell": "gru", "pooling": "max"},
    "lstm, last": {"pooling": "last"},
    "gru, last": {"cell": "gru", "pooling": "last"},
    "lstm, deep": {"layers": 3},
    "gru, deep": {"cell": "gru", "layers": 2},
    "lstm, both ways": {"bidirectional": True},
    "gru, both ways": {"cell": "gru", "bidirectional": True},
    "lstm, deep, both ways, last": {"layers": 2, "bidirectional": True, "pooling": "last"},
    "gru, deep, both ways, last": {"cell": "gru", "layers": 2, "bidirectional": True, "pooling": "last"},
    "lstm, no wide part": {"wide": False},
    "gru, no wide part": {"cell": "gru", "wide": False},
    "lstm, three classes": {"classes": TERNARY},
    "gru, five stars, ordinal": {"cell": "gru", "classes": STARS, "head": "ordinal"},
    "lstm, five stars, no wide part": {"classes": STARS, "wide": False},
}
KINDS = [Ngrams(8, 1, 0), Ngrams(23, 2, 0), Ngrams(12, 3, 0), Ngrams(10, 1, 3), Ngrams(16, 2, 4)]


@pytest.fixture(scope="module")
def models():
    """Each shape once, in torch and in ONNX Runtime."""
    return {name: both(made(**shape)) for name, shape in SHAPES.items()}


def difference(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.abs(probabilities(first) - probabilities(second)).max())


@pytest.mark.parametrize("name", SHAPES)
@settings(max_examples=25)
@given(rows=BATCH)
def test_probabilities_are_the_model_s(models, name, rows):
    original, exported = models[name]
    assert difference(original.token_logits(*ragged(rows)), exported.token_logits(*ragged(rows))) <= TOLERANCE


@pytest.mark.parametrize("kind", KINDS, ids=str)
@settings(max_examples=25)
@given(rows=BATCH)
def test_every_kind_of_n_grams_is_hashed_alike(kinds, kind, rows):
    """The wide part alone: a single wrong bucket moves its logit by far more than the tolerance."""
    model, exported = kinds[kind]
    found = exported.token_logits(*ragged(rows))
    expected = 0.6 * model.wide.logits(*ragged(rows)) - 0.2
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5)


@pytest.fixture(scope="module")
def kinds():
    models = {}
    for kind in KINDS:
        model = made(kind, embedding_dim=2, hidden_dim=2)
        model.net.head.linear.weight.data.zero_()
        model.net.head.linear.bias.data.zero_()
        models[kind] = (model, both(model)[1])
    return models


def test_a_row_longer_than_the_network_reads_loses_its_middle(models):
    """What stands in the middle counts for the wide part alone."""
    _, exported = models["lstm, no wide part"]
    row = list(range(2, 2 + MAX_TOKENS + 4))
    other_middle = [*row[:6], 50, 51, 52, 53, *row[10:]]
    first, second = exported.token_logits(*ragged([row, other_middle]))
    assert first == second
    assert exported.token_logits(*ragged([row]))[0] != exported.token_logits(*ragged([row[:-1]]))[0]
    _, exported = models["lstm"]
    first, second = exported.token_logits(*ragged([row, other_middle]))
    assert abs(first - second) > 0.01


@pytest.mark.parametrize("name", ["lstm", "gru, both ways", "lstm, deep, both ways, last"])
@settings(max_examples=25)
@given(rows=BATCH, extra=st.integers(0, 30), junk=st.integers(0, WORDS + 1))
def test_the_caller_s_padding_does_not_matter(models, name, rows, extra, junk):
    """However wide, and whatever stands in it: only lengths say what is real."""
    original, exported = models[name]
    ids = np.full((len(rows), max(map(len, rows)) + extra), junk, np.int64)
    for padded, row in zip(ids, rows, strict=True):
        padded[: len(row)] = row
    lengths = np.array([len(row) for row in rows], np.int64)
    given_ids = {"ids": ids, "lengths": lengths}
    probability, logit = exported.session.run(["probability", "logit"], given_ids)
    expected = original.token_logits(*ragged(rows))
    assert np.abs(probability - probabilities(expected)[:, 1]).max() <= TOLERANCE
    assert difference(logit, expected) <= TOLERANCE
    assert probability.shape == logit.shape == (len(rows),)


@settings(max_examples=25)
@given(rows=BATCH)
def test_neighbours_do_not_matter(models, rows):
    _, exported = models["lstm"]
    together = exported.token_logits(*ragged(rows))
    alone = np.concatenate([exported.token_logits(*ragged([row])) for row in rows])
    assert difference(together, alone) <= TOLERANCE


@pytest.mark.parametrize("name", ["lstm", "gru", "lstm, no wide part"])
def test_rows_without_a_token_are_one_padding_token(models, name):
    original, exported = models[name]
    for width in (0, 1, 5):
        inputs = {"ids": np.zeros((2, width), np.int64), "lengths": np.zeros(2, np.int64)}
        found = exported.session.run(["logit"], inputs)[0]
        assert difference(found, original.token_logits(*ragged([[], []]))) <= TOLERANCE


TABLES = st.fixed_dictionaries(
    {},
    optional={
        "weights": st.dictionaries(st.integers(0, 4), st.floats(0.01, 100)),
        "thresholds": st.dictionaries(st.integers(0, 4), st.floats(0, 1)),
        "abstain": st.dictionaries(st.integers(0, 4), st.floats(0, 1)),
    },
)


@pytest.mark.parametrize("classes", [Classes(), TERNARY, STARS], ids=len)
@settings(max_examples=15, deadline=None)
@given(tables=TABLES)
def test_labels_are_those_that_the_model_decides_on(many_rows, classes, tables):
    """Weights, thresholds and abstaining, whatever they are; nearly equal rates may be decided either way."""
    names = classes.names
    tables = {key: {names[at % len(names)]: value for at, value in of.items()} for key, of in tables.items()}
    decision = Decision(names, **tables)
    original, exported = both(
        made(classes=classes, decision=decision, wide=False, embedding_dim=2, hidden_dim=2)
    )
    chances = probabilities(original.token_logits(*many_rows))
    found, expected = exported.token_codes(*many_rows), decision.codes(chances)
    near = [decision.codes(chances * factor) for factor in (1 - 1e-4, 1 + 1e-4)]
    clear = (near[0] == expected) & (near[1] == expected)
    assert (found == expected)[clear].all()
    assert clear.mean() > 0.9


@pytest.fixture(scope="module")
def many_rows():
    generator = np.random.default_rng(1)
    return ragged([generator.integers(1, WORDS + 2, length).tolist() for length in range(60)])


def test_a_file_of_more_classes_has_an_output_a_class():
    """Softmax of the logits, in the order of the labels; each label is the most probable class."""
    exported = OnnxPredictor(onnx_bytes(made(classes=STARS)))
    assert (exported.metadata.labels, exported.metadata.kind) == (STARS.names, "stars")
    ids = np.random.default_rng(2).integers(1, WORDS + 2, (7, 9))
    given_ids = {"ids": ids, "lengths": np.arange(7)}
    chances, logits, codes = exported.session.run(["probabilities", "logits", "label_code"], given_ids)
    assert chances.shape == logits.shape == (7, 5)
    np.testing.assert_allclose(chances, probabilities(logits), atol=1e-6)
    assert codes.tolist() == chances.argmax(axis=1).tolist()


def test_the_file_keeps_to_what_common_runtimes_read():
    model = onnx.load_from_string(onnx_bytes(made()))
    onnx.checker.check_model(model, full_check=True)
    assert model.ir_version == IR_VERSION == 8
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", OPSET)] == [("", 18)]
    shapes = {
        value.name: [dimension.dim_param for dimension in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    assert shapes == {
        "ids": ["batch", "tokens"],
        "lengths": ["batch"],
        "probability": ["batch"],
        "logit": ["batch"],
    }


def test_a_model_too_large_for_the_format_is_refused(monkeypatch):
    """A file of this format ends at 2 GB; the limit is lowered here, not the model blown up."""
    monkeypatch.setattr("sentiscale.inference.onnx_graph.MAX_BYTES", 5000)
    with pytest.raises(UsageError, match="Add --int8, or train it with a smaller vocabulary"):
        onnx_bytes(made())


@pytest.mark.parametrize("name", ["lstm", "gru", "lstm, deep, both ways, last"])
@settings(max_examples=10)
@given(rows=BATCH)
def test_int8_stays_near(int8_models, name, rows):
    """Random weights are the worst case: nothing in them is small. Trained ones are checked on export."""
    original, exported = int8_models[name]
    assert difference(original.token_logits(*ragged(rows)), exported.token_logits(*ragged(rows))) < 0.1


@pytest.fixture(scope="module")
def int8_models():
    names = ("lstm", "gru", "lstm, deep, both ways, last")
    return {name: both(made(**SHAPES[name]), int8=True) for name in names}


def test_what_int8_keeps_in_8_bits():
    """All tables and LSTM weights; of a GRU its tables, as ONNX Runtime has no quantised GRU."""
    for cell, kept in (("lstm", ["DynamicQuantizeLSTM"]), ("gru", ["GRU"])):
        model = onnx.load_from_string(onnx_bytes(made(cell=cell), int8=True))
        operators = {node.op_type for node in model.graph.node}
        assert [name for name in ("LSTM", "GRU", "DynamicQuantizeLSTM") if name in operators] == kept
        large = [t for t in model.graph.initializer if np.prod(t.dims) > 2 * WORDS and len(t.dims) == 2]
        assert large
        assert all(tensor.data_type == onnx.TensorProto.INT8 for tensor in large)


def test_the_original_is_what_everything_is_compared_with(models):
    """The comparison can fail: a model with other weights is far away."""
    rows = ragged([[5, 6, 7, 8, 9]])
    other = Predictor(made(Ngrams(10, 3, 1)))
    assert difference(other.token_logits(*rows), models["lstm"][1].token_logits(*rows)) > 100 * TOLERANCE
