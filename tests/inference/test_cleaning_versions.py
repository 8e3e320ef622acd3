"""What the model learns from text that version 2 of `words` keeps, and what stays as it was for version 1."""

import csv
import random
import unicodedata
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sentiscale import evaluate, prepare, train
from sentiscale.config import CLEANING_VERSIONS
from sentiscale.data.prepared import PreparedDataset
from sentiscale.errors import DataError
from sentiscale.inference.evaluate import vocabulary_mapping
from sentiscale.inference.onnx_export import export
from sentiscale.inference.onnx_runtime import OnnxPredictor
from sentiscale.inference.predictor import Predictor
from sentiscale.model.directory import save_model
from sentiscale.text.encode import token_spans
from tests.inference.predict.conftest import tiny_model

Rows = list[tuple[int, str]]
OLD = "Great, don&#39;t like :) 7\u2665 <br/>cafe\u0301 GREAT"


def write(path: Path, rows: Rows) -> Path:
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("label", "text"), *rows])
    return path


def last_sign(signs: tuple[str, str]) -> Rows:
    """Reviews whose only difference is the sign at the end."""
    drawn = random.Random(4)
    return [(i % 2, f"the lamp came number {i}{drawn.choice(signs[i % 2])}") for i in range(160)]


def chinese() -> Rows:
    """Reviews without a space and without two equal sentences."""
    parts = (
        ["包装破损", "物流太慢", "声音刺耳", "非常失望"],
        ["质量很好", "值得购买", "非常满意", "推荐大家买"],
    )
    drawn = random.Random(5)
    return [(i % 2, "".join(drawn.sample(parts[i % 2], 3)) + f"{i}。") for i in range(200)]


def vietnamese() -> Rows:
    parts = (["dễ vỡ", "tệ quá", "rất xấu", "thất vọng"], ["tuyệt vời", "hài lòng", "rất đẹp", "chắc chắn"])
    drawn = random.Random(6)
    return [(i % 2, f"ấm {i} {drawn.choice(parts[i % 2])} {drawn.choice(parts[i % 2])}") for i in range(200)]


def escaped(rows: Rows) -> Rows:
    return [(label, f"<p>{text.encode('ascii', 'xmlcharrefreplace').decode()}</p>") for label, text in rows]


CASES = {
    "emoticons": (last_sign(([" :(", ":-(", " :'("], [" :)", ":-)", " =)"])), {}),
    "symbols": (last_sign(("\u2639\u2717\u2718", "\u2665\u263a\u2605")), {}),
    "without spaces": (chinese(), {}),
    "normal forms": (
        vietnamese(),
        {
            "decomposed": lambda text: unicodedata.normalize("NFD", text),
            "capitals": str.upper,
            "decomposed capitals": lambda text: unicodedata.normalize("NFD", text.upper()),
        },
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", CASES)
def test_the_model_learns_what_carries_the_sentiment(kind, tmp_path):
    rows, forms = CASES[kind]
    data = prepare(write(tmp_path / "r.csv", rows[: len(rows) * 3 // 4]), tmp_path / "data")
    run = train(data, tmp_path / "run", preset="fast", epochs=1)
    kept = rows[len(rows) * 3 // 4 :]
    tests = {"as they are": kept, "escaped": escaped(kept)}
    tests |= {name: [(label, form(text)) for label, text in kept] for name, form in forms.items()}
    for name, test in tests.items():
        scores = evaluate(run.path / "model", write(tmp_path / "test.csv", test))
        assert scores.accuracy == 1.0, name


def of_version(version, path: Path) -> Path:
    model = tiny_model()
    config = model.config.model_copy(update={"cleaning_version": version})
    save_model(path, replace(model, config=config))
    return path


def test_a_model_keeps_the_version_it_was_trained_with(tmp_path):
    """Also exported, and when its directory is older than versions."""
    for version in (1, 2):
        folder = of_version(version, tmp_path / f"model-{version}")
        config = folder / "config.toml"
        assert f"cleaning_version = {version}\n" in config.read_text()
        if version == 1:
            config.write_text(config.read_text().replace("cleaning_version = 1\n", ""))
            (folder / "digests.json").unlink()  # older directories have none
        predictor = Predictor.load(folder)
        expected = [token for token, _, _ in token_spans(OLD, "words", version)]
        assert [token for token, _, _ in predictor.encoder.spans(OLD)] == expected
        rows = predictor.encoder.encode([OLD])
        assert rows.lengths.tolist() == [len(expected)]
        assert (
            rows.ids.tolist() == [predictor.model.vocab.id_of(token) for token in expected][: len(rows.ids)]
        )
        export(folder, tmp_path / f"{version}.onnx")
        exported = OnnxPredictor.load(tmp_path / f"{version}.onnx")
        np.testing.assert_array_equal(exported.encoder.encode([OLD]).ids, rows.ids)


def test_data_keep_their_version_and_are_not_mixed_with_a_model_of_another(tmp_path, monkeypatch):
    rows = write(
        tmp_path / "r.csv", [(i % 2, f"{OLD} {i % 7} {'bad' if i % 2 else 'good'} {i}") for i in range(60)]
    )
    new = prepare(rows, tmp_path / "new", min_count=1)
    with monkeypatch.context() as patched:
        patched.setitem(CLEANING_VERSIONS, "words", 1)
        prepare(rows, tmp_path / "old", min_count=1)
    old = PreparedDataset.open(tmp_path / "old")
    assert (old.manifest.cleaning_version, new.manifest.cleaning_version) == (1, 2)
    assert {"7\u2665", "br", "39", "great"} <= set(old.vocab.words)
    assert {":)", "\u2665", "caf\u00e9", "n't"} <= set(new.vocab.words)
    predictor = Predictor.load(of_version(1, tmp_path / "model"))
    assert vocabulary_mapping(predictor, old) is not None
    with pytest.raises(DataError, match="cleaned with version 2 of 'words', the model reads version 1"):
        vocabulary_mapping(predictor, new)


def test_a_version_of_a_later_release_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"version 7 of the cleaning profile 'words' is unknown; .* 1 to 2"):
        Predictor.load(of_version(7, tmp_path / "model"))
