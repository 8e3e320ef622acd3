"""Write generated reviews: to a file that is whole or absent, to a named pipe, or to standard output."""

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
    """How one review is written; a file is `header` followed by the reviews."""

    name: str
    suffix: str
    header: str
    start: Callable[[int], str]
    """Text before the title, from the stars."""
    middle: str
    """Text between title and review."""
    end: Callable[[str], str]
    """Text after the review, from the category."""
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
    """The format of that name, or by the suffix of `out`; "-" is fastText.

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
    """Turns ranges of rows into the bytes of a file in one format, and keeps the words used."""

    def __init__(self, review_format: ReviewFormat) -> None:
        self.header = review_format.header.encode()
        self._texts = _fragment_texts(review_format)
        self._used = np.zeros(len(self._texts), dtype=bool)

    def rows(self, seed: int, start: int, count: int) -> memoryview:
        """Rows start … start + count - 1 of a seed, without the header."""
        fragments = choose_fragments(plan_sentences(plan_rows(seed, start, count)))
        self._used[fragments] = True
        taken = self._texts.take(pa.array(fragments))
        _, offsets, data = taken.buffers()
        end = int(np.frombuffer(offsets, dtype=np.int32)[len(fragments)])
        return memoryview(data)[:end]

    def types(self) -> int:
        """Number of distinct words of titles and texts so far, lower-cased."""
        grammar = compile_grammar()
        used = np.flatnonzero(self._used)
        return len({word for n in used for word in WORD.findall(grammar.fragments[n].lower())})


@cache
def _fragment_texts(review_format: ReviewFormat) -> Any:
    """Every fragment as it stands in the file, a pyarrow array of bytes."""
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
"""Rows generated at once, about 2 MB of text; the result does not depend on it."""


class SynthSummary(Record):
    """Reviews that `synth` wrote."""

    out: str
    """The file, or - for standard output."""
    rows: int
    """Reviews written."""
    bytes: int
    """Before compression."""
    types: int
    """Distinct words, lower-cased."""
    seconds: float
    """For all of it."""
    rows_per_s: float
    """`rows` over `seconds`."""


def blocks(rows: int, seed: int = 0, *, format: str = "fasttext", start: int = 0) -> Iterator[bytes]:  # noqa: A002 - the flag's name
    """Yield whole lines of a generated file, a few megabytes at a time and without a CSV header.

    Args:
        rows: how many; row i depends on the seed and i alone.
        seed: any integer.
        format: fasttext, csv or jsonl.
        start: the first row, where several processes share the work.
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
        rows: how many, at least 1; half of them positive.
        seed: any integer; the same seed gives the same bytes everywhere.
        out: a file, a named pipe, or "-" for standard output.
        format: fasttext, csv (stars,title,text,category) or jsonl; None: by the suffix of `out`.
        force: replace an existing file.
        progress: receives the rows written.

    Raises:
        UsageError: rows or suffix out of range, or the file exists.
        SentiscaleError: the disk is too small or fails; nothing is left behind.
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
    """Fail after the first block, not after the first hour, when a file cannot fit on its disk."""
    if str(out) == "-" or _is_stream(Path(out)):
        return
    free = shutil.disk_usage(Path(out).parent).free
    if needed > free:
        raise SentiscaleError(
            f"{out} would take about {needed / 1e6:,.0f} MB but {free / 1e6:,.0f} MB are free. "
            f"Nothing was left behind; lower --rows, free some space, or write to a pipe with --out -."
        )
