"""Everything that is written as JSON says what it holds, field by field: the reference is made of that."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture.test_budgets import SOURCE, SOURCES, relative
from tests.conftest import REPOSITORY

REFERENCE = REPOSITORY / "docs" / "reference"
SHOWN = re.compile(
    r"\{(?:fields|sections)\} sentiscale\.([\w.]+):(\w+)|autoclass:: sentiscale\.([\w.]+)\.(\w+)"
)


def classes(path: Path) -> dict[str, ast.ClassDef]:
    return {
        node.name: node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ClassDef)
    }


def without_words(node: ast.ClassDef) -> Iterator[str]:
    """Fields under which no docstring stands."""
    for field, under in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            text = under.value if isinstance(under, ast.Expr) else None
            if not (isinstance(text, ast.Constant) and isinstance(text.value, str)):
                yield f"{node.name}.{field.target.id}"


def record_names() -> set[str]:
    """Record, Section, and all classes made of them."""
    found = {"Record", "Section"}
    while True:
        more = {node.name for path in SOURCES for node in CLASSES[path].values() if bases_of(node) & found}
        if more <= found:
            return found
        found |= more


def bases_of(node: ast.ClassDef) -> set[str]:
    return {ast.unparse(base) for base in node.bases}


CLASSES = {path: classes(path) for path in SOURCES}
RECORDS = record_names()


def shown_in_the_reference() -> set[tuple[Path, str]]:
    """Classes whose fields the pages of the reference list."""
    pages = "\n".join(page.read_text(encoding="utf-8") for page in REFERENCE.glob("*.md"))
    found = ((a or c, b or d) for a, b, c, d in SHOWN.findall(pages))
    return {(SOURCE / f"{module.replace('.', '/')}.py", name) for module, name in found}


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_every_field_of_a_record_says_what_it_holds(path):
    records = [node for node in CLASSES[path].values() if bases_of(node) & RECORDS]
    assert [field for node in records for field in without_words(node)] == []


def test_every_field_in_the_reference_says_what_it_holds():
    shown = shown_in_the_reference()
    assert len(shown) > 15, "the pages are not understood"
    assert [field for path, name in sorted(shown) for field in without_words(CLASSES[path][name])] == []
