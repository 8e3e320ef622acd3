"""The answer for a review depends on nothing but the review: not on neighbours, batches, threads or order."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sentiscale.inference import predictor as module
from sentiscale.inference.predictor import Predictor, length_batches
from sentiscale.parallel.cpu import torch_threads
from tests.inference.predict.conftest import WORDS, tiny_model

CLOSE = 1e-5
words = st.lists(st.sampled_from([*WORDS, "xylophone", "\U0001f600"]), max_size=60).map(" ".join)
reviews = st.lists(st.one_of(words, st.text(max_size=40)), min_size=1, max_size=30)


@pytest.fixture(
    scope="module", params=[{}, {"cell": "gru", "bidirectional": True, "pooling": "last"}], ids=str
)
def either(request) -> Predictor:
    return Predictor(tiny_model(**request.param))


def positive(predictor: Predictor, texts: list[str]) -> np.ndarray:
    return predictor.predict_columns(texts).positive_probability


@settings(max_examples=60)
@given(texts=reviews, data=st.data())
def test_alone_as_among_others(either, texts, data):
    alone = [either.predict(text).positive_probability for text in texts]
    order = data.draw(st.permutations(range(len(texts))))
    rows = data.draw(st.integers(1, 8))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BATCH_ROWS", rows)
        together = positive(either, [texts[place] for place in order])
    np.testing.assert_allclose(together, [alone[place] for place in order], rtol=0, atol=CLOSE)


@settings(max_examples=20)
@given(texts=reviews)
def test_any_number_of_threads_gives_the_same_bits(either, texts):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BATCH_ROWS", 3)
        answers = []
        for threads in (1, 2, 5):
            with either.pool(threads) as pool:
                chunks = [pool.submit(texts), pool.submit(texts[::-1]), pool.submit([])]
                forward, backward, none = (chunk.result(60).positive_probability for chunk in chunks)
            assert len(none) == 0
            answers.append((forward.tolist(), backward.tolist()))
        assert answers[0] == answers[1] == answers[2]
        np.testing.assert_allclose(positive(either, texts), answers[0][0], rtol=0, atol=CLOSE)


def test_torch_has_its_threads_again_afterwards(predictor):
    with torch_threads(2):
        predictor.predict(["good"] * 1000)
        with predictor.pool(3) as pool:
            pool.submit(["bad"] * 1000).result(60)
        with ThreadPoolExecutor() as pool:  # threads that use torch for the first time only now
            assert pool.submit(torch.get_num_threads).result() == torch.get_num_threads() == 2


def test_a_failing_batch_ends_its_chunk_with_the_error(predictor, monkeypatch):
    def fail(*_: object) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(predictor, "network_logits", fail)
    with predictor.pool(2) as pool, pytest.raises(MemoryError, match="no room"):
        pool.submit(["good", "bad " * 30]).result(60)


@given(lengths=st.lists(st.integers(1, 400), max_size=400))
def test_batches_hold_every_row_once_and_are_no_larger_than_allowed(lengths):
    batches = length_batches(np.array(lengths, np.int64))
    assert sorted(np.concatenate([*batches, np.empty(0, np.int64)]).tolist()) == list(range(len(lengths)))
    for batch in batches:
        longest = max(lengths[row] for row in batch)
        assert len(batch) <= module.BATCH_ROWS
        assert len(batch) * -(-longest // 8) * 8 <= module.BATCH_TOKENS
