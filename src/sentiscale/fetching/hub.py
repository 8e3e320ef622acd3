"""Download the collection from the Hugging Face hub with the hub's own client, and check what came."""

import hashlib
import os
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from sentiscale.errors import SentiscaleError, UsageError
from sentiscale.fetching.editions import FASTTEXT, ROWS
from sentiscale.progress import Advance, Progress

AMAZON_POLARITY = "amazon-polarity"
REPOSITORY = "fancyzhx/amazon_polarity"
"""Where the hub keeps the collection, as Parquet files."""
TIMEOUT_SECONDS = 10
BLOCK_BYTES = 8 * 2**20


@dataclass(frozen=True)
class HubFile:
    """A file as the hub describes it."""

    path: str
    """Within the collection."""
    revision: str
    """Commit of the collection."""
    size: int
    """In bytes."""
    sha256: str
    """Of its content."""


def download(folder: Path, progress: Progress) -> None:
    """Bring the Parquet files into `folder`; what an interrupted call left is gone on with.

    Raises:
        UsageError: the client is not installed.
        SentiscaleError: the hub cannot be reached, the disk is too small, or a file is not what the hub
            states.
    """
    try:
        hub: Any = import_module("huggingface_hub")
    except ImportError as error:
        raise UsageError(
            'downloads need one more package: pip install "sentiscale[fetch]". '
            f"Or do without it, by hand:\n{by_hand(folder)}"
        ) from error
    files = _ask(hub, folder)
    _check_space(folder, files)
    with progress.task("download", sum(file.size for file in files) / 1e6, "MB") as advance:
        for file in files:
            if not _is_there(file, folder):
                _download_file(hub.HfFileSystem(), file, folder, advance)


def _ask(hub: Any, folder: Path) -> list[HubFile]:
    """What the hub holds: large files only, for which it states a SHA-256."""
    try:
        info = hub.HfApi().dataset_info(REPOSITORY, files_metadata=True, timeout=TIMEOUT_SECONDS)
    # The client passes on whatever its HTTP library raises, and has changed that library twice.
    except Exception as error:
        raise _unreachable(folder, error) from error
    return [
        HubFile(file.rfilename, info.sha, file.size, file.lfs.sha256)
        for file in info.siblings
        if file.lfs is not None and file.rfilename.endswith(".parquet")
    ]


def _is_there(file: HubFile, folder: Path) -> bool:
    path = folder / file.path
    return path.exists() and path.stat().st_size == file.size and _sha256(path) == file.sha256


def _download_file(remote_files: Any, file: HubFile, folder: Path, advance: Advance) -> None:
    """Add block after block to a hidden file, which takes its name once its digest is right.

    The client's own download function begins a file anew in every process; by blocks, an interruption
    costs one block.
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
            "Try again; if it happens again, something between this machine and the hub alters it."
        )
    os.replace(partial, folder / file.path)


def _partial(file: HubFile, folder: Path) -> Path:
    """Where a file grows; its name holds the digest, so that two versions are never mixed."""
    path = folder / file.path
    return path.with_name(f".{path.name}.{file.sha256[:12]}.part")


def _blocks(remote_files: Any, file: HubFile, folder: Path, start: int) -> Iterator[bytes]:
    try:
        path = f"datasets/{REPOSITORY}@{file.revision}/{file.path}"
        with remote_files.open(path, "rb", cache_type="none") as remote:
            remote.seek(start)
            while block := remote.read(BLOCK_BYTES):
                yield block
    except Exception as error:  # whatever the HTTP library raises, as above
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
        f"the Hugging Face hub did not deliver ({reason}). Whatever has arrived is kept: repeat the command "
        f"when this machine is online, and it goes on from there. Or download by hand:\n{by_hand(folder)}"
    )


def by_hand(folder: Path) -> str:
    """What to download with a browser, where to put it, and what to do then."""
    files = {split: [folder / f"{split}.ft.txt.bz2"] for split in ROWS}
    return (
        "  1. Get one of these, on any machine:\n"
        "     - train.ft.txt.bz2 and test.ft.txt.bz2 of https://www.kaggle.com/datasets/bittlingmayer/amazonreviews\n"
        f"     - the .parquet files of https://huggingface.co/datasets/{REPOSITORY}\n"
        "     - amazon_review_polarity_csv.tgz of the data set's authors (Zhang, Zhao, LeCun 2015);\n"
        "       unpack it there: tar xzf amazon_review_polarity_csv.tgz\n"
        f"  2. Put the files into {folder} and have them checked:\n"
        f"     sentiscale fetch {AMAZON_POLARITY} --out {shlex.quote(str(folder))}\n"
        "  3. Go on with the command that it then shows; for the first kind:\n"
        f"     {FASTTEXT.prepare_command(files, folder)}"
    )
