"""Counting words and pairs, and which of them tell the classes apart."""

import math
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiscale.report import eda_counts as counting
from sentiscale.report.eda_counts import count_lengths, count_words
from sentiscale.report.eda_samples import TextPiece, lean
from sentiscale.report.eda_words import (
    describe_vocabulary,
    telling_pairs,
    telling_summary,
    telling_words,
    word_counts,
    z_scores,
)
from sentiscale.text.classes import BINARY
from sentiscale.util.progress import Progress
from tests.report.eda_data import write_dataset

WORDS = ["the", "a", "it", "good", "bad", "fine", "dull", "plot", "end"]


def random_rows(seed: int, count: int, longest: int = 12) -> list[tuple[int, str]]:
    random = np.random.default_rng(seed)
    return [
        (int(random.integers(2)), " ".join(random.choice(WORDS, random.integers(1, longest + 1))))
        for _ in range(count)
    ]


def brute_force(rows, every=1):
    """Words and neighbours by class, the slow way."""
    words, pairs = (Counter(), Counter()), (Counter(), Counter())
    for label, text in rows[::every]:
        words[label].update(text.split())
        pairs[label].update(pairwise(text.split()))
    return words, pairs


def by_name(use, words):
    """What `count_words` found, by the words themselves."""
    counted = tuple(Counter({words[i]: int(n) for i, n in enumerate(row) if n}) for row in use.words)
    ids, counts = use.pairs(1)
    pairs = tuple(
        Counter({(words[a], words[b]): int(n) for (a, b), n in zip(ids, row, strict=True) if n})
        for row in counts
    )
    return counted, pairs


@pytest.mark.parametrize("every", [1, 3])
def test_counts_are_those_of_a_slow_count_whatever_the_blocks(tmp_path, monkeypatch, every):
    rows = random_rows(1, 200)
    data = write_dataset(tmp_path / "data", {"train": rows, "test": random_rows(2, 9)})
    tokens = sum(len(text.split()) for _, text in rows)
    for block in (7, 64, 1000):
        monkeypatch.setattr(counting, "BLOCK_ROWS", block)
        use = count_words(data, Progress(), most_tokens=-(-tokens // every))
        assert use.every == every
        assert by_name(use, data.vocab.words) == brute_force(rows, every)
        lengths = count_lengths(data)
    assert lengths.sum() == 209
    assert lengths[1].sum() == sum(label for label, _ in rows + random_rows(2, 9))


def test_pairs_are_those_of_frequent_known_words_and_end_with_the_row(tmp_path, monkeypatch):
    rows = [(0, "a a a b b c rare"), (1, "a b c c"), (1, "b")]
    monkeypatch.setattr(counting, "PAIR_COUNTS", 8)
    data = write_dataset(tmp_path / "data", {"train": rows}, vocab_size=5)  # knows a, b, c
    use = count_words(data, Progress())
    _, pairs = by_name(use, data.vocab.words)
    assert pairs == (Counter({("a", "a"): 2, ("a", "b"): 1, ("b", "b"): 1}), Counter({("a", "b"): 1}))
    assert use.words[:, 1].tolist() == [1, 0], "the unknown word is counted as such"


def test_z_score_of_a_case_worked_out_by_hand():
    counts, totals = np.array([[10], [40]]), np.array([1000, 2000])
    # prior: 50 of 3000 words; odds (10 + 50) / (1000 + 3000 - 60) and (40 + 50) / (2000 + 3000 - 90)
    delta = math.log(90 / 4910) - math.log(60 / 3940)
    assert z_scores(counts, totals, 1.0)[0] == pytest.approx(delta / math.sqrt(1 / 90 + 1 / 60))


counts_of_two = st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500)), min_size=2, max_size=20).map(
    lambda pairs: np.array([pair for pair in pairs if sum(pair)] or [(1, 1)]).T
)


@given(counts_of_two, st.floats(0.01, 10))
def test_exchanging_the_classes_changes_the_sign_and_nothing_else(counts, share):
    z = z_scores(counts, counts.sum(axis=1), share)
    assert np.isfinite(z).all()
    assert z_scores(counts[::-1], counts.sum(axis=1)[::-1], share) == pytest.approx(-z)


@given(st.lists(st.integers(1, 500), min_size=2, max_size=20), st.integers(2, 9))
def test_words_that_both_classes_use_alike_score_nothing_however_frequent(uses, times):
    counts = np.array([uses, np.array(uses) * times])
    assert z_scores(counts, counts.sum(axis=1), 1.0) == pytest.approx(np.zeros(len(uses)), abs=1e-6)


