"""Every file of the project passes `scripts/check_source.py`, and each of its checks can fail."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.architecture.sources import tracked_files
from tests.conftest import REPOSITORY

SCRIPTS = REPOSITORY / "scripts"
FILE = Path("module.py")
LONG = "def long():\n" + "    x = 1\n" * 60
RECORD = """class Base(Record):
    pass


class Derived(Base):
    field: int
    other: int
    '''What it holds.'''
"""


@pytest.fixture
def checks(monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("check_source")


def trees(*sources: str) -> dict[Path, ast.Module]:
    return {Path(f"module{number}.py"): ast.parse(source) for number, source in enumerate(sources)}


def test_every_file_passes():
    tracked_files()  # skips outside of a checkout
    done = subprocess.run([sys.executable, SCRIPTS / "check_source.py"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_long_functions_are_found_but_for_verbs(checks):
    assert any("long has 61 lines" in fault for fault in checks.function_faults(trees(LONG)))
    assert any("median" in fault for fault in checks.function_faults(trees(LONG)))
    verb = {Path("cli/long.py"): ast.parse(LONG + "def short(): pass\n" * 2)}
    assert list(checks.function_faults(verb)) == []


def test_pickles_in_arrays_are_found(checks):
    assert len(list(checks.pickle_faults(trees("np.load(file, allow_pickle=True)")))) == 1


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "import torch\ntorch.load(file)",
        "eval(text)",
        "exec(text)",
    ],
)
def test_ruff_refuses_what_runs_code_from_a_file(source):
    """In a file of src that does not exist: ruff reads the text from standard input."""
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--quiet", "--output-format", "concise"]
    command += ["--stdin-filename", "src/sentiscale/new.py", "-"]
    done = subprocess.run(command, input=source, capture_output=True, text=True, cwd=REPOSITORY)
    assert any(f" {rule} " in done.stdout for rule in ("TID251", "S102", "S307")), done.stdout + done.stderr


@pytest.mark.parametrize("comment", ["x = 1  # fmt: skip", "# fmt:off"])
def test_an_exempt_line_is_found(checks, comment):
    assert len(list(checks.formatter_faults(comment, FILE))) == 1
    assert list(checks.formatter_faults("x = 1  # format skips this", FILE)) == []


def test_a_class_name_that_occurs_twice_is_found(checks):
    faults = list(checks.duplicate_classes(trees("class A: pass", "class A: pass", "class B: pass")))
    assert faults == ["module0.py: the class name A is also in module1.py."]


def test_undocumented_fields_are_found(checks):
    assert list(checks.record_faults(trees(RECORD))) == ["module0.py:6: Derived.field has no docstring."]
    path = checks.SOURCE / "some" / "module.py"
    pages = "```{fields} sentiscale.some.module:Derived\n```\n```{fields} sentiscale.some.module:Gone\n```"
    found = list(checks.reference_faults({path: ast.parse(RECORD)}, pages))
    assert [fault.split(": ")[-1] for fault in found] == [
        "Derived.field has no docstring.",
        "the reference lists sentiscale.some.module.Gone, which does not exist.",
    ]


def test_the_reference_is_understood(checks):
    pages = "\n".join(page.read_text(encoding="utf-8") for page in checks.REFERENCE.glob("*.md"))
    assert len(checks.SHOWN.findall(pages)) > 15


@pytest.mark.parametrize("text", ["/wo" + "rk/main", "/ho" + "me/anna/x", "https://py" + "pi.org/simple"])
def test_traces_of_a_machine_are_found(checks, text):
    assert len(list(checks.foreign_faults(f"first\n{text}", FILE))) == 1
    assert list(checks.foreign_faults("a homely place", FILE)) == []
