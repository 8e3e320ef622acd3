"""Write generated reviews: to a file that is whole or absent, to a named pipe, or to standard output."""

import shutil
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from sentiscale.atomic import check_output, remove_abandoned, whole_file
from sentiscale.errors import SentiscaleError, UsageError
from sentiscale.progress import Progress
from sentiscale.records import Record
from sentiscale.synthetic.formats import Renderer, find_format

BLOCK_ROWS = 4096
"""Rows made at once, about 2 MB of text; the result does not depend on it."""


class SynthSummary(Record):
    """What was written."""

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
        rows: how many; row i depends on the seed and i alone, whatever is made before it.
        seed: any integer.
        format: fasttext, csv or jsonl.
        start: the first row, for several processes that share the work.
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
        progress: who is told how it goes.

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
