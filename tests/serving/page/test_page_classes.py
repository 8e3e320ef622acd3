"""The page of a model with more than two classes: five stars that may be unsure; 24 labels, one hostile."""

import re

import pytest
from playwright.sync_api import expect

from sentiscale.inference.outputs import probability_columns
from tests.serving.conftest import CLASSES
from tests.serving.page.driving import as_csv, ask
from tests.serving.page.test_page_looks import too_faint

UNSURE = "great, not bad!"
WORDS = ("great", "bad", "good", "not bad", "a film", "not good", "the film", "great!")
ROWS = [[f"kind {at % 3}", f"It is {WORDS[at % 8]}, {WORDS[at * 5 % 7]}"] for at in range(20)]


@pytest.mark.parametrize(("number", "scheme"), [(5, "light"), (24, "dark")])
def test_more_than_two_classes(open_page, class_services, number, scheme):
    address = f"http://127.0.0.1:{class_services[number].port}/"
    how = {"color_scheme": scheme, "reduced_motion": "reduce"}
    driver = open_page(address, viewport={"width": 1280, "height": 900}, **how)
    one_review(driver, address, number)
    many_reviews(driver, address, number)
    assert too_faint(driver) == []
    driver.page.set_viewport_size({"width": 360, "height": 740})
    assert driver.page.evaluate("document.documentElement.scrollWidth") <= 360
    assert "taken" not in driver.page.title()
    assert driver.page.locator("img").count() == 0


def one_review(driver, address, number):
    classes, _ = CLASSES[number]
    driver.write(UNSURE)
    driver.wait_for_words(UNSURE)
    (expected,) = ask(address, [UNSURE], explain=True)
    chances = expected["probabilities"]
    order = classes.names if number == 5 else sorted(chances, key=lambda name: -chances[name])
    bars = driver.page.locator("#one .bars")
    shown = [text.split()[0] if number == 5 else text for text in bars.locator(".name").all_text_contents()]
    assert shown == list(order)
    figures = [float(text.strip("<>%")) for text in bars.locator(".figure").all_text_contents()]
    assert figures == pytest.approx([100 * chances[name] for name in order], abs=0.11)
    visible = [bar.is_visible() for bar in bars.locator(".figure").all()]
    assert visible.count(True) == (5 if number == 5 else 6)
    label = driver.page.locator("#one .label")
    colours = bars.locator("i").evaluate_all("all => all.map(bar => getComputedStyle(bar).backgroundColor)")
    if number == 5:
        expect(label).to_have_text("Unsure")
        expect(driver.page.locator("#one")).to_contain_text(
            f"Expected: {expected['expected_star']:.1f} of 5 stars"
        )
        expect(driver.page.locator("#one")).to_contain_text("A label below 45.0% is unsure.")
        assert len(set(colours)) == 5
    else:
        expect(label).to_have_text(expected["label"])
        assert CLASSES[24][0].names[0] in shown
    text = f"against “{expected['class']}"
    expect(driver.page.locator("#one .scale")).to_contain_text(text)


def many_reviews(driver, address, number):
    classes, _ = CLASSES[number]
    expected = ask(address, [text for _, text in ROWS])
    driver.choose_text("reviews.csv", as_csv([["kind", "text"], *ROWS]))
    expect(driver.page.locator("#rows-body .chip")).to_have_count(20)
    labels = [prediction["label"] for prediction in expected]
    counts = driver.page.locator("#many-classes .figure").all_text_contents()
    assert sorted(map(int, counts)) == sorted(
        labels.count(name) for name in (*classes.names, *["unsure"] * (number == 5))
    )
    head, *rows = driver.downloaded()
    for name, column in zip(classes.names, probability_columns(classes.names), strict=True):
        at = head.index(column)
        wanted = [prediction["probabilities"][name] for prediction in expected]
        assert [float(row[at]) for row in rows] == pytest.approx(wanted, abs=1e-5)
    driver.page.locator("#filter-label").select_option(f"is {labels[0]}")
    expect(driver.page.locator("#rows-body .chip")).to_have_count(labels.count(labels[0]))
    if number == 5:
        stars = [prediction["expected_star"] for prediction in expected]
        average = re.compile(rf"on average {sum(stars) / 20:.2f} of 5 stars")
        expect(driver.page.locator("#many-summary")).to_have_text(average)
        mean = driver.page.locator("#means-body tr", has_text="kind 0").locator("td.number").first
        assert float(mean.text_content()) == pytest.approx(sum(stars[::3]) / 7, abs=0.006)
    else:
        expect(driver.page.locator("#means")).to_be_hidden()
