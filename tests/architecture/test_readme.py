"""README.md keeps its word: its bash blocks run, one after the other, as a reader would run them.

Blocks tagged `bash` are run in an empty directory; `console` marks those that install something or need
a network, which are not.
"""

import re

import pytest

from sentiscale.cli import VERBS
from tests.conftest import REPOSITORY
from tests.docs.running import blocks_of, run_page

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


def test_readme_is_short():
    assert len(README.splitlines()) <= 150


def test_every_verb_the_readme_uses_exists():
    commands = "\n".join(block.text for block in blocks_of(README) if block.tag == "bash")
    used = set(re.findall(r"^(?:\.venv/bin/)?sentiscale ([a-z]+)", commands, re.MULTILINE))
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
@pytest.mark.timeout(1500)  # nine commands, two of which train, next to a suite that uses both cores
def test_commands_and_python_of_the_readme_run(after_demo):
    """One test: later blocks use what earlier ones wrote."""
    run_page(README, after_demo)
