"""Results reach standard output while progress is drawn on a real terminal (a pty)."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from threading import Thread

import pytest

from sentiscale.data.prepare import prepare
from sentiscale.datasets.output import synth
from sentiscale.model.directory import save_model
from tests.cli.test_model_verbs import FAST
from tests.inference.predict.conftest import tiny_model

SENTISCALE = f"{sys.executable} -m sentiscale"
ROWS = 600


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("terminal")
    synth(ROWS, 3, out=folder / "reviews.ft.txt")
    (folder / "reviews.txt").write_text("Great film.\nAwful, never again.\n" * (ROWS // 2))
    prepare(folder / "reviews.ft.txt", folder / "data", workers=1)
    save_model(folder / "model", tiny_model())
    return folder


def run_on_terminal(command: str, folder: Path) -> tuple[int, str]:
    """Run a shell command whose terminal is a pty; return its exit code and what the terminal showed."""
    controller, terminal = pty.openpty()
    shown = bytearray()

    def read() -> None:
        while True:
            try:
                block = os.read(controller, 65536)
            except OSError:  # the last process that held the terminal has ended
                return
            if not block:
                return
            shown.extend(block)

    reader = Thread(target=read)
    process = subprocess.Popen(
        ["bash", "-c", "set -o pipefail; " + command],
        cwd=folder,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "120"},
    )
    os.close(terminal)
    reader.start()
    process.wait(timeout=150)
    reader.join(timeout=30)
    os.close(controller)
    return process.returncode, shown.decode(errors="replace")


@pytest.mark.parametrize(
    "rest",
    ["reviews.txt > out.tsv", "< reviews.txt > out.tsv", "< reviews.txt | cat > out.tsv"],
    ids=["file redirected", "input redirected", "input piped"],
)
def test_predictions_reach_a_file_or_a_pipe(work, rest):
    code, shown = run_on_terminal(f"{SENTISCALE} predict model {rest}", work)
    lines = (work / "out.tsv").read_text().splitlines()
    assert code == 0, shown
    assert len(lines) == ROWS
    assert {line.split("\t")[0] for line in lines} <= {"positive", "negative"}
    assert lines[0] not in shown


def test_a_reader_that_closes_early_has_its_lines(work):
    _, shown = run_on_terminal(f"{SENTISCALE} predict model reviews.txt | head -3 > out.tsv", work)
    assert len((work / "out.tsv").read_text().splitlines()) == 3
    assert "Traceback" not in shown


def test_lines_on_the_terminal_itself_are_not_torn_by_a_bar(work):
    code, shown = run_on_terminal(f"{SENTISCALE} predict model reviews.txt", work)
    lines = [line for line in shown.splitlines() if line]
    assert code == 0
    assert len(lines) == ROWS
    assert all(line.startswith(("positive\t", "negative\t")) for line in lines), lines[:3]


@pytest.mark.parametrize(
    "verb",
    [
        "prepare reviews.ft.txt --out prepared --workers 1 --force",
        "evaluate model data",
        "eda data --out eda.html",
        f"train data --out run {' '.join(FAST)}",
        "predict model reviews.txt",
        "synth --rows 50 --out more.ft.txt",
    ],
    ids=lambda verb: verb.split()[0],
)
def test_the_json_document_of_every_long_verb_is_on_standard_output(work, verb):
    code, shown = run_on_terminal(f"{SENTISCALE} {verb} --json > out.json", work)
    assert code == 0, shown
    assert isinstance(json.loads((work / "out.json").read_text()), dict)
