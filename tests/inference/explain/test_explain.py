"""What each word contributed: exact for the wide part, integrated for the network, complete in the sum."""

import json

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sentiscale import Model
from sentiscale.errors import UsageError
from sentiscale.inference import explain as explaining
from sentiscale.inference.explain import TOLERANCE, explain
from sentiscale.inference.predictor import Predictor
from sentiscale.model.ngrams import Ngrams
from sentiscale.model.wide import Combination
from sentiscale.text.vocab import UNK
from tests.data.relabel import STARS, TERNARY
from tests.inference.explain.conftest import WORDS, made

BOTH = Combination(net=0.6, wide=0.8, bias=-0.3)
NETWORK = Combination(net=1.0, wide=0.0, bias=0.2)
WIDE = Combination(net=0.0, wide=1.0, bias=0.2)

CHARACTERS = st.one_of(
    st.sampled_from(" '\u2019!?.n'ts\u3000\u200d\ufe0f"),
    st.characters(),
    st.characters(min_codepoint=0xD800, max_codepoint=0xDFFF, categories=["Cs"]),
)
TEXTS = st.lists(st.one_of(st.sampled_from(WORDS), st.text(CHARACTERS, max_size=8)), max_size=30).map(
    " ".join
)


@pytest.fixture(scope="module")
def models() -> list[Predictor]:
    """Every way of reading: both cleanings, cells, poolings; short memory, so that texts are truncated."""
    return [
        made(BOTH),
        made(BOTH, "alpha", cell="gru", bidirectional=True, pooling="max"),
        made(BOTH, max_tokens=6, stored_tokens=10, pooling="last", layers=2),
    ]


@settings(max_examples=30)
@example(texts=["", "not\u3000great", "\ud83d great!", "!!!! ''' x'n't", "great " * 20])
@given(texts=st.lists(TEXTS, min_size=1, max_size=4))
def test_words_stand_where_they_say_and_add_up_to_the_logit(models, texts):
    for predictor in models:
        logits = predictor.logits(predictor.encoder.encode(texts))
        explanations = explain(predictor, texts, steps=4)
        assert [explanation.prediction for explanation in explanations] == predictor.predict(texts)
        for text, logit, explanation in zip(texts, logits, explanations, strict=True):
            assert explanation.logit == pytest.approx(logit, abs=1e-5)
            contributions = sum(share.contribution for share in explanation.words)
            assert explanation.base + contributions == pytest.approx(explanation.logit, abs=1e-5)
            spans = [(share.word, share.start, share.end) for share in explanation.words]
            assert spans == predictor.encoder.spans(text)
            assert len(spans) == predictor.encoder.encode([text]).lengths[0]


@given(row=st.lists(st.integers(UNK, 6), max_size=30), longest=st.integers(1, 3), gaps=st.integers(0, 4))
def test_occurrences_are_the_features_that_training_counts(row, longest, gaps):
    tokens, kind = np.array(row, np.int32), Ngrams(12, longest, gaps)
    buckets, places = kind.occurrences(tokens)
    matrix = kind.matrix(tokens, np.array([0, len(row)]), np.zeros(1, np.int64))
    assert np.unique(buckets).tolist() == matrix.indices.tolist()
    assert len(buckets) == len(places)
    words: dict[tuple[int, ...], set[int]] = {}
    for bucket, place in zip(buckets.tolist(), places, strict=True):
        apart = place[-1] - place[0] >= len(place)
        words.setdefault((apart, *(row[i] for i in place)), set()).add(bucket)
        assert UNK not in [row[i] for i in place]
        assert len(place) <= longest or (len(place) == 2 and apart)
    assert all(len(found) == 1 for found in words.values()), "one feature, one bucket"


