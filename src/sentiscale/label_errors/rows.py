"""Predict prepared data or files chunk by chunk, and read the texts of single rows."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sentiscale.config import PrepareSettings
from sentiscale.data.corpus import Corpus, Source
from sentiscale.data.inputs import MB, read_chunk
from sentiscale.data.prepared import PreparedDataset
from sentiscale.errors import UsageError, did_you_mean
from sentiscale.inference.evaluate import mapped_labels, unknown_shares, vocabulary_mapping
from sentiscale.inference.explain import explain
from sentiscale.inference.predictor import CHUNK_ROWS, Predictor
from sentiscale.label_errors.counts import ScoredBlock
from sentiscale.label_errors.facts import LONGEST_TEXT, Mistake
from sentiscale.label_errors.page import ShownMistake, Tint
from sentiscale.model.metrics import probabilities
from sentiscale.report.eda_samples import raw_texts, readable
from sentiscale.text.formats import format_of
from sentiscale.text.rejects import Reject
from sentiscale.text.vocab import SPECIAL, UNK, Vocab
from sentiscale.util.progress import Progress

FREQUENT_WORDS = 5_000
"""Number of most frequent words that are not rare; in a small vocabulary, half of its words."""
NO_CATEGORY = "(none)"
LONGEST_CATEGORY = 80
"""Maximum number of characters kept of a category's name."""

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class LabelledChunk:
    """Consecutive labelled rows with their origin and the model's predictions."""

    block: ScoredBlock
    file: str
    """Path of the file; for prepared data, the name of the split."""
    numbers: IntArray
    """Line numbers in the file, from 1; for prepared data, row numbers in the split, from 0."""
    texts: pa.Array | None = None
    """Texts as large binaries; None for prepared data."""
    rejects: tuple[Reject, ...] = ()
    """Rows of the file between these that have no usable label or text."""

    def row(self, place: int) -> Mistake:
        text = ""
        if self.texts is not None:
            text = self.texts[place].as_py()[: 4 * LONGEST_TEXT].decode("utf-8", "replace")[:LONGEST_TEXT]
        categories = self.block.categories
        block = self.block
        return Mistake(
            file=self.file,
            number=int(self.numbers[place]),
            label=int(block.labels[place]),
            predicted=int(block.predicted[place]),
            logits=np.atleast_1d(block.logits[place]),
            chances=block.chances[place],
            contradiction=float(block.contradiction[place]),
            tokens=int(block.lengths[place]),
            text=text,
            category=categories[place] if categories is not None else None,
        )


