"""Every notebook runs from top to bottom; it shows pictures, complains of nothing and holds no logic."""

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError

from tests.notebooks.running import NOTEBOOKS, code_cells, execute, kernel, read, settings_cell

QUIET = {"QUIET": 1e9}  # a busy machine is no fault of the notebook
SMALLEST = {
    "ROWS": 1500,
    "WIDTH": 8,
    "EPOCHS": 0.5,
    "STEPS": 4,
    "REPEATS": 1,
    "SEEDS": [0],
    "WORKERS": (2,),
    "MODELS": ["lstm", "tfidf-lr"],
    "PRECISIONS": ("fp32", "bf16"),
}
TWO_RANKS_AT_MOST = {
    "05_model_parallel_and_hybrid": ("1x1", "1x2"),
    "08_scaling_and_efficiency": ("1x1", "2x1"),
}
MOST_LINES = 20
"""Of a cell: more is a program, and belongs into the package."""

SLOW = {"03_lstm_vs_gru", "04_data_parallel"}
"""What 3 calls has tests of its own; 5 and 8 call the same as 4."""

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def names_set(source: str) -> list[str]:
    """Names that a cell of settings gives values to."""
    return [
        target.id
        for each in ast.parse(source).body
        if isinstance(each, ast.Assign)
        for target in each.targets
    ]


def settings(path: Path, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the wanted settings that the notebook has."""
    own = names_set(settings_cell(read(path)).source)
    return {name: value for name, value in wanted.items() if name in own}


def test_there_are_eight():
    assert [path.stem[:2] for path in NOTEBOOKS] == ["01", "02", "03", "04", "05", "06", "07", "08"]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=pytest.mark.slow if path.stem in SLOW else ()) for path in NOTEBOOKS],
    ids=lambda path: path.stem,
)
def test_runs_from_top_to_bottom(path, shared_kernel):
    layouts = {"LAYOUTS": TWO_RANKS_AT_MOST[path.stem]} if path.stem in TWO_RANKS_AT_MOST else {}
    ran = execute(read(path), shared_kernel, settings(path, {**SMALLEST, **QUIET, **layouts, "DATA": "data"}))
    assert ran.text("stderr") == ""
    assert ran.pictures >= 1


@pytest.mark.slow
@pytest.mark.timeout(900)
@every_notebook
def test_runs_with_the_settings_it_comes_with(path, own_desk):
    with kernel(own_desk) as own_kernel:
        ran = execute(read(path), own_kernel, settings(path, QUIET))
    assert ran.text("stderr") == ""
    assert ran.pictures >= 1


@every_notebook
def test_is_kept_without_outputs(path):
    notebook = read(path)
    nbformat.validate(notebook)
    assert notebook.nbformat == 4
    assert notebook.metadata.kernelspec.name == "python3"
    assert [cell.outputs for cell in code_cells(notebook) if cell.outputs] == []
    assert {cell.execution_count for cell in code_cells(notebook)} == {None}


@every_notebook
def test_begins_with_a_question_and_settings(path):
    question, settings = read(path).cells[:2]
    assert question.source.startswith(f"# {int(path.stem[:2])} · ")
    assert "?" in question.source
    assert settings.metadata.tags == ["parameters"]
    assert "WORK" in names_set(settings.source)


@every_notebook
def test_says_how_to_read_it_and_what_not_to_conclude(path):
    words = "\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")
    for heading in ("## How to read it", "## What not to conclude", "## What to try next"):
        assert words.count(heading) == 1


@every_notebook
def test_holds_no_logic(path):
    for cell in code_cells(read(path)):
        assert len(cell.source.splitlines()) <= MOST_LINES
        for node in ast.walk(ast.parse(cell.source)):
            assert not isinstance(node, ast.ClassDef | ast.While | ast.Try)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno - node.lineno < 3, f"{node.name} belongs into the package"


def a_notebook(*cells: str):
    """A notebook made on the spot; its first cell holds the settings."""
    made = [nbformat.v4.new_code_cell(source) for source in cells]
    made[0].metadata.tags = ["parameters"]
    return nbformat.v4.new_notebook(cells=made)


def test_an_error_in_a_cell_is_raised(shared_kernel):
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        execute(a_notebook("N = 1", "1 / N"), shared_kernel, {"N": 0})


def test_names_of_another_notebook_are_gone(shared_kernel):
    execute(a_notebook("N = 1", "left = N"), shared_kernel, {})
    with pytest.raises(CellExecutionError, match="NameError"):
        execute(a_notebook("N = 1", "left"), shared_kernel, {})


def test_complaints_of_python_libraries_and_processes_are_seen(shared_kernel):
    complaining = "import os, warnings; warnings.warn('from python'); os.system('echo from a process >&2')"
    ran = execute(a_notebook("N = 1", complaining, "print(N)"), shared_kernel, {"N": "of the test"})
    assert "from python" in ran.text("stderr")
    assert "from a process" in ran.text("stderr")
    assert ran.text("stdout") == "of the test\n"
    assert ran.pictures == 0
