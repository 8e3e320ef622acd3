"""What a newcomer gets wrong on the way from a table to predictions, and what is said then."""

import shutil

import pytest

from sentiscale.datasets.output import synth
from tests.inference.predict.conftest import model

__all__ = ["model"]

REMEDY = "--encoding windows-1252"
WINDOWS = "text,stars\ncafé au lait good,5\nnot good,1\n".encode("cp1252")


def test_training_on_the_table_itself_names_the_step_before(cli, tmp_path):
    (tmp_path / "shop.csv").write_text("text,stars\ngood,5\n")
    done = cli("train", "shop.csv", "--out", "run")
    assert done.returncode == 3
    assert "Prepare it first: sentiscale prepare shop.csv --out data" in done.stderr


def test_a_run_stands_for_its_model(cli, model, tmp_path):
    shutil.copytree(model, tmp_path / "run" / "model")
    (tmp_path / "in.txt").write_text("good\nnot bad\n")
    lines = cli("predict", "run/model", "in.txt").stdout
    assert lines.count("\n") == 2
    assert cli("predict", "run", "in.txt").stdout == lines
    assert cli("predict", "run", "in.txt", "--out", "out.csv").returncode == 0
    assert cli("predict", "run/missing", "in.txt").returncode == 3


def test_rows_of_a_windows_file_are_rejected_with_the_remedy(cli, tmp_path):
    synth(400, 1, out=tmp_path / "shop.csv")
    table = (tmp_path / "shop.csv").read_bytes().replace(b" the ", b" th\xe9 ")
    (tmp_path / "shop.csv").write_bytes(table)
    done = cli("prepare", "shop.csv", "--out", "data", "--workers", "1")
    assert done.returncode == 0, done.stderr
    assert "rows are not UTF-8" in done.stdout
    assert REMEDY in done.stdout


def test_labelling_a_windows_file_says_what_became_of_its_letters(cli, model, tmp_path):
    (tmp_path / "in.csv").write_bytes(WINDOWS)
    done = cli("predict", model, "in.csv", "--out", "out.csv")
    assert done.returncode == 0, done.stderr
    assert "1 review(s) contain \ufffd" in done.stderr
    assert REMEDY in done.stderr
    (tmp_path / "in.csv").write_text("text\ncafé good\n", encoding="utf-8")
    assert "UTF-8" not in cli("predict", model, "in.csv", "--out", "out.csv").stderr


@pytest.mark.parametrize("name", ["out.csv", "out.parquet"])
def test_a_file_of_predictions_is_summed_up_in_one_line(cli, model, tmp_path, name):
    (tmp_path / "in.csv").write_text("text\ngood\n\nnot good\n")
    done = cli("predict", model, "in.csv", "--out", name)
    assert done.stdout.startswith(f"{name}: ")
    assert done.stdout.count("\n") == 1
