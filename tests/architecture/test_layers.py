"""Who may import whom (the contracts of pyproject.toml), and what a quick command must not load."""

import subprocess
import sys

import pytest

from sentiscale.cli import VERBS
from tests.conftest import REPOSITORY

HEAVY = ("torch", "dask", "distributed", "bokeh", "numba", "pyarrow", "sklearn", "scipy", "matplotlib")
PROBE = """
import sys
for statement in {statements}:
    try:
        exec(statement)
    except SystemExit:
        pass
    print(*(name for name in {heavy} if name in sys.modules), file=sys.stderr)
"""


def loaded_by(*statements: str) -> list[str]:
    """The heavy libraries that are loaded after each of `statements`, run in one fresh process."""
    code = PROBE.format(statements=statements, heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stderr.splitlines()


def test_import_contracts_hold():
    code = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_logo=True))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 0, done.stdout


def test_help_of_a_verb_loads_nothing_heavy():
    loaded = loaded_by(*(f"from sentiscale.cli import app; app(['{verb}', '--help'])" for verb in VERBS))
    guilty = next((verb for verb, names in zip(VERBS, loaded, strict=True) if names), None)
    assert guilty is None, f"import it inside the verb {guilty}: it costs every --help its loading time"


@pytest.mark.parametrize(
    "statement", ["from sentiscale.cli import app; app(['--help'])", "import sentiscale, sentiscale.__main__"]
)
def test_menu_and_bare_import_load_nothing_heavy(statement):
    assert loaded_by(statement) == [""]


def test_threads_prepare_without_dask_and_torch(tmp_path):
    lines = [f"__label__{1 + number % 2} fine or bad {number % 9} {number}" for number in range(60)]
    (tmp_path / "a.txt").write_text("\n".join(lines))
    call = ["prepare", str(tmp_path / "a.txt"), "--out", str(tmp_path / "data"), "--quiet"]
    loaded = loaded_by(f"from sentiscale.cli import app; app({call})")[-1]
    assert (tmp_path / "data" / "manifest.json").exists()
    assert not {"torch", "dask", "distributed", "bokeh", "sklearn", "matplotlib"} & set(loaded.split())


def test_the_probe_sees_what_is_loaded():
    assert loaded_by("import json", "import scipy") == ["", "scipy"]
