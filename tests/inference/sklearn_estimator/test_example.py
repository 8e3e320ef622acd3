"""The example runs as its head says."""

import runpy
import sys

from tests.conftest import REPOSITORY


def test_example_compares_both(monkeypatch, capsys):
    script = REPOSITORY / "examples" / "sklearn_pipeline.py"
    monkeypatch.setattr(sys, "argv", [str(script), "--rows", "120"])
    runpy.run_path(str(script), run_name="__main__")
    told = capsys.readouterr().out.splitlines()
    assert [line.split("accuracy")[0].strip() for line in told] == [
        "TF-IDF + logistic regression",
        "sentiscale, preset fast",
    ]
