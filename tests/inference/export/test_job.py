"""`export` as a person calls it: what is written, what is compared, what is refused."""

import json
import sys

import numpy as np
import pytest

from sentiscale.errors import DataError, OutputExistsError, SentiscaleError, UsageError
from sentiscale.inference import onnx_export as job
from sentiscale.inference.onnx_export import export, generated_rows, labelled_rows
from sentiscale.inference.onnx_runtime import OnnxPredictor
from sentiscale.inference.predictor import Predictor
from sentiscale.model.metrics import probabilities
from sentiscale.text.vocab import Vocab
from sentiscale.training.launch import train
from tests.data.relabel import STARS, TERNARY, relabelled
from tests.training.conftest import quick

FORM_KEYS = {"name", "megabytes", "rows_per_s", "accuracy", "largest_difference", "changed"}
REPORT_KEYS = {
    "out",
    "vocabulary",
    "weights",
    "opset",
    "ir_version",
    "rows",
    "checked_on",
    "max_drop",
    "forms",
}


@pytest.fixture(scope="module")
def exported(elsewhere, tmp_path_factory):
    """A model written with generated rows to check on, and the report."""
    out = tmp_path_factory.mktemp("onnx") / "model.onnx"
    return out, export(elsewhere, out)


def test_the_report_compares_the_file_with_the_model(exported, trained):
    out, report = exported
    original, written = report.forms
    assert (original.name, written.name) == ("torch fp32", "onnx fp32")
    assert report.written is written
    assert original.largest_difference == original.changed == 0
    assert 0 < written.largest_difference <= 1e-5
    assert written.accuracy is None, "generated rows tell nothing of accuracy"
    assert written.megabytes == round(out.stat().st_size / 1e6, 2)
    assert original.megabytes == round((trained / "weights.safetensors").stat().st_size / 1e6, 2)
    assert min(original.rows_per_s, written.rows_per_s) > 0
    assert (report.weights, report.opset, report.rows) == ("fp32", 18, 1256)


def test_the_file_answers_as_the_model_does(exported, trained, dataset):
    out, _ = exported
    split = dataset.split("test")
    tokens, offsets = np.asarray(split.tokens), np.asarray(split.offsets)
    original, loaded = Predictor.load(trained), OnnxPredictor.load(out)
    np.testing.assert_allclose(
        loaded.token_logits(tokens, offsets), original.token_logits(tokens, offsets), atol=2e-5
    )
    assert Vocab.read(out.parent / "model.vocab.txt") == original.model.vocab == loaded.metadata.vocab()
    assert loaded.metadata.data_digest == dataset.manifest.digest
    assert sorted(path.name for path in out.parent.iterdir()) == ["model.onnx", "model.vocab.txt"]


def test_the_data_of_the_training_are_taken_where_they_still_are(trained, dataset, tmp_path):
    report = export(trained, tmp_path / "model.onnx")
    assert report.checked_on == f"split 'test' of {dataset.path.absolute()}"
    assert report.written.accuracy is not None


def test_int8_is_smaller_and_nearly_as_good(trained, dataset, tmp_path):
    report = export(trained, tmp_path / "small.onnx", int8=True, check=dataset.path, max_drop=0.02)
    original, plain, small = report.forms
    assert [form.name for form in report.forms] == ["torch fp32", "onnx fp32", "onnx int8"]
    assert small.megabytes < 0.5 * plain.megabytes
    assert original.accuracy == plain.accuracy > 0.7
    assert 1e-5 < small.largest_difference < 0.1
    assert report.checked_on == f"split 'test' of {dataset.path}"
    assert report.rows == dataset.manifest.rows["test"]
    assert OnnxPredictor.load(tmp_path / "small.onnx").metadata.weights == report.weights == "int8"


