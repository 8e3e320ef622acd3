"""Sizes, docstrings, types, tests and errors of Python code bases: a Markdown table, a column for each.

Usage: python scripts/codebase_figures.py NAME=CODE[:TESTS] ... [--without FOLDER,FOLDER]

       python scripts/codebase_figures.py sentiscale=src/sentiscale:tests \
           spaCy=spaCy/spacy:spaCy/spacy/tests --without lang

CODE and TESTS are folders. Everything is counted from the syntax tree; nothing is imported. Folders named
in --without, at any depth, do not count; nor does TESTS inside CODE count as code.
"""

import argparse
import ast
import builtins
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TypeGuard

Function = ast.FunctionDef | ast.AsyncFunctionDef
BRANCHES = (
    ast.If,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.With,
    ast.AsyncWith,
    ast.Try,
    ast.TryStar,
    ast.Match,
)
BROAD = {"Exception", "BaseException"}
PLAIN_ERRORS = {"ValueError", "RuntimeError"}
BUILTIN_ERRORS = {name for name, kind in vars(builtins).items() if isinstance(kind, type)} - PLAIN_ERRORS


@dataclass(frozen=True)
class Module:
    """One file and its syntax tree."""

    path: Path
    lines: list[str]
    tree: ast.Module

    @classmethod
    def read(cls, path: Path) -> "Module":
        """Raises SyntaxError for a file that this version of Python does not understand."""
        text = path.read_text(encoding="utf-8")
        return cls(path, text.splitlines(), ast.parse(text))

    @property
    def code_lines(self) -> int:
        """Lines that are not blank, not comment alone, not docstring, be it of a field."""
        described = {
            line
            for node in ast.walk(self.tree)
            if is_text(node)
            for line in range(node.lineno, (node.end_lineno or 0) + 1)
        }
        return sum(
            bool(line.strip()) and not line.lstrip().startswith("#") and number not in described
            for number, line in enumerate(self.lines, 1)
        )


def is_text(node: ast.AST | None) -> TypeGuard[ast.Expr]:
    """Whether a statement is nothing but a string."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def modules(folder: Path, without: Sequence[Path | str] = ()) -> list[Module]:
    """The Python files below a folder that hold anything, but for folders by name or by path."""
    found = []
    for path in sorted(folder.rglob("*.py")):
        inside = {*path.relative_to(folder).parts[:-1], *path.parents}
        if inside.isdisjoint(without) and path.stat().st_size:
            found.append(Module.read(path))
    return found


def functions(tree: ast.AST) -> Iterator[Function]:
    """Every function, methods and inner functions included."""
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def public(node: ast.Module | ast.ClassDef) -> Iterator[ast.ClassDef | Function]:
    """Classes, functions and methods without a leading underscore, but for overloads and inner functions."""
    for child in node.body:
        if not isinstance(child, ast.ClassDef | Function) or child.name.startswith("_"):
            continue
        if not any(ast.unparse(each).endswith("overload") for each in child.decorator_list):
            yield child
        if isinstance(child, ast.ClassDef):
            yield from public(child)


def fields_described(node: ast.ClassDef) -> Iterator[bool]:
    """For each `name: type` of a class body that is public, whether a docstring stands under it."""
    for field, under in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(field, ast.AnnAssign) and not ast.unparse(field.target).startswith("_"):
            yield is_text(under)


def length(function: Function) -> int:
    """Lines from `def` to the end, docstring included."""
    return (function.end_lineno or function.lineno) - function.lineno + 1


def annotated(function: Function) -> bool:
    """Whether every argument but self and cls, and what is returned, has a type."""
    given = function.args
    named = [*given.posonlyargs, *given.args, *given.kwonlyargs, *filter(None, [given.vararg, given.kwarg])]
    if named and named[0].arg in ("self", "cls"):
        named = named[1:]
    typed = all(argument.annotation is not None for argument in named)
    return typed and (function.returns is not None or function.name == "__init__")


def nesting(node: ast.AST) -> int:
    """Levels of statements that hold others below `node`; `elif` is no level of its own."""
    deepest = 0
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function | ast.ClassDef):
            continue
        deepest = max(deepest, nesting(child) + (isinstance(child, BRANCHES) and not is_elif(child, node)))
    return deepest


def is_elif(node: ast.AST, parent: ast.AST) -> bool:
    """Whether `node` is an `elif` of `parent`; an `if` below `else` stands further to the right."""
    if not (isinstance(node, ast.If) and isinstance(parent, ast.If)):
        return False
    return node in parent.orelse and node.col_offset == parent.col_offset


def broad(handler: ast.ExceptHandler) -> bool:
    """`except:`, `except Exception` or `except BaseException`, alone or among others."""
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(kind is None or ast.unparse(kind) in BROAD for kind in kinds)


def raises(tree: ast.AST) -> Iterator[bool]:
    """True for each `raise`."""
    return (True for node in ast.walk(tree) if isinstance(node, ast.Raise))


def raised(tree: ast.AST) -> Iterator[str]:
    """Names of the classes of `raise NAME` and `raise NAME(...)`; a bare `raise` and a variable have none."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and node.exc is not None:
            kind = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            name = ast.unparse(kind).rpartition(".")[2]
            if name[:1].isupper():
                yield name


