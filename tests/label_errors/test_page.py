"""The page about mistakes: safe with hostile reviews, self-contained, right in its numbers and words."""

import numpy as np
import pytest

from sentiscale.label_errors.counts import Division, ReviewCounts, ReviewGroup, ScoredBlock
from sentiscale.label_errors.doubt import DoubtCounter
from sentiscale.label_errors.facts import TriageFacts
from sentiscale.label_errors.page import ShownMistake, mistake_bars, reliability_chart, triage_page
from sentiscale.text.classes import Classes
from sentiscale.text.rejects import RejectCounts
from tests.label_errors.made_rows import drawn_classes, drawn_rows, mistake, with_errors
from tests.report.test_eda_page import HOSTILE, Page


def facts_of(block: ScoredBlock, classes: Classes | None = None, **changes) -> TriageFacts:
    classes = classes or Classes()
    counting = ReviewCounts(classes, frequent_words=100, kept_tokens=60, by_category=True)
    doubt = DoubtCounter(len(classes))
    counting.add(block)
    doubt.add(block.labels, block.chances)
    values = {
        "model": "some/where/run/model",
        "data": "some/where/reviews.csv",
        "split": None,
        "left_out": RejectCounts({"neutral": 3}),
        "classes": classes,
        "confusion": counting.confusion[:, :-1].tolist(),
        "unsure": int(counting.confusion[:, -1].sum()),
        "loss": counting.loss_sum / len(block.labels),
        "everything": counting.everything(),
        "calibration": counting.calibration(),
        "divisions": counting.divisions("shop"),
        "doubt": doubt.result(),
        "mistakes": [],
        "drawn": [],
        "cautions": [],
    }
    return TriageFacts(**{**values, **changes})


def read_row(text: str, *tints, **changes) -> ShownMistake:
    return ShownMistake(mistake(text=text, **changes), text, tints)


@pytest.fixture(scope="module")
def hostile() -> str:
    rows = drawn_rows(2000, 1)
    block = ScoredBlock(
        rows.logits,
        rows.labels,
        rows.lengths,
        rows.unknown,
        rows.rare,
        [HOSTILE] * 900 + ["{{7919*7907}}"] * 1100,
    )
    facts = facts_of(block, data=f"some/where/{HOSTILE.replace('/', '')}.csv", cautions=[f"Look {HOSTILE}"])
    doubtful = [read_row(HOSTILE, (0, 8, 1.0), (8, 20, -0.5), category=HOSTILE), read_row("")]
    return triage_page(facts, doubtful, [read_row("\u202eleft\x00right")], "")


def test_nothing_that_comes_from_outside_becomes_markup_or_code(hostile):
    page = Page(hostile)
    assert page.tags.count("script") == 1
    assert "img" not in page.tags
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert page.text.count("<script>alert(1)</script>") >= 4, "shown as the text it is"
    assert "{{7919*7907}}" in page.text, "not read as a template"


def test_the_page_refers_to_nothing_outside_itself_and_its_links_lead_somewhere(hostile):
    page = Page(hostile)
    targets = [v for name in ("src", "href", "action", "data", "poster") for v in page.values(name)]
    assert all(target.startswith("#") for target in targets)
    assert {"#labels", "#mistakes", "#groups", "#calibration"} <= set(targets)
    assert {target[1:] for target in targets} <= set(page.values("id"))
    assert len(page.values("id")) == len(set(page.values("id")))
    assert {"link", "iframe", "object", "embed", "base"}.isdisjoint(page.tags)


def test_folders_are_not_told():
    page = triage_page(facts_of(drawn_rows(500, 2)), [read_row("text")], [], "")
    assert "some/where" not in page
    assert "Model run on reviews.csv" in page
    assert "reviews.csv:7" in page


def test_numbers_stand_on_the_page():
    block, _ = with_errors(5000, 0.05, 1)
    facts = facts_of(block)
    page = Page(triage_page(facts, [read_row("text")], [], "")).text
    assert facts.headline in page
    for number in (*facts.confusion[0], *facts.confusion[1], facts.doubt.total, facts.doubt.joint[0][1]):
        assert f"{number:,}" in page
    for sentence in facts.findings:
        assert sentence in page
    for division in facts.divisions:
        for group in division.groups:
            assert group.name in page


def test_long_reviews_are_cut_and_say_so():
    page = triage_page(facts_of(drawn_rows(500, 2)), [read_row("word " * 10_000, (0, 4, 1.0))], [], "")
    assert "… and 47,000 more characters" in page
    assert len(page) < 120_000