def frequent_words(predictor: Predictor) -> int:
    """Number of words that are not rare: the first ones of the model's vocabulary."""
    return min(FREQUENT_WORDS, (len(predictor.model.vocab) - len(SPECIAL)) // 2)


def split_chunks(
    predictor: Predictor, dataset: PreparedDataset, name: str, progress: Progress
) -> Iterator[LabelledChunk]:
    """Predict the rows of a split of prepared data.

    Raises: DataError when the data and the model have different cleaning profiles or classes, or the split
        is empty.
    """
    split_labels = mapped_labels(predictor, dataset, name)
    numbers = vocabulary_mapping(predictor, dataset)
    split = dataset.split(name)
    with progress.task("triage", len(split), "rows") as advance:
        for first in range(0, len(split), CHUNK_ROWS):
            offsets = np.asarray(split.offsets[first : first + CHUNK_ROWS + 1])
            tokens = np.asarray(split.tokens[offsets[0] : offsets[-1]])
            ids = tokens if numbers is None else numbers[tokens]
            labels = split_labels[first : first + CHUNK_ROWS]
            block = _scored(predictor, ids, offsets - offsets[0], labels)
            yield LabelledChunk(block, name, np.arange(first, first + len(labels)))
            advance(len(labels), "")


def file_chunks(
    predictor: Predictor, data: str, settings: PrepareSettings, column: str | None, progress: Progress
) -> Iterator[LabelledChunk]:
    """Predict the usable rows of files, with a few megabytes in memory at a time.

    Args:
        predictor: the model.
        data: a file, glob, folder or URL.
        settings: format and columns of the files.
        column: column that contains the category, if any.
        progress: receives the progress.

    Raises:
        DataError: a file cannot be read, or has no labels.
        UsageError: a named column does not exist.
    """
    corpus = Corpus.find([data], settings, known=predictor.model.config.label_reading).decided()
    sources = [source_with_column(source, column) if column else source for source in corpus.sources]
    with progress.task("triage", corpus.size / MB, "MB") as advance:
        for source in sources:
            line = 1
            for raw in source.blocks(int(settings.block_mb * MB)):
                line += raw.lines_before
                chunk, lines = read_chunk(raw.data, source, line, labelled=True, too_long=raw.too_long)
                rows = predictor.encoder.encode(chunk.texts)
                labels = chunk.labels if chunk.labels is not None else np.empty(0, np.uint8)
                categories = _names(chunk.extra, column)
                block = _scored(predictor, rows.ids, rows.offsets, labels, categories)
                yield LabelledChunk(block, source.name, chunk.lines, chunk.texts, chunk.rejects)
                line += lines
                advance(raw.consumed / MB, "")


def source_with_column(source: Source, column: str) -> Source:
    """Return the source with an additional column to read.

    Raises: UsageError when the file has no such column.
    """
    table = source.table
    if not format_of(table).has_columns:
        raise UsageError(
            f"{source.path} has lines, no columns; --category-column {column} needs a CSV, JSONL or Parquet "
            "file."
        )
    schema = format_of(table).schema(source.path, table)
    columns = schema.names
    if column not in columns:
        raise UsageError(
            f"--category-column is '{column}', but {source.path} has no such column."
            f"{did_you_mean(column, columns)} Columns: {', '.join(columns)}."
        )
    return replace(source, table=replace(table, extra=pa.schema([schema.field(column)])))


def _scored(
    predictor: Predictor,
    ids: npt.NDArray[Any],
    offsets: IntArray,
    labels: npt.NDArray[np.uint8],
    categories: list[str] | None = None,
) -> ScoredBlock:
    rare_as_unknown = np.where(ids >= frequent_words(predictor) + len(SPECIAL), UNK, ids)
    logits = predictor.token_logits(ids, offsets)
    decision = predictor.decision
    return ScoredBlock(
        logits=logits,
        labels=labels,
        lengths=np.diff(offsets),
        unknown=unknown_shares(ids, offsets),
        rare=unknown_shares(rare_as_unknown, offsets),
        categories=categories,
        decided=None if decision.is_default else decision.codes(probabilities(logits)),
    )


def _names(others: pa.Table | None, column: str | None) -> list[str] | None:
    """Return the category of each row as a short text."""
    if others is None or column is None:
        return None
    values = (str(value).strip() if value is not None else "" for value in others[column].to_pylist())
    return [value[:LONGEST_CATEGORY] or NO_CATEGORY for value in values]


AT_ONCE = 8
"""Most reviews explained between two progress reports."""
SAME = 0.01
"""Maximum difference between the logits of explanation and prediction for the explanation to be shown."""


@dataclass(frozen=True)
class RowText:
    """A text for display and for the model; the two may differ in how words are joined."""

    shown: str
    read: str
    """Text that the model reads; it has exactly the tokens of the row."""
    spans: Sequence[tuple[int, int]] | None = None
    """Start and end of each token in `shown`; None if both texts are equal."""


class SplitTexts:
    """Texts of the rows of a split: the original ones if stored, otherwise reconstructed from the tokens."""

    def __init__(self, dataset: PreparedDataset, name: str, vocab: Vocab) -> None:
        """Open the split `name`; `vocab` is the model's vocabulary."""
        self.split = dataset.split(name)
        self.words = dataset.vocab.words
        self.joined = dataset.manifest.cleaning == "words"
        self.stand_in = word_beyond(vocab)
        self.raw: Callable[[int], str] | None = raw_texts(dataset.path / "text" / name, len(self.split))

    @property
    def as_written(self) -> bool:
        return self.raw is not None

    def __getitem__(self, row: int) -> RowText:
        """Return the text of a row, counted from 0."""
        if self.raw is not None:
            text = self.raw(row)
            return RowText(text, text)
        ids = self.split.tokens[self.split.offsets[row] : self.split.offsets[row + 1]].tolist()
        shown, spans = readable(ids, self.words, joined=self.joined)
        # Cleaning a cleaned text changes nothing, so the model finds these tokens again.
        read = " ".join(self.stand_in if number < len(SPECIAL) else self.words[number] for number in ids)
        return RowText(shown, read, spans)


def word_beyond(vocab: Vocab) -> str:
    """Return a word that is not in the vocabulary, to represent any unknown word."""
    word = "unknownword"
    while vocab.id_of(word) != UNK:
        word += "x"
    return word


def with_texts(rows: Sequence[Mistake], texts: SplitTexts | None) -> list[Mistake]:
    """Return the rows with their texts filled in, or unchanged if `texts` is None."""
    return list(rows) if texts is None else [replace(row, text=texts[row.number].shown) for row in rows]


def read_rows(
    predictor: Predictor, rows: Sequence[Mistake], texts: SplitTexts | None, progress: Progress
) -> list[ShownMistake]:
    """Add texts and the contributions of their words to the rows, at about ten reviews per second."""
    read = [RowText(row.text, row.text) if texts is None else texts[row.number] for row in rows]
    # Of two classes, the second is explained for all rows, so that its words have the same colour everywhere.
    targets = [1 if len(row.chances) == 2 else row.other for row in rows]
    found: list[ShownMistake] = []
    with progress.task("explain", len(rows), "reviews") as advance:
        for (_, target), run in groupby(range(len(rows)), lambda place: (place // AT_ONCE, targets[place])):
            part = list(run)
            name = predictor.classes.names[target]
            explanations = explain(predictor, [read[place].read for place in part], target=name)
            for place, explanation in zip(part, explanations, strict=True):
                row, text = rows[place], read[place]
                logit = row.logits[0] if len(row.logits) == 1 else row.logits[target] - row.logits.mean()
                words = [(word.start, word.end, word.contribution) for word in explanation.words]
                same = abs(explanation.logit - logit) <= SAME
                found.append(ShownMistake(row, text.shown, tuple(_placed(words, text)) if same else ()))
            advance(len(part), "")
    return found


def _placed(words: Sequence[Tint], text: RowText) -> Iterator[Tint]:
    """Yield the contributions with the words' positions in the displayed text."""
    if text.spans is None:
        yield from words
    elif len(words) == len(text.spans):
        for (start, end), (_, _, share) in zip(text.spans, words, strict=True):
            yield start, end, share