def share(these: Sequence[bool]) -> str:
    """`93 %`, or a dash without anything to count."""
    return f"{sum(these) / len(these):.0%}".replace("%", " %") if these else "-"


def percentile(numbers: Sequence[int], percent: int) -> int:
    """The smallest number that so many percent of all do not exceed."""
    return sorted(numbers)[max(math.ceil(len(numbers) * percent / 100) - 1, 0)]


def figures(code: list[Module], tests: list[Module]) -> dict[str, str]:
    """All figures of one code base, ready to print, by what they are called."""
    lines = sum(module.code_lines for module in code)
    tested = sum(test.code_lines for test in tests) / lines
    return {
        "files": f"{len(code):,}",
        "lines of code": f"{lines:,}",
        **sizes(code),
        **words(code),
        "lines of test per line of code": f"{tested:.2f}",
        **failures(code),
    }


def sizes(code: list[Module]) -> dict[str, str]:
    """How long files and functions are, blank lines included, and how deep statements lie in each other."""
    files = sorted((len(module.lines), module.path.name) for module in code)
    found = [function for module in code for function in functions(module.tree)]
    lengths = [length(function) for function in found]
    longest = max(found, key=length)
    depths = [nesting(function) for function in found]
    return {
        "file, median lines": f"{median(lines for lines, _ in files):.0f}",
        "largest file": f"{files[-1][0]:,} (`{files[-1][1]}`)",
        "function, median lines": f"{median(lengths):.0f}",
        "function, 95th percentile": f"{percentile(lengths, 95)}",
        "largest function": f"{length(longest)} (`{longest.name}`)",
        "deepest nesting": f"{max(depths)}",
        "functions deeper than 4": f"{sum(depth > 4 for depth in depths)}",
    }


def words(code: list[Module]) -> dict[str, str]:
    """What says what it is for, and of which type it is."""
    names = [node for module in code for node in public(module.tree)]
    classes = [node for node in names if isinstance(node, ast.ClassDef)]
    all_functions = [function for module in code for function in functions(module.tree)]
    return {
        "modules with a docstring": share([ast.get_docstring(module.tree) is not None for module in code]),
        "public classes and functions with one": share(
            [ast.get_docstring(name) is not None for name in names]
        ),
        "their typed fields with one": share([said for each in classes for said in fields_described(each)]),
        "functions with complete types": share([annotated(function) for function in all_functions]),
    }


def failures(code: list[Module]) -> dict[str, str]:
    """What is raised, what is caught too widely, and what is only asserted."""
    nodes = [node for module in code for node in ast.walk(module.tree)]
    names = [name for module in code for name in raised(module.tree)]
    own = {node.name for node in nodes if isinstance(node, ast.ClassDef)}
    handlers = [node for node in nodes if isinstance(node, ast.ExceptHandler) and broad(node)]
    return {
        "raised: classes of its own": f"{sum(name in own for name in names)}",
        "raised: ValueError, RuntimeError": f"{sum(name in PLAIN_ERRORS for name in names)}",
        "raised: other builtin errors": f"{sum(name in BUILTIN_ERRORS - own for name in names)}",
        "`except Exception` or broader": f"{len(handlers)}",
        "of these, without a `raise`": f"{sum(not any(raises(handler)) for handler in handlers)}",
        "`assert`": f"{sum(isinstance(node, ast.Assert) for node in nodes)}",
    }


def table(columns: dict[str, dict[str, str]]) -> str:
    """Markdown, a row for each figure."""
    rows = [["", *columns], ["---"] * (len(columns) + 1)]
    names = next(iter(columns.values()))
    rows += [[name, *(column[name] for column in columns.values())] for name in names]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def column(base: str, without: Sequence[str]) -> tuple[str, dict[str, str]]:
    """Name and figures of one code base, given as NAME=CODE[:TESTS].

    Raises: ValueError when a folder is not there, or there is no code in it.
    """
    name, _, folders = base.partition("=")
    first, _, second = folders.partition(":")
    code, tests = Path(first), Path(second) if second else None
    if not first or not code.is_dir() or (tests and not tests.is_dir()):
        raise ValueError(f"'{base}' names a folder that is not there; it takes NAME=CODE[:TESTS].")
    found = modules(code, [*without, tests] if tests else without)
    if not any(True for module in found for _ in functions(module.tree)):
        raise ValueError(f"{code} holds no Python function.")
    return name, figures(found, modules(tests, without) if tests else [])


def main() -> None:
    """Read the arguments, count, print."""
    about = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=about)
    parser.add_argument("bases", nargs="+", metavar="NAME=CODE[:TESTS]")
    parser.add_argument("--without", default="", help="folders that do not count, with commas between")
    asked = parser.parse_args()
    try:
        columns = dict(column(base, asked.without.split(",")) for base in asked.bases)
    except (ValueError, SyntaxError) as error:
        parser.error(str(error))
    sys.stdout.write(table(columns) + "\n")


if __name__ == "__main__":
    main()
