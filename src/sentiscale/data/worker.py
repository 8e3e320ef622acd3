"""Run tasks on a remote worker after checking that it meets the client's requirements."""

import getpass
import hashlib
import os
import platform
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

from sentiscale.errors import ClusterError, DataError

TaskT = TypeVar("TaskT")
ResultT = TypeVar("ResultT")

CODE = ("*.py", "util/*.py", "text/*.py", "data/*.py", "inference/*.py")
"""Modules that affect the result of a task; they must be the same on all hosts."""


@dataclass(frozen=True)
class Requirements:
    """Requirements for workers; sent with every task, so that workers that join late are checked too."""

    versions: tuple[tuple[str, str], ...]
    """Result of `local_versions` on the client."""
    shared_file: str
    """File that the client wrote into the shared folder; empty if there is no shared folder."""


@lru_cache(maxsize=1)
def local_versions() -> tuple[tuple[str, str], ...]:
    """Return name and version of everything that must be the same on all hosts of a job."""
    return (
        ("Python", f"{sys.version_info.major}.{sys.version_info.minor}"),
        ("dask", version("dask")),
        ("distributed", version("distributed")),
        ("numpy", version("numpy").split(".")[0]),  # versions with the same major number can exchange arrays
        ("code of sentiscale", _code_digest()),
    )


def _code_digest() -> str:
    package = Path(__file__).parent.parent
    digest = hashlib.sha256()
    for path in sorted(path for pattern in CODE for path in package.glob(pattern)):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:8]


def run_task(function: Callable[[TaskT], ResultT], task: TaskT, requirements: Requirements) -> ResultT:
    """Call `function(task)` if this worker meets the requirements.

    Raises:
        ClusterError: this worker does not meet the requirements.
        DataError: `function` raised it; the message includes the name of the host.
    """
    if problem := unmet_requirement(requirements):
        raise ClusterError(problem)
    try:
        return function(task)
    except DataError as error:
        raise DataError(f"{error} (seen on host {platform.node()})") from error


def unmet_requirement(requirements: Requirements) -> str | None:
    """Return why this process cannot run the client's tasks, or None if it can."""
    here = dict(local_versions())
    different = [(name, there) for name, there in requirements.versions if here.get(name) != there]
    if different:
        ours = " and ".join(f"{name} {here.get(name)}" for name, _ in different)
        theirs = " and ".join(f"{name} {there}" for name, there in different)
        return (
            f"host {platform.node()} runs {ours}, this machine {theirs}. "
            f"Install the same versions on all hosts."
        )
    return _folder_problem(Path(requirements.shared_file)) if requirements.shared_file else None


def _folder_problem(shared_file: Path) -> str | None:
    if not shared_file.exists():
        for folder in reversed(shared_file.parents):  # listing refreshes the cache of a network file system
            with suppress(OSError):
                os.listdir(folder)
    if not shared_file.exists():
        return (
            f"host {platform.node()} does not see the folder {shared_file.parent} of this machine. "
            f"Give an --out on storage that all hosts mount under the same path."
        )
    if not os.access(shared_file.parent, os.W_OK):
        return (
            f"host {platform.node()} may not write to {shared_file.parent}: its worker runs as {_user()}. "
            f"Start the workers as the user who runs this command."
        )
    return None


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"


def file_size(path: str) -> int | None:
    """Return the size of a file as this process sees it; None if it is not readable."""
    try:
        return os.stat(path).st_size if os.access(path, os.R_OK) else None
    except OSError:
        return None


def import_problem(error: BaseException, where: str) -> str | None:
    """Return a message if `where` failed to import the code of a task; None for other errors."""
    text = repr(error)  # Dask may include the original error only as text
    kinds = [kind for kind in ("ModuleNotFoundError", "ImportError", "AttributeError") if kind in text]
    if "ModuleNotFoundError" in kinds or (kinds and "sentiscale" in text):
        missing = re.search(r"No module named '[^']*'", text)
        return (
            f"{where} cannot load sentiscale's code ({missing[0] if missing else error}). "
            f"Install sentiscale {version('sentiscale')} there, in the environment Dask runs in."
        )
    return None
