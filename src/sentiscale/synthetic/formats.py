"""Put generated reviews into a file format: what stands around title and text, and how it is escaped."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sentiscale.errors import UsageError, did_you_mean
from sentiscale.synthetic.grammar import WORD, compile_grammar
from sentiscale.synthetic.reviews import choose_fragments, plan_rows, plan_sentences


@dataclass(frozen=True)
class Format:
    """How one review is written; a file is `header` and then one review after the other."""

    name: str
    suffix: str
    header: str
    start: Callable[[int], str]
    """What precedes the title, from the stars."""
    middle: str
    """What stands between title and text."""
    end: Callable[[str], str]
    """What follows the text, from the category."""
    escape: Callable[[str], str]


FORMATS = (
    Format(
        name="fasttext",
        suffix=".txt",
        header="",
        start=lambda stars: f"__label__{1 if stars < 3 else 2} ",
        middle=": ",
        end=lambda category: "\n",
        escape=lambda text: text,
    ),
    Format(
        name="csv",
        suffix=".csv",
        header="stars,title,text,category\n",
        start=lambda stars: f'{stars},"',
        middle='","',
        end=lambda category: f'",{category}\n',
        escape=lambda text: text.replace('"', '""'),
    ),
    Format(
        name="jsonl",
        suffix=".jsonl",
        header="",
        start=lambda stars: f'{{"stars": {stars}, "title": "',
        middle='", "text": "',
        end=lambda category: f'", "category": "{category}"}}\n',
        escape=lambda text: json.dumps(text)[1:-1],
    ),
)


def find_format(name: str | None, out: str) -> Format:
    """The format of that name, or the one that the suffix of `out` stands for; "-" is fastText.

    Raises: UsageError when there is none.
    """
    for known in FORMATS:
        if name == known.name or (name is None and out.endswith(known.suffix)):
            return known
    if name is not None:
        names = [known.name for known in FORMATS]
        raise UsageError(f"--format is '{name}'; it can be {', '.join(names)}.{did_you_mean(name, names)}")
    if out == "-":
        return FORMATS[0]
    suffixes = ", ".join(f"{known.suffix} ({known.name})" for known in FORMATS)
    raise UsageError(f"{out} has none of the suffixes {suffixes}. Rename it, or add --format.")


class Renderer:
    """Turns ranges of rows into the bytes of a file in one format, and remembers the words used."""

    def __init__(self, written_as: Format) -> None:
        self.header = written_as.header.encode()
        self._texts = _fragment_texts(written_as)
        self._used: NDArray[np.bool_] = np.zeros(len(self._texts), dtype=bool)

    def rows(self, seed: int, start: int, count: int) -> memoryview:
        """Rows start … start + count - 1 of a seed, without the header."""
        fragments = choose_fragments(plan_sentences(plan_rows(seed, start, count)))
        self._used[fragments] = True
        taken = self._texts.take(pa.array(fragments))
        _, offsets, data = taken.buffers()
        end = int(np.frombuffer(offsets, dtype=np.int32)[len(fragments)])
        return memoryview(data)[:end]

    def types(self) -> int:
        """Distinct words of titles and texts so far, lower-cased."""
        tables = compile_grammar()
        used = np.flatnonzero(self._used)
        return len({word for n in used for word in WORD.findall(tables.fragments[n].lower())})


@cache
def _fragment_texts(written_as: Format) -> Any:
    """Every fragment as it stands in the file, a pyarrow array of bytes."""
    tables = compile_grammar()
    texts = [written_as.escape(text) for text in tables.fragments]
    for name, number in tables.frame.items():
        place, _, detail = name.partition("/")
        if place == "start":
            texts[number] = written_as.start(int(detail))
        elif place == "end":
            texts[number] = written_as.end(tables.categories[int(detail)])
        else:
            texts[number] = written_as.middle
    return pa.array([text.encode("ascii") for text in texts], pa.binary())
