"""README.md keeps its word: its bash blocks run, one after the other, as a reader would run them.

Blocks tagged `bash` are run in an empty directory; `console` marks those that install something or need
a network, which are not.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sentiscale.cli import VERBS
from tests.conftest import REPOSITORY

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(tag: str) -> list[str]:
    return [text for found, text in BLOCK.findall(README) if found == tag]


def test_readme_is_short():
    assert len(README.splitlines()) <= 150


def test_every_verb_the_readme_uses_exists():
    used = set(re.findall(r"^(?:\.venv/bin/)?sentiscale ([a-z]+)", "\n".join(blocks("bash")), re.MULTILINE))
    assert used
    assert used <= set(VERBS)


def test_every_file_the_readme_names_exists():
    named = set(re.findall(r"\]\((?!http)([^)#]+)\)", README))
    assert [name for name in named if not (REPOSITORY / name).exists()] == []


@pytest.fixture
def after_demo(tmp_path, sentiscale):
    """A directory as a reader has it after `make demo`, with fewer reviews."""
    (tmp_path / "demo").mkdir()
    made = sentiscale("synth", "--rows", "4000", "--out", "demo/reviews.ft.txt", "--quiet")
    assert made.returncode == 0, made.stderr
    return tmp_path


@pytest.mark.slow
def test_commands_and_python_of_the_readme_run(after_demo):
    """One test: later blocks use what earlier ones wrote."""
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for name, shell in (("bash", ["bash", "-euo", "pipefail"]), ("python", [sys.executable])):
        for text in blocks(name):
            script = after_demo / f"block.{name}"
            script.write_text(text)
            done = subprocess.run(
                [*shell, script], cwd=after_demo, env=environment, capture_output=True, text=True
            )
            assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
