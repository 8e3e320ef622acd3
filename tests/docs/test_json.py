"""The page about `--json` names the keys that the verbs print: all of them, and no other."""

import json
import re

import pytest

from tests.conftest import REPOSITORY, Command
from tests.docs.conftest import Lay

PAGE = (REPOSITORY / "docs/reference/json.md").read_text(encoding="utf-8")

CALLS = {
    "synth": ("synth", "--rows", "10", "--out", "few.csv"),
    "prepare": ("prepare", "reviews.csv", "--out", "data-2"),
    "eda": ("eda", "data", "--out", "data.html"),
    "report": ("report", "study"),
    "plan": ("plan", "study", "--workers", "4"),
    "doctor": ("doctor", "--quick"),
    "evaluate": ("evaluate", "run/model", "data"),
    "threshold": ("threshold", "run/model", "data", "--class", "negative", "--precision", "0.8"),
    "triage": ("triage", "run/model", "data", "--out", "triage.html"),
    "predict": ("predict", "run/model", "reviews.csv"),
    "runs": ("runs", "run"),
    "card": ("card", "run"),
    "export": ("export", "run/model", "--out", "model.onnx"),
    "train": ("train", "data", "--out", "run-2", "--epochs", "0.5", "--no-wide"),
    "demo": ("demo", "--rows", "1000"),
}
"""`bench` and `compare` take too long for what this shows; `fetch` needs a network."""


def keys_of(verb: str) -> set[str]:
    """What stands between backticks in the first column of the verb's table."""
    section = re.search(rf"^## {verb}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert section, f"the page has no section '{verb}'"
    return {
        key
        for row in re.findall(r"^\| (`.*?) \|", section[1], re.MULTILINE)
        for key in re.findall(r"`(\w+)`", row)
    }


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("verb", CALLS)
def test_a_verb_prints_the_keys_of_the_page(verb, lay: Lay, sentiscale: Command, tmp_path):
    lay(("reviews.csv", "data", "run", "study"), tmp_path)
    done = sentiscale(*CALLS[verb], "--json", seconds=500)
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)) == keys_of(verb)


def test_the_page_has_every_verb_with_json():
    from sentiscale.cli import VERBS

    with_json = {verb for verb in VERBS if {"as_json", "json"} & parameters(verb)}
    assert with_json == set(re.findall(r"^## (\w+)$", PAGE, re.MULTILINE))


def parameters(verb: str) -> set[str]:
    import importlib
    import inspect

    return set(inspect.signature(getattr(importlib.import_module(f"sentiscale.cli.{verb}"), verb)).parameters)
