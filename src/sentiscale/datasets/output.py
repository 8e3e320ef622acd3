"""Write generated reviews atomically to a file, or to a named pipe or standard output."""

import json
import shutil
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from sentiscale.datasets.grammar import WORD, compile_grammar
from sentiscale.datasets.reviews import choose_fragments, plan_rows, plan_sentences
from sentiscale.errors import SentiscaleError, UsageError, did_you_mean
from sentiscale.records import Record
from sentiscale.util.atomic import check_output, remove_abandoned, whole_file
from sentiscale.util.progress import Progress


@dataclass(frozen=True)
class ReviewFormat:
    """Describes how a review is written; a file consists of `header` followed by the reviews."""

    name: str
    suffix: str
    header: str
    start: Callable[[int], str]
    """Function that returns the text before the title, given the stars."""
    middle: str
    """Text between title and review."""
    end: Callable[[str], str]
    """Function that returns the text after the review, given the category."""
    escape: Callable[[str], str]


FORMATS = (
    ReviewFormat(
        name="fasttext",
        suffix=".txt",
        header="",
        start=lambda stars: f"__label__{1 if stars < 3 else 2} ",
        middle=": ",
        end=lambda category: "\n",
        escape=lambda text: text,
    ),
    ReviewFormat(
        name="csv",
        suffix=".csv",
        header="stars,title,text,category\n",
        start=lambda stars: f'{stars},"',
        middle='","',
        end=lambda category: f'",{category}\n',
        escape=lambda text: text.replace('"', '""'),
    ),
    ReviewFormat(
        name="jsonl",
        suffix=".jsonl",
        header="",
        start=lambda stars: f'{{"stars": {stars}, "title": "',
        middle='", "text": "',
        end=lambda category: f'", "category": "{category}"}}\n',
        escape=lambda text: json.dumps(text)[1:-1],
    ),
)


def find_format(name: str | None, out: str) -> ReviewFormat:
    """Return the format `name`, or the format for the suffix of `out` if `name` is None; "-" means fastText.

    Raises: UsageError when there is no such format.
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
    """Renders ranges of rows as the bytes of a file, and tracks the words used."""

    def __init__(self, review_format: ReviewFormat) -> None:
        self.header = review_format.header.encode()
        self._texts = _fragment_texts(review_format)
        self._used = np.zeros(len(self._texts), dtype=bool)

    def rows(self, seed: int, start: int, count: int) -> memoryview:
        """Render rows start … start + count - 1 of a seed, without the header."""
        fragments = choose_fragments(plan_sentences(plan_rows(seed, start, count)))
        self._used[fragments] = True
        taken = self._texts.take(pa.array(fragments))
        _, offsets, data = taken.buffers()
        end = int(np.frombuffer(offsets, dtype=np.int32)[len(fragments)])
        return memoryview(data)[:end]

    def types(self) -> int:
        """Count the distinct lower-case words in all titles and texts rendered so far."""
        grammar = compile_grammar()
        used = np.flatnonzero(self._used)
        return len({word for n in used for word in WORD.findall(grammar.fragments[n].lower())})


@cache
def _fragment_texts(review_format: ReviewFormat) -> Any:
    """Return every fragment as it is written to the file, as an Arrow array of binaries."""
    grammar = compile_grammar()
    texts = [review_format.escape(text) for text in grammar.fragments]
    for name, number in grammar.frame.items():
        place, _, detail = name.partition("/")
        if place == "start":
            texts[number] = review_format.start(int(detail))
        elif place == "end":
            texts[number] = review_format.end(grammar.categories[int(detail)])
        else:
            texts[number] = review_format.middle
    return pa.array([text.encode("ascii") for text in texts], pa.binary())


BLOCK_ROWS = 4096
"""Number of rows generated at once, about 2 MB of text; it does not affect the result."""


class SynthSummary(Record):
    """Summary of the reviews that `synth` wrote."""

    out: str
    """Path of the file, or "-" for standard output."""
    rows: int
    """Number of reviews written."""
    bytes: int
    """Number of bytes written, before compression."""
    types: int
    """Number of distinct lower-case words."""
    seconds: float
    """Total time in seconds."""
    rows_per_s: float
    """Reviews written per second."""


def blocks(rows: int, seed: int = 0, *, format: str = "fasttext", start: int = 0) -> Iterator[bytes]:  # noqa: A002 - the flag's name
    """Yield complete lines of a generated file, a few megabytes at a time and without a CSV header.

    Args:
        rows: number of rows; row i depends only on the seed and i.
        seed: any integer.
        format: fasttext, csv or jsonl.
        start: number of the first row, for dividing the work among processes.
    """
    renderer = Renderer(find_format(format, "-"))
    for first in range(start, start + rows, BLOCK_ROWS):
        yield bytes(renderer.rows(seed, first, min(BLOCK_ROWS, start + rows - first)))


def synth(
    rows: int,
    seed: int = 0,
    *,
    out: Path | str,
    format: str | None = None,  # noqa: A002 - the flag's name
    force: bool = False,
    progress: Progress | None = None,
) -> SynthSummary:
    """Write `rows` generated product reviews with sentiment labels.

    Args:
        rows: number of reviews, at least 1; half of them are positive.
        seed: any integer; the same seed produces the same bytes on every machine.
        out: a file, a named pipe, or "-" for standard output.
        format: fasttext, csv (stars,title,text,category) or jsonl; None selects it by the suffix of `out`.
        force: whether to replace an existing file.
        progress: receives the number of rows written.

    Raises:
        UsageError: `rows` is below 1, the format is unknown, or the file exists.
        SentiscaleError: the disk is too small or fails; no partial file remains.
    """
    if rows < 1:
        raise UsageError(f"--rows is {rows}; it must be at least 1.")
    started_at = time.perf_counter()
    renderer = Renderer(find_format(format, str(out)))
    written = 0
    with _opened(out, force) as file, (progress or Progress()).task("synth", rows, "rows") as advance:
        file.write(renderer.header)
        for first in range(0, rows, BLOCK_ROWS):
            block = renderer.rows(seed, first, min(BLOCK_ROWS, rows - first))
            if first == 0:
                _check_space(out, len(block) * rows // min(BLOCK_ROWS, rows))
            file.write(block)
            written += len(block)
            advance(min(BLOCK_ROWS, rows - first), "")
    seconds = time.perf_counter() - started_at
    return SynthSummary(
        out=str(out),
        rows=rows,
        bytes=written + len(renderer.header),
        types=renderer.types(),
        seconds=round(seconds, 3),
        rows_per_s=round(rows / seconds, 1),
    )


@contextmanager
def _opened(out: Path | str, force: bool) -> Iterator[BinaryIO]:
    path = Path(out)
    if str(out) == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    elif _is_stream(path):
        with open(path, "wb") as file:
            yield file
    elif path.is_dir():
        raise UsageError(f"{path} is a directory; --out takes a file, as in {path / 'reviews.txt'}.")
    else:
        check_output(path, replace=force)
        remove_abandoned(path)
        with whole_file(path) as file:
            yield file


def _is_stream(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) or stat.S_ISSOCK(mode)


def _check_space(out: Path | str, needed: int) -> None:
    """Raise SentiscaleError before most of the work is done if the file will not fit on its disk."""
    if str(out) == "-" or _is_stream(Path(out)):
        return
    free = shutil.disk_usage(Path(out).parent).free
    if needed > free:
        raise SentiscaleError(
            f"{out} would take about {needed / 1e6:,.0f} MB but {free / 1e6:,.0f} MB are free. "
            f"Nothing was left behind; lower --rows, free some space, or write to a pipe with --out -."
        )
