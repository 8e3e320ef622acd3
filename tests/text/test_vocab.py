"""Vocabulary and encoder: ids, files, and where tokens stand in the text."""

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sentiscale.errors import DataError
from sentiscale.text.encode import Encoder
from sentiscale.text.vocab import PAD, UNK, Vocab

WORDS = ["<pad>", "<unk>", "the", "do", "n't", "great", "!", "électrique", "averylongwordindeed", "😀"]


@pytest.fixture
def vocab() -> Vocab:
    return Vocab(WORDS)


def test_ids_are_places(vocab):
    assert (PAD, UNK) == (0, 1)
    assert [vocab.id_of(word) for word in WORDS[2:]] == list(range(2, len(WORDS)))
    assert vocab.id_of("unheard") == UNK
    assert len(vocab) == len(WORDS)


def test_written_and_read_again_is_equal(vocab, tmp_path):
    vocab.write(tmp_path / "vocab.txt")
    assert Vocab.read(tmp_path / "vocab.txt") == vocab
    assert (tmp_path / "vocab.txt").read_text(encoding="utf-8").splitlines() == WORDS


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"the\na\n", "begins with"),
        (b"<pad>\n<unk>\nthe\nthe\n", "twice"),
        (b"<pad>\n<unk>\n\nthe\n", "empty"),
        (b"<pad>\n<unk>\n\xff\n", "cannot be read"),
        (b"", "begins with"),
    ],
)
def test_a_damaged_file_is_refused_by_name(tmp_path, content, told):
    path = tmp_path / "vocab.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=told) as caught:
        Vocab.read(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"vocab\.txt is missing"):
        Vocab.read(tmp_path / "vocab.txt")


def test_encoding_gives_ids_lengths_and_unknown_tokens(vocab):
    rows = Encoder(vocab, "words", max_tokens=4).encode(
        ["Don't! The GREAT électrique 😀 thing", "", "thing thing"]
    )
    assert rows.ids.tolist() == [3, 4, 6, 2, UNK, UNK]  # do n't ! the | | unknown unknown
    assert rows.offsets.tolist() == [0, 4, 4, 6]
    assert rows.lengths.tolist() == [8, 0, 2]
    assert rows.unknown.tolist() == [0, 0, 2]


def test_without_a_limit_texts_stay_whole(vocab):
    assert len(Encoder(vocab, "words", None).encode(["the " * 1000]).ids) == 1000


def test_every_kind_of_input_gives_the_same(vocab):
    texts = ["Great!", "averylongwordindeed averylongwordindeee", "😀"]
    encoder = Encoder(vocab, "words", 10)
    expected = encoder.encode(texts).ids.tolist()
    assert expected == [5, 6, 8, UNK, 9]
    for array in (
        pa.array(texts),
        pa.array(texts).cast(pa.binary()),
        pa.chunked_array([texts[:1], texts[1:]]),
    ):
        assert encoder.encode(array).ids.tolist() == expected
    assert encoder.encode([]).ids.tolist() == []
    assert encoder.encode(pa.chunked_array([], pa.string())).ids.tolist() == []


def test_a_lone_surrogate_is_no_error(vocab):
    assert Encoder(vocab, "words", 10).encode(["great \ud83d the"]).ids[0] == 5


@pytest.mark.parametrize("cleaning", ["words", "alpha"])
@example(text="\u2019.\u2019D")
@given(text=st.text(st.sampled_from("abDE'\u2019 !?.,é😀-0\n"), max_size=40))
def test_each_token_stands_where_it_says(cleaning, text):
    encoder = Encoder(Vocab(WORDS), cleaning, None)
    spans = encoder.spans(text)
    assert len(spans) == encoder.encode([text]).lengths[0]
    last = 0
    for token, start, end in spans:
        assert last <= start < end <= len(text)
        last = end
        shown = text[start:end].lower().replace("\u2019", "'")
        kept = shown if cleaning == "words" else "".join(c for c in shown if c in "abde")
        assert kept.replace("'", "") == token.replace("'", "")


def test_spans_skip_what_was_cut_off(vocab):
    long = "a" * 70
    spans = Encoder(vocab, "words", None).spans(f"{long} a")
    assert spans == [("a" * 64, 0, 64), ("a", 71, 72)]
