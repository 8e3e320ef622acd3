"""`sentiscale card`: its numbers are those of record, model and data; its text survives hostile names."""

import json
import re
import shutil

import numpy as np
import pytest
import yaml
from huggingface_hub import ModelCard as HubCard
from hypothesis import given
from hypothesis import strategies as st

from sentiscale.config import PrepareSettings
from sentiscale.datasets.output import synth
from sentiscale.errors import DataError, UsageError
from sentiscale.inference.evaluate import ScoredRows, evaluate
from sentiscale.model.decision import Decision
from sentiscale.model.metrics import score
from sentiscale.model.thresholds import ThresholdEntry, ThresholdPoint, ThresholdScores
from sentiscale.records import ClassScores
from sentiscale.report.card import (
    CardChoices,
    ModelCard,
    by_category,
    by_length,
    by_share,
    categories_of,
    decision_facts,
    divided,
    evaluation,
    limits_of,
    make_card,
    markdown,
)
from sentiscale.text.classes import BINARY, Classes
from tests.study.runs.conftest import change


@pytest.fixture(scope="module")
def card(finished):
    return make_card(finished, CardChoices(language="en", license="apache-2.0"))


def test_scores_are_those_of_the_record_with_counts(card, finished):
    record = json.loads((finished / "record.json").read_text())
    test = card.evaluations[0]
    assert (test.split, test.rows) == ("test", record["test"]["rows"])
    accuracy = test.proportions[0]
    assert accuracy.share == record["test"]["accuracy"]
    assert accuracy.count == record["test"]["confusion"][0][0] + record["test"]["confusion"][1][1]
    assert accuracy.low < accuracy.share < accuracy.high
    assert sum(part.rows for part in test.calibration) == test.rows


def test_every_way_to_divide_has_every_row_once_and_adds_up(card, finished, dataset):
    scores = evaluate(finished / "model", dataset.path)
    assert len(card.slices) == 4
    for division in card.slices:
        assert sum(part.rows for part in division.slices) == scores.rows
        right = sum(part.accuracy * part.rows for part in division.slices)
        assert right / scores.rows == pytest.approx(scores.accuracy)
    negative, positive = card.slices[-1].slices
    assert (negative.positive_share, positive.positive_share) == (0.0, 1.0)
    assert negative.rows == dataset.manifest.labels_per_split["test"]["negative"]


def test_slices_by_hand():
    """Four rows: three right; two of three tokens or fewer."""
    rows = ScoredRows(
        np.array([2.0, -1.0, 3.0, 0.5], np.float32),
        np.array([1, 0, 0, 1], np.uint8),
        np.array([3, 9, 8, 257]),
        np.array([0.0, 0.005, 0.5, 0.0]),
    )
    usual = Decision(BINARY)
    lengths = divided("length", rows, *by_length(rows.lengths), usual).slices
    assert [(part.name, part.rows, part.accuracy) for part in lengths] == [
        ("1 to 8", 2, 0.5),
        ("9 to 16", 1, 1.0),
        ("257 and more", 1, 1.0),
    ]
    unknown = divided("unknown", rows, *by_share(rows.unknown), usual).slices
    assert [(part.name, part.rows) for part in unknown] == [
        ("none", 2),
        ("up to 1 %", 1),
        ("more than 10 %", 1),
    ]
    careful = Decision(BINARY, abstain={"positive": 0.9})  # 2, 3 and 0.5 are 0.88, 0.95 and 0.62
    lengths = divided("length", rows, *by_length(rows.lengths), careful).slices
    assert [(part.name, part.rows, part.accuracy) for part in lengths] == [
        ("1 to 8", 1, 0.0),
        ("9 to 16", 1, 1.0),
    ]


@given(st.lists(st.sampled_from([f"c{number}" for number in range(80)]), min_size=1, max_size=300))
def test_categories_are_counted_whatever_their_number(names):
    place, shown = by_category(names)
    assert len(place) == len(names)
    assert place.max() < len(shown) <= 51
    for name, at in zip(names, place, strict=True):
        assert shown[at] == name or shown[at].endswith("others")
    counts = np.bincount(place, minlength=len(shown))[: 50 if len(shown) > 50 else None]
    assert list(counts) == sorted(counts, reverse=True)


def test_slices_by_the_column_of_a_table(cli, finished, tmp_path):
    table = tmp_path / "new.csv"
    synth(300, 9, out=table)
    done = cli("card", finished, "--reviews", table, "--by", "category", "--json")
    assert done.returncode == 0, done.stderr
    division = json.loads(done.stdout)["slices"][-1]
    scores = evaluate(finished / "model", table)
    assert division["by"] == "category (in new.csv)"
    assert sum(part["rows"] for part in division["slices"]) == scores.rows
    assert len(division["slices"]) > 1


def test_slices_of_the_table_that_training_came_from_say_so(copied, tmp_path):
    table = tmp_path / "new.csv"
    synth(100, 9, out=table)
    data = json.loads((copied("one") / "record.json").read_text())["data"]
    run = copied("two", data={**data, "inputs": [str(table)]})
    (run / "model" / "record.json").write_bytes((run / "record.json").read_bytes())
    card = make_card(run, CardChoices(reviews=table, by="category"))
    assert "flatters" in card.slices[-1].by


