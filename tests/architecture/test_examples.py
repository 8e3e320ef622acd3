"""The worked examples of CONTRIBUTING.md are true: they apply, run, and pass what a change must pass."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from sentiscale.cli.options import FormatOption
from sentiscale.config import PrepareSettings
from sentiscale.text.formats import FORMATS
from sentiscale.text.formats.base import InputFormat
from tests.architecture.sources import SOURCES
from tests.conftest import REPOSITORY

EXAMPLES = REPOSITORY / "examples"
VERB, CELL = EXAMPLES / "add_a_verb.diff", EXAMPLES / "add_a_cell.diff"
CONTRIBUTING = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")

MEND = (
    "the code has changed where {name} changes it. Apply it with `git apply --3way` or by hand, mend it, "
    "and write it again: git diff -U1 > examples/{name}"
)

CLOSE = 1e-12


def section(title: str) -> str:
    """What CONTRIBUTING.md says below a heading."""
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", CONTRIBUTING, re.MULTILINE | re.DOTALL)
    assert found, f"CONTRIBUTING.md has no section '{title}'"
    return found[1]


def changed_files(diff: Path) -> set[str]:
    return set(re.findall(r"^\+\+\+ b/(.+)$", diff.read_text(encoding="utf-8"), re.MULTILINE))


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code with both examples applied."""
    folder = tmp_path_factory.mktemp("examples") / "checkout"
    folder.mkdir()
    for name in ("src", "tests", "docs/reference", "benchmarks/results"):
        shutil.copytree(REPOSITORY / name, folder / name)  # with kernels that are compiled already
    shutil.copy2(REPOSITORY / "pyproject.toml", folder)
    outside = os.environ | {"GIT_CEILING_DIRECTORIES": str(folder.parent)}
    for diff in (VERB, CELL):
        command = ["git", "apply", "-C0", diff]
        done = subprocess.run(command, cwd=folder, env=outside, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{MEND.format(name=diff.name)}\n{done.stderr}"
    return folder


def python(folder: Path, *arguments: object) -> subprocess.Popen[str]:
    """Start this interpreter with the code of `folder`, and pytest, if it is that, without plug-ins."""
    paths = os.pathsep.join([str(folder / "src"), str(folder)])
    variables = {"PYTHONPATH": paths, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        cwd=folder,
        env=os.environ | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def succeed(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, out[-3000:] + err[-3000:]
    return out


def pytest_in(folder: Path, *arguments: str) -> str:
    options = ("-q", "-p", "pytest_timeout", "-p", "no:cacheprovider", "--rootdir", str(folder))
    return succeed(python(folder, "-m", "pytest", *options, *arguments))


@pytest.mark.parametrize(("diff", "title"), [(VERB, "Add a verb"), (CELL, "Add a cell")])
def test_text_names_every_file_that_the_example_changes(diff, title):
    named = set(re.findall(r"`((?:src|tests|docs)/[\w/.]+)`", section(title)))
    assert changed_files(diff) - named == set()
    new = re.findall(r"^--- /dev/null\n\+\+\+ b/(.+)$", diff.read_text(encoding="utf-8"), re.MULTILINE)
    assert [name for name in named if name not in new and not (REPOSITORY / name).exists()] == []


def test_verb_of_the_example_passes_its_tests(changed):
    assert "4 passed" in pytest_in(changed, "tests/cli/test_knows.py")


def test_cell_of_the_example_learns_the_same_on_one_rank_and_on_two(changed, tmp_path):
    ranks = [python(changed, changed / "tests/architecture/cell_rank.py", rank, tmp_path) for rank in (0, 1)]
    told, nothing = [succeed(rank) for rank in ranks]
    assert nothing == ""
    found = json.loads(told)
    assert max(found["differences"]) < CLOSE
    assert len(set(found["losses"])) == len(found["losses"]), "nothing was learnt"


def strings(path: Path) -> set[str]:
    """All string constants of a file, docstrings and parts of longer ones not among them."""
    constants = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant))
    return {node.value for node in constants if isinstance(node.value, str)}


def test_text_names_every_file_that_tells_cells_apart():
    """Where a new cell may have to be entered: whatever file has "gru" as a string of its own."""
    likely = [path for path in SOURCES if "gru" in path.read_text()]
    telling = {path.relative_to(REPOSITORY).as_posix() for path in likely if "gru" in strings(path)}
    assert [name for name in sorted(telling) if f"`{name}`" not in section("Add a cell")] == []


def test_text_on_formats_names_what_a_format_defines():
    defined = {name for name in vars(InputFormat) if not name.startswith("_")}
    defined |= set(InputFormat.__annotations__)
    rows = re.findall(r"^\| (`.+?) \|", section("Add an input format"), re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert defined - named == {"count_lines", "batches", "in_batches"}, "only Parquet and CSV need these"
    assert named <= defined


def test_every_format_is_named_where_users_choose_it():
    """The command line and the settings do not import the registry: it would load numba for --help."""
    _, option = get_args(FormatOption)
    setting = PrepareSettings.model_fields["format"].description
    for name in ("auto", *FORMATS):
        assert name in option.help
        assert name in setting


# all that a change must pass


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_changed_code_passes_every_test_that_its_files_have(changed):
    """The cell under every layout; the verb's help, document and page."""
    files = [
        "parallel/test_equivalence",
        "model/test_network",
        "study/plan/test_measured",
        "inference/export/test_onnxmodel",
    ]
    files += ["architecture/test_layers", "docs/test_json"]
    chosen = "mingru or knows or states or dense_bytes or cell or contracts or every_verb or help_of_a_verb"
    everything = ("-m", "slow or not slow", "-k", chosen)
    told = pytest_in(changed, *(f"tests/{name}.py" for name in files), *everything)
    assert int(re.search(r"(\d+) passed", told)[1]) > 60


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_changed_code_passes_ruff_and_mypy(changed):
    for command in (
        ["ruff", "check", "src", "tests"],
        ["ruff", "format", "--check", "src", "tests"],
        ["mypy"],
    ):
        succeed(python(changed, "-m", *command))
