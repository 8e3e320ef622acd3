"""The forms in which the collection is published: recognise their files and count their reviews."""

import bz2
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sentiscale.errors import DataError
from sentiscale.progress import Progress

ROWS = {"train": 3_600_000, "test": 400_000}
"""Reviews of Amazon Review Polarity, half of them positive."""

Files = dict[str, list[Path]]
"""Files by split."""

_BLOCK = 2**22  # bytes read at once


@dataclass(frozen=True)
class Edition:
    """A form in which the collection is published."""

    source: str
    """In words."""
    patterns: tuple[str, ...]
    """File names, with SPLIT for train or test; the first that is there counts."""
    count: Callable[[Path], int]
    """Reviews in one file."""
    options: str = ""
    """What `prepare` has to be told about these files."""

    def find(self, folder: Path) -> Files:
        """Its files by split, wherever they lie under `folder`; a split that is not there is left out."""
        found = {split: self._find_split(folder, split) for split in ROWS}
        return {split: files for split, files in found.items() if files}

    def _find_split(self, folder: Path, split: str) -> list[Path]:
        for pattern in self.patterns:
            files = sorted(folder.rglob(pattern.replace("SPLIT", split)))
            # the hub's client keeps its books, and half-finished files, under .cache
            files = [file for file in files if ".cache" not in file.relative_to(folder).parts]
            if files:
                return files
        return []

    def prepare_command(self, files: Files, folder: Path) -> str:
        """The command line that turns the files into a prepared dataset named after `folder`."""
        quoted = {split: [shlex.quote(str(file)) for file in listed] for split, listed in files.items()}
        tests = [f"--test {file}" for file in quoted["test"]]
        out = shlex.quote(f"{folder.resolve().name}-prepared")
        options = [self.options] if self.options else []
        return " ".join(["sentiscale prepare", *quoted["train"], *tests, *options, "--out", out])


@dataclass(frozen=True)
class Found:
    """An edition of which all reviews are there."""

    edition: Edition
    """Which one."""
    files: Files
    """Paths by split."""
    rows: dict[str, int]
    """Reviews by split."""


def find_complete(folder: Path, expected: Mapping[str, int], progress: Progress) -> Found | None:
    """The first edition that is there with all its reviews.

    Raises: DataError when files put there by hand are not what they should be; a partial download from
        the hub only counts as absent.
    """
    for edition in EDITIONS:
        files = edition.find(folder)
        if set(files) != set(expected):
            continue
        rows = {split: _count(edition, listed, progress) for split, listed in files.items()}
        if rows == dict(expected):
            return Found(edition, files, rows)
        if edition is not HUB:
            names = ", ".join(file.name for listed in files.values() for file in listed)
            raise DataError(
                f"{folder} has {in_words(rows)} reviews in {names}, but the collection has "
                f"{in_words(expected)}. The download was cut short, or these are other files: remove them "
                "and download them again."
            )
    return None


def in_words(rows: Mapping[str, int]) -> str:
    """Reviews by split, as in "3,600,000 (train) and 400,000 (test)"."""
    return " and ".join(f"{count:,} ({split})" for split, count in rows.items())


def _count(edition: Edition, files: list[Path], progress: Progress) -> int:
    rows = 0
    with progress.task("check", sum(file.stat().st_size for file in files) / 1e6, "MB") as advance:
        for file in files:
            progress.say(f"counting the reviews in {file}")
            rows += edition.count(file)
            advance(file.stat().st_size / 1e6, "")
    return rows


def _count_parquet(file: Path) -> int:
    from pyarrow import ArrowException
    from pyarrow.parquet import read_metadata

    try:
        return int(read_metadata(file).num_rows)
    except (ArrowException, OSError) as error:
        raise DataError(f"{file} is not a whole Parquet file ({error}). Remove it and try again.") from error


def _count_lines(file: Path) -> int:
    """Lines of a file, compressed with bz2 or not; a last line without a line end counts."""
    lines, last = 0, b"\n"
    try:
        with bz2.open(file) if file.suffix == ".bz2" else open(file, "rb") as opened:
            while block := opened.read(_BLOCK):
                lines += block.count(b"\n")
                last = block[-1:]
    except (EOFError, OSError) as error:
        raise DataError(
            f"{file} is damaged or cut short ({error}). Remove it and download it again."
        ) from error
    return lines + (last != b"\n")


def _count_csv(file: Path) -> int:
    """Records of a CSV file; line ends inside quotes do not end one."""
    from pyarrow import ArrowInvalid
    from pyarrow.csv import ConvertOptions, ParseOptions, ReadOptions, open_csv

    reading = ReadOptions(column_names=["label", "title", "text"], block_size=_BLOCK)
    try:
        with open_csv(
            file, reading, ParseOptions(newlines_in_values=True), ConvertOptions(include_columns=["label"])
        ) as batches:
            return sum(int(batch.num_rows) for batch in batches)
    except (ArrowInvalid, OSError) as error:
        raise DataError(
            f"{file} is not a CSV file of label, title and text ({error}). Remove it and download it again."
        ) from error


HUB = Edition(
    source="Hugging Face hub",
    patterns=("SPLIT-*.parquet",),
    count=_count_parquet,
    options="--text-column content --title-column title --label-column label",
)
FASTTEXT = Edition("fastText lines", ("SPLIT.ft.txt.bz2", "SPLIT.ft.txt"), _count_lines)
CSV = Edition("original CSV", ("SPLIT.csv",), _count_csv)

EDITIONS = (HUB, FASTTEXT, CSV)
"""In the order in which they are looked for."""
