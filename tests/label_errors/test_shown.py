"""What is shown of a row: the words the model read, tinted where they stand, whatever they are."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentiscale.inference.predictor import Predictor
from sentiscale.label_errors.page import tinted
from sentiscale.label_errors.rows import SplitTexts, read_rows, word_beyond
from sentiscale.report.eda_samples import TextPiece, readable
from sentiscale.text.classes import BINARY
from sentiscale.text.encode import Encoder
from sentiscale.text.vocab import SPECIAL, UNK, Vocab
from sentiscale.util.progress import Progress
from tests.label_errors.made_rows import mistake

WORDS = ("great", "not", "bad", "do", "n't", "'s", "!", "?", "é", "😀", "i", "'m")
VOCAB = Vocab([*SPECIAL, *WORDS])
TEXT = st.lists(
    st.one_of(
        st.sampled_from(["don't", "x'n't", "!!!!", "? ?", "I'm", "é", "😀😀", "who's", "zzz"]), st.text()
    ),
    max_size=20,
).map(" ".join)


class OneRow(SplitTexts):
    """The texts of a split of one row, without files."""

    def __init__(self, ids, words, vocab) -> None:
        self.words, self.joined, self.raw = words, True, None
        self.stand_in = word_beyond(vocab)
        self.split = type("", (), {"tokens": np.array(ids, np.int64), "offsets": np.array([0, len(ids)])})


@settings(max_examples=60)
@given(TEXT)
def test_a_text_put_together_from_tokens_has_these_tokens(text):
    encoder = Encoder(VOCAB, "words", None)
    ids = encoder.encode([text.encode("utf-8", "replace").decode()]).ids.tolist()
    found = OneRow(ids, VOCAB.words, VOCAB)[0]
    assert encoder.encode([found.read]).ids.tolist() == ids
    assert len(found.spans) == len(ids)
    for number, (start, end) in zip(ids, found.spans, strict=True):
        assert found.shown[start:end] == ("▢" if number == UNK else VOCAB.words[number])


def test_endings_cling_and_unknown_words_have_a_sign():
    text, spans = readable([5, 6, 1, 2, 8], VOCAB.words, joined=True)
    assert text == "don't ▢ great!"
    assert spans == [(0, 2), (2, 5), (6, 7), (8, 13), (13, 14)]
    assert readable([5, 6], VOCAB.words, joined=False)[0] == "do n't"


def test_a_word_beyond_is_beyond():
    assert word_beyond(Vocab([*SPECIAL, "unknownword", "unknownwordx"])) == "unknownwordxx"


def test_tints_of_a_prepared_row_are_those_of_its_words(made_up):
    """The sum of the tints is the logit beyond the base; each stands at a word, in their order."""
    predictor = Predictor.load(made_up)
    words = predictor.model.vocab.words
    ids = [words.index(word) for word in ("not", "great", "!", "do", "n't")]
    texts = OneRow([*ids, UNK], words, predictor.model.vocab)
    logit = float(predictor.token_logits(np.array([*ids, UNK]), np.array([0, 6]))[0])
    row = mistake([logit], label=0, number=0)
    (read,) = read_rows(predictor, [row], texts, Progress())
    assert read.text == "not great! don't ▢"
    assert [read.text[start:end] for start, end, _ in read.tints] == ["not", "great", "!", "do", "n't", "▢"]
    assert any(abs(share) > 0.01 for _, _, share in read.tints)
    (other,) = read_rows(predictor, [mistake([logit + 1], label=0, number=0)], texts, Progress())
    assert other.tints == (), "a text that the model answers otherwise is not the row's"


@given(st.text(max_size=30), st.lists(st.tuples(st.integers(0, 30), st.integers(0, 5), st.floats(-3, 3))))
def test_pieces_join_to_the_text_whatever_the_tints(text, tints):
    spans = [(start, start + size, share) for start, size, share in sorted(tints)]
    assert "".join(piece.text for piece in tinted(text, spans, BINARY)) == text


def test_tints_are_graded_by_the_largest():
    pieces = tinted("one two three ▢", [(0, 3, 1.0), (4, 7, -0.5), (8, 13, 0.1), (14, 15, 0.0)], BINARY)
    assert pieces == [
        TextPiece("one", "positive", 3),
        TextPiece(" "),
        TextPiece("two", "negative", 2),
        TextPiece(" three "),
        TextPiece("▢", "unknown"),
    ]
    assert tinted("faint", [(0, 5, 0.04)], BINARY) == [TextPiece("faint")], "no word says much"


def test_texts_are_the_raw_ones_where_they_were_kept(dataset, tmp_path):
    rows = dataset.manifest.rows["test"]
    texts = SplitTexts(dataset, "test", dataset.vocab)
    assert not texts.as_written
    first = texts[0]
    assert first.shown.replace(" ", "") == first.read.replace(texts.stand_in, "▢").replace(" ", "")
    (tmp_path / "text" / "test").mkdir(parents=True)
    raw = pa.array([f"<Raw> {row}" for row in range(rows)])
    pq.write_table(pa.table({"text": raw}), tmp_path / "text" / "test" / "part-0.parquet")
    for name in ("tokens", "offsets", "labels"):
        (tmp_path / "test").mkdir(exist_ok=True)
        (tmp_path / "test" / f"{name}.bin").symlink_to(dataset.path / "test" / f"{name}.bin")
    (tmp_path / "vocab.txt").symlink_to(dataset.path / "vocab.txt")
    kept = SplitTexts(type(dataset)(tmp_path, dataset.manifest), "test", dataset.vocab)
    assert kept.as_written
    assert kept[rows - 1].shown == f"<Raw> {rows - 1}"


@pytest.mark.parametrize("cleaning", ["words", "alpha"])
def test_every_row_of_a_dataset_is_read_again_as_it_is(dataset, cleaning):
    """All test rows: the text given to the model has the tokens of the row."""
    texts = SplitTexts(dataset, "test", dataset.vocab)
    texts.joined = cleaning == "words"
    encoder = Encoder(dataset.vocab, dataset.manifest.cleaning, None)
    split = dataset.split("test")
    read = encoder.encode([texts[row].read for row in range(len(split))])
    assert np.array_equal(read.ids, split.tokens)
    assert np.array_equal(read.offsets, split.offsets)
