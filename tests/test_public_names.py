"""What `import sentiscale` offers: every promised name is there, and no module hides one."""

import ast
import importlib
import inspect
from pathlib import Path

import pytest

import sentiscale


@pytest.mark.parametrize("name", sentiscale.__all__)
def test_a_public_name_is_a_documented_object(name):
    found = getattr(sentiscale, name)
    assert not inspect.ismodule(found)
    assert inspect.getdoc(found)


def test_an_unknown_name_is_refused():
    with pytest.raises(AttributeError, match="no attribute 'modell'"):
        sentiscale.modell  # noqa: B018 - looking is what is tested


def test_names_are_listed_for_completion():
    assert dir(sentiscale) == sorted(sentiscale.__all__)


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