def test_without_doubt_the_page_shows_the_surest_mistakes():
    block, _ = with_errors(3000, 0.0, 1)
    page = Page(triage_page(facts_of(block, doubt=None), [read_row("text")], [], "")).text
    assert "Most confident mistakes" in page
    assert "Only one label occurs" in page
    assert "Doubtful labels" not in page.split("At a glance", 2)[2].split("What it cannot tell")[0]


def test_small_groups_are_grey_named_so_and_in_no_finding():
    """The scale is that of the large groups, so a tiny one with many mistakes does not flatten them."""
    groups = [ReviewGroup("large", 1000, 950, 500, 0.95), ReviewGroup("tiny", 5, 0, 2, 0.99)]
    bars = mistake_bars(Division("category", "category", "", groups))
    assert bars.axis.high == 0.08
    assert [sum(part.width for part in bar.parts) for bar in bars.bars] == [pytest.approx(81.5, abs=1), 100.0]
    facts = facts_of(drawn_rows(3000, 4), divisions=[Division("category", "category", "", groups)])
    page = triage_page(facts, [], [], "")
    assert page.count("few rows") == 2
    assert not any("tiny" in sentence for sentence in facts.findings)


def test_findings_name_what_is_clearly_worse():
    """Of 10,000 rows 9,000 are right; the long ones are worse beyond chance, the short ones are not."""
    groups = [ReviewGroup("1 to 9", 5000, 4490, 0, 0.9), ReviewGroup("10 to 99", 5000, 4250, 0, 0.95)]
    facts = facts_of(
        drawn_rows(3000, 4),
        everything=ReviewGroup("all", 10_000, 9000, 5000, 0.9),
        divisions=[Division("length", "length in tokens", "", groups)],
    )
    told = facts.findings
    (weak,) = [sentence for sentence in told if sentence.startswith("Less accurate")]
    assert weak == "Less accurate than all rows, by length in tokens: 10 to 99: 85.0 % (84.0 to 86.0)."
    assert "The model is too sure in: length in tokens 10 to 99 (10.0 points)." in told


def test_a_harder_class_is_told():
    """1,000 rows a class, 990 and 700 right."""
    labels = np.repeat([0, 1], 1000).astype(np.uint8)
    logits = np.where(labels == 1, 2.0, -2.0)
    logits[:10] *= -1
    logits[1000:1300] *= -1
    nothing = np.zeros(2000)
    block = ScoredBlock(
        logits.astype(np.float32), labels, nothing.astype(int), nothing, nothing, ["a"] * 2000
    )
    assert any("labelled positive are harder: 70.0 %" in sentence for sentence in facts_of(block).findings)
    assert not any("harder" in sentence for sentence in facts_of(with_errors(5000, 0, 3)[0]).findings)


@pytest.mark.parametrize("number", [3, 5, 13])
def test_a_page_of_many_classes_has_their_confusions_and_suggestions(number):
    """As a matrix up to 12 classes, else as a list; a class may have any name."""
    names = (HOSTILE[:100], "line", *(f"c{code}" for code in range(2, number)))
    facts = facts_of(drawn_classes(3000, number, 1), Classes(names, "labels"))
    page = Page(triage_page(facts, [read_row("text", logits=[2.0, *[0.0] * (number - 1)])], [], ""))
    assert page.tags.count("script") == 1
    assert "img" not in page.tags
    (rows, label, code), *_ = facts.exchanges(facts.doubt.doubted)
    suggestion = f"{rows:,} labelled {names[label]}, rather {names[code]}"
    assert any(suggestion in sentence for sentence in facts.findings)
    assert any(group.is_off for group in facts.divisions[0].groups), "and yet not called too sure"
    assert not any("sure" in sentence and "label c2" in sentence for sentence in facts.findings)
    assert ("Largest confusions" in page.text) == (number > 12)
    assert page.text.count(f"model: {names[0]}") == 1 + (number <= 12), "of the review, and of the matrix"
    told = facts.summary()
    assert sum(map(sum, told["confusion"])) == told["rows"] == 3000
    assert sum(each["rows"] for each in told["label_errors"]["suggested"]) == facts.doubt.total
    assert [group["name"] for group in told["groups"]["label"]] == list(names)


def test_reliability_chart_has_a_dot_and_a_whisker_for_each_bin():
    facts = facts_of(drawn_rows(3000, 1))
    chart = reliability_chart(facts.calibration)
    styles = [shape.style for shape in chart.shapes]
    assert styles.count("dot accent") == styles.count("line whisker accent") == len(facts.calibration)
    assert chart.y.low <= min(part.accuracy for part in facts.calibration)
