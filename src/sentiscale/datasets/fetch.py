"""Download a public collection of reviews, or check files that were downloaded by hand."""

import bz2
import hashlib
import os
import shlex
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from sentiscale.errors import DataError, SentiscaleError, UsageError, did_you_mean
from sentiscale.records import Record
from sentiscale.util.atomic import check_output
from sentiscale.util.progress import Advance, Progress

ROWS = {"train": 3_600_000, "test": 400_000}
"""Number of reviews per split of Amazon Review Polarity; half of them are positive."""

Files = dict[str, list[Path]]
"""Files by split."""

AMAZON_POLARITY = "amazon-polarity"
NAMES = (AMAZON_POLARITY,)
REPOSITORY = "fancyzhx/amazon_polarity"
"""Hugging Face repository that contains the collection as Parquet files."""
TIMEOUT_SECONDS = 10
BLOCK_BYTES = 8 * 2**20


@dataclass(frozen=True)
class Edition:
    """A published form of the collection."""

    source: str
    patterns: tuple[str, ...]
    """File name patterns, with SPLIT for train or test; the first pattern that matches is used."""
    count: Callable[[Path], int]
    """Function that counts the reviews in a file."""
    options: str = ""
    """Flags that `prepare` needs for these files."""

    def find(self, folder: Path) -> Files:
        """Find the edition's files by split, at any depth under `folder`; missing splits are omitted."""
        found = {split: self._find_split(folder, split) for split in ROWS}
        return {split: files for split, files in found.items() if files}

    def _find_split(self, folder: Path, split: str) -> list[Path]:
        for pattern in self.patterns:
            files = sorted(folder.rglob(pattern.replace("SPLIT", split)))
            # the hub's client stores metadata and partial downloads under .cache
            files = [file for file in files if ".cache" not in file.relative_to(folder).parts]
            if files:
                return files
        return []

    def prepare_command(self, files: Files, folder: Path) -> str:
        """Return the command that prepares the files, with an output directory named after `folder`."""
        quoted = {split: [shlex.quote(str(file)) for file in listed] for split, listed in files.items()}
        tests = [f"--test {file}" for file in quoted["test"]]
        out = shlex.quote(f"{folder.resolve().name}-prepared")
        options = [self.options] if self.options else []
        return " ".join(["sentiscale prepare", *quoted["train"], *tests, *options, "--out", out])


def find_complete(
    folder: Path, expected: Mapping[str, int], progress: Progress
) -> tuple[Edition, Files] | None:
    """Find the first edition in `folder` that contains all reviews.

    Raises: DataError when files that were put there by hand are damaged or incomplete. A partial download
        from the hub is ignored.
    """
    for edition in EDITIONS:
        files = edition.find(folder)
        if set(files) != set(expected):
            continue
        rows = {split: _count(edition, listed, progress) for split, listed in files.items()}
        if rows == dict(expected):
            return edition, files
        if edition is not HUB:
            names = ", ".join(file.name for listed in files.values() for file in listed)
            raise DataError(
                f"{folder} has {_listed(rows)} reviews in {names}, but the collection has "
                f"{_listed(expected)}. The download was cut short, or these are other files: remove them "
                "and download them again."
            )
    return None


def _listed(rows: Mapping[str, int]) -> str:
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
    """Count the lines of a plain or bz2 file, including a last line without a line break."""
    lines, last = 0, b"\n"
    try:
        with bz2.open(file) if file.suffix == ".bz2" else open(file, "rb") as opened:
            while block := opened.read(BLOCK_BYTES):
                lines += block.count(b"\n")
                last = block[-1:]
    except (EOFError, OSError) as error:
        raise DataError(
            f"{file} is damaged or cut short ({error}). Remove it and download it again."
        ) from error
    return lines + (last != b"\n")


