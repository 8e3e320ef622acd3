"""What the repository must not hold: unsafe loading, traces of one machine, large files; public names."""

import ast
import importlib
import inspect
import re
import subprocess
from pathlib import Path

import pytest

import sentiscale
from tests.architecture.test_budgets import SOURCES, relative
from tests.conftest import REPOSITORY

# Written with brackets so that this file does not match itself.
FOREIGN = re.compile(
    r"/w[o]rk/|/r[o]ot/|/h[o]me/\w+/|/U[s]ers/\w+/|C:\\U[s]ers"
    r"|pypi\.o[r]g|pythonh[o]sted|registry\.n[p]mjs|deb\.d[e]bian|download\.pyt[o]rch"
)
UNSAFE_MODULES = {"pickle", "cloudpickle", "joblib", "marshal", "shelve", "dill"}
UNSAFE_CALLS = {"eval", "exec", "compile", "__import__"}


def tracked_files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    if listed.returncode != 0:
        pytest.skip("needs a git checkout to tell the project's files from others")
    paths = [REPOSITORY / name for name in listed.stdout.split("\0") if name]
    return [path for path in paths if path.is_file()]


def called_name(call: ast.Call) -> str:
    """`torch.load` for torch.load(…), `eval` for eval(…)."""
    return ast.unparse(call.func)


def unsafe_uses(source: str) -> list[str]:
    """Everything in `source` that would execute what a data file says."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] in UNSAFE_MODULES]
        elif isinstance(node, ast.ImportFrom):
            found += [str(node.module)] * (str(node.module).split(".")[0] in UNSAFE_MODULES)
        elif isinstance(node, ast.Call):
            options = {option.arg: ast.unparse(option.value) for option in node.keywords}
            name = called_name(node)
            if name in UNSAFE_CALLS or options.get("allow_pickle") == "True":
                found.append(name)
            if name == "torch.load" and options.get("weights_only") != "True":
                found.append("torch.load without weights_only=True")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_no_file_is_ever_executed_as_code(path):
    assert unsafe_uses(path.read_text()) == []


@pytest.mark.parametrize(
    "source",
    ["import pickle", "from joblib import load", "eval(text)", "torch.load(f)", "load(f, allow_pickle=True)"],
)
def test_unsafe_uses_are_recognised(source):
    assert len(unsafe_uses(source)) == 1


def test_no_trace_of_a_machine_or_a_package_registry():
    found = []
    for path in tracked_files():
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if FOREIGN.search(line):
                found.append(f"{relative(path)}:{number}: {line.strip()[:90]}")
    assert found == []


def test_no_large_files():
    assert [relative(path) for path in tracked_files() if path.stat().st_size > 1_000_000] == []


def test_public_names_exist_and_are_described():
    assert sorted(sentiscale.__all__) == dir(sentiscale)
    for name in sentiscale.__all__:
        assert inspect.getdoc(getattr(sentiscale, name)), f"sentiscale.{name} has no docstring"


def test_unknown_public_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'prepair'"):
        sentiscale.prepair  # noqa: B018


def test_type_checkers_see_the_same_public_names():
    """The names imported for type checkers are those loaded at run time."""
    tree = ast.parse(Path(inspect.getfile(sentiscale)).read_text())
    seen = {
        alias.asname or alias.name: str(node.module)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert sorted(seen) == sorted(sentiscale.__all__)
    for name, module in seen.items():
        assert getattr(importlib.import_module(module), name) is getattr(sentiscale, name)


def test_constraints_pin_every_dependency_of_the_project():
    """A range in pyproject.toml without a pin would make two installations differ."""
    import tomllib

    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    wanted = [
        *project["project"]["dependencies"],
        *project["project"]["optional-dependencies"]["fetch"],
        *project["dependency-groups"]["dev"],
        *project["dependency-groups"]["docs"],
    ]
    pins = {}
    for line in (REPOSITORY / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            pin = Requirement(line)
            pins[canonicalize_name(pin.name)] = str(pin.specifier).removeprefix("==")
    for text in wanted:
        requirement = Requirement(text)
        version = pins.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} is not pinned in constraints.txt"
        assert requirement.specifier.contains(version), f"{text} forbids the pinned {version}"
