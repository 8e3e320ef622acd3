"""The page of a scaling study: self-contained, safe, complete, and sensible with little to show."""

import re
from dataclasses import replace
from itertools import pairwise

import pytest

from sentiscale.errors import SentiscaleError
from sentiscale.report.page import _part
from sentiscale.report.scaling import full_table, report_html, write_report
from sentiscale.study.analysis.study import Recommendation, Study
from sentiscale.util.numbers import figure
from tests.report import studies
from tests.report.test_eda_page import Page, contrast

STUDIES = ("complete", "timings", "hostile", "targets", "alone", "without_base", "wide")


@pytest.fixture(scope="module", params=STUDIES)
def study(request):
    return getattr(studies, request.param)()


@pytest.fixture(scope="module")
def page(study):
    return report_html(study)


def text_of(html: str) -> str:
    return re.sub(r"\s+", " ", Page(html).text)


def test_page_is_sound_and_can_be_heard(page):
    parsed = Page(page)
    ids = parsed.values("id")
    assert len(ids) == len(set(ids))
    assert parsed.tags.count("h1") == 1
    levels = [int(tag[1]) for tag in parsed.tags if re.fullmatch(r"h\d", tag)]
    assert all(after <= before + 1 for before, after in pairwise(levels))
    for named in parsed.values("aria-labelledby"):
        assert set(named.split()) <= set(ids)
    assert parsed.tags.count("svg") == parsed.tags.count("desc") == len(parsed.values("aria-labelledby"))
    for about in re.findall(r"<desc[^>]*>(.*?)</desc>", page, re.DOTALL):
        assert len(about) > 40, "says what the chart shows"


def test_page_refers_to_nothing_outside_itself(page):
    parsed = Page(page)
    targets = [v for n in ("src", "href", "action", "data", "poster", "srcset") for v in parsed.values(n)]
    assert targets
    assert all(target.startswith("#") for target in targets)
    assert {target[1:] for target in targets} <= set(parsed.values("id"))
    assert {"link", "iframe", "object", "embed", "base", "img"}.isdisjoint(parsed.tags)
    assert parsed.tags.count("script") == 1
    assert not [name for _, name, _ in parsed.attributes if name.startswith("on")]


def test_every_number_of_the_study_is_on_the_page(study, page):
    text = text_of(page)
    for family in study.families:
        for row in family.rows:
            told = [figure(row.seconds_median), str(row.workers)]
            told += [figure(row.speedup)] if row.speedup is not None else []
            told += [f"{100 * row.efficiency:.0f} %"] if row.efficiency is not None else []
            told += [figure(row.karp_flatt)] if row.karp_flatt is not None else []
            told += [figure(row.rows_per_s)] if row.rows_per_s else []
            told += [figure(max(row.peak_memory_mb_per_rank))] if row.peak_memory_mb_per_rank else []
            for ends in (row.seconds_ci95, row.speedup_ci95):
                told += [f"{figure(ends[0])} to {figure(ends[1])}"] if ends else []
            for least, most in row.times.values():
                told += [figure(least), figure(most)]
            assert [number for number in told if number not in text] == []
        for fit in family.fits:
            assert all(figure(fit.parameters[name]) in text for name in fit.parameters if name != "lambda")
    for sentence in (*study.findings, *study.caveats):
        assert " ".join(sentence.replace("`", "").split()) in text


def test_no_chart_is_empty(page):
    for chart in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        assert 'class="dot ' in chart
    for bars in re.findall(r'<table class="amounts">.*?</table>', page, re.DOTALL):
        assert re.search(r'<i class="[^"]+" style="width:(?!0\.00)', bars)


def test_bars_stay_within_their_axis(page):
    for drawn in re.findall(r'<td class="drawn">(.*?)</td>', page, re.DOTALL):
        assert sum(map(float, re.findall(r"width:([\d.]+)%", drawn))) <= 100.1


