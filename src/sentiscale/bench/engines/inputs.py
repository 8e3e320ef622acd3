"""Review files as every engine can read them: plain fastText lines, in the page cache."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sentiscale.data.corpus import Corpus
from sentiscale.data.sources import Stream, compression_of
from sentiscale.errors import DataError, UsageError

WARM_UP_MB = 2
CHUNK = 2**20


@dataclass(frozen=True)
class RawFiles:
    """Plain files that are there as long as the block of `raw_files` is open."""

    names: list[str]
    """As they were given."""
    plain: list[Path]
    head: Path
    """The first lines of the first file."""
    rows: int
    """Lines of all files."""
    size: int
    """Bytes of all plain files."""
    digest: str
    """SHA-256 of their content."""


@contextmanager
def raw_files(given: Sequence[str | Path], folder: Path) -> Iterator[RawFiles]:
    """Look at review files, and unpack compressed ones into `folder`.

    Raises:
        UsageError: a file is not in fastText's format, which is all that every engine reads.
        DataError: a file is missing, damaged or empty.
    """
    corpus = Corpus.find(list(given))
    for source in corpus.sources:
        if source.layout.format != "fasttext" or source.pipe is not None:
            kind = "a pipe" if source.pipe else source.layout.format
            raise UsageError(
                f"--prepare got {source.path}, {kind}; engines are compared on files of fastText lines "
                "(`__label__2 text`), plain or compressed. "
                "`sentiscale synth` makes such files."
            )
    plain_files = [plain(Path(path), folder / f"input-{n}.txt") for n, path in enumerate(corpus.paths)]
    rows, size, digest = 0, 0, hashlib.sha256()
    for path in plain_files:
        chunk = b""
        with open(path, "rb") as file:
            while more := file.read(CHUNK):
                chunk, rows, size = more, rows + more.count(b"\n"), size + len(more)
                digest.update(more)
        rows += chunk[-1:] not in (b"", b"\n")  # a last line without an end is one
    if rows == 0:
        raise DataError(f"{', '.join(corpus.paths)}: no line of text to prepare. Give files with reviews.")
    names = [Path(path).name for path in corpus.paths]
    yield RawFiles(
        names, plain_files, head(plain_files[0], folder / "head.txt"), rows, size, digest.hexdigest()
    )


def plain(path: Path, copy: Path) -> Path:
    """The file itself, or an unpacked copy; either way it is in the page cache afterwards."""
    compression = compression_of(str(path))
    with Stream(str(path), compression) as stream, open(copy if compression else "/dev/null", "wb") as file:
        while chunk := stream.read(CHUNK):
            file.write(chunk)
    return copy if compression else path


def head(path: Path, copy: Path) -> Path:
    """The first lines of a file."""
    with open(path, "rb") as file:
        start = file.read(WARM_UP_MB * 10**6)
        whole = not file.read(1)
    copy.write_bytes(start if whole else start[: start.rfind(b"\n") + 1])
    return copy
