"""`triage` as a whole: equal numbers from every kind of input, categories, cautions, exit codes."""

import json
from dataclasses import replace

import numpy as np
import pyarrow.csv as pc
import pyarrow.json as pj
import pyarrow.parquet as pq
import pytest

from sentiscale.config import PrepareSettings
from sentiscale.data.prepare import prepare
from sentiscale.data.prepared import PreparedDataset
from sentiscale.datasets.output import synth
from sentiscale.inference.evaluate import evaluate
from sentiscale.inference.predictor import Predictor
from sentiscale.label_errors import job
from sentiscale.label_errors import rows as reading
from sentiscale.label_errors.facts import TriageFacts
from sentiscale.label_errors.job import SHOWN, TriageCounter, cautions_of_files, cautions_of_split, triage
from sentiscale.label_errors.rows import NO_CATEGORY
from sentiscale.model.directory import DecisionTable, read_record, save_model
from sentiscale.model.wide import Combination
from sentiscale.training.launch import train
from sentiscale.util.progress import Progress
from tests.data.relabel import STARS, TERNARY, relabelled
from tests.inference.explain.conftest import made
from tests.training.conftest import quick


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """1,000 reviews that the model has not seen, with categories."""
    path = tmp_path_factory.mktemp("table") / "new.csv"
    synth(1000, 9, out=path)
    return path


@pytest.fixture(scope="module")
def predictor(trained) -> Predictor:
    return Predictor.load(trained)


def looked_at(predictor, data, column=None, **settings) -> TriageFacts:
    """The numbers alone, without the page and its explanations."""
    counter = TriageCounter(predictor, 100, column)
    counter.take_files(str(data), PrepareSettings(**settings), Progress())
    return counter.facts("run/model", str(data), None, [])


@pytest.fixture(scope="module")
def of_table(predictor, table) -> TriageFacts:
    return looked_at(predictor, table, "category")


def test_numbers_are_those_of_evaluate(of_table, trained, table):
    scores = evaluate(trained, table)
    told = of_table.summary()
    assert told["accuracy"] == scores.accuracy
    assert told["confusion"] == scores.confusion
    assert told["rows"] == scores.rows == 1000
    assert told["loss"] == pytest.approx(scores.loss)
    assert told["ece"] == pytest.approx(scores.ece)


def test_listed_rows_are_the_mistakes_with_their_texts(of_table, table):
    rows = pc.read_csv(table, parse_options=pc.ParseOptions(newlines_in_values=True)).to_pylist()
    by_text = {f"{row['title']}: {row['text']}" if row["title"] else row["text"]: row for row in rows}
    listed = of_table.summary()["mistakes"]
    assert len(listed) == min(100, of_table.everything.mistakes)
    assert [row["margin"] for row in listed] == sorted((row["margin"] for row in listed), reverse=True)
    for row in listed:
        source = by_text[row["text"]]
        assert row["category"] == source["category"]
        assert row["label"] == ("positive" if source["stars"] > 3 else "negative")
        assert row["given"] != row["label"]
        assert row["file"] == str(table)
        line = table.read_text().splitlines()[row["line"] - 1].replace('""', '"')
        assert source["text"] in line


def test_drawn_rows_are_mistakes_beyond_doubt(of_table):
    told = of_table.summary()
    assert 0 < len(told["drawn"]) <= SHOWN
    assert all(not of_table.is_doubtful(row) for row in of_table.drawn)
    doubted = [row for row in told["mistakes"] if row["label_doubtful"]]
    assert [row["line"] for row in doubted] == [row["line"] for row in told["label_errors"]["rows"]]
    assert len(doubted) == min(100, sum(told["label_errors"]["doubted"].values()))


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "numbers.jsonl"])
def test_every_kind_of_table_gives_the_same(of_table, predictor, table, tmp_path, kind):
    read = pc.read_csv(table, parse_options=pc.ParseOptions(newlines_in_values=True))
    path = tmp_path / f"new.{kind}"
    if kind == "parquet":
        pq.write_table(read, path)
    else:
        lines = read.to_pylist()
        if kind.startswith("numbers"):
            names = sorted({line["category"] for line in lines})
            lines = [line | {"category": names.index(line["category"])} for line in lines]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        assert len(pj.read_json(path)) == len(lines)
    facts = looked_at(predictor, path, "category")
    assert facts.everything == of_table.everything
    assert facts.doubt == of_table.doubt
    found, expected = facts.divisions[3].groups, of_table.divisions[3].groups
    assert sorted(group.rows for group in found) == sorted(group.rows for group in expected)
    if not kind.startswith("numbers"):
        assert facts.divisions == of_table.divisions


def test_blocks_of_a_file_change_nothing(of_table, predictor, table):
    """But the last digits of logits, which depend on the rows that share a batch."""
    facts = looked_at(predictor, table, "category", block_mb=0.02)
    assert (facts.doubt.joint, facts.doubt.doubted) == (of_table.doubt.joint, of_table.doubt.doubted)
    assert facts.doubt.thresholds == pytest.approx(of_table.doubt.thresholds)
    assert [(row.number, row.text) for row in facts.mistakes] == [
        (row.number, row.text) for row in of_table.mistakes
    ]
    assert {row.number for row in facts.drawn} == {row.number for row in of_table.drawn}


