"""How the page looks and reads: contrast, names of controls, phone, themes, print, the model's figures."""

import re
from itertools import pairwise
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.serving.page.driving import as_csv

ROWS = [
    [at % 5, "quite a long name of a product", f"It is {'great' if at % 3 else 'bad'} and number {at}"]
    for at in range(40)
]
TABLE = as_csv([["stars", "product name", "text"], *ROWS])

CONTRASTS = Path(__file__).with_name("contrast.js").read_text()
UNNAMED = re.compile(
    r"^\s*- (?:button|link|textbox|searchbox|combobox|checkbox|radio|progressbar|img|region)(?: \[.*\])?:?$",
    re.MULTILINE,
)
"""A control without a name in Playwright's snapshot of what assistive technology is told."""


def with_everything(driver):
    """A table with an opened row, then the single review beside it would be another page."""
    driver.choose_text("reviews.csv", TABLE)
    driver.wait_for_labels(40)
    driver.page.locator("#rows-body tr").nth(1).locator(".open").click()
    expect(driver.page.locator("#rows-body .detail .coloured")).to_be_visible()
    return driver


def with_one(driver):
    driver.write("The film is great! Good film, but not bad; the end is bad and the end is bad.")
    driver.wait_for_words()
    driver.page.locator("#one .word").first.hover()
    return driver


def too_faint(driver):
    found = driver.page.evaluate(CONTRASTS)
    assert len(found) > 40
    return [entry for entry in found if entry["ratio"] < entry["needed"]]


@pytest.mark.parametrize(
    ("scheme", "prepare"),
    [
        ("light", with_everything),
        ("dark", with_one),
        pytest.param("light", with_one, marks=pytest.mark.slow),
        pytest.param("dark", with_everything, marks=pytest.mark.slow),
    ],
)
def test_all_text_has_contrast_enough(open_page, address, scheme, prepare):
    driver = prepare(open_page(address, color_scheme=scheme, reduced_motion="reduce"))
    assert too_faint(driver) == []


def test_faint_text_is_noticed(driver):
    """The check itself can fail."""
    driver.page.evaluate("document.documentElement.style.setProperty('--muted', '#9a9a9a')")
    assert too_faint(driver) != []


@pytest.mark.parametrize("prepare", [pytest.param(with_one, marks=pytest.mark.slow), with_everything])
def test_every_control_has_a_name(driver, prepare):
    prepare(driver)
    snapshot = driver.page.locator("body").aria_snapshot()
    assert snapshot.count("- button") >= 4
    assert UNNAMED.findall(snapshot) == []
    ids = driver.page.evaluate("[...document.querySelectorAll('[id]')].map(element => element.id)")
    assert len(ids) == len(set(ids))
    levels = driver.page.locator("h1, h2, h3, h4").evaluate_all(
        "all => all.filter(h => h.checkVisibility()).map(h => +h.tagName[1])"
    )
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_a_screen_reader_finds_the_table(driver):
    with_everything(driver)
    snapshot = driver.page.locator("#many").aria_snapshot()
    assert 'columnheader "Label"' in snapshot.replace("↑", "").replace("↓", "")
    assert "rowheader" in snapshot
    assert "combobox" in snapshot


@pytest.mark.parametrize("prepare", [pytest.param(with_one, marks=pytest.mark.slow), with_everything])
def test_a_phone_needs_no_sideways_scrolling(phone, prepare):
    prepare(phone)
    wide = phone.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert wide[0] <= wide[1] == 360
    small = phone.page.locator("button, select, textarea, input[type=search]").evaluate_all(
        "all => all.filter(e => e.checkVisibility() && e.getBoundingClientRect().height < 24).map(e => e.id)"
    )
    assert small == []  # WCAG 2.2, target size


def test_the_theme_follows_the_system_and_the_button(open_page, address):
    driver = open_page(address, color_scheme="dark")
    page = driver.page
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_role("button", name="Change to light colours").click()
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert light != dark
    page.reload()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == light
    page.get_by_role("button", name="Change to dark colours").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == dark


@pytest.mark.slow
def test_paper_has_answers_and_no_controls(driver):
    with_everything(driver)
    driver.page.emulate_media(media="print")
    expect(driver.page.locator("#filters")).to_be_hidden()
    expect(driver.page.locator("#rows")).to_be_visible()
    assert driver.page.pdf()[:4] == b"%PDF"


def test_the_model_is_described_with_its_figures(driver):
    about = driver.page.evaluate("fetch('v1/model').then(answer => answer.json())")
    section = driver.page.locator("#model")
    expect(section).to_contain_text(about["digest"])
    (trues, _), (_, positives) = about["test"]["confusion"]
    expect(section.locator(".cards")).to_contain_text(
        f"{trues + positives:,} of {about['test']['rows']:,} test reviews"
    )
    assert section.locator(".confusion td strong").all_text_contents() == [
        f"{rows:,}" for line in about["test"]["confusion"] for rows in line
    ]
    assert section.locator(".plot .dot").count() == len(about["calibration"]) > 0
    section.get_by_text("The numbers").click()
    rows = [
        int(text.replace(",", "")) for text in section.locator(".numbers td:last-child").all_text_contents()
    ]
    assert rows == [bin_["rows"] for bin_ in about["calibration"]]