def _count_csv(file: Path) -> int:
    """Count the records of a CSV file; line breaks inside quotes do not end a record."""
    from pyarrow import ArrowInvalid
    from pyarrow.csv import ConvertOptions, ParseOptions, ReadOptions, open_csv

    reading = ReadOptions(column_names=["label", "title", "text"], block_size=BLOCK_BYTES)
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
"""All editions, in the order in which they are searched for."""


@dataclass(frozen=True)
class HubFile:
    """Description of a file on the hub."""

    path: str
    """Path within the repository."""
    revision: str
    """Commit of the repository."""
    size: int
    sha256: str


def download(folder: Path, progress: Progress) -> None:
    """Download the Parquet files into `folder`, resuming an interrupted download.

    Raises:
        UsageError: the package `huggingface_hub` is not installed.
        SentiscaleError: the hub cannot be reached, the disk is too small, or a digest is wrong.
    """
    try:
        hub: Any = import_module("huggingface_hub")
    except ImportError as error:
        raise UsageError(
            'downloads need one more package: pip install "sentiscale[fetch]". '
            f"Or do without it, by hand:\n{by_hand(folder)}"
        ) from error
    files = _hub_files(hub, folder)
    _check_space(folder, files)
    with progress.task("download", sum(file.size for file in files) / 1e6, "MB") as advance:
        for file in files:
            path = folder / file.path
            complete = path.exists() and path.stat().st_size == file.size and _sha256(path) == file.sha256
            if not complete:
                _download_file(hub.HfFileSystem(), file, folder, advance)


def _hub_files(hub: Any, folder: Path) -> list[HubFile]:
    """List the collection's Parquet files, for which the hub states a SHA-256 digest."""
    try:
        info = hub.HfApi().dataset_info(REPOSITORY, files_metadata=True, timeout=TIMEOUT_SECONDS)
    # The client raises the exceptions of its HTTP library, and has changed that library twice.
    except Exception as error:
        raise _unreachable(folder, error) from error
    return [
        HubFile(file.rfilename, info.sha, file.size, file.lfs.sha256)
        for file in info.siblings
        if file.lfs is not None and file.rfilename.endswith(".parquet")
    ]


def _download_file(remote_files: Any, file: HubFile, folder: Path, advance: Advance) -> None:
    """Append blocks to a hidden file, which is renamed once its digest has been verified.

    The client's own download function restarts each file in a new process. Downloading in blocks loses at
    most one block after an interruption.
    """
    partial = _partial(file, folder)
    partial.parent.mkdir(parents=True, exist_ok=True)
    with open(partial, "ab") as local:
        advance(local.tell() / 1e6, file.path)
        if local.tell() < file.size:
            for block in _blocks(remote_files, file, folder, start=local.tell()):
                local.write(block)
                local.flush()
                advance(len(block) / 1e6, file.path)
        os.fsync(local.fileno())
    if _sha256(partial) != file.sha256:
        partial.unlink()
        raise SentiscaleError(
            f"the content of {file.path} is not what the hub states (SHA-256 {file.sha256}); it was removed. "
            "Try again; if it happens again, something between this machine and the hub alters the file."
        )
    os.replace(partial, folder / file.path)


def _partial(file: HubFile, folder: Path) -> Path:
    """Return the path of the partial download; it contains the digest, so that versions are never mixed."""
    path = folder / file.path
    return path.with_name(f".{path.name}.{file.sha256[:12]}.part")