@pytest.fixture(scope="module")
def apart(reviews, table, tmp_path_factory) -> PreparedDataset:
    """The table as the test set of prepared data whose vocabulary has all of the model's words, and more."""
    return prepare(reviews, tmp_path_factory.mktemp("apart") / "data", test=[table], min_count=1, workers=1)


def test_prepared_data_and_their_file_agree(predictor, of_table, apart, monkeypatch):
    """Also where the split is read in several parts, and words have other numbers than in the model."""
    monkeypatch.setattr(reading, "CHUNK_ROWS", 300)
    assert apart.vocab != predictor.model.vocab
    counter = TriageCounter(predictor, 100, None)
    texts, cautions = counter.take_split(apart, "test", {"data_digest": "other"}, Progress())
    facts = counter.facts("run/model", "data", "test", cautions)
    assert facts.confusion == of_table.confusion
    for found, expected in zip(facts.divisions, of_table.divisions[:3], strict=True):
        assert [(group.name, group.rows, group.correct) for group in found.groups] == [
            (group.name, group.rows, group.correct) for group in expected.groups
        ]
    margins = [row.margin for row in of_table.mistakes]
    assert [row.margin for row in facts.mistakes] == pytest.approx(margins, abs=1e-5)
    assert facts.cautions == ["These are other data than the model was trained on."]
    assert not texts.as_written


def test_rows_that_the_model_has_seen_are_said_to_be(trained, dataset, reviews, table):
    record = read_record(trained)
    assert cautions_of_split(record, dataset, "test") == []
    assert "was trained on these rows" in cautions_of_split(record, dataset, "train")[0]
    assert "calibrated" in cautions_of_split(record, dataset, "valid")[0]
    assert "was trained on these rows" in cautions_of_files(record, [str(reviews)])[0]
    assert cautions_of_files(record, [str(table)]) == cautions_of_files({}, [str(reviews)]) == []
    gone = {**record, "data": {**record["data"], "path": "gone"}}
    assert "Unless it was their test set" in cautions_of_files(gone, [str(reviews)])[0]


def test_a_named_test_set_was_not_trained_on(apart, reviews, table):
    record = {"data_digest": apart.manifest.digest, "data": apart.described().model_dump()}
    assert cautions_of_files(record, [str(table)]) == []
    assert "was trained on these rows" in cautions_of_files(record, [str(table), str(reviews)])[0]


@pytest.mark.parametrize("classes", [TERNARY, STARS], ids=["ternary", "stars"])
def test_a_model_of_several_classes_has_a_page_with_tinted_words(classes, dataset, tmp_path, monkeypatch):
    """And numbers that are those of `evaluate`, with a decision and without."""
    monkeypatch.setattr(job, "SHOWN", 3)
    data = relabelled(dataset.path, tmp_path / "data", classes.names, classes.kind).path
    saved = made(Combination(net=0.6, wide=0.8, bias=(0.1,) * len(classes)), classes=classes).model
    save_model(tmp_path / "model", saved)
    told = triage(tmp_path / "model", data, tmp_path / "p.html", top=7).facts.summary()
    scores = evaluate(tmp_path / "model", data)
    assert (told["accuracy"], told["confusion"]) == (scores.accuracy, scores.confusion)
    assert (told["rows"], told["loss"]) == (scores.rows, pytest.approx(scores.loss))
    assert len(told["mistakes"]) == 7
    for row in told["mistakes"]:
        assert row["given"] != row["label"]
        assert row["suggested"] in (None, *classes.names)
    assert (tmp_path / "p.html").read_text().count("<mark ") > 6
    for needed in (sum(part.confidence * part.rows for part in scores.calibration) / scores.rows, 1.0):
        decision = DecisionTable(abstain=dict.fromkeys(classes.names, needed))
        config = saved.config.model_copy(update={"thresholds": decision})
        path = tmp_path / f"above-{needed}"
        save_model(path, replace(saved, config=config))
        careful = triage(path, data, tmp_path / "p.html", force=True).facts.summary()
        of_careful = evaluate(path, data)
        assert 0 < careful["unsure"] == of_careful.unsure
        assert (careful["accuracy"], careful["confusion"]) == (of_careful.accuracy, of_careful.confusion)
        assert careful["label_errors"]["doubted"] == told["label_errors"]["doubted"], "whatever is decided"
        assert sum(group["rows"] for group in careful["groups"]["label"]) == scores.rows - careful["unsure"]
    assert careful["unsure"] == careful["rows"]


def test_one_class_and_one_row_are_enough_for_a_page(made_up, cli, tmp_path):
    (tmp_path / "one.txt").write_text("__label__2 not great\n")
    done = cli("triage", made_up, "one.txt", "--out", "p.html", "--json", "--quiet")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["rows"], told["label_errors"]) == (1, None)
    assert "Only one label occurs" in (tmp_path / "p.html").read_text()