def test_a_worse_file_is_refused_and_nothing_is_written(trained, dataset, tmp_path, monkeypatch):
    """Tables in 1 of the 8 bits cost accuracy for sure."""
    monkeypatch.setattr("sentiscale.inference.onnx_graph.INT8_MAX", 1)
    (tmp_path / "model.onnx").write_bytes(b"what was there")
    with pytest.raises(
        SentiscaleError, match="was not written: accuracy on the check rows falls by"
    ) as caught:
        export(trained, tmp_path / "model.onnx", int8=True, check=dataset.path, force=True)
    assert caught.value.exit_code == 1
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    assert (tmp_path / "model.onnx").read_bytes() == b"what was there"


def test_a_file_with_other_probabilities_is_refused(trained, tmp_path, monkeypatch):
    """A fault in the graph, here a factor of the hash, is found by the rows that are generated."""
    monkeypatch.setattr("sentiscale.inference.onnx_graph.JOIN_FACTOR", np.uint64(0x9E3779B97F4A7C17))
    with pytest.raises(SentiscaleError, match="was not written: ONNX Runtime's probabilities differ"):
        export(trained, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_requests_that_cannot_work_are_refused_before_any_work(elsewhere, tmp_path, monkeypatch):
    monkeypatch.setattr(job, "Predictor", None)  # nothing is loaded
    with pytest.raises(UsageError, match=r"must end in \.onnx"):
        export(elsewhere, tmp_path / "model.pt")
    with pytest.raises(UsageError, match=r"--max-drop is 2; it must be at least 0 and below 1"):
        export(elsewhere, tmp_path / "model.onnx", max_drop=2)
    with pytest.raises(UsageError, match="Pass some with --check"):
        export(elsewhere, tmp_path / "model.onnx", int8=True)
    (tmp_path / "model.vocab.txt").touch()
    with pytest.raises(OutputExistsError, match=r"model\.vocab\.txt exists already"):
        export(elsewhere, tmp_path / "model.onnx")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UsageError, match=r"pip install 'sentiscale\[export\]'"):
        export(elsewhere, tmp_path / "other.onnx")


def test_check_rows_of_prepared_data_and_of_its_raw_file_agree(trained, dataset, reviews):
    """The raw file holds all splits; each row of the test split is one of its rows."""
    predictor = Predictor.load(trained)
    from sentiscale.config import PrepareSettings

    prepared = labelled_rows(predictor, dataset.path, PrepareSettings())
    raw = labelled_rows(predictor, reviews, PrepareSettings())
    assert len(prepared) == dataset.manifest.rows["test"] < len(raw) == 2000

    def rows(found):
        pairs = zip(found.offsets[:-1], found.offsets[1:], found.labels, strict=True)
        return {(tuple(found.tokens[start:end].tolist()), int(label)) for start, end, label in pairs}

    assert rows(prepared) <= rows(raw)


def test_many_rows_are_thinned_evenly(trained):
    rows = generated_rows(Predictor.load(trained))
    few = rows.sample(3)
    middle = (len(rows) - 1) // 2
    for place, row in enumerate((0, middle, len(rows) - 1)):
        expected = rows.tokens[rows.offsets[row] : rows.offsets[row + 1]]
        assert few.tokens[few.offsets[place] : few.offsets[place + 1]].tolist() == expected.tolist()
    lengths = np.diff(rows.offsets)
    assert lengths.min() == 0, "an empty row is among them"
    assert lengths.max() == 512, "and one as long as can be"


def test_data_cleaned_by_another_rule_is_refused(trained, reviews, tmp_path):
    from sentiscale.data.prepare import prepare

    other = prepare(reviews, tmp_path / "alpha", workers=1, clean="alpha")
    with pytest.raises(DataError, match="was cleaned with 'alpha', the model reads 'words'"):
        export(trained, tmp_path / "model.onnx", check=other.path)