def test_a_word_alone_has_the_whole_wide_term_and_a_pair_is_halved():
    """By hand: "not bad" has the features not, bad, and the pair; the row is brought to length 1."""
    predictor = made(WIDE, gaps=0)
    wide = predictor.model.wide
    ids = [2 + WORDS.index(word) for word in ("not", "bad")]
    bucket_of = {
        word: wide.ngrams.occurrences(np.array(row, np.int32))[0][-1]
        for word, row in {"not": ids[:1], "bad": ids[1:], "pair": ids}.items()
    }
    bucket_of["pair"] = wide.ngrams.occurrences(np.array(ids, np.int32))[0][1]
    scales = {name: wide.scales[bucket] for name, bucket in bucket_of.items()}
    length = np.sqrt(sum(scale**2 for scale in scales.values()))
    term = {name: scales[name] / length * wide.weights[bucket_of[name]] for name in scales}
    (explanation,) = explain(predictor, ["Not bad"])
    assert [share.contribution for share in explanation.words] == pytest.approx(
        [term["not"] + term["pair"] / 2, term["bad"] + term["pair"] / 2], abs=1e-6
    )
    assert explanation.base == pytest.approx(wide.intercept + 0.2)
    assert abs(explanation.gap) < 1e-5


@settings(max_examples=30)
@example(text="great great great")
@given(text=TEXTS)
def test_the_wide_part_leaves_nothing_over(text):
    """The rest is spread over the words, so a wrong share would not show in the sum: it shows here."""
    predictor = made(WIDE)
    (explanation,) = explain(predictor, [text])
    assert abs(explanation.gap) < 1e-5
    shares = sum(share.contribution for share in explanation.words)
    if explanation.words:
        assert explanation.base == pytest.approx(predictor.model.wide.intercept + WIDE.bias)
        assert explanation.base + shares == pytest.approx(explanation.logit, abs=1e-5)


def test_repeated_words_share_what_they_count_once():
    first, middle, last = explain(made(WIDE, gaps=0), ["great great great"])[0].words
    assert first.contribution == pytest.approx(last.contribution, abs=1e-9)
    assert middle.contribution != pytest.approx(first.contribution, abs=1e-3)  # it is in both pairs


def test_both_parts_begin_at_a_text_of_unknown_words():
    predictor = made(BOTH)
    known, unknown = explain(predictor, ["great not bad", "zzzz yyyy xxxx"])
    assert known.base == pytest.approx(unknown.logit, abs=1e-5)
    assert [share.contribution for share in unknown.words] == pytest.approx([0, 0, 0], abs=1e-5)
    (mixed,) = explain(predictor, ["great zzzz bad"])
    assert mixed.words[1].contribution == 0
    assert 0 not in (mixed.words[0].contribution, mixed.words[2].contribution)


def path_gradients(predictor: Predictor, text: str, points: int) -> np.ndarray:
    """Integrated gradients written down once more: the mean over many midpoints, one at a time."""
    net = predictor.model.net
    ids = torch.from_numpy(predictor.encoder.encode([text]).ids.astype(np.int64))[None]
    vectors, begin = net.embedding(ids).detach(), net.embedding.weight[UNK].detach()
    total = torch.zeros(1)
    for point in range(points):
        scaled = (begin + (vectors - begin) * (point + 0.5) / points).requires_grad_()
        net.head(net.recurrent(scaled, torch.tensor([ids.shape[1]]))).backward()
        total = total + scaled.grad
    return (total / points * (vectors - begin)).sum(2)[0].numpy()


@pytest.mark.parametrize("shape", [{}, {"cell": "gru", "pooling": "last"}, {"bidirectional": True}], ids=str)
def test_network_shares_are_integrated_gradients(shape):
    predictor, text = made(NETWORK, **shape), "not bad, zzzz, the great good !"
    (explanation,) = explain(predictor, [text], steps=64)
    expected = path_gradients(predictor, text, 400)
    assert [share.contribution for share in explanation.words] == pytest.approx(expected, abs=0.01)
    assert max(abs(expected)) > 0.1


