"""Whether a process on another host can do our tasks: the same software, and the shared folder in sight."""

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

EQUAL_EVERYWHERE = ("dask", "distributed")
"""Distributions whose versions must be the same on client, scheduler and workers."""


@dataclass(frozen=True)
class Ticket:
    """What every task takes along to a worker elsewhere, so that one that joined late is checked as well."""

    software: tuple[tuple[str, str], ...]
    """The client's, as `this_software` gives it."""
    mark: str
    """A file the client wrote into the shared folder; empty when no folder is shared."""


@lru_cache(maxsize=1)
def this_software() -> tuple[tuple[str, str], ...]:
    """Name and version of everything that must be alike where a job runs."""
    return (
        ("Python", f"{sys.version_info.major}.{sys.version_info.minor}"),
        *((name, version(name)) for name in EQUAL_EVERYWHERE),
        ("numpy", version("numpy").split(".")[0]),  # arrays travel between versions with the same major
        ("code of sentiscale", _code_digest()),
    )


def objection(ticket: Ticket) -> str | None:
    """Why this process cannot do the client's tasks; None when it can."""
    here = dict(this_software())
    other = [(name, there) for name, there in ticket.software if here.get(name) != there]
    if other:
        ours = " and ".join(f"{name} {here.get(name)}" for name, _ in other)
        theirs = " and ".join(f"{name} {there}" for name, there in other)
        return (
            f"host {platform.node()} runs {ours}, this machine {theirs}. "
            f"Install the same versions on all hosts."
        )
    return _blind_to(Path(ticket.mark)) if ticket.mark else None


def do_task(function: Callable[[TaskT], ResultT], task: TaskT, ticket: Ticket) -> ResultT:
    """Do a task on a worker elsewhere.

    Raises:
        ClusterError: this worker cannot do the client's tasks.
        DataError: as the function does, with the host's name added.
    """
    problem = objection(ticket)
    if problem:
        raise ClusterError(problem)
    try:
        return function(task)
    except DataError as error:
        raise DataError(f"{error} (seen on host {platform.node()})") from error


def file_size(path: str) -> int | None:
    """Bytes of a file as this process sees it; None when it cannot read it."""
    try:
        return os.stat(path).st_size if os.access(path, os.R_OK) else None
    except OSError:
        return None


def _blind_to(mark: Path) -> str | None:
    if not mark.exists():
        for folder in reversed(mark.parents):  # listing makes a network file system look again
            with suppress(OSError):
                os.listdir(folder)
    if not mark.exists():
        return (
            f"host {platform.node()} does not see the folder {mark.parent} of this machine. "
            f"Give an --out on storage that all hosts mount under the same path."
        )
    if not os.access(mark.parent, os.W_OK):
        return (
            f"host {platform.node()} may not write to {mark.parent}: its worker runs as {_user()}. "
            f"Start the workers as the user who runs this command."
        )
    return None


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"


def _code_digest() -> str:
    """A short digest of the modules that decide what a task gives."""
    package = Path(__file__).parent.parent
    digest = hashlib.sha256()
    parts = ("*.py", "data/*.py", "labelling/*.py", "text/*.py")
    for path in sorted(path for part in parts for path in package.glob(part)):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:8]


def explained(error: BaseException, where: str) -> str | None:
    """A sentence on a task that could not even be loaded where it was to run; None for other errors."""
    text = repr(error)  # Dask sends some errors as the text of another one
    kinds = [kind for kind in ("ModuleNotFoundError", "ImportError", "AttributeError") if kind in text]
    if "ModuleNotFoundError" in kinds or (kinds and "sentiscale" in text):
        missing = re.search(r"No module named '[^']*'", text)
        return (
            f"{where} cannot load sentiscale's code ({missing[0] if missing else error}). "
            f"Install sentiscale {version('sentiscale')} there, in the environment Dask runs in."
        )
    return None
