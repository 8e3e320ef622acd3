"""Setting up: which interpreter is taken, and what is said when there is none."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

SCRIPT = REPOSITORY / "scripts" / "make-venv.sh"


@pytest.fixture
def programs(tmp_path) -> Path:
    """A PATH with the few programs the script needs, and no Python."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("bash", "rm", "sh"):
        found = shutil.which(name)
        assert found
        (folder / name).symlink_to(found)
    return folder


def make_venv(programs: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", SCRIPT, programs.parent / "venv"],
        env={"PATH": str(programs)} | environment,
        capture_output=True,
        text=True,
    )


def old_python(programs: Path, name: str) -> None:
    """A stand-in for an interpreter that is too old: it fails the check, as such a one does."""
    (programs / name).write_text("#!/bin/sh\n[ $1 = --version ] && echo Python 3.9.2\n")
    (programs / name).chmod(0o755)


def test_without_python_it_says_what_is_needed(programs):
    done = make_venv(programs)
    assert done.returncode == 1
    assert "found no Python 3.11 or later (python3 is missing). Install one" in done.stderr


def test_python_that_is_too_old_is_named(programs):
    old_python(programs, "python3")
    done = make_venv(programs)
    assert done.returncode == 1
    assert "(python3 is Python 3.9.2). Install one" in done.stderr
    assert not (programs.parent / "venv").exists()


def test_interpreter_asked_for_must_work(programs):
    done = make_venv(programs, PYTHON="python2")
    assert done.returncode == 1
    assert "PYTHON=python2 is not a working Python 3.11 or later" in done.stderr


def test_newer_interpreter_is_found_under_its_own_name(programs):
    """`python3` is too old, but there is a newer one beside it."""
    old_python(programs, "python3")
    (programs / "python3.11").symlink_to(os.path.realpath(sys.executable))
    done = make_venv(programs)
    assert done.returncode == 0, done.stderr
    assert (programs.parent / "venv" / "bin" / "python").exists()
    again = make_venv(programs)
    assert (again.returncode, again.stdout) == (0, ""), "an environment that works is kept"


def test_make_alone_lists_the_words():
    done = subprocess.run(["make", "-C", REPOSITORY], capture_output=True, text=True)
    assert done.returncode == 0
    for word in ("setup", "demo", "test", "lint"):
        assert f"make {word} " in done.stdout
