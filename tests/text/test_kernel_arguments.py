"""Compiled code does not check bounds: arguments that would leave an array are refused before it runs."""

from collections.abc import Callable

import numpy as np
import pytest

from sentiscale.config import VectorSettings
from sentiscale.data.duplicates import firsts_of_groups
from sentiscale.data.notes import texts_of
from sentiscale.data.oddities import raw_oddities
from sentiscale.data.placement import count_ids, gather_tokens
from sentiscale.data.wordcount import word_hashes
from sentiscale.model.ngrams import Ngrams, count_by_class, scale
from sentiscale.model.word_vectors import learn_vectors
from sentiscale.study.bench.engines import row_hashes
from sentiscale.text.compiled import check_array, check_indices, check_offsets, check_spans, frozen
from sentiscale.text.csv_scanner import Dialect, csv_column, last_csv_end, split_csv
from sentiscale.text.formats.fasttext import split_labels
from sentiscale.text.lines import gather, trimmed
from sentiscale.text.reviews import text_faults
from sentiscale.text.word_table import add_words, build_table, look_up, slots_for

FAR = 10**9
"""Index whose memory is certainly not the array's."""
DATA = frozen("good bad café".encode())
TOKENS, OFFSETS, ROWS = np.arange(2, 12), np.array([0, 4, 10]), np.array([0, 1])
NGRAMS = Ngrams(4, 2, 1)
BUCKETS = np.ones(2**NGRAMS.bits, np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


BAD_OFFSETS = {
    "beyond the end": ints(0, FAR),
    "before the start": ints(-FAR, 4),
    "falling": ints(0, 9, 3),
    "none": ints(),
    "of another type": np.array([0.0, 4.0]),
    "int32": np.array([0, 4], np.int32),
    "two dimensions": np.zeros((2, 2), np.int64),
}
TAKING_OFFSETS: dict[str, Callable[[np.ndarray], object]] = {
    "build_table": lambda offsets: build_table(DATA, offsets),
    "slots_for": lambda offsets: slots_for(DATA, offsets, len(offsets) - 1, 16),
    "look_up": lambda offsets: look_up(DATA, offsets, build_table(DATA, ints(0, 4)), 0),
    "word_hashes": lambda offsets: word_hashes(DATA, offsets),
    "row_hashes": lambda offsets: row_hashes(DATA, offsets),
    "raw_oddities": lambda offsets: raw_oddities(DATA, offsets),
    "text_faults": lambda offsets: text_faults(DATA, offsets),
    "texts_of": lambda offsets: texts_of(ints(0), ints(0), ints(1), DATA, offsets),
}


@pytest.mark.parametrize("offsets", BAD_OFFSETS.values(), ids=BAD_OFFSETS)
@pytest.mark.parametrize("function", TAKING_OFFSETS.values(), ids=TAKING_OFFSETS)
def test_offsets_outside_the_data_are_refused(function, offsets):
    with pytest.raises(ValueError, match=r"offsets|spans|starts|words need"):
        function(offsets)


@pytest.mark.parametrize(
    ("start", "end"),
    [(0, FAR), (-FAR, 3), (5, 2), (-1, 3)],
    ids=["beyond", "far before", "falling", "before"],
)
@pytest.mark.parametrize("function", [gather, trimmed, split_labels])
def test_spans_outside_the_data_are_refused(function, start, end):
    with pytest.raises(
        ValueError, match=f"span 1 is from {start} to {end}; spans must be within 0 to {len(DATA)}"
    ):
        function(DATA, ints(0, start), ints(1, end))


def test_fields_outside_the_csv_data_are_refused():
    data = frozen(b'"a""b",c\n')
    dialect = Dialect(ord(","))
    fields = split_csv(data, dialect)
    assert csv_column(data, fields, dialect, 0, ints(0)).to_pylist() == [b'a"b']
    with pytest.raises(ValueError, match="spans must be within 0 to 3"):
        csv_column(data[:3], fields, dialect, 0, ints(0))


@pytest.mark.parametrize("data", [DATA[::2], DATA.reshape(1, -1), DATA.astype(np.int8)])
def test_csv_data_of_another_kind_are_refused(data):
    with pytest.raises(ValueError, match="data must be a contiguous array of uint8"):
        split_csv(data, Dialect(ord(",")))
    with pytest.raises(ValueError, match="data must be a contiguous array of uint8"):
        last_csv_end(data, Dialect(ord(",")), 2, 100)


NGRAM_FAULTS = {
    "no bits": {"ngrams": NGRAMS._replace(bits=0)},
    "too many bits": {"ngrams": NGRAMS._replace(bits=29)},
    "no words": {"ngrams": NGRAMS._replace(longest=0)},
    "negative gaps": {"ngrams": NGRAMS._replace(gaps=-1)},
    "sizes that overflow": {"ngrams": NGRAMS._replace(longest=2**62, gaps=2**62)},
    "tokens of floats": {"tokens": TOKENS.astype(float)},
    "tokens cut short": {"tokens": TOKENS[:9]},
    "tokens with steps": {"tokens": np.arange(20)[::2]},
    "offsets far away": {"offsets": ints(0, FAR, 10)},
    "offsets that fall": {"offsets": ints(0, 4, 2)},
    "negative offsets": {"offsets": ints(-FAR, 4, 10)},
    "a row too many": {"rows": ints(0, 2)},
    "a negative row": {"rows": ints(0, -1)},
}
BUCKET_FAULTS = {
    "scales cut short": {"scales": BUCKETS[:1]},
    "weights cut short": {"weights": BUCKETS[:1]},
    "no weights": {"weights": BUCKETS[:0]},
    "scales and weights cut short": {"scales": BUCKETS[:0], "weights": BUCKETS[:0]},
    "double precision": {"weights": BUCKETS.astype(np.float64)},
    "two dimensions": {"scales": BUCKETS.reshape(4, 4)},
}


def ngram_arguments(fault):
    given = {
        "ngrams": NGRAMS,
        "tokens": TOKENS,
        "offsets": OFFSETS,
        "rows": ROWS,
        "scales": BUCKETS,
        "weights": BUCKETS,
    }
    return given | fault


@pytest.mark.parametrize(
    "fault", [*NGRAM_FAULTS.values(), *BUCKET_FAULTS.values()], ids=[*NGRAM_FAULTS, *BUCKET_FAULTS]
)
def test_products_of_wrong_arrays_are_refused(fault):
    given = ngram_arguments(fault)
    ngrams = given.pop("ngrams")
    with pytest.raises(ValueError, match=r"must be|within"):
        ngrams.products(**given)


@pytest.mark.parametrize("fault", NGRAM_FAULTS.values(), ids=NGRAM_FAULTS)
def test_features_of_wrong_arrays_are_refused(fault):
    given = ngram_arguments(fault)
    with pytest.raises(ValueError, match=r"must be|within"):
        given["ngrams"].matrix(given["tokens"], given["offsets"], given["rows"])


def test_occurrences_with_negative_gaps_are_refused():
    with pytest.raises(ValueError, match="gaps"):
        NGRAMS._replace(gaps=-1).occurrences(TOKENS)


def test_features_and_their_tables_must_have_the_same_number_of_buckets():
    matrix = NGRAMS.matrix(TOKENS, OFFSETS, ROWS)
    labels = np.array([0, 1], np.uint8)
    with pytest.raises(ValueError, match="scales must be"):
        scale(matrix, BUCKETS[:8])
    with pytest.raises(ValueError, match="rows_with must be"):
        count_by_class(matrix, labels, np.zeros((2, 8)))
    with pytest.raises(ValueError, match="labels must be from 0 to 1; got 0 to 2"):
        count_by_class(matrix, labels * np.uint8(2), np.zeros((2, 16)))
    with pytest.raises(ValueError, match="labels must be"):
        count_by_class(matrix, labels[:1], np.zeros((2, 16)))
    matrix.indices[0] = FAR
    with pytest.raises(ValueError, match="indices"):
        scale(matrix, BUCKETS)


@pytest.mark.parametrize("token", [42, 60_000, -1])
def test_word_vectors_refuse_tokens_outside_the_vocabulary(token):
    tokens = np.array([2, 3, token, 4])
    with pytest.raises(ValueError, match=r"tokens must be from 0 to 41|negative"):
        learn_vectors(tokens, ints(0, 4), (42, 4), VectorSettings(), seed=1)


def test_word_vectors_refuse_rows_outside_the_tokens():
    with pytest.raises(ValueError, match="spans must be within 0 to 4"):
        learn_vectors(np.array([2, 3, 4, 5]), ints(0, FAR), (42, 4), VectorSettings(), seed=1)


def test_tables_must_have_room_for_the_words_to_add():
    words = build_table(DATA, ints(0, 4))
    room = len(words.offsets) - 1
    with pytest.raises(ValueError, match="no room for 2 words"):
        add_words(DATA, ints(5, 8), ints(1), words, np.zeros(9, np.int64), room)
    with pytest.raises(ValueError, match="no room for 1 words of 8 bytes"):
        add_words(DATA, ints(0, 8), ints(1), words._replace(data=words.data[:2]), np.zeros(9, np.int64), 0)
    with pytest.raises(ValueError, match="numbers must be"):
        add_words(DATA, ints(5, 8), ints(1, 1), words, np.zeros(9, np.int64), 0)
    for slots in (
        words.slots[:0],
        words.slots[:1],
        words.slots[:15],
        words.slots[:, :1],
        words.slots.astype(np.int32),
    ):
        with pytest.raises(ValueError, match=r"power of two|slots must be"):
            look_up(DATA, ints(0, 4), words._replace(slots=slots), 0)
    with pytest.raises(ValueError, match="words need a power of two of slots"):
        slots_for(DATA, ints(0, 1, 2), 2, 2)  # full: a look-up of another word would never end


IDS, KEPT, CHOSEN, COMMON = ints(0, 1, 1), ints(2, 1), np.array([True, True]), ints(0, 0)
ID_FAULTS = {
    "beyond the words": {"ids": ints(0, 1, FAR)},
    "negative": {"ids": ints(0, -1, 1)},
    "fewer than the rows have": {"ids": IDS[:2]},
    "more than the rows have": {"kept": ints(2, 0)},
    "rows of negative length": {"kept": ints(4, -1)},
    "a choice for fewer rows": {"chosen": CHOSEN[:1]},
}


@pytest.mark.parametrize("fault", ID_FAULTS.values(), ids=ID_FAULTS)
def test_ids_of_words_that_do_not_exist_are_refused(fault):
    given = {"ids": IDS, "kept": KEPT, "chosen": CHOSEN} | fault
    with pytest.raises(ValueError, match=r"must be|have \d ids"):
        count_ids(**given, words=2)
    with pytest.raises(ValueError, match=r"must be|have \d ids"):
        gather_tokens(**given, numbers=ints(2, 3), common=COMMON)


def test_texts_of_words_and_rows_that_do_not_exist_are_refused():
    bounds = ints(0, 4, 8)
    for ids, end in ((ints(0, 2), 2), (ints(0, 1), 3)):
        with pytest.raises(ValueError, match="must be"):
            texts_of(ids, ints(0), ints(end), DATA, bounds)


def test_groups_must_have_numbers_below_their_count():
    order, flags, classes = np.zeros(2, np.uint64), np.zeros(2, bool), np.zeros(2, np.uint8)
    assert firsts_of_groups(ints(0, 1), 2, order, flags, classes)[0].tolist() == [0, 0]
    with pytest.raises(ValueError, match="groups must be from 0 to 0; got 0 to 1"):
        firsts_of_groups(ints(0, 1), 1, order, flags, classes)
    with pytest.raises(ValueError, match="classes must be"):
        firsts_of_groups(ints(0, 1), 2, order, flags, classes[:1])


@pytest.mark.parametrize(
    "last", [b"\xc2", b"\xc3", b"\xef", b"\xef\xbf", b"\xe2\x80", b"<", b"</", b"&", b"\xf0"]
)
def test_a_character_that_the_end_cuts_is_not_read_beyond_it(last):
    """With bounds checks in the kernels, a read beyond the end is an IndexError."""
    data = frozen(b"ordinary text " + last)
    assert raw_oddities(data, ints(0, len(data))).tolist() == [0]
    assert raw_oddities(data[len(data) - len(last) :], ints(0, len(last)))[0] in (0, 4)


@pytest.mark.parametrize("array", [ints(0, 1, 2, 3)[::2], ints(0, 1)[:, None], np.array(0), np.zeros(2)])
def test_arrays_of_another_layout_are_refused(array):
    with pytest.raises(ValueError, match="rows must be a contiguous array of"):
        check_indices("rows", array, 9)


def test_what_is_right_passes_also_if_it_is_empty():
    check_offsets(ints(0), 0)
    check_offsets(ints(3, 3, 5), 5)
    check_spans(ints(), ints(), 0)
    check_indices("rows", ints(), 0)
    check_indices("rows", np.array([0, 255], np.uint8), 256)
    check_array("labels", np.zeros((3, 2), np.uint8), np.integer, (3, -1))
