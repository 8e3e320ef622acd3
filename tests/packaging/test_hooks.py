"""What is checked before a commit: hooks that exist, need no network, and find what they are for."""

import subprocess
import sys

import pytest
import yaml

from tests.conftest import REPOSITORY

CONFIG = REPOSITORY / ".pre-commit-config.yaml"
SCRIPT = REPOSITORY / "scripts" / "check_files.py"
PROGRAMS = {"python", "ruff", "mypy", "lint-imports"}
"""What `make setup` puts into .venv/bin."""


def hooks():
    return [hook for repo in yaml.safe_load(CONFIG.read_text())["repos"] for hook in repo["hooks"]]


def check_files(*paths):
    return subprocess.run([sys.executable, SCRIPT, *paths], capture_output=True, text=True, check=False)


def test_hooks_need_no_network_and_run_programs_of_the_environment():
    assert [repo["repo"] for repo in yaml.safe_load(CONFIG.read_text())["repos"]] == ["local"]
    for hook in hooks():
        program, *arguments = hook["entry"].split()
        assert hook["language"] == "system"
        assert program.removeprefix(".venv/bin/") in PROGRAMS
        assert [name for name in arguments if "/" in name and not (REPOSITORY / name).is_file()] == []


def test_pre_commit_accepts_its_configuration():
    pytest.importorskip("pre_commit", reason="needs pre-commit: pip install pre-commit")
    command = [sys.executable, "-m", "pre_commit", "validate-config", CONFIG]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"no end", "does not end in a newline. Add one."),
        (b"end\n\n", "ends in blank lines. Delete them."),
        (b"a\n<<<<<<< ours\nb\n", ":2: a conflict marker. Finish the merge."),
        (b"a\n=======\nb\n", ":2: a conflict marker. Finish the merge."),
        (b"\0" * 1_000_001, "1,000,001 bytes; at most 1,000,000 are kept here. Leave it out."),
    ],
)
def test_a_faulty_file_is_named_with_what_to_do(tmp_path, content, told):
    (tmp_path / "file").write_bytes(content)
    done = check_files(tmp_path / "file")
    assert done.returncode == 1
    assert done.stdout == f"{tmp_path / 'file'}{told if told[0] == ':' else f': {told}'}\n"


@pytest.mark.parametrize("content", [b"", b"\n", b"a\n", b"a\n  ======= \n", b"PNG\0no end"])
def test_files_without_fault_pass(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    assert check_files(tmp_path / "file", tmp_path / "deleted", tmp_path).returncode == 0
