"""Who may import whom (the contracts of pyproject.toml), and what a quick command must not load."""

import subprocess
import sys

import pytest

from sentiscale.cli import VERBS
from tests.conftest import REPOSITORY

HEAVY = ("torch", "dask", "distributed", "numba", "pyarrow", "sklearn", "scipy", "matplotlib")
PROBE = """
import sys
try:
    {statement}
except SystemExit:
    pass
sys.stderr.write(" ".join(name for name in {heavy} if name in sys.modules))
"""


def loaded_by(statement: str) -> str:
    """The heavy libraries that running `statement` in a fresh process loads."""
    code = PROBE.format(statement=statement, heavy=HEAVY)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr


def test_import_contracts_hold():
    code = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_logo=True))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_loads_nothing_heavy(verb):
    loaded = loaded_by(f"from sentiscale.cli import app; app(['{verb}', '--help'])")
    assert loaded == "", f"import it inside the verb {verb}: it costs every --help its loading time"


@pytest.mark.parametrize(
    "statement", ["from sentiscale.cli import app; app(['--help'])", "import sentiscale, sentiscale.__main__"]
)
def test_menu_and_bare_import_load_nothing_heavy(statement):
    assert loaded_by(statement) == ""


def test_the_probe_sees_what_is_loaded():
    assert loaded_by("import scipy") == "scipy"
