"""Prepared data, records and settings that cannot be used: one line on stderr, the exit code, no waiting."""

import json
import os
import shutil
from pathlib import Path

import pytest

from sentiscale.data.prepare import prepare
from sentiscale.datasets.output import synth
from tests.data.test_prepared import change, update_digests
from tests.study.analysis.made import two_cores

TRAIN = ("train", "data", "--out", "run", "--set", "model.hidden_dim=8", "--set", "model.embedding_dim=8")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("damaged")
    synth(300, 5, out=folder / "reviews.txt")
    return prepare(folder / "reviews.txt", folder / "data", workers=1).path


def fifo(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def capitals(data: Path) -> None:
    lines = (data / "vocab.txt").read_text().splitlines()
    lines[9] = "Capitals"
    (data / "vocab.txt").write_text("\n".join(lines) + "\n")
    update_digests(data)


def records(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    lines = [json.loads(run.model_dump_json()) for run in two_cores()]
    lines[2]["seconds"] = -1.0
    (folder / "records.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder / "records.jsonl"


CASES = {
    "train: a token beyond the vocabulary": (
        lambda folder: change(folder / "data", "train/tokens.bin", [60_000]),
        TRAIN,
        3,
        "its token ids are",
    ),
    "train: offsets that fall in the test split": (
        lambda folder: change(folder / "data", "test/offsets.bin", [0, 3, 1]),
        TRAIN,
        3,
        "row 1 has -2 tokens",
    ),
    "train: a word with capitals": (lambda folder: capitals(folder / "data"), TRAIN, 3, "vocab.txt:10 is "),
    "eda: a FIFO as the manifest": (
        lambda folder: fifo(folder / "data" / "manifest.json"),
        ("eda", "data", "--out", "page.html"),
        3,
        "is a FIFO",
    ),
    "train: nested settings": (
        lambda folder: (folder / "deep.toml").write_text("a = " + "[" * 10_000),
        (*TRAIN, "--config", "deep.toml"),
        2,
        "deep.toml is not valid TOML: it is nested too deep",
    ),
    "report: a negative time": (
        lambda folder: records(folder / "study"),
        ("report", "study"),
        3,
        "study/records.jsonl:3 is not a BenchRun: seconds is -1.0",
    ),
    "plan: a FIFO": (
        lambda folder: fifo(records(folder / "study")),
        ("plan", "study"),
        3,
        "study/records.jsonl is a FIFO",
    ),
    "report: a table with a field of a megabyte": (
        lambda folder: (folder / "times.csv").write_text(f"workers,seconds\n1,2\n2,{'9' * 2**20}\n"),
        ("report", "--timings", "times.csv"),
        3,
        "times.csv is not valid CSV",
    ),
}


@pytest.mark.parametrize(("damage", "command", "code", "told"), CASES.values(), ids=CASES.keys())
def test_damage_ends_in_one_line_and_a_code(cli, prepared, tmp_path, damage, command, code, told):
    shutil.copytree(prepared, tmp_path / "data")
    damage(tmp_path)
    done = cli(*command)
    assert done.returncode == code, done.stderr
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1
