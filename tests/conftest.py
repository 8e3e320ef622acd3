"""What every test may use: the real command, the real data where it is there, a disk that fills up."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

os.environ.setdefault("GOMP_SPINCOUNT", "400")  # as the command line does, for its reasons; before torch

# A shell that starts the tests in the background ignores SIGINT, and so would every process they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# No deadline: a busy machine is no fault of the code. No database: the checkout may be read-only.
settings.register_profile("sentiscale", deadline=None, database=None, print_blob=True)
settings.load_profile("sentiscale")

REPOSITORY = Path(__file__).resolve().parent.parent
REAL_DATA = REPOSITORY.parent / "shared" / "data"

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(autouse=True)
def _arithmetic_as_found() -> Iterator[None]:
    """Training flushes denormal numbers, a flag of the whole thread: no later test shall depend on it."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with real reviews; the test is skipped where it is absent."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"needs the real reviews in {REAL_DATA}, which are not part of the project")
    return REAL_DATA


@pytest.fixture
def sentiscale(tmp_path: Path) -> Command:
    """Run the real command in a process of its own: `sentiscale("doctor", "--json")`."""

    def run(*arguments: str | Path, stdin: str | None = None, seconds: float = 240):
        return subprocess.run(
            [sys.executable, "-m", "sentiscale", *map(str, arguments)],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=seconds,
            cwd=tmp_path,
            check=False,
        )

    return run


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB, to be filled."""
    mount_point = tmp_path / "small-disk"
    mount_point.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(mount_point)]
    try:
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("needs the mount command for a disk that can be filled")
    if mounted.returncode != 0:
        pytest.skip(f"needs permission to mount a small disk: {mounted.stderr.splitlines()[0]}")
    yield mount_point
    subprocess.run(["umount", str(mount_point)], check=True)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, list[str]], Path]:
    """Write lines to a file of the test's folder."""

    def to(name: str, lines: list[str]) -> Path:
        path = tmp_path / name
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return to
