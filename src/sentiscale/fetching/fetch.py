"""Fetch the large public review collection, or recognise and check what somebody downloaded by hand."""

import time
from collections.abc import Mapping
from pathlib import Path

from sentiscale.atomic import check_output
from sentiscale.errors import SentiscaleError, UsageError, did_you_mean
from sentiscale.fetching.editions import ROWS, find_complete, in_words
from sentiscale.fetching.hub import AMAZON_POLARITY, REPOSITORY, by_hand, download
from sentiscale.progress import Progress
from sentiscale.records import Record

NAMES = (AMAZON_POLARITY,)


class FetchSummary(Record):
    """What lies in the directory, checked."""

    out: str
    """The directory."""
    source: str
    """The form in which the collection is there."""
    files: dict[str, list[str]]
    """By split: train and test."""
    rows: dict[str, int]
    """Reviews of each split."""
    bytes: int
    """Of all files."""
    seconds: float
    """For downloading and checking."""
    next: str
    """The command that prepares these files."""


def fetch(
    name: str, out: Path | str, *, expected: Mapping[str, int] = ROWS, progress: Progress | None = None
) -> FetchSummary:
    """Bring a review collection into `out` and check it; what is there already is not fetched again.

    Args:
        name: "amazon-polarity": 3.6 million reviews for training and 400,000 for testing.
        out: a directory; files that were put there by hand are recognised and checked.
        expected: reviews that the splits must have.
        progress: who is told how it goes.

    Raises:
        UsageError: another name, `out` is no directory, or the package for downloads is missing.
        DataError: a file put there by hand is damaged or has another number of reviews.
        SentiscaleError: the hub cannot be reached (the message says what to download by hand), or what
            came from it is not what it should be.
    """
    if name not in NAMES:
        raise UsageError(
            f"there is no collection '{name}'; there is {', '.join(NAMES)}.{did_you_mean(name, NAMES)}"
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
            f"{REPOSITORY} on the Hugging Face hub does not have {in_words(expected)} reviews any more. "
            f"Remove what came from there and download the collection by hand:\n{by_hand(folder)}"
        )
    return FetchSummary(
        out=str(folder),
        source=found.edition.source,
        files={split: [str(file) for file in listed] for split, listed in found.files.items()},
        rows=found.rows,
        bytes=sum(file.stat().st_size for listed in found.files.values() for file in listed),
        seconds=round(time.perf_counter() - started_at, 3),
        next=found.edition.prepare_command(found.files, folder),
    )