def test_a_person_is_told_what_stands_out(cli, trained, table, tmp_path):
    done = cli("triage", trained, table, "--out", "page.html", "--category-column", "category")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "in 1,000 reviews: accuracy" in lines[0]
    assert any("labels are doubtful" in line for line in lines)
    assert lines[-1].startswith("page.html: ")
    assert (tmp_path / "page.html").stat().st_size < 1_500_000


def test_rows_without_a_category_or_a_label(made_up, tmp_path):
    lines = ["label,review,shop", "1,good,one", '0,bad,""', "what,no label,two", '0,"ugly\nthing"," one "']
    (tmp_path / "t.csv").write_text("".join(f"{line}\n" for line in lines))
    facts = triage(made_up, tmp_path / "t.csv", tmp_path / "p.html", category_column="shop").facts
    assert facts.left_out.by_reason == {"unknown_label": 1}
    assert facts.summary()["left_out_examples"]["unknown_label"]["label"] == "what"
    assert {group.name: group.rows for group in facts.divisions[3].groups} == {"one": 2, NO_CATEGORY: 1}


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["{model}", "missing.txt", "--out", "p.html"], 3, "missing.txt"),
        (["nothing", "{lines}", "--out", "p.html"], 3, "not a model directory"),
        (["{model}", "{data}", "--out", "p.html", "--split", "tset"], 3, "Did you mean 'test'?"),
        (["{model}", "unlabelled.txt", "--out", "p.html"], 3, "holds no labelled review"),
        (["{model}", "wrong.txt", "--out", "p.html"], 3, "holds the labels '9' (1 row)"),
        (["{model}", "{table}", "--out", "p.html", "--category-column", "catgory"], 2, "mean 'category'?"),
        (["{model}", "{lines}", "--out", "p.html", "--category-column", "c"], 2, "has lines, no columns"),
        (["{model}", "{data}", "--out", "p.html", "--category-column", "c"], 2, "Give the table itself"),
        (["{model}", "{lines}", "--out", "taken.html"], 2, "exists already"),
        (["{model}", "{lines}", "--out", "p.txt"], 2, "Try: --out triage.html"),
        (["{model}", "{lines}", "--out", "p.html", "--top", "0"], 2, "at least 1"),
        (["{model}", "{lines}"], 2, "--out"),
    ],
)
def test_mistakes_end_in_one_message_and_a_code(
    cli, made_up, dataset, table, reviews, tmp_path, arguments, code, told
):
    (tmp_path / "taken.html").write_text("mine")
    (tmp_path / "unlabelled.txt").write_text("a review\nanother one\n")
    (tmp_path / "wrong.txt").write_text("__label__9 a review\n")
    places = {"model": made_up, "data": dataset.path, "table": table, "lines": reviews}
    before = sorted(path.name for path in tmp_path.iterdir())
    done = cli("triage", *(argument.format(**places) for argument in arguments))
    assert done.returncode == code
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert (tmp_path / "taken.html").read_text() == "mine"


def planted(predictor, folder) -> tuple[list[bool], float, float]:
    """Turn one label in twelve of 1,500 unseen reviews around and have doubtful labels listed.

    Returns which of the listed rows are planted ones, the share of planted ones that is listed, and the
    share of all rows that is listed. By chance, a twelfth of the list would be planted ones, and the other
    two equal.
    """
    synth(1500, 17, out=folder / "clean.txt")
    lines = (folder / "clean.txt").read_text().splitlines()
    rows = set(np.flatnonzero(np.random.default_rng(5).random(len(lines)) < 1 / 12).tolist())
    turned = {"__label__1": "__label__2", "__label__2": "__label__1"}
    changed = [turned[line[:10]] + line[10:] if row in rows else line for row, line in enumerate(lines)]
    (folder / "dirty.txt").write_text("".join(line + "\n" for line in changed))
    counter = TriageCounter(predictor, len(lines), None)
    counter.take_files(str(folder / "dirty.txt"), PrepareSettings(), Progress())
    facts = counter.facts("run/model", "dirty.txt", None, [])
    assert len(facts.doubtful) == facts.doubt.total
    found = [row.number - 1 in rows for row in facts.doubtful]
    return found, sum(found) / len(rows), len(found) / len(lines)


def test_planted_label_errors_are_found(predictor, tmp_path):
    """Even by a tiny model that is right on 68 % of the reviews, far above chance."""
    found, recall, listed = planted(predictor, tmp_path)
    assert np.mean(found[:50]) > 3 / 12
    assert np.mean(found) > 2 / 12
    assert recall > 2 * listed


@pytest.mark.slow
def test_a_model_of_use_finds_most_planted_label_errors(tmp_path):
    synth(20_000, 5, out=tmp_path / "reviews.txt")
    data = prepare(tmp_path / "reviews.txt", tmp_path / "data", workers=1)
    train(data, tmp_path / "run", quick(train__epochs=3.0, wide__bits=18, model__hidden_dim=32))
    found, recall, _ = planted(Predictor.load(tmp_path / "run" / "model"), tmp_path)
    assert np.mean(found[:50]) > 0.85
    assert np.mean(found) > 0.5
    assert recall > 0.7