def test_categories_go_with_their_rows(tmp_path):
    """Rejected rows, quotes and line ends within a review do not shift them."""
    table = tmp_path / "t.csv"
    lines = (
        "label,review,shop",
        '1,"good',
        'or ""bad""",one',
        "5,no label,two",
        "0,bad,",
        "1,,four",
        '0,ugly,"f, g"',
    )
    table.write_text("".join(f"{line}\n" for line in lines))
    expected = {2: "one", 4: "two", 5: "(none)", 6: "four", 7: "f, g"}
    assert categories_of(table, "shop", PrepareSettings()) == expected


def test_front_matter_is_what_hubs_read(card):
    text = markdown(card)
    assert HubCard(text).data.eval_results[0].metric_value == pytest.approx(
        card.evaluations[0].proportions[0].share, abs=1e-6
    )
    fields = yaml.safe_load(text.split("---")[1])
    assert (fields["language"], fields["license"]) == ("en", "apache-2.0")
    assert fields["pipeline_tag"] == "text-classification"


HOSTILE = 'x: [y]\n---\n# <script>alert(1)</script> | `a` "q" \\ ${z}'


def test_hostile_names_stay_words(card):
    slices = [card.slices[0].model_copy(update={"by": HOSTILE})]
    text = markdown(card.model_copy(update={"name": HOSTILE, "license": HOSTILE, "slices": slices}))
    data = HubCard(text).data
    assert data.license == HOSTILE
    assert data.model_name == HOSTILE
    body = text.partition("\n---\n\n")[2]
    assert "<script>" not in body.replace("\\<script\\>", "")
    for table in re.findall(r"(?:^\|.*\n)+", body, re.MULTILINE):
        cells = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(cells) == 1, table


def test_settings_of_the_card_can_be_trained_with(card, tmp_path):
    from sentiscale.config import resolve

    (block,) = re.findall(r"```toml\n(.*?)```", markdown(card), re.DOTALL)
    (tmp_path / "settings.toml").write_text(block)
    settings = resolve(config=tmp_path / "settings.toml").model_dump(mode="json")
    assert {name: settings[name] for name in card.settings} == card.settings


def test_without_the_data_the_card_says_so_and_keeps_the_rest(copied, dataset):
    run = copied("run")
    record = json.loads((run / "record.json").read_text())
    data = record["data"] | {"path": str(run / "gone")}
    card = make_card(change(run, data=data))
    assert card.slices == []
    assert "no longer at the recorded path" in card.slices_note
    assert card.data.rows == dataset.manifest.rows
    assert len(make_card(run, CardChoices(data=dataset.path)).slices) == 4


def test_records_from_before_the_data_were_noted(copied, dataset):
    run = change(copied("run"), data=None)
    card = make_card(run)
    assert card.data is None
    assert "--data" in card.slices_note
    assert "--data" in markdown(card)
    assert make_card(run, CardChoices(data=dataset.path)).data.rows == dataset.manifest.rows


def test_other_data_are_not_taken_for_those_of_the_training(copied, dataset):
    card = make_card(change(copied("run"), data_digest="f" * 64))
    assert card.slices == []
    assert "now contains different data" in card.slices_note
    named = make_card(change(copied("other"), data_digest="f" * 64), CardChoices(data=dataset.path))
    assert "of a different dataset" in named.slices_note


def test_a_model_directory_by_itself_has_a_card(finished, tmp_path):
    shutil.copytree(finished / "model", tmp_path / "model")
    assert make_card(tmp_path / "model").evaluations[0].split == "test"
    (tmp_path / "model" / "record.json").unlink()
    with pytest.raises(DataError, match=r"no record\.json"):
        make_card(tmp_path / "model")


def test_one_class_and_no_rows_of_it():
    scores = score(np.array([-1.0, -2.0], np.float32), np.array([0, 0], np.uint8))
    found = evaluation("test", scores, Classes())
    assert found.auc is None
    assert [(part.count, part.of) for part in found.proportions] == [(2, 2), (0, 0), (0, 0)]


def stars_card(card: ModelCard, classes: Classes, **changes) -> ModelCard:
    """The card with scores of these classes: four of five rows right, the others one class too low."""
    labels = (np.arange(500) % len(classes)).astype(np.uint8)
    is_right = np.arange(500) // len(classes) % 5 < 4
    codes = np.where(is_right, labels, np.maximum(labels.astype(int) - 1, 0))
    logits = (5 * np.eye(len(classes))[codes]).astype(np.float32)
    found = evaluation("test", score(logits, labels, classes), classes)
    data = card.data.model_copy(update={"labels": {"train": dict.fromkeys(classes.names, 7)}})
    known = {"classes": list(classes.names), "kind": classes.kind, "evaluations": [found], "data": data}
    changed = card.model_copy(update={**known, "slices": [], **changes})
    return changed.model_copy(update={"limits": limits_of(changed)})