def _blocks(remote_files: Any, file: HubFile, folder: Path, start: int) -> Iterator[bytes]:
    try:
        path = f"datasets/{REPOSITORY}@{file.revision}/{file.path}"
        with remote_files.open(path, "rb", cache_type="none") as remote:
            remote.seek(start)
            while block := remote.read(BLOCK_BYTES):
                yield block
    except Exception as error:  # any exception of the HTTP library, as above
        raise _unreachable(folder, error) from error


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_space(folder: Path, files: list[HubFile]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    there = [path for file in files for path in (folder / file.path, _partial(file, folder)) if path.exists()]
    needed = sum(file.size for file in files) - sum(path.stat().st_size for path in there)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise SentiscaleError(
            f"{folder} needs {needed / 1e6:,.0f} MB more, but {free / 1e6:,.0f} MB are free. "
            "Free some space, or choose another --out."
        )


def _unreachable(folder: Path, error: Exception) -> SentiscaleError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
    return SentiscaleError(
        f"the download from the Hugging Face hub failed ({reason}). Completed parts are kept: repeat the "
        f"command when this machine is online to resume. Or download by hand:\n{by_hand(folder)}"
    )


def by_hand(folder: Path) -> str:
    """Return instructions for downloading the collection with a browser and checking the files."""
    files = {split: [folder / f"{split}.ft.txt.bz2"] for split in ROWS}
    return (
        "  1. Get one of these, on any machine:\n"
        "     - train.ft.txt.bz2 and test.ft.txt.bz2 of https://www.kaggle.com/datasets/bittlingmayer/amazonreviews\n"
        f"     - the .parquet files of https://huggingface.co/datasets/{REPOSITORY}\n"
        "     - amazon_review_polarity_csv.tgz of the data set's authors (Zhang, Zhao, LeCun 2015);\n"
        "       unpack it there: tar xzf amazon_review_polarity_csv.tgz\n"
        f"  2. Put the files into {folder} and have them checked:\n"
        f"     sentiscale fetch {AMAZON_POLARITY} --out {shlex.quote(str(folder))}\n"
        "  3. Run the command that it shows; for the first of these, it is:\n"
        f"     {FASTTEXT.prepare_command(files, folder)}"
    )


class FetchSummary(Record):
    """Files of a collection that were checked by `fetch`."""

    out: str
    """Directory that contains the files."""
    source: str
    """Published form of the collection, such as "Hugging Face hub"."""
    files: dict[str, list[str]]
    """Paths of the files of each split: train and test."""
    rows: dict[str, int]
    """Number of reviews in each split."""
    bytes: int
    """Total size of the files in bytes."""
    seconds: float
    """Time in seconds for downloading and checking."""
    next: str
    """Command that prepares these files."""


def fetch(
    name: str, out: Path | str, *, expected: Mapping[str, int] = ROWS, progress: Progress | None = None
) -> FetchSummary:
    """Download a review collection into `out` and check it; complete files are not downloaded again.

    Args:
        name: name of the collection. "amazon-polarity" has 3.6 million reviews for training and 400,000 for
            testing.
        out: a directory; files that were put there by hand are detected and checked.
        expected: number of reviews in each split.
        progress: receives the number of megabytes processed.

    Raises:
        UsageError: the name is unknown, `out` is not a directory, or the package for downloads is missing.
        DataError: a file that was put there by hand is damaged or has the wrong number of reviews.
        SentiscaleError: the hub cannot be reached (the message says what to download by hand), or its files
            are incomplete.
    """
    if name not in NAMES:
        raise UsageError(
            f"there is no collection '{name}'. Available: {', '.join(NAMES)}.{did_you_mean(name, NAMES)}"
        )
    folder, progress = Path(out), progress or Progress()
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; --out takes a directory for the collection's files.")
    check_output(folder, replace=True)
    started_at = time.perf_counter()
    found = find_complete(folder, expected, progress)
    if found is None:
        download(folder, progress)
        found = find_complete(folder, expected, progress)
    if found is None:
        raise SentiscaleError(
            f"{REPOSITORY} on the Hugging Face hub does not have {_listed(expected)} reviews. "
            f"Remove the downloaded files and download the collection by hand:\n{by_hand(folder)}"
        )
    edition, files = found
    return FetchSummary(
        out=str(folder),
        source=edition.source,
        files={split: [str(file) for file in listed] for split, listed in files.items()},
        rows=dict(expected),
        bytes=sum(file.stat().st_size for listed in files.values() for file in listed),
        seconds=round(time.perf_counter() - started_at, 3),
        next=edition.prepare_command(files, folder),
    )