def test_what_the_network_does_not_read_has_the_share_of_the_wide_part_only():
    text = " ".join(
        WORDS
    )  # 12 tokens, of which 10 are stored; the network reads the first and last 3 of these
    limits = {"max_tokens": 6, "stored_tokens": 10}
    network = explain(made(NETWORK, **limits), [text])[0]
    assert network.prediction.truncated
    read = [share.contribution != 0 for share in network.words]
    assert read == [True] * 3 + [False] * 4 + [True] * 3 + [False] * 2
    wide = [share.contribution != 0 for share in explain(made(WIDE, **limits), [text])[0].words]
    assert wide == [True] * 10 + [False] * 2


def test_the_same_alone_as_beside_others_and_in_small_portions(monkeypatch):
    predictor = made(BOTH)
    texts = ["great", "not bad", "", "the good " * 30, "do n't !", *(["bad not the"] * 20)]
    together = explain(predictor, texts)
    monkeypatch.setattr(explaining, "MAX_POSITIONS", 500)
    for text, other in zip(texts, together, strict=True):
        (alone,) = explain(predictor, [text])
        assert alone.logit == pytest.approx(other.logit, abs=1e-5)
        assert [share.contribution for share in alone.words] == pytest.approx(
            [share.contribution for share in other.words], abs=1e-5
        )


def test_more_points_are_taken_until_little_is_left_over(monkeypatch):
    texts = ["great bad ! good not", "the é great", "n't n't n't bad"]
    predictor = made(NETWORK)
    assert max(abs(explanation.gap) for explanation in explain(predictor, texts, steps=2)) <= TOLERANCE
    monkeypatch.setattr(explaining, "MAX_STEPS", 2)
    coarse = explain(predictor, texts, steps=2)
    assert max(abs(explanation.gap) for explanation in coarse) > TOLERANCE
    for explanation in coarse:  # and the sum is right all the same
        contributions = sum(share.contribution for share in explanation.words)
        assert explanation.base + contributions == pytest.approx(explanation.logit, abs=1e-5)


def test_a_text_without_words_is_its_base():
    for text in ("", " ... ", "\n", None):
        (explanation,) = explain(made(BOTH), [text])
        assert explanation.words == ()
        assert explanation.base == explanation.logit
        assert explanation.gap == 0


def test_what_cannot_be_explained_is_refused():
    predictor = made(BOTH)
    with pytest.raises(UsageError, match="list of texts"):
        explain(predictor, "great")
    with pytest.raises(UsageError, match="steps is 1"):
        explain(predictor, ["great"], steps=1)
    assert explain(predictor, []) == []


def test_as_plain_values():
    (explanation,) = explain(made(BOTH), ["Not bad \U0001f600"])
    document = json.loads(json.dumps(explanation.as_dict()))
    assert document.keys() == {*explanation.prediction.as_dict(), "class", "logit", "base", "gap", "words"}
    assert [(w["word"], w["start"], w["end"]) for w in document["words"]] == [
        ("not", 0, 3),
        ("bad", 4, 7),
        ("😀", 8, 9),
    ]


def test_explaining_leaves_the_model_and_arithmetic_as_they_were():
    predictor = made(BOTH)
    before = predictor.predict(["great bad"])
    with torch.inference_mode():  # as a server may call it
        explain(predictor, ["great bad"])
    assert predictor.predict(["great bad"]) == before
    assert all(parameter.grad is None for parameter in predictor.model.net.parameters())
    assert torch.tensor([1e-40]).add(1e-41).item() > 0  # denormal numbers are numbers again


def test_a_model_explains_one_review_or_several(trained):
    model = Model.load(trained)
    one = model.explain("great")
    assert [found.words for found in model.explain(["great", ""])] == [one.words, ()]


def joined(classes):
    factors = np.random.default_rng(7).uniform(0.3, 1, (3, len(classes)))
    return Combination(*map(tuple, factors.tolist()))


