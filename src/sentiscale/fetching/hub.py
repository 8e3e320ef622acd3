"""Download the collection from the Hugging Face hub with the hub's own client, and check what came."""

import hashlib
import shlex
import shutil
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from sentiscale.errors import SentiscaleError, UsageError
from sentiscale.fetching.editions import FASTTEXT, ROWS

AMAZON_POLARITY = "amazon-polarity"
REPOSITORY = "fancyzhx/amazon_polarity"
"""Where the hub keeps the collection, as Parquet files."""
TIMEOUT_SECONDS = 10


@dataclass(frozen=True)
class HubFile:
    """A file as the hub describes it."""

    path: str
    revision: str
    size: int
    """In bytes."""
    sha256: str


def download(folder: Path, *, bars: bool) -> None:
    """Bring the Parquet files into `folder`; what an interrupted call left is gone on with.

    Args:
        folder: where to; made if need be.
        bars: let the client draw its progress bars on stderr.

    Raises:
        UsageError: the client is not installed.
        SentiscaleError: the hub cannot be reached, the disk is too small, or a file is not what the hub
            states.
    """
    try:
        hub: Any = import_module("huggingface_hub")
        hub_utils: Any = import_module("huggingface_hub.utils")
    except ImportError as error:
        raise UsageError(
            'downloads need one more package: pip install "sentiscale[fetch]". '
            f"Or do without it, by hand:\n{by_hand(folder)}"
        ) from error
    (hub_utils.enable_progress_bars if bars else hub_utils.disable_progress_bars)()
    wanted = _ask(hub, folder)
    _check_space(folder, sum(file.size for file in wanted if not (folder / file.path).exists()))
    for file in wanted:
        _download_file(hub, file, folder)


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


def _download_file(hub: Any, file: HubFile, folder: Path) -> None:
    path = folder / file.path
    for again in (False, True):  # a file that was damaged on this disk is worth a second download
        try:
            hub.hf_hub_download(
                REPOSITORY, file.path, repo_type="dataset", revision=file.revision, local_dir=folder,
                force_download=again,
            )  # fmt: skip
        except Exception as error:  # as above
            raise _unreachable(folder, error) from error
        if _sha256(path) == file.sha256:
            return
    path.unlink()
    raise SentiscaleError(
        f"{file.path} came twice with a content that is not what the hub states (SHA-256 {file.sha256}), and "
        "was removed. Something between this machine and the hub alters it; try another network."
    )


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_space(folder: Path, needed: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
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