def test_planted_words_and_pairs_are_found_and_even_ones_are_not(tmp_path):
    random = np.random.default_rng(0)
    rows = []
    for label, planted in ((0, "not good"), (1, "love it")):
        for _ in range(150):
            filler = random.choice(["the", "a", "plot", "it", "good"], 12)
            rows.append((label, f"{' '.join(filler)} {planted}"))
    data = write_dataset(tmp_path / "data", {"train": rows})
    use = count_words(data, Progress())
    words = telling_words(word_counts(use), data.vocab.words, BINARY, 5)
    pairs = telling_pairs(use, data.vocab.words, BINARY, 3)
    assert words["negative"][0].text == "not"
    assert words["positive"][0].text == "love"
    assert (words["negative"][0].own, words["negative"][0].others) == (150, 0)
    assert {"the", "plot", "<unk>", "<pad>"}.isdisjoint(t.text for terms in words.values() for t in terms)
    assert pairs["negative"][0].text == "not good"
    assert pairs["positive"][0].text == "love it"
    told = telling_summary(words)["negative"][0]
    assert (told["negative"], told["positive"]) == (150, 0)
    assert told["z"] < 0, "as for the class on the left of the axis"


@pytest.mark.parametrize("names", [("1", "2", "3", "4", "5"), ("negative", "neutral", "positive")])
def test_of_many_classes_each_is_compared_with_all_others(tmp_path, names):
    """A word of one class, one of two classes, and one of all."""
    rows = [(i % len(names), f"own{i % len(names)} two{i % len(names) // 2} the") for i in range(600)]
    data = write_dataset(tmp_path / "data", {"train": rows}, classes=names)
    use = count_words(data, Progress())
    words = telling_words(word_counts(use), data.vocab.words, names, 5)
    for code, terms in enumerate(words.values()):
        first = terms[0]
        assert (first.text, first.own, first.others) == (f"own{code}", 600 // len(names), 0)
        assert all(term.z >= 1.96 for term in terms)
        assert "the" not in {term.text for term in terms}
    assert [term.text for term in words[names[0]]] == ["own0", "two0"]
    assert words[names[0]][1].others == 600 // len(names)
    pairs = telling_pairs(use, data.vocab.words, names, 5)
    assert pairs[names[-1]][0].text.startswith(f"own{len(names) - 1}")
    leaning = lean(word_counts(use), names)
    assert leaning.piece("x", data.vocab.id_of("own1")) == TextPiece("x", names[1], 3)
    assert leaning.piece("x", data.vocab.id_of("the")) == leaning.piece("x", None) == TextPiece("x")


def test_too_few_reviews_tell_nothing(tmp_path):
    data = write_dataset(tmp_path / "data", {"train": [(0, "bad thing"), (1, "good thing")]})
    use = count_words(data, Progress())
    nothing = {"negative": [], "positive": []}
    assert telling_words(word_counts(use), data.vocab.words, BINARY, 5) == nothing
    assert telling_pairs(use, data.vocab.words, BINARY, 5) == nothing


def test_vocabulary_is_ranked_and_covers_what_the_counts_say(tmp_path):
    rows = [(i % 2, "a a a a b b b c c d") for i in range(10)]
    data = write_dataset(tmp_path / "data", {"train": rows, "test": [(1, "a new word")]}, vocab_size=5)
    vocabulary = describe_vocabulary(data, count_words(data, Progress()))
    assert [vocabulary.ranked(rank).word for rank in (1, 2, 3)] == ["a", "b", "c"]
    assert [vocabulary.coverage(size).share for size in (2, 3, 4, 5, 99)] == pytest.approx(
        [0, 0.4, 0.7, 0.9, 0.9]
    )
    assert vocabulary.unknown == pytest.approx({"train": 0.1, "test": 2 / 3})
    assert vocabulary.is_full


def test_zipf_exponent_of_words_that_obey_the_law():
    from sentiscale.report.eda_words import Vocabulary

    counts = (1e9 / np.arange(1, 20_001) ** 1.2).astype(np.int64)
    words = [f"w{i}" for i in range(len(counts))]
    law = Vocabulary(words, counts, int(counts.sum()), 0, 30_000, 1, {"train": 0.0})
    assert law.exponent == pytest.approx(1.2, abs=0.01)
    few = Vocabulary(words[:50], counts[:50], int(counts.sum()), 0, 30_000, 1, {"train": 0.0})
    assert few.exponent is None
