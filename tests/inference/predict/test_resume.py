"""A resumed job writes the output of an undisturbed one, byte for byte."""

import errno
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiscale.data.inputs import Inputs
from sentiscale.data.workspace import working_directory
from sentiscale.errors import Interrupted, SentiscaleError, UsageError
from sentiscale.inference.batch import BatchJob, PredictionParts
from sentiscale.inference.outputs import AddedColumns
from sentiscale.inference.predictor import Predictor
from sentiscale.util.progress import Progress

ROWS = 400


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr("sentiscale.data.inputs.BLOCK_BYTES", 1000)


@pytest.fixture
def reviews(tmp_path):
    path = tmp_path / "in.csv"
    path.write_text(
        "id,text\n" + "".join(f"{n},{'good' if n % 3 else 'not bad'} film {n}\n" for n in range(ROWS))
    )
    return path


class StopsAfter(Progress):
    """Presses Ctrl-C after so many chunks."""

    def __init__(self, chunks):
        self.left = chunks

    @contextmanager
    def task(self, name, total, unit):
        def advance(amount, note):
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt

        yield advance


def job(model, reviews, out, **options):
    predictor = Predictor.load(model, **options)
    return BatchJob(predictor, model, Inputs.find([str(reviews)]), out, AddedColumns(predictor.classes))


def counted(task, monkeypatch):
    """Rows of each batch that goes through the network from now on."""
    rows = []
    compute = task.predictor.network_logits
    monkeypatch.setattr(
        task.predictor, "network_logits", lambda *given: rows.append(len(given[0])) or compute(*given)
    )
    return rows


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_interrupted_and_resumed(model, reviews, tmp_path, monkeypatch, suffix):
    whole, out = tmp_path / f"whole.{suffix}", tmp_path / f"out.{suffix}"
    job(model, reviews, whole).run(workers=1)
    with pytest.raises(Interrupted, match="--resume"):
        job(model, reviews, out).run(workers=2, progress=StopsAfter(4))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["in.csv", whole.name, f".{out.name}.partial"]
    )
    again = job(model, reviews, out)
    rows = counted(again, monkeypatch)
    result = again.run(workers=3, resume=True)
    assert out.read_bytes() == whole.read_bytes()
    assert result.summary.rows == ROWS
    assert 0 < sum(rows) < ROWS - 100, "finished chunks are not computed again"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["in.csv", whole.name, out.name])


OTHERWISE = {"--full": {"full": True}, "--no-threshold": {"thresholds": False}}


@pytest.mark.parametrize("changed", ["input", *OTHERWISE, "--resume left out"])
def test_only_the_same_job_is_resumed(model, reviews, tmp_path, monkeypatch, changed):
    out = tmp_path / "out.csv"
    with pytest.raises(Interrupted):
        job(model, reviews, out).run(workers=1, progress=StopsAfter(4))
    if changed == "input":
        reviews.write_text(reviews.read_text().replace("good", "awful"))
    again = job(model, reviews, out, **OTHERWISE.get(changed, {}))
    rows = counted(again, monkeypatch)
    again.run(workers=1, resume=changed != "--resume left out")
    assert sum(rows) == ROWS


def test_a_full_disk_keeps_finished_chunks(model, reviews, tmp_path, monkeypatch):
    out = tmp_path / "out.csv"
    written = []

    def fail_later(self, chunk, added):
        written.append(chunk)
        if len(written) == 4:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("sentiscale.inference.outputs.TableWriter.write", fail_later)
        with pytest.raises(SentiscaleError, match="No space left"):
            job(model, reviews, out).run(workers=1)
    again = job(model, reviews, out)
    rows = counted(again, monkeypatch)
    assert again.run(workers=1, resume=True).summary.rows == ROWS
    assert sum(rows) < ROWS


@given(size=st.integers(0, 3000), flipped=st.none() | st.integers(0, 2999))
def test_a_damaged_part_is_computed_again(predictor, tmp_path_factory, size, flipped):
    parts = PredictionParts(tmp_path_factory.mktemp("parts"), predictor.classes)
    expected = predictor.predict_columns([f"good film {n}" for n in range(30)])
    parts.write(7, expected)
    (path,) = parts.folder.iterdir()
    content = bytearray(path.read_bytes())
    if flipped is not None:
        content[flipped % len(content)] ^= 1
    path.write_bytes(content[:size])
    found = parts.read(7)
    if found is not None:
        assert found.probabilities.tolist() == expected.probabilities.tolist()
        assert found.codes.tolist() == expected.codes.tolist()
        assert found.truncated.tolist() == expected.truncated.tolist()
        assert found.unknown_share.tolist() == expected.unknown_share.tolist()
    assert found is not None or flipped is not None or size < len(content)
    assert parts.read(8) is None


def test_two_jobs_do_not_write_one_output(model, reviews, tmp_path):
    out = tmp_path / "out.csv"
    with working_directory(out, {}, resume=False), pytest.raises(UsageError, match="is writing"):
        job(model, reviews, out).run(workers=1)


def test_a_pipe_cannot_be_gone_on_with(cli, model):
    failed = cli("predict", model, "-", "--out", "out.csv", "--resume", stdin="good\n")
    assert failed.returncode == 2
    assert "--resume reads the input again" in failed.stderr


@pytest.fixture(scope="module")
def undisturbed(model, tmp_path_factory):
    """A longer job in small blocks: its command, all but the output, and its result."""
    folder = tmp_path_factory.mktemp("long")
    rows = "".join(f"{n},{'good' if n % 3 else 'not bad'} film {n}\n" for n in range(200_000))
    (folder / "in.csv").write_text("id,text\n" + rows)
    blocks = ("--set", "prepare.block_mb=0.02")
    command = [sys.executable, "-m", "sentiscale", "predict", model, folder / "in.csv", *blocks, "--quiet"]
    subprocess.run([*command, "--out", folder / "whole.parquet"], check=True, timeout=300)
    return command, folder / "whole.parquet"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_the_real_command_stopped_half_way(undisturbed, tmp_path, number):
    """Killed outright, or asked to end; what is visible meanwhile is nothing."""
    command, whole = undisturbed
    out, parts = tmp_path / "out.parquet", tmp_path / ".out.parquet.partial" / "predictions"
    process = subprocess.Popen([*command, "--out", out], stderr=subprocess.PIPE, text=True)
    while process.poll() is None and len(list(parts.glob("*.parquet"))) < 50:
        time.sleep(0.01)
    assert process.poll() is None, "it ended before it could be stopped"
    process.send_signal(number)
    _, messages = process.communicate(timeout=120)
    assert process.returncode == (-number if number == signal.SIGKILL else 130)
    assert "Traceback" not in messages
    assert not out.exists()
    subprocess.run([*command, "--out", out, "--resume"], check=True, timeout=120)
    assert out.read_bytes() == whole.read_bytes()
    assert os.listdir(tmp_path) == ["out.parquet"]
