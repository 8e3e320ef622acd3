"""Texts in memory become the numbers that `prepare` makes of the same rows in a file."""

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiscale.config import PrepareSettings
from sentiscale.data.prepare import prepare
from sentiscale.data.prepared import PreparedDataset
from sentiscale.errors import DataError
from sentiscale.inference.sklearn_data import held_out, prepare_texts
from sentiscale.text.classes import Classes
from sentiscale.text.encode import Encoder

HASHES = st.lists(st.integers(0, 2**32 - 1) | st.integers(0, 3), min_size=4, max_size=60)


def of_memory(folder, texts, labels, **settings) -> PreparedDataset:
    folder.mkdir()
    made = prepare_texts(
        pa.array(texts), np.array(labels, np.uint8), folder, PrepareSettings(**settings), 0.2, Classes()
    )
    return PreparedDataset.open(made.path)  # which compares every file with its digest


@pytest.mark.parametrize("settings", [{}, {"clean": "alpha", "max_tokens": 9, "vocab_size": 60}], ids=str)
def test_numbers_are_those_of_prepare(reviews, tmp_path, settings):
    labels = [int(label == "good") for label in reviews.labels]
    texts = [*reviews.texts, "...", "again and again", "again and again"]
    labels += [0, 1, 1]
    ours = of_memory(tmp_path / "ours", texts, labels, **settings)
    encoder = Encoder(ours.vocab, ours.manifest.cleaning, ours.manifest.max_tokens)
    apart = held_out(
        encoder.encode(texts[:200] + texts[201:]).hashes, np.array(labels[:200] + labels[201:], np.uint8), 0.2
    )
    learnt = [row for row, out in zip([*range(200), 201, 202], apart, strict=True) if not out]
    lines = [json.dumps({"text": texts[row], "label": labels[row]}) for row in learnt]
    (tmp_path / "reviews.jsonl").write_text("\n".join(lines))
    theirs = prepare(
        tmp_path / "reviews.jsonl",
        tmp_path / "theirs",
        split=(1.0, 0.0, 0.0),
        dedupe=False,
        workers=1,
        **settings,
    )
    assert ours.vocab == theirs.vocab
    for part in ("tokens", "offsets", "labels"):
        assert (getattr(ours.split("train"), part) == getattr(theirs.split("train"), part)).all()
    valid = encoder.encode([text for text, out in zip(texts[:200] + texts[201:], apart, strict=True) if out])
    assert (ours.split("valid").tokens == valid.ids).all()
    assert ours.manifest.rows == {"train": len(learnt), "valid": int(apart.sum()), "test": 0}
    assert ours.manifest.rejected == {"total": 1, "by_reason": {"empty_after_cleaning": 1}}
    assert ours.manifest.cut == sum(lengths(encoder, texts) > ours.manifest.max_tokens)
    assert ours.manifest.unknown["train"] == theirs.manifest.unknown["train"]
    assert ours.manifest.distinct_words == theirs.manifest.distinct_words


def lengths(encoder, texts):
    return encoder.encode(texts).lengths


@given(HASHES, HASHES, st.floats(0.01, 0.99))
def test_each_class_is_on_both_sides_and_equal_texts_on_one(negative, positive, share):
    hashes = np.array(negative + positive, np.uint64)
    labels = np.repeat(np.array([0, 1], np.uint8), [len(negative), len(positive)])
    apart = held_out(hashes, labels, share)
    for label in (0, 1):
        rows = labels == label
        out = apart[rows].sum()
        assert 1 <= out < rows.sum()
        assert out <= max(1, round(share * rows.sum()), min(16, rows.sum() // 3))
        both_sides = set(hashes[rows & apart]) & set(hashes[rows & ~apart])
        assert len(both_sides) <= 1
        if both_sides:  # only for want of another text to validate on
            assert set(hashes[rows & apart]) == both_sides
    order = np.random.default_rng(0).permutation(len(hashes))
    if len(set(hashes)) == len(hashes):
        assert (held_out(hashes[order], labels[order], share) == apart[order]).all()


def test_texts_without_words_are_no_rows(tmp_path):
    with pytest.raises(DataError, match="of 3 texts with words the smallest class has 1"):
        of_memory(tmp_path / "data", ["good", "...", "bad", "worse", ""], [1, 1, 0, 0, 1])


def test_words_too_rare_are_told(tmp_path):
    with pytest.raises(DataError, match="no word occurs 2 times in the 2 texts to train on"):
        of_memory(tmp_path / "data", ["good", "fine", "bad", "worse"], [1, 1, 0, 0], min_count=2)


def test_three_classes_can_be_opened_again(reviews, tmp_path):
    """As the ranks of a layout of several processes do; opening compares the digests."""
    labels = np.arange(len(reviews.texts), dtype=np.uint8) % 3
    classes = Classes(("bad", "good", "okay"), "labels")
    weights = np.linspace(0.5, 1.5, len(labels)).astype(np.float32)
    texts = pa.array(reviews.texts)
    made = prepare_texts(texts, labels, tmp_path, PrepareSettings(), 0.2, classes, weights)
    opened = PreparedDataset.open(made.path)
    assert opened.manifest.class_set == classes
    assert opened.split("valid").weights is not None