def tables_of(text: str) -> list[str]:
    tables = re.findall(r"(?:^\|.*\n)+", text.partition("\n---\n\n")[2], re.MULTILINE)
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1, table
    return tables


def test_stars_have_scores_of_each_class_and_of_their_distance(card):
    stars = Classes(("1", "2", "3", "4", "5"), "stars")
    made = stars_card(card, stars)
    found = made.evaluations[0]
    right = [line[code] for code, line in enumerate(found.confusion)]
    assert found.proportions[0].count == sum(right)
    for code, part in enumerate(found.per_class.values()):
        assert part.recall == right[code] / 100
        assert part.intervals["f1"][0] <= part.f1 <= part.intervals["f1"][1]
    assert found.means["mae"] == pytest.approx(1 - sum(right) / 500)
    assert set(found.means) == {"macro_f1", "balanced_accuracy", "mae", "quadratic_kappa"}
    text = markdown(made)
    assert "number of stars of a review, 1 to 5" in text
    assert "| quadratic weighted kappa |" in text
    (matrix,) = [table for table in tables_of(text) if "predicted 1" in table]
    assert f"| truly 5 | {' | '.join(map(str, found.confusion[4]))} |" in matrix
    assert HubCard(text).data.eval_results[0].metric_value == pytest.approx(sum(right) / 500)


def test_many_classes_with_hostile_names_have_their_largest_confusions(card):
    classes = Classes((HOSTILE.replace("\n", " "), *(f"c{code}" for code in range(23))), "labels")
    text = markdown(stars_card(card, classes))
    (confusions,) = [table for table in tables_of(text) if "largest confusions" in table]
    assert len(confusions.splitlines()) == 2 + 20
    assert "<script>" not in text.replace("\\<script\\>", "").partition("\n---\n\n")[2]
    assert "one of 24 classes" in text or "which of 24 classes" in text


def test_lopsided_classes_and_decisions_are_told(card):
    labels = np.array([0] * 10 + [1] * 90, np.uint8)
    scores = score(np.full(100, 2.0, np.float32), labels)
    made = card.model_copy(
        update={
            "evaluations": [evaluation("test", scores, Classes())],
            "decision": decision_facts(Decision(BINARY, thresholds={"negative": 0.25})),
            "thresholds": [entry_of(scores.per_class["negative"])],
        }
    )
    text = markdown(made)
    assert "**90 % of the test rows are positive**" in text
    assert "This model has 0.9000; its balanced accuracy is 0.5000" in text
    assert "labelled negative if the probability of negative is at least 0.2500" in text
    assert "chosen for precision 0.9: 0.2500. On the 100 rows of half \\| the file" in text
    (curve,) = [table for table in tables_of(text) if "threshold of negative" in table]
    assert 2 + 10 <= len(curve.splitlines()) <= 2 + 12
    careful = Decision(BINARY, weights={"negative": 3.0}, abstain={"positive": 0.8})
    text = markdown(card.model_copy(update={"decision": decision_facts(careful)}))
    assert "Weights: negative 3; others 1" in text
    assert "unsure, instead of positive, if the probability of positive is below 0.8000" in text
    assert "The label is the most probable class." in markdown(card)
    assert "**" not in markdown(card).partition("\n---\n\n")[2], "equal classes need no warning"


def entry_of(scores: ClassScores) -> ThresholdEntry:
    seen = ThresholdScores(part="half | the file", rows=100, before=scores, after=scores)
    points = [
        ThresholdPoint(recall=at / 40, precision=1 - at / 80, threshold=1 - at / 40) for at in range(40)
    ]
    return ThresholdEntry(
        class_name="negative",
        measure="precision",
        target=0.9,
        threshold=0.25,
        chosen=seen,
        reported=seen,
        data="new.csv",
        date="2026-11-30T12:00:00Z",
        curve=points,
    )


def test_out_is_written_whole_and_not_replaced_unasked(cli, finished, tmp_path):
    out = tmp_path / "CARD.md"
    assert cli("card", finished, "--out", out).returncode == 0
    assert out.read_text().startswith("---\n")
    assert out.read_text() == cli("card", finished).stdout
    done = cli("card", finished, "--out", out)
    assert done.returncode == 2
    assert "--force" in done.stderr
    assert cli("card", finished, "--out", out, "--force").returncode == 0


def test_what_has_no_card_is_told(cli, copied, finished, tmp_path):
    with pytest.raises(DataError, match="has no model"):
        make_card(copied("broken", status="failed"))
    with pytest.raises(UsageError, match="must be passed together"):
        make_card(finished, CardChoices(by="shop"))
    assert cli("card", tmp_path / "nothing").returncode == 3
    lines = tmp_path / "lines.txt"
    lines.write_text("__label__1 bad\n__label__2 good\n")
    done = cli("card", finished, "--reviews", lines, "--by", "shop")
    assert done.returncode == 2
    assert "needs a CSV, JSONL or Parquet file" in done.stderr
    table = tmp_path / "table.csv"
    table.write_text("text,label\ngood,1\nbad,0\n")
    done = cli("card", finished, "--reviews", table, "--by", "texd")
    assert done.returncode == 2
    assert "Did you mean 'text'" in done.stderr
