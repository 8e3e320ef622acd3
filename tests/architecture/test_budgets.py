"""Sizes that keep the code readable: lines and parameters of a function."""

import ast
from pathlib import Path

import pytest

from sentiscale.cli import VERBS
from tests.conftest import REPOSITORY

SOURCE = REPOSITORY / "src" / "sentiscale"
SOURCES = sorted(SOURCE.rglob("*.py"))
MOST_FUNCTION_LINES, MOST_PARAMETERS = 60, 7

Function = ast.FunctionDef | ast.AsyncFunctionDef


def relative(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


def functions(path: Path) -> list[Function]:
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, Function)]


def is_verb(path: Path, function: Function) -> bool:
    """A verb's parameters are its flags; they are the user's interface, not a call somebody writes."""
    return path.parent.name == "cli" and function.name == path.stem


def is_estimator(path: Path, function: Function) -> bool:
    """scikit-learn wants every setting of an estimator to be an argument of its own, by name."""
    return path == SOURCE / "inference" / "sklearn.py" and function.name == "__init__"


def parameters(function: Function) -> int:
    given = function.args
    names = [argument.arg for argument in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    return len(names) - (names[:1] in (["self"], ["cls"]))


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_functions_are_short_and_take_few_parameters(path):
    for function in functions(path):
        lines = (function.end_lineno or function.lineno) - function.lineno + 1
        if not is_verb(path, function) and not is_estimator(path, function):
            assert lines <= MOST_FUNCTION_LINES, f"{function.name} has {lines} lines"
            # The Python form of a verb takes what the verb takes, by keyword.
            assert function.name in VERBS or parameters(function) <= MOST_PARAMETERS, (
                f"pass {function.name} a settings object"
            )


def test_half_of_all_functions_fit_on_a_glance():
    lengths = sorted((f.end_lineno or 0) - f.lineno + 1 for path in SOURCES for f in functions(path))
    assert lengths[len(lengths) // 2] <= 15
