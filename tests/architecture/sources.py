"""The files of the project, for tests that look at them."""

import subprocess
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

SOURCE = REPOSITORY / "src" / "sentiscale"
SOURCES = sorted(SOURCE.rglob("*.py"))


def tracked_files() -> list[Path]:
    """Files under version control; the test is skipped outside of a git checkout."""
    command = ["git", "ls-files", "-z"]
    listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("needs a git checkout to tell the project's files from others")
    return [path for name in listed.stdout.split("\0") if name and (path := REPOSITORY / name).is_file()]
