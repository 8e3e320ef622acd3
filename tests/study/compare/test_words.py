"""Prepared data as words again."""

import numpy as np
import pytest

from sentiscale.study.compare.peers import training as words
from sentiscale.study.compare.peers.training import texts, write_fasttext


def by_hand(dataset, split):
    rows = dataset.split(split)
    known = dataset.vocab.words
    for start, end in zip(rows.offsets[:-1], rows.offsets[1:], strict=True):
        yield " ".join(known[token] for token in rows.tokens[start:end] if token > 1)


@pytest.mark.parametrize("at_once", [7, 50_000])
@pytest.mark.parametrize("split", ["train", "test"])
def test_rows_are_their_words_without_the_unknown_ones(dataset, split, at_once, monkeypatch):
    monkeypatch.setattr(words, "ROWS_AT_ONCE", at_once)
    assert np.any(np.asarray(dataset.split("train").tokens) == 1), "the data should have unknown words"
    assert list(texts(dataset, split)) == list(by_hand(dataset, split))


def test_fasttext_file_has_a_label_and_the_words_a_line_in_the_order_of_the_seed(dataset, tmp_path):
    for seed in (1, 1, 2):
        write_fasttext(dataset, "valid", tmp_path / f"{seed}.txt", seed)
    labels = dataset.split("valid").labels
    wanted = [
        f"__label__{label + 1} {text}" for label, text in zip(labels, by_hand(dataset, "valid"), strict=True)
    ]
    lines = (tmp_path / "1.txt").read_text().splitlines()
    assert sorted(lines) == sorted(wanted)
    assert lines != wanted
    assert lines != (tmp_path / "2.txt").read_text().splitlines()
