"""What is shown of a kept row: its text as a person reads it, and what each word contributed."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from sentiscale.analysis.samples import CLINGING, UNKNOWN_SIGN, raw_texts
from sentiscale.analysis.triage_kept import KeptRow
from sentiscale.analysis.triage_page import ReadRow, Tint
from sentiscale.data.prepared import PreparedDataset
from sentiscale.explain import explain
from sentiscale.predictor import Predictor
from sentiscale.progress import Progress
from sentiscale.text.vocab import SPECIAL, UNK, Vocab

AT_ONCE = 8
"""Reviews explained together, between two signs of progress."""
SAME = 0.01
"""Logit by which an explanation may differ from what was said of the row, else it is not shown."""


@dataclass(frozen=True)
class ReadText:
    """A text for a person and for the model, which may differ in how its words are put together."""

    shown: str
    read: str
    """What the model reads; gives the very tokens of the row."""
    spans: Sequence[tuple[int, int]] | None = None
    """Where each token stands in `shown`; None where both texts are the same."""


class SplitTexts:
    """Texts of the rows of a split: the raw ones where they were kept, else put together from the tokens."""

    def __init__(self, dataset: PreparedDataset, name: str, vocab: Vocab) -> None:
        """Open the split; `vocab` is the model's."""
        self.split = dataset.split(name)
        self.words = dataset.vocab.words
        self.joined = dataset.manifest.cleaning == "words"
        self.stand_in = word_beyond(vocab)
        self.raw: Callable[[int], str] | None = raw_texts(dataset.path / "text" / name, len(self.split))

    @property
    def as_written(self) -> bool:
        """Whether the raw texts are there."""
        return self.raw is not None

    def __getitem__(self, row: int) -> ReadText:
        """The text of a row, counted from 0."""
        if self.raw is not None:
            text = self.raw(row)
            return ReadText(text, text)
        ids = self.split.tokens[self.split.offsets[row] : self.split.offsets[row + 1]].tolist()
        shown, spans = readable(ids, self.words, joined=self.joined)
        # Cleaning a cleaned text changes nothing, so the model finds these tokens again.
        read = " ".join(self.stand_in if number < len(SPECIAL) else self.words[number] for number in ids)
        return ReadText(shown, read, spans)


def readable(ids: Sequence[int], words: Sequence[str], *, joined: bool) -> tuple[str, list[tuple[int, int]]]:
    """Tokens as a text, and where each stands in it; `joined`: word endings cling to the word before."""
    text, spans = "", []
    for number in ids:
        word = UNKNOWN_SIGN if number in (0, UNK) else words[number]
        text += " " if text and not (joined and CLINGING.fullmatch(word)) else ""
        spans.append((len(text), len(text) + len(word)))
        text += word
    return text, spans


def word_beyond(vocab: Vocab) -> str:
    """A word that the vocabulary does not have, to stand for any unknown one."""
    word = "unknownword"
    while vocab.id_of(word) != UNK:
        word += "x"
    return word


def with_texts(rows: Sequence[KeptRow], texts: SplitTexts | None) -> list[KeptRow]:
    """The rows with their text filled in; `texts` None leaves them as they are."""
    return list(rows) if texts is None else [replace(row, text=texts[row.number].shown) for row in rows]


def read_rows(
    predictor: Predictor, rows: Sequence[KeptRow], texts: SplitTexts | None, progress: Progress
) -> list[ReadRow]:
    """The rows with what each of their words contributed; some ten reviews a second."""
    read = [ReadText(row.text, row.text) if texts is None else texts[row.number] for row in rows]
    found: list[ReadRow] = []
    with progress.task("explain", len(rows), "reviews") as advance:
        for first in range(0, len(rows), AT_ONCE):
            part = slice(first, first + AT_ONCE)
            explanations = explain(predictor, [text.read for text in read[part]])
            for row, text, explanation in zip(rows[part], read[part], explanations, strict=True):
                words = [(word.start, word.end, word.contribution) for word in explanation.words]
                same = abs(explanation.logit - row.logit) <= SAME
                found.append(ReadRow(row, text.shown, tuple(_placed(words, text)) if same else ()))
            advance(len(explanations), "")
    return found


def _placed(words: Sequence[Tint], text: ReadText) -> Iterator[Tint]:
    """Contributions at the words' places in the text that is shown."""
    if text.spans is None:
        yield from words
    elif len(words) == len(text.spans):
        for (start, end), (_, _, share) in zip(text.spans, words, strict=True):
            yield start, end, share
