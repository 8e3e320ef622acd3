"""An interrupted job goes on, and its output is that of an undisturbed one, byte for byte."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiscale.data.inputs import Inputs
from sentiscale.errors import Interrupted, UsageError
from sentiscale.inference.batch import FileJob, Journal
from sentiscale.inference.outputs import Added
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


def job(model, reviews, out):
    kept = Inputs.find([str(reviews)]).with_columns(whole_records=out.suffix == ".jsonl")
    return FileJob(Predictor.load(model), model, kept, out, Added())


def counted(task, monkeypatch):
    """How many rows go through the network from now on."""
    rows = []
    compute = task.predictor.batch_logits
    monkeypatch.setattr(
        task.predictor, "batch_logits", lambda *given: rows.append(len(given[2])) or compute(*given)
    )
    return rows


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_interrupted_and_resumed(model, reviews, tmp_path, monkeypatch, suffix):
    whole, out = tmp_path / f"whole.{suffix}", tmp_path / f"out.{suffix}"
    job(model, reviews, whole).run(workers=1)
    with pytest.raises(Interrupted, match="--resume"):
        job(model, reviews, out).run(workers=2, progress=StopsAfter(4))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["in.csv", whole.name, f".{out.name}.journal"]
    )
    again = job(model, reviews, out)
    rows = counted(again, monkeypatch)
    summary, _ = again.run(workers=3, resume=True)
    assert out.read_bytes() == whole.read_bytes()
    assert summary.rows == ROWS
    assert 0 < sum(rows) < ROWS - 100, "what was done before is not computed again"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["in.csv", whole.name, out.name])


@pytest.mark.parametrize("changed", ["input", "settings", "not asked for"])
def test_only_the_same_job_is_gone_on_with(model, reviews, tmp_path, monkeypatch, changed):
    out = tmp_path / "out.csv"
    with pytest.raises(Interrupted):
        job(model, reviews, out).run(workers=1, progress=StopsAfter(4))
    if changed == "input":
        reviews.write_text(reviews.read_text().replace("good", "awful"))
    again = job(model, reviews, out)
    if changed == "settings":
        monkeypatch.setattr(FileJob, "plan", lambda self: {"other": 1})
    rows = counted(again, monkeypatch)
    again.run(workers=1, resume=changed != "not asked for")
    assert sum(rows) == ROWS


@given(cut=st.integers(0, 5000), flip=st.none() | st.integers(0, 4999))
def test_a_damaged_journal_gives_whole_chunks_from_the_start_or_none(predictor, tmp_path_factory, cut, flip):
    out = tmp_path_factory.mktemp("journal") / "out.csv"
    chunks = [predictor.predict_columns(["good film"] * n) for n in (5, 0, 30, 7)]
    with suppress(KeyboardInterrupt), Journal(out, {"a": 1}, resume=False) as journal:
        for chunk in chunks:
            journal.add(chunk)
        raise KeyboardInterrupt
    content = bytearray(journal.path.read_bytes())
    if flip is not None:
        content[flip % len(content)] ^= 1
    journal.path.write_bytes(content[:cut])
    with suppress(KeyboardInterrupt), Journal(out, {"a": 1}, resume=True) as journal:
        found = list(journal.finished())
        for kept, wanted in zip(found, chunks, strict=False):
            assert kept.positive_probability.tolist() == wanted.positive_probability.tolist()
            assert kept.truncated.tolist() == wanted.truncated.tolist()
            assert kept.unknown_share.tolist() == wanted.unknown_share.tolist()
        if flip is None and cut >= len(content):
            assert len(found) == len(chunks)
        for chunk in chunks[len(found) :]:
            journal.add(chunk)
        raise KeyboardInterrupt
    with Journal(out, {"a": 1}, resume=True) as journal:
        assert [len(found) for found in journal.finished()] == [5, 0, 30, 7]
    assert not journal.path.exists()


def test_two_jobs_do_not_write_one_output(predictor, tmp_path):
    out = tmp_path / "out.csv"
    with Journal(out, {}, resume=False), pytest.raises(UsageError, match="another `predict` is writing"):
        Journal(out, {}, resume=True)


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
    subprocess.run([*command, "--out", folder / "whole.parquet"], check=True, timeout=120)
    return command, folder / "whole.parquet"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_the_real_command_stopped_half_way(undisturbed, tmp_path, number):
    """Killed outright, or asked to end; what is visible meanwhile is nothing."""
    command, whole = undisturbed
    out, journal = tmp_path / "out.parquet", tmp_path / ".out.parquet.journal"
    process = subprocess.Popen([*command, "--out", out], stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not (journal.exists() and journal.stat().st_size > 200_000):
        time.sleep(0.01)
    assert process.poll() is None, "it ended before it could be stopped"
    process.send_signal(number)
    _, messages = process.communicate(timeout=60)
    assert process.returncode == (-number if number == signal.SIGKILL else 130)
    assert "Traceback" not in messages
    assert not out.exists()
    subprocess.run([*command, "--out", out, "--resume"], check=True, timeout=120)
    assert out.read_bytes() == whole.read_bytes()
    assert os.listdir(tmp_path) == ["out.parquet"]
