"""One review on the page: label, probability, coloured words, whatever is typed."""

import re

import pytest
from playwright.sync_api import expect

from tests.serving.page.driving import ask

REVIEW = "The film is great! Good film, but not bad; the end is bad and the end is bad."


def test_a_typed_review_shows_label_probability_and_coloured_words(driver, address):
    driver.write(REVIEW)
    text = driver.wait_for_words()
    (expected,) = ask(address, [REVIEW], explain=True)
    assert text.text_content() == REVIEW
    expect(driver.page.locator("#one .label")).to_have_text(expected["label"].capitalize())
    shown = driver.page.locator("#one .probability").text_content().strip("<>%")
    assert float(shown) == pytest.approx(100 * expected["probability"], abs=0.11)
    words = driver.page.locator("#one .word")
    assert words.all_text_contents() == [REVIEW[word["start"] : word["end"]] for word in expected["words"]]
    found = words.evaluate_all("words => words.map(word => Number(word.dataset.contribution))")
    assert found == pytest.approx([word["contribution"] for word in expected["words"]])
    sides = words.evaluate_all("words => words.map(word => word.classList.contains('positive'))")
    assert sides == [contribution >= 0 for contribution in found]
    strongest = max(map(abs, found))
    strengths = words.evaluate_all(
        "words => words.map(word => Number(word.style.getPropertyValue('--strength')))"
    )
    assert strengths == pytest.approx([abs(x) / max(0.5, strongest) for x in found], abs=1e-3)


def test_the_answer_is_read_out_with_the_strongest_words(driver, address):
    driver.write(REVIEW)
    driver.wait_for_words()
    (expected,) = ask(address, [REVIEW], explain=True)
    said = driver.page.locator("#said").text_content()
    assert said.startswith(expected["label"].capitalize())
    assert re.search(r"For (positive|negative): \w+", said)


def test_a_word_under_the_pointer_shows_its_number(driver):
    driver.write(REVIEW)
    driver.wait_for_words()
    word = driver.page.locator("#one .word").first
    word.hover()
    tip = driver.page.locator("#one .tip")
    expect(tip).to_have_text(re.compile(r"^[+\u2212]\d+\.\d\d · odds of (positive|negative) \u00d7[\d.,]+$"))
    driver.page.keyboard.press("Escape")
    expect(tip).to_be_hidden()


def test_the_last_of_several_quick_texts_wins(driver, address):
    texts = [f"{'good ' * at}but bad" for at in range(1, 6)]
    for text in texts:
        driver.write(text)
        driver.page.wait_for_timeout(120)
    expect(driver.page.locator("#one .coloured")).to_have_text(texts[-1])
    driver.write("")
    expect(driver.page.locator("#one")).to_be_hidden()


@pytest.mark.parametrize(
    "text",
    [
        "<script>document.title = 'taken'</script> good",
        "<img src=x onerror=\"document.title = 'taken'\"> bad &amp; good",
        "good \u202e dab si siht \u200f \u05d0\u05d1\u05d2 bad",
        "\U0001f600 good \U0001f469\u200d\U0001f469\u200d\U0001f467 bad \U0001d49e terrible",
        "e\u0301tonnant, good; javascript:alert(1) {{7*7}} ${good}",
    ],
    ids=["script", "image", "right-to-left", "emoji", "marks"],
)
def test_hostile_text_is_shown_as_text(kept, address, text):
    title = kept.page.title()
    kept.write(text)
    assert kept.wait_for_words(text).text_content() == text
    assert kept.page.title() == title
    assert kept.page.locator("#one script, #one img").count() == 0
    (expected,) = ask(address, [text], explain=True)
    words = kept.page.locator("#one .word").all_text_contents()
    assert words == [text[word["start"] : word["end"]] for word in expected["words"]]  # code points here, too


def test_try_one_fills_in_a_review(driver):
    driver.page.get_by_role("button", name="Try one").click()
    driver.wait_for_words()
    assert driver.page.locator("#text").input_value() != ""


def test_everything_by_keyboard_alone(driver):
    keyboard = driver.page.keyboard
    keyboard.press("Tab")
    expect(driver.page.locator(".skip")).to_be_focused()
    keyboard.press("Enter")
    expect(driver.page.locator("#text")).to_be_focused()
    keyboard.type("good product")
    driver.wait_for_words()
    keyboard.press("Enter")
    keyboard.type("awful product")
    expect(driver.page.locator("#rows-body tr")).to_have_count(2)
    driver.wait_for_labels(2)
    driver.page.locator("#rows-head button").first.focus()
    while not driver.page.evaluate("document.activeElement.matches('#rows-body .open')"):
        keyboard.press("Tab")
    keyboard.press("ArrowDown")
    keyboard.press("Enter")
    expect(driver.page.locator("#rows-body .detail .coloured")).to_have_text("awful product")
    keyboard.press("Enter")
    expect(driver.page.locator("#rows-body .detail")).to_have_count(0)


def test_several_lines_can_be_read_as_one_review(driver):
    driver.write("good start\n\nbad end")
    driver.wait_for_labels(2)
    driver.page.get_by_label("one review").check()
    assert driver.wait_for_words().text_content() == "good start\n\nbad end"
    expect(driver.page.locator("#many")).to_be_hidden()


def test_a_review_beyond_the_limit_is_refused_with_both_numbers(driver):
    limit = driver.page.evaluate("fetch('v1/model').then(r => r.json()).then(m => m.limits.characters)")
    driver.write("g" * (limit + 1))
    expect(driver.page.locator("#problem")).to_contain_text(
        f"{limit + 1:,} characters; the server takes at most {limit:,}"
    )