def test_oversubscribed_cases_are_grey_and_named_wherever_they_stand():
    page = report_html(studies.complete())
    rows = re.findall(r"<tr( class=\"over\")?><th scope=\"row\"[^>]*>2x2\b(.*?)</tr>", page)
    assert len(rows) >= 4 * 6
    full_and_bars = [(grey, text) for grey, text in rows if "oversubscribed" in text]
    assert len(full_and_bars) == 4 * 6, "the full table and the bars of time, memory and bytes, six families"
    assert all(grey for grey, _ in full_and_bars)
    others = re.findall(r"<tr class=\"over\"><th scope=\"row\"[^>]*>(\S+)", page)
    assert set(others) == {"2x2"}
    dots = re.findall(r'<path class="dot ([^"]*)"[^>]*><title>2x2', page)
    assert dots
    assert all("over" in style.split() for style in dots)
    assert page.count(">2x2 oversubscribed</span>") == 2 * 6


def test_what_is_recommended_comes_first_in_plain_words():
    text = text_of(report_html(studies.complete()))
    order = [
        "Train with 2 replicas of 1 thread each.",
        "1.83 times as fast",
        "--layout 2x1 --threads-per-rank 1",
        "Sure: five repeats",
        "2x1 reaches 95 %",
        "Nothing was measured on a GPU",
        "Xeon Gold 6248, 2 cores",
        "LSTM, 32 rows a step, fp32",
        "Karp-Flatt",
    ]
    places = [text.find(told, text.find("sentiscale · scaling report")) for told in order[:-2]]
    assert places == sorted(places)
    assert min(places) > 0
    assert all(told in text for told in order)


@pytest.mark.parametrize(
    ("layout", "threads", "told"),
    [
        ("1x1", 1, "Train in one process with 1 thread."),
        ("1x1", 4, "Train in one process with 4 threads."),
        ("4x1", 2, "Train with 4 replicas of 2 threads each."),
        ("1x2", 1, "Train with 2 stages, 1 thread each."),
        ("2x2", 1, "Train with 2 replicas of 2 stages, 1 thread each."),
        ("as it is", 1, "as it is"),
    ],
)
def test_recommended_layout_is_told_in_words(layout, threads, told):
    study = replace(studies.complete(), recommendation=Recommendation(layout, threads, "", ""))
    assert f"<h1>{told}</h1>" in report_html(study)


def test_timings_speak_of_workers_and_never_of_flags():
    text = text_of(report_html(studies.timings()))
    assert "Use 24 workers." in text
    assert "--layout" not in text
    assert "65 %" in text
    assert "Shortest time: 7,784 s, DDP + model parallel with 28 workers" in text


def test_family_that_the_recommendation_names_is_open_and_the_others_closed():
    study = studies.complete()
    why = f"{study.families[4].name}: best, unlike {study.families[1].name}"
    study = replace(study, recommendation=replace(study.recommendation, why=why))
    opened = re.findall(r'<details class="family" id="([\w-]+)"( open)?>', report_html(study))
    assert [name for name, is_open in opened if is_open] == ["family-5"]
    assert len(opened) == 7


def test_hostile_names_stay_text():
    text = Page(report_html(studies.hostile())).text
    assert text.count("<script>alert(1)</script>") >= 8
    assert "{{7*7}}" in text


def test_a_study_of_nothing_makes_a_page_too():
    page = report_html(Study([], None, [], [], []))
    Page(page)
    assert "No recommendation follows from these runs." in page
    assert "<svg" not in page


def test_columns_without_any_value_are_left_out():
    headings = [name for name, _ in full_table(studies.timings().families[0]).headings]
    assert headings == ["workers", "time", "speedup", "efficiency", "Karp-Flatt", "repeats"]


def test_page_is_written_whole_or_not_at_all(tmp_path, small_disk):
    write_report(studies.alone(), tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text() == report_html(studies.alone())
    large = replace(studies.complete(), findings=["word " * 60_000])
    with pytest.raises(SentiscaleError, match="Nothing half-written was left behind"):
        write_report(large, small_disk / "report.html")
    assert list(small_disk.iterdir()) == []


def test_labels_and_numbers_in_bars_can_be_told_from_their_ground():
    """Contrast of at least 4.5 for labels in the colour of their line, of 3 for numbers in bars."""
    for block in re.findall(r"\{[^{}]*--page:[^{}]*\}", _part("page.css")):
        colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
        for name in ("accent", "second", "negative", "positive", "muted"):
            assert contrast(colours[name], colours["card"]) >= 4.5, (name, block)
        assert contrast(colours["third"], colours["card"]) >= 3
