"""What holds for any texts on their way to an answer, whatever is in them."""

from itertools import pairwise

import numpy as np
import pyarrow as pa

from sentiscale.inference.predictor import Predictor
from sentiscale.text.clean import Cleaning, clean
from sentiscale.text.column import as_array
from sentiscale.text.encode import Encoder, token_spans
from sentiscale.text.formats import parse
from sentiscale.text.formats.base import TableFormat
from sentiscale.text.reviews import judge
from sentiscale.text.tokens import NumberedRows
from sentiscale.text.vocab import UNK

CLEANINGS: tuple[Cleaning, ...] = ("words", "alpha")
CLOSE = 1e-5


def check_texts(predictor: Predictor, texts: list[str]) -> None:
    """Everything that holds for strings.

    Raises: AssertionError where it does not.
    """
    for cleaning in CLEANINGS:
        _check_spans(texts, cleaning)
        _check_encoding(Encoder(predictor.model.vocab, cleaning, 40), texts)
    rows = predictor.encoder.encode(texts)
    _check_ngrams(predictor, rows)
    _check_answers(predictor, texts, rows)


def check_bytes(predictor: Predictor, data: bytes) -> None:
    """Bytes that may be no UTF-8, as a review and as lines of a file: no line is lost, no number wild."""
    for cleaning in CLEANINGS:
        clean(pa.array([data, b"", data], pa.large_binary()), cleaning)
    rows = predictor.encoder.encode(pa.array([data, None, data[1:]], pa.large_binary()))
    _check_rows(predictor.encoder, rows, 3)
    columns = parse(data, TableFormat("fasttext"))
    reviews = judge(columns, TableFormat("fasttext"), "none")
    lines = len(reviews.text) + len(columns.blank)
    assert lines >= data.count(b"\n")
    for text in reviews.text.to_pylist():
        text.decode()  # whole characters only, whatever came in


def _check_spans(texts: list[str], cleaning: Cleaning) -> None:
    cleaned = clean(as_array(texts), cleaning)
    assert clean(pa.array(cleaned.texts()), cleaning).texts() == cleaned.texts()
    for text, expected in zip(texts, cleaned.texts(), strict=True):
        spans = token_spans(text, cleaning)
        assert " ".join(token for token, _, _ in spans) == expected
        last = 0
        for _, start, end in spans:
            assert last <= start < end <= len(text)
            last = end


def _check_encoding(encoder: Encoder, texts: list[str]) -> None:
    together = encoder.encode(texts)
    _check_rows(encoder, together, len(texts))
    backwards = encoder.encode(texts[::-1])
    for row, text in enumerate(texts):
        alone = encoder.encode([text])
        other = len(texts) - 1 - row
        assert alone.ids.tolist() == row_of(together, row) == row_of(backwards, other)
        for name in ("lengths", "hashes", "unknown"):
            found = [
                getattr(rows, name)[at] for rows, at in ((alone, 0), (together, row), (backwards, other))
            ]
            assert len(set(found)) == 1, name
        assert alone.lengths[0] == len(token_spans(text, encoder.cleaning))


def _check_rows(encoder: Encoder, rows: NumberedRows, count: int) -> None:
    assert len(rows.offsets) == count + 1
    assert rows.offsets[0] == 0
    assert rows.offsets[-1] == len(rows.ids)
    kept = np.diff(rows.offsets)
    limit = encoder.max_tokens or np.iinfo(np.int64).max
    assert kept.tolist() == np.minimum(rows.lengths, limit).tolist()
    assert ((rows.ids > 0) & (rows.ids < len(encoder.vocab))).all()
    unknown = [int((rows.ids[start:end] == UNK).sum()) for start, end in pairwise(rows.offsets.tolist())]
    assert rows.unknown.tolist() == unknown


def row_of(rows: NumberedRows, row: int) -> list[int]:
    """The ids of one row."""
    ids: list[int] = rows.ids[rows.offsets[row] : rows.offsets[row + 1]].tolist()
    return ids


def _check_ngrams(predictor: Predictor, rows: NumberedRows) -> None:
    wide = predictor.model.wide
    assert wide is not None
    count = len(rows.offsets) - 1
    matrix = wide.ngrams.matrix(rows.ids, rows.offsets, np.arange(count))
    assert matrix.shape == (count, 2**wide.ngrams.bits)
    for row in range(count):
        ids = rows.ids[rows.offsets[row] : rows.offsets[row + 1]]
        buckets, places = wide.ngrams.occurrences(ids)
        assert len(buckets) == len(places)
        assert all(0 <= place < len(ids) for words in places for place in words)
        own = matrix.indices[matrix.indptr[row] : matrix.indptr[row + 1]].tolist()
        assert own == sorted(set(buckets.tolist()))
        assert not own or (own[0] >= 0 and own[-1] < 2**wide.ngrams.bits)


def _check_answers(predictor: Predictor, texts: list[str], rows: NumberedRows) -> None:
    found = predictor.predict(texts)
    again = predictor.predict_columns(texts[::-1]).positive_probability[::-1]
    for row, (text, prediction) in enumerate(zip(texts, found, strict=True)):
        p = prediction.positive_probability
        assert 0 <= p <= 1
        assert 0.5 <= prediction.probability <= 1
        assert 0 <= prediction.unknown_share <= 1
        assert prediction.truncated == bool(rows.lengths[row] > predictor.model.config.max_tokens)
        assert abs(predictor.predict(text).positive_probability - p) <= CLOSE
        assert abs(again[row] - p) <= CLOSE
