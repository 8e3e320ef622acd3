"""Run a notebook as a reader would, top to bottom in a Jupyter kernel, with other settings."""

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import run_sync
from nbclient import NotebookClient
from nbformat import NotebookNode

from tests.conftest import REPOSITORY

NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
PICTURES = ("image/png", "image/svg+xml")
CELL_SECONDS = 600


@dataclass(frozen=True)
class Ran:
    """A notebook with what its cells have shown."""

    notebook: NotebookNode

    @cached_property
    def outputs(self) -> list[NotebookNode]:
        return [output for cell in code_cells(self.notebook) for output in cell.outputs]

    def text(self, stream: str) -> str:
        """Everything written to stdout or stderr, by Python, by libraries and by processes it started."""
        return "".join(output.text for output in self.outputs if output.get("name") == stream)

    @property
    def pictures(self) -> int:
        return sum(kind in output.get("data", {}) for output in self.outputs for kind in PICTURES)


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=nbformat.NO_CONVERT)


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def settings_cell(notebook: NotebookNode) -> NotebookNode:
    """The cell that papermill, and this harness, replace settings after."""
    (cell,) = (cell for cell in code_cells(notebook) if "parameters" in cell.metadata.get("tags", ()))
    return cell


@contextmanager
def kernel(folder: Path) -> Iterator[AsyncKernelManager]:
    """A kernel that runs notebooks in `folder`."""
    with tempfile.TemporaryDirectory() as elsewhere:
        # Sockets that are files: of open ports the kernel would complain.
        manager = AsyncKernelManager(kernel_name="python3", transport="ipc", ip=f"{elsewhere}/kernel")
        run_sync(manager.start_kernel)(cwd=str(folder), env=kernel_environment(Path(elsewhere)))
        try:
            yield manager
        finally:
            run_sync(manager.shutdown_kernel)(now=True)


def execute(notebook: NotebookNode, manager: AsyncKernelManager, settings: Mapping[str, Any]) -> Ran:
    """Run all cells, with `settings` in place of the notebook's own, and no name of an earlier notebook.

    Raises: CellExecutionError with the cell and its traceback when a cell fails.
    """
    given = "\n".join(f"{name} = {value!r}" for name, value in settings.items())
    place = notebook.cells.index(settings_cell(notebook)) + 1
    notebook.cells.insert(place, nbformat.v4.new_code_cell(given))
    notebook.cells.insert(0, nbformat.v4.new_code_cell("%reset -f"))
    client = NotebookClient(notebook, km=manager, timeout=CELL_SECONDS)
    try:
        client.execute()
    finally:
        client.kc.stop_channels()
    return Ran(notebook)


def kernel_environment(elsewhere: Path) -> dict[str, str]:
    """As a reader's kernel has it: this interpreter, and none of what this machine's user has configured."""
    # With pytest's variable set, ipykernel would not show what libraries and child processes write.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return kept | {"PATH": path, "IPYTHONDIR": str(elsewhere), "JUPYTER_PREFER_ENV_PATH": "1"}
