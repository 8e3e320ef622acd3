"""Make a large file of reviews out of a small one: every copy differs, and the vocabulary keeps growing.

Run:      python benchmarks/grow_reviews.py reviews.ft.txt --mb 1500 --out big.ft.txt
          python benchmarks/grow_reviews.py reviews.ft.txt --mb 15000 --out - > PIPE
Fixed:    --seed: the same seed, source and size give the same bytes
Does:     the first copy is the source as it is. In every further copy about one word in ten is replaced by
          a word from anywhere in the source, at least one a review, so that copies are no duplicates; and
          rare words are spelt anew, so that the number of different words grows by the power law (Heaps)
          that the source itself follows between its half and its whole.
Expect:   3 s to read 115 MB of source, then 200-290 MB/s on one core; memory: twice the source. 115 MB of
          real reviews with 149,000 different words became 1.5 GB with 499,000 (the law says 545,000), a
          third of them seen once (half in the source), and 0.07 % of the reviews of 0.5 GB are duplicates
Not for:  judging accuracy: the replaced words blur what a review says
Beside:   `sentiscale synth` needs no source, but its lists of words end: 134,000 different words in 350 MB,
          170,000 in 1.5 GB. So it cannot show how preparation bears a growing vocabulary

How rare words grow: with b the source's exponent and V its number of different words, copies 0 … c should
together hold V * (c + 1)**b of them. So each occurrence of a rare word (RARE times in the source at most)
gets a spelling of its own in copy c with the chance that makes up the difference, and otherwise the spelling
that it had in a random earlier copy: a few spellings become frequent and most stay rare, as in real text.
"""

import argparse
import math
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import BinaryIO

import numpy as np
from growing import GROWTH, LONGEST, NEWLINE, Change, Source, change_rows, count_words, draw_words, rare_words

from sentiscale.text.compiled import Bytes, frozen
from sentiscale.util.atomic import whole_file

BLOCK_BYTES = 2**23
"""Room for what is written at once."""

BUCKETS = 2**22
"""Words are counted by hash alone; the few that share a bucket count together, which does no harm."""

DRAWN = 2**15
"""Words drawn anew for every copy; so few that they stay in a core's own cache."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, nargs="+", help="fastText files, plain")
    parser.add_argument("--out", required=True, help="a file, a named pipe, or - for standard output")
    size = parser.add_mutually_exclusive_group(required=True)
    size.add_argument("--mb", type=float, help="stop after the row that reaches so many MB (10^6 bytes)")
    size.add_argument("--rows", type=int, help="stop after so many rows")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    source = read_source(arguments.source)
    print(
        f"{len(source.rows) - 1:,} reviews, {source.words:,.0f} different words, "
        f"growing as reviews**{source.exponent:.3f}",
        file=sys.stderr,
        flush=True,
    )
    blocks = grow(source, arguments.seed)
    wanted = whole_rows(blocks, rows=arguments.rows, size=arguments.mb and int(arguments.mb * 1e6))
    try:
        write(wanted, arguments.out)
    except BrokenPipeError:
        sys.exit("grow_reviews: the reader closed the pipe before it had all")


def read_source(paths: list[Path]) -> Source:
    """Read fastText files and find their rows and rare words."""
    data = frozen(b"".join(_lines(path.read_bytes()) for path in paths))
    ends = np.flatnonzero(data == NEWLINE) + 1
    if not len(ends):
        sys.exit(f"grow_reviews: {', '.join(map(str, paths))} holds no line; give fastText lines")
    rows = frozen(np.concatenate([[0], ends]).astype(np.int64), np.int64)
    counts = np.zeros(BUCKETS, np.uint8)
    count_words(data, rows, 0, counts)
    half = _distinct(counts)
    count_words(data, rows, 1, counts)
    words = _distinct(counts)
    exponent = math.log2(words / half) if half else 0.0
    found = rare_words(data, rows, counts, np.empty(0, np.int64), np.empty(0, np.uint64))
    places, hashes = np.empty(found, np.int64), np.empty(found, np.uint64)
    rare_words(data, rows, counts, places, hashes)
    return Source(data, rows, frozen(places, np.int64), frozen(hashes, np.uint64), words, exponent)


def _distinct(counts: Bytes) -> float:
    """Different words, from the share of empty buckets (linear counting)."""
    empty = len(counts) - np.count_nonzero(counts)
    return -len(counts) * math.log(empty / len(counts))


def grow(source: Source, seed: int) -> Iterator[memoryview]:
    """Yield the source and its changed copies without end, some megabytes at a time.

    A block is valid until the next one is asked for.
    """
    for start in range(0, len(source.data), BLOCK_BYTES):
        yield memoryview(source.data[start : start + BLOCK_BYTES])
    longest = int(np.diff(source.rows).max())
    out = np.empty(max(BLOCK_BYTES, GROWTH * longest + LONGEST), np.uint8)
    for change in changes(source, seed):
        row = 0
        while row < len(source.rows) - 1:
            row, size = change_rows(source, change, row, out)
            yield memoryview(out[:size])


def changes(source: Source, seed: int) -> Iterator[Change]:
    """Yield what is done to the first copy, the second, and so on."""
    chances = np.zeros(1)
    share = source.words / max(len(source.rare_hashes), 1)
    drawn = np.zeros((DRAWN, 1 + LONGEST), np.uint8)
    for copy in count(1):
        growth = (copy + 1) ** source.exponent - copy**source.exponent
        chances = np.append(chances, min(1.0, share * growth))
        key = np.random.SeedSequence([seed, copy]).generate_state(1, np.uint64)[0]
        draw_words(source, key, drawn)
        yield Change(key, chances, drawn)


def whole_rows(
    blocks: Iterator[memoryview], *, rows: int | None = None, size: int | None = None
) -> Iterator[memoryview]:
    """Pass blocks on until there are `rows` rows or, at the end of a row, `size` bytes."""
    written, found = 0, 0
    for block in blocks:
        view = np.frombuffer(block, np.uint8)
        if size is not None and written + len(view) >= size:
            ends = np.flatnonzero(view == NEWLINE) + 1
            enough = ends[ends >= size - written]
            if len(enough):
                yield block[: enough[0]]
                return
        if rows is not None:
            ends = np.flatnonzero(view == NEWLINE) + 1
            if found + len(ends) >= rows:
                yield block[: ends[rows - found - 1]]
                return
            found += len(ends)
        written += len(view)
        yield block


def write(blocks: Iterator[memoryview], out: str) -> None:
    """Write to standard output, to a pipe, or to a file that is whole or absent."""
    if out == "-":
        _write_all(blocks, sys.stdout.buffer)
        sys.stdout.buffer.flush()
    elif Path(out).exists() and not Path(out).is_file():  # a named pipe or a device
        with open(out, "wb", buffering=0) as pipe:
            _write_all(blocks, pipe)
    else:
        with whole_file(Path(out)) as file:
            _write_all(blocks, file)


def _write_all(blocks: Iterator[memoryview], file: BinaryIO) -> None:
    for block in blocks:
        left = block
        while len(left):  # an unbuffered pipe may take less than it is given
            left = left[file.write(left) :]


def _lines(data: bytes) -> bytes:
    return data if data.endswith(b"\n") or not data else data + b"\n"


if __name__ == "__main__":
    main()
