"""The page when things go wrong: a key is wanted, the server is overloaded, the server is gone."""

import re
import signal

import pytest
from playwright.sync_api import expect

from tests.serving.page.conftest import KEY
from tests.serving.running_service import Load, running_service

pytestmark = pytest.mark.slow


@pytest.fixture
def keyed(open_page, keyed_service):
    driver = open_page(f"http://127.0.0.1:{keyed_service.port}/")
    driver.allowed += ["status of 401", "status of 429"]
    return driver


def give_key(driver, key=KEY):
    dialog = driver.page.locator("#key-dialog")
    expect(dialog).to_be_visible()
    driver.page.get_by_label("API key", exact=True).fill(key)
    driver.page.keyboard.press("Enter")


def test_a_key_is_asked_for_refused_and_kept_in_memory_only(keyed):
    page = keyed.page
    give_key(keyed, "wrong-key-of-thirty-two-letters-")
    expect(page.locator("#key-refused")).to_be_visible()
    give_key(keyed)
    expect(page.locator("#model .cards")).to_be_visible()
    keyed.write("good")
    keyed.wait_for_words()
    assert (
        page.evaluate(
            "[...Object.values(localStorage), ...Object.values(sessionStorage), document.cookie].join()"
        )
        == ""
    )
    page.reload()
    expect(page.locator("#key-dialog")).to_be_visible()
    page.get_by_role("button", name="Not now").click()
    expect(page.locator("#model")).to_contain_text("wants an API key")
    page.locator("#model").get_by_role("button", name="Try again").click()
    give_key(keyed)
    expect(page.locator("#model .cards")).to_be_visible()


def test_an_overloaded_server_is_waited_for(keyed, keyed_service):
    """Others keep its only place in the queue taken; when they leave, the page gets its answers."""
    statuses = []
    keyed.page.on("response", lambda answer: statuses.append(answer.status))
    give_key(keyed)
    expect(keyed.page.locator("#model .cards")).to_be_visible()
    texts, headers = ["good bad " * 2000] * 8, {"Authorization": f"Bearer {KEY}"}
    with Load(keyed_service, texts, headers=headers) as load:
        load.wait_for(2)
        keyed.choose_text("many.txt", "\n".join(f"good number {at}" for at in range(40)))
        busy = re.compile(r"^The server is busy\. Trying again in \d+ s\.$")
        expect(keyed.page.locator("#waiting")).to_have_text(busy)
    keyed.wait_for_labels(40)
    expect(keyed.page.locator("#waiting")).to_have_text("")
    assert 429 in statuses


def test_what_cannot_be_explained_is_labelled_at_least(keyed):
    give_key(keyed)
    expect(keyed.page.locator("#model .cards")).to_be_visible()
    keyed.write("good and bad " * 20)
    expect(keyed.page.locator("#one .label")).to_be_visible()
    expect(keyed.page.locator("#one")).to_contain_text("words are not explained. Too long: 260 characters")
    assert keyed.page.locator("#one .word").count() == 0


def test_a_server_that_is_gone_is_told_and_found_again(open_page, model, folder):
    with running_service(model, folder) as first:
        driver = open_page(f"http://127.0.0.1:{first.port}/")
        driver.write("good")
        driver.wait_for_words()
        first.stop(signal.SIGKILL)
    driver.allowed.append("net::ERR_")
    driver.write("good and bad")
    waiting = "The server does not answer. Is it still running?"
    expect(driver.page.locator("#waiting")).to_contain_text(waiting)
    expect(driver.page.locator("#problem")).to_contain_text(waiting)
    with running_service(model, folder, "--port", first.port):
        driver.page.locator("#problem").get_by_role("button", name="Try again").click()
        expect(driver.page.locator("#one .coloured")).to_have_text("good and bad")
        expect(driver.page.locator("#problem")).to_be_hidden()


def test_a_file_goes_on_where_a_killed_server_left_it(open_page, model, folder):
    with running_service(model, folder) as first:
        driver = open_page(f"http://127.0.0.1:{first.port}/")
        driver.choose_text("many.txt", "\n".join(f"good number {at}" for at in range(20_000)))
        expect(driver.page.locator("#progress-text")).to_have_text(re.compile("^[1-9]"))
        driver.allowed.append("net::ERR_")
        first.stop(signal.SIGKILL)
    expect(driver.page.locator("#problem")).to_contain_text("not labelled yet")
    with running_service(model, folder, "--port", first.port):
        driver.page.get_by_role("button", name="Go on").click()
        driver.wait_for_labels(20_000, seconds=120)
