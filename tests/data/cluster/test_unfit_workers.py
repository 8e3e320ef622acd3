"""Workers that cannot do our tasks are refused in one sentence that says which, why and what to do."""

import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from sentiscale.data.engine import open_engine
from sentiscale.data.worker import import_problem
from sentiscale.errors import ClusterError, DataError, UsageError
from tests.conftest import REPOSITORY
from tests.data.cluster import tasks
from tests.data.cluster.processes import DaskProcesses

HIDE_SENTISCALE = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "sentiscale":
            raise ModuleNotFoundError("No module named 'sentiscale'", name="sentiscale")

sys.meta_path.insert(0, Hidden())
"""


@pytest.fixture
def without_sentiscale(tmp_path: Path) -> Path:
    """A folder that hides the package from a Python started with it."""
    folder = tmp_path / "without"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(HIDE_SENTISCALE)
    return folder


@pytest.fixture
def another_version(tmp_path: Path) -> Path:
    """A folder with sentiscale as it was before somebody changed a cleaning rule."""
    folder = tmp_path / "another"
    shutil.copytree(REPOSITORY / "src" / "sentiscale", folder / "sentiscale")
    with open(folder / "sentiscale" / "text" / "clean.py", "a") as file:
        file.write("# something else\n")
    return folder


@pytest.mark.slow
def test_worker_without_the_package(dask_processes: DaskProcesses, without_sentiscale, tmp_path):
    dask_processes.start_scheduler()
    dask_processes.start_worker(python_path=without_sentiscale)
    sentence = r"^the worker at tcp://\S+ cannot load sentiscale's code .* Install sentiscale \S+ there"
    with pytest.raises(UsageError, match=sentence), open_engine(1, dask_processes.address, folder=tmp_path):
        pass


@pytest.mark.slow
def test_scheduler_without_the_package(dask_processes: DaskProcesses, without_sentiscale, tmp_path):
    dask_processes.start_scheduler(python_path=without_sentiscale)
    dask_processes.start_worker()
    sentence = r"^the scheduler at tcp://\S+ cannot load sentiscale's code"
    with pytest.raises(UsageError, match=sentence), open_engine(1, dask_processes.address, folder=tmp_path):
        pass


@pytest.mark.slow
def test_worker_with_other_code(dask_processes: DaskProcesses, another_version, tmp_path):
    dask_processes.start_scheduler()
    dask_processes.start_worker(python_path=another_version)
    sentence = r"^host \S+ runs code of sentiscale \w+, this machine code of sentiscale \w+\. Install"
    with pytest.raises(UsageError, match=sentence), open_engine(1, dask_processes.address, folder=tmp_path):
        pass


@pytest.mark.slow
def test_worker_with_other_code_that_joins_later(two_workers, another_version, tmp_path):
    """Every task looks for itself; what was done until then is kept."""
    threading.Timer(0.5, two_workers.start_worker, kwargs={"python_path": another_version}).start()
    with open_engine(1, two_workers.address, folder=tmp_path) as engine:
        results = engine.map(tasks.slow_square, ((n, n) for n in range(10_000)))
        with pytest.raises(ClusterError, match=r"^host \S+ runs code of sentiscale \w+, this machine"):
            list(results)


@pytest.mark.slow
def test_worker_that_does_not_see_the_shared_folder(dask_processes: DaskProcesses, tmp_path):
    """The worker's host has other storage at the same path."""
    shared = tmp_path / "shared"
    shared.mkdir()
    script = f'mount -t tmpfs none {shared} && exec "$@"'
    apart = ("unshare", "--mount", "sh", "-c", script, "sh")
    if subprocess.run([*apart, "true"], capture_output=True).returncode:
        pytest.skip("needs permission to mount for one process only")
    dask_processes.start_scheduler()
    dask_processes.start_worker(prefix=apart)
    sentence = rf"^host \S+ does not see the folder {shared} of this machine\. Give an --out on storage"
    with pytest.raises(UsageError, match=sentence), open_engine(1, dask_processes.address, folder=shared):
        pass
    assert list(shared.iterdir()) == []


@pytest.mark.slow
def test_what_a_task_raises_elsewhere_names_the_host(two_workers, tmp_path):
    with open_engine(1, two_workers.address, folder=tmp_path) as engine:
        with pytest.raises(DataError, match=r"^line 7 is bad \(seen on host \S+\)$"):
            list(engine.map(tasks.refuse, [(0, "line 7 is bad")]))
        with pytest.raises(ZeroDivisionError):
            list(engine.map(tasks.divide_by, [(0, 0)]))


@pytest.mark.slow
def test_files_that_only_this_host_has_are_noticed(two_workers, tmp_path):
    seen, hidden = tmp_path / "seen", tmp_path / "hidden"
    seen.write_bytes(b"12345")
    with open_engine(1, two_workers.address, folder=tmp_path) as engine:
        assert engine.workers_see(str(seen), 5)
        assert not engine.workers_see(str(seen), 6), "another file of that name"
        assert not engine.workers_see(str(hidden), 5)


@pytest.mark.parametrize(
    ("error", "is_explained"),
    [
        (ModuleNotFoundError("No module named 'sentiscale'"), True),
        (ModuleNotFoundError("No module named 'numba'"), True),
        (Exception("ModuleNotFoundError(\"No module named 'sentiscale'\")"), True),
        (AttributeError("Can't get attribute 'x' on <module 'sentiscale.data.shards'>"), True),
        (AttributeError("'NoneType' object has no attribute 'x'"), False),
        (ValueError("sentiscale"), False),
    ],
)
def test_only_code_that_cannot_be_loaded_is_explained(error, is_explained):
    assert (import_problem(error, "a worker") is not None) == is_explained