@pytest.mark.parametrize("shape", [{"classes": TERNARY}, {"classes": STARS, "head": "ordinal"}], ids=str)
def test_of_more_classes_the_logit_of_one_is_explained_relative_to_the_mean(shape):
    classes = shape["classes"]
    predictor = made(joined(classes), **shape)
    texts = ["not bad, the great", "great great", "bad bad not good", "zzzz", "", "n't"]
    chances = predictor.predict_proba(texts)
    by_class = {name: explain(predictor, texts, target=name) for name in classes.names}
    for position, name in enumerate(classes.names):
        for row, found in enumerate(by_class[name]):
            assert found.target == name
            assert found.as_dict()["class"] == name
            # The log of a probability is its logit less a constant of the row.
            logs = np.log(chances[row])
            assert found.logit == pytest.approx(logs[position] - logs.mean(), abs=1e-5)
            contributions = sum(share.contribution for share in found.words)
            assert found.base + contributions == pytest.approx(found.logit, abs=1e-9)
            assert abs(found.gap) <= TOLERANCE
    for row, found in enumerate(explain(predictor, texts)):
        assert found.target == found.prediction.label == classes.names[chances[row].argmax()]
        assert found.words == pytest.approx(by_class[found.target][row].words)
        words = [[share.contribution for share in by_class[name][row].words] for name in classes.names]
        assert np.sum(words, axis=0) == pytest.approx(0, abs=3 * TOLERANCE)  # centred logits add up to 0


def test_shares_of_a_class_are_those_of_its_n_grams_and_its_integrated_gradients():
    """Each part alone, against a second computation."""
    text, ids = "Not bad", [2 + WORDS.index(word) for word in ("not", "bad")]
    wide_only = made(Combination((0.0,) * 3, (0.5, 1.0, 2.0), (0.0,) * 3), classes=TERNARY, gaps=0)
    (found,) = explain(wide_only, [text], target="neutral")
    wide = wide_only.model.wide
    buckets, places = wide.ngrams.occurrences(np.array(ids, np.int32))
    terms = wide.scales[buckets] / np.linalg.norm(wide.scales[buckets])
    own = terms[:, None] * wide.weights[buckets] * [0.5, 1.0, 2.0]
    expected = np.zeros(2)
    for term, place in zip(own[:, 1] - own.mean(axis=1), places, strict=True):
        expected[list(place)] += term / len(place)
    assert [share.contribution for share in found.words] == pytest.approx(expected, abs=1e-6)

    network = made(Combination((1.0, 0.5, 2.0), (0.0,) * 3, (0.1, 0.2, 0.3)), classes=TERNARY)
    (found,) = explain(network, [text], target="positive", steps=64)
    net, tokens = network.model.net, torch.tensor([ids])
    vectors, begin = net.embedding(tokens).detach(), net.embedding.weight[UNK].detach()
    total = torch.zeros(1)
    for point in range(400):
        scaled = (begin + (vectors - begin) * (point + 0.5) / 400).requires_grad_()
        logits = net.head(net.recurrent(scaled, torch.tensor([2])))[0] * torch.tensor([1.0, 0.5, 2.0])
        (logits[2] - logits.mean()).backward()
        total = total + scaled.grad
    gradients = (total / 400 * (vectors - begin)).sum(2)[0].numpy()
    assert [share.contribution for share in found.words] == pytest.approx(gradients, abs=0.01)
    assert max(abs(gradients)) > 0.05


def test_of_two_classes_the_other_one_has_the_opposite_shares():
    predictor = made(BOTH)
    (usual,), (other,) = (explain(predictor, ["not bad"], target=name) for name in (None, "negative"))
    assert (usual.target, other.target) == ("positive", "negative")
    assert other.logit == -usual.logit
    assert [share.contribution for share in other.words] == pytest.approx(
        [-share.contribution for share in usual.words], abs=1e-6
    )
    with pytest.raises(UsageError, match=r"target is 'neutral'.*'negative', 'positive'"):
        explain(predictor, ["not bad"], target="neutral")
