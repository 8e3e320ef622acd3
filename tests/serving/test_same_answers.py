"""A review gets the same probability by every way there is; the comparison is that of the benchmark."""

import importlib
import json
import subprocess
import sys
from types import ModuleType

import numpy as np
import pytest

from sentiscale.inference.predictor import Predictor
from tests.cli.conftest import cli
from tests.conftest import REPOSITORY
from tests.serving.odd_texts import ODD_TEXTS

__all__ = ["cli"]

BENCHMARKS = REPOSITORY / "benchmarks"
WORDS = ("great", "not", "bad", "the", "a", "don't", "film's", "!", "good", "unheard", "é", "😀")


@pytest.fixture
def answers_equal(monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("answers_equal")


def reviews(count: int) -> list[str]:
    """Reviews of 0 to 60 words, of which one may be sent (5,000 characters), then the odd ones."""
    drawn = np.random.default_rng(0)
    made = [" ".join(drawn.choice(WORDS, drawn.integers(0, 60))) for _ in range(count)]
    return [*made, *(text for text in ODD_TEXTS.values() if len(text) <= 5000)]


def test_every_way_gives_the_same(answers_equal, cli, model, service, tmp_path):
    def command(arguments, stdin):
        done = cli(*arguments, stdin=stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout

    bench = answers_equal.Bench(model, reviews(90), tmp_path, service.port, command, clients=16, explained=20)
    found = {each.way: each for each in answers_equal.compare(bench)}
    assert len(found) >= 18
    assert [each for each in found.values() if not each.is_equal or (each.exact and each.other_labels)] == []
    rows = [each.rows for each in found.values()]
    assert (min(rows), max(rows)) == (20, len(bench.texts))


@pytest.mark.parametrize("number", [3, 5])
def test_more_classes_give_the_same(cli, class_models, class_services, number):
    texts = [text for text in reviews(60) if "\n" not in text and "\r" not in text]
    expected = Predictor.load(class_models[number]).predict(texts)
    lines = "".join(f"{text}\n" for text in texts)
    done = cli("predict", class_models[number], "-", "--probabilities", "--json", "--quiet", stdin=lines)
    assert done.returncode == 0, done.stderr
    by_http = class_services[number].predict(*texts).json["predictions"]
    for found in (json.loads(done.stdout)["predictions"], by_http):
        assert [each["label"] for each in found] == [each.label for each in expected]
        chances = [list(each["probabilities"].values()) for each in found]
        wanted = [list(each.probabilities.values()) for each in expected]
        np.testing.assert_allclose(chances, wanted, rtol=0, atol=1e-5)
        stars = [each.get("expected_star") for each in found]
        assert stars == pytest.approx([each.expected_star for each in expected], abs=1e-5)


def test_a_difference_would_be_seen(answers_equal):
    reference = np.array([0.2, 0.5 + 2e-5, 0.9])
    answers = answers_equal.Answers("x", reference - np.array([0, 3e-5, 0]))
    found = answers_equal.compared(reference, answers)
    assert (found.largest, found.other_labels, found.is_equal) == (pytest.approx(3e-5), 1, False)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_benchmark_writes_its_page(model, tmp_path):
    lines = "".join(f"__label__2 {text}\n" for text in reviews(40) if "\n" not in text)
    (tmp_path / "reviews.txt").write_text(lines, encoding="utf-8")
    command = [
        sys.executable,
        BENCHMARKS / "answers_equal.py",
        model,
        tmp_path / "reviews.txt",
        "--rows",
        "60",
        "--explained",
        "10",
        "--out",
        tmp_path / "equal.md",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=250)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "equal.md").read_text(encoding="utf-8")
    assert "critic/model reviews.txt --rows 60 --out equal.md" in page
    assert str(tmp_path) not in page
    assert page.count("| ok |") >= 18
