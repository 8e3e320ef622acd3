"""`predict --scheduler` on real Dask processes: parts in input order, whatever happens to workers."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.data.cluster.processes import DaskProcesses, kill_group, wait_for
from tests.inference.predict.conftest import model

__all__ = ["model"]
pytestmark = pytest.mark.slow

ROWS_A_FILE, FILES = 90_000, 5


@pytest.fixture(scope="module")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables and lines of some 20 MB, which make a dozen parts; one row cannot be read."""
    folder = tmp_path_factory.mktemp("reviews")
    filler = "the film is a film " * 2
    for number in range(FILES):
        rows = [f"{'good' if i % 3 else 'not bad'} {filler}{i}" for i in range(ROWS_A_FILE)]
        if number == 2:
            (folder / "c.txt").write_text("\n".join(rows))
        else:
            lines = ["id,text", "1,too,many", *(f'{i},"{row}\n"' for i, row in enumerate(rows))]
            (folder / f"{'abxde'[number]}.csv").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def expected(model: Path, reviews: Path) -> dict[str, list[object]]:
    """What one machine gives."""
    out = reviews.parent / "expected.parquet"
    done = Prediction(model, reviews, out)
    assert done.ended() == 0, done.stderr
    return pq.read_table(out).to_pydict()


class Prediction:
    """A running `sentiscale predict`."""

    def __init__(self, model: Path, reviews: Path, out: Path, *more: str) -> None:
        self.out = out
        self.stderr = self.stdout = ""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sentiscale", "predict", model, reviews, "--out", out, "--json", *more],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def when(self, parts: int, action: Callable[[], object]) -> None:
        """Do something as soon as so many parts are there."""
        partial = self.out.with_name(f".{self.out.name}.partial")
        ready = lambda: len(list(partial.glob("parts/[0-9]*.parquet"))) >= parts  # noqa: E731
        wait_for(lambda: ready() or self.process.poll() is not None)
        assert self.process.poll() is None, "it ended before it could be disturbed"
        action()

    def ended(self) -> int:
        self.stdout, self.stderr = self.process.communicate(timeout=150)
        assert "Traceback" not in self.stderr, self.stderr
        return self.process.returncode


def same(out: Path, expected: dict[str, list[object]]) -> None:
    """The folder read as one table is what one machine gives."""
    found = pq.read_table(out).to_pydict()
    for name, values in expected.items():
        if name in ("probability", "positive_probability"):
            assert found[name] == pytest.approx(values, abs=1e-5)
        else:
            assert found[name] == values, name


def test_a_worker_killed_half_way(two_workers: DaskProcesses, model, reviews, expected, tmp_path):
    run = Prediction(model, reviews, tmp_path / "out", "--scheduler", two_workers.address)
    run.when(2, lambda: kill_group(two_workers.all[1]))
    assert run.ended() == 0, run.stderr
    same(tmp_path / "out", expected)
    summary = json.loads(run.stdout)
    assert (summary["rows"], summary["rejected"]) == (ROWS_A_FILE * FILES, FILES - 1)
    rejects = [json.loads(line) for line in (tmp_path / "out" / "_rejects.jsonl").read_text().splitlines()]
    assert [reject["line"] for reject in rejects] == [2] * (FILES - 1)
    parts = sorted(path.name for path in (tmp_path / "out").glob("part-*"))
    assert parts == [f"part-{number:08d}.parquet" for number in range(len(parts))]
    assert len(parts) > 4
    again = Prediction(model, reviews, tmp_path / "out", "--scheduler", two_workers.address)
    assert again.ended() == 2
    assert "--force" in again.stderr


def test_ctrl_c_then_resumed(two_workers: DaskProcesses, model, reviews, expected, tmp_path):
    arguments = ("--scheduler", two_workers.address)
    run = Prediction(model, reviews, tmp_path / "out", *arguments)
    run.when(3, lambda: run.process.send_signal(signal.SIGINT))
    assert run.ended() == 130
    assert not (tmp_path / "out").exists()
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob(".out.partial/parts/[0-9]*.parquet")}
    assert len(kept) >= 3
    resumed = Prediction(model, reviews, tmp_path / "out", *arguments, "--resume")
    assert resumed.ended() == 0, resumed.stderr
    same(tmp_path / "out", expected)
    times = {path.stat().st_mtime_ns for path in (tmp_path / "out").glob("part-*")}
    assert set(kept.values()) <= times, "parts that were there are not made again"