@pytest.mark.parametrize("classes", [TERNARY, STARS], ids=len)
def test_a_model_of_more_classes_and_its_decision(dataset, tmp_path, classes):
    """An ordinal head with n-grams, checked on labelled rows; labels follow the class weights."""
    data = relabelled(dataset.path, tmp_path / "data", classes.names, classes.kind)
    weights = {classes.names[len(classes) // 2]: 9.0}
    options = {"train__precision": "fp32", "train__layout": "1x1", "train__epochs": 0.5}
    settings = quick(**options, model__head="ordinal", train__class_weight=weights)
    train(data, tmp_path / "run", settings)
    report = export(tmp_path / "run", tmp_path / "model.onnx", int8=True, max_drop=0.05)
    original, plain, small = report.forms
    predictor = Predictor.load(tmp_path / "run")
    split = data.split("test")
    rows = np.asarray(split.tokens), np.asarray(split.offsets)
    codes = predictor.decision.codes(probabilities(predictor.token_logits(*rows)))
    assert original.accuracy == np.mean(codes == split.labels)
    assert (original.changed, plain.changed) == (0, 0)
    assert 0 < plain.largest_difference <= 1e-5 < small.largest_difference
    export(tmp_path / "run", tmp_path / "plain.onnx", thresholds=False)
    weighted, most_probable = (OnnxPredictor.load(tmp_path / name) for name in ("model.onnx", "plain.onnx"))
    assert (most_probable.token_codes(*rows) == most_probable.token_logits(*rows).argmax(axis=1)).all()
    assert (weighted.token_codes(*rows) != most_probable.token_codes(*rows)).any()
    if classes is STARS:  # two classes are matched by name with negative, neutral and positive
        with pytest.raises(
            DataError, match="has the classes 'negative', 'positive'; those of the model are '1', '2'"
        ):
            export(tmp_path / "run", tmp_path / "other.onnx", check=dataset.path)


def test_the_verb_prints_a_table_or_one_json_document(cli, trained, dataset, tmp_path):
    done = cli("export", trained, "--out", "model.onnx", "--check", dataset.path, "--quiet")
    assert done.returncode == 0, done.stderr
    head, *forms, checked, wrote = done.stdout.splitlines()
    assert head.split() == ["MB", "reviews/s", "accuracy", "largest", "difference", "changed"]
    assert [line[:12].strip() for line in forms] == ["torch fp32", "onnx fp32"]
    assert checked.startswith("one thread; ")
    assert wrote == "wrote model.onnx (opset 18) and model.vocab.txt"
    assert done.stderr == ""
    done = cli("export", trained, "--out", "model.onnx", "--force", "--json", "--quiet")
    document = json.loads(done.stdout)
    assert document.keys() == REPORT_KEYS
    assert all(form.keys() == FORM_KEYS for form in document["forms"])


def test_the_verb_reads_a_labelled_table_by_its_columns(cli, trained, tmp_path):
    rows = [{"body": f"great {number}", "verdict": "positive"} for number in range(30)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    columns = ("--text-column", "body", "--label-column", "verdict")
    done = cli("export", trained, "--out", "model.onnx", "--check", "rows.jsonl", *columns, "--json")
    document = json.loads(done.stdout)
    assert (document["rows"], document["checked_on"]) == (30, "rows.jsonl")
    assert done.stderr == "comparing on 30 rows: rows.jsonl\n"


def test_the_verb_refuses_with_the_promised_exit_codes(cli, trained, elsewhere, tmp_path):
    for arguments, code, message in (
        ((elsewhere, "--out", "model.onnx", "--int8"), 2, "Pass some with --check"),
        ((trained, "--out", "model.bin"), 2, "must end in .onnx"),
        ((tmp_path, "--out", "model.onnx"), 3, "is not a model directory"),
        ((trained, "--out", "model.onnx", "--check", "absent.txt"), 3, "absent.txt"),
    ):
        done = cli("export", *arguments)
        assert done.returncode == code, done.stderr
        assert message in done.stderr
        assert "Traceback" not in done.stderr
