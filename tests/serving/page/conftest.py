"""A real headless Chromium on the page of a real server; complaints of the page fail the test."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.serving.page.driving import Driver
from tests.serving.running_service import RunningService, running_service

PATIENCE_MS = 120_000
KEY = "a-key-of-thirty-two-characters-0"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@dataclass
class Complaints:
    """What a page did that it must not do."""

    host: str
    found: list[str] = field(default_factory=list)
    allowed: list[str] = field(default_factory=list)
    """Parts of messages that the test provokes; Chromium logs every answer of 400 and above."""

    def watch(self, page: Page) -> None:
        page.on("console", lambda message: message.type in ("error", "warning") and self.add(message.text))
        page.on("pageerror", lambda error: self.add(f"uncaught: {error}"))
        page.on("request", lambda request: self.check_address(request.url))

    def add(self, text: str) -> None:
        if not any(part in text for part in self.allowed):
            self.found.append(text)

    def check_address(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme != "blob" and parts.netloc != self.host:
            self.found.append(f"request to another host: {url}")


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Ends with this folder's tests: while it runs, no test of this process can call `asyncio.run`."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"needs one of {', '.join(BROWSERS)}, which is not installed")
    expect.set_options(timeout=PATIENCE_MS)
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


@contextmanager
def pages(browser: Browser) -> Iterator[Callable[..., Driver]]:
    """Gives `opener(address, **how)`; `how` goes to Playwright's new_context. Complaints fail at the end."""
    opened = []

    def opener(address: str, **how) -> Driver:
        context = browser.new_context(**how)
        complaints = Complaints(urlsplit(address).netloc)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        complaints.watch(page)
        opened.append((context, complaints))
        page.goto(address)
        return Driver(page, complaints.allowed)

    yield opener
    for context, _ in opened:
        context.close()
    assert [text for _, complaints in opened for text in complaints.found] == []


@pytest.fixture
def open_page(browser) -> Iterator[Callable[..., Driver]]:
    with pages(browser) as opener:
        yield opener


@pytest.fixture(scope="module")
def kept(browser, address) -> Iterator[Driver]:
    """One page for tests that bring a text or file of their own and do not mind what was there before."""
    with pages(browser) as opener:
        yield opener(address)


@pytest.fixture
def driver(open_page, address) -> Driver:
    """The page of the shared server, as a desktop shows it."""
    return open_page(address, viewport={"width": 1280, "height": 900})


@pytest.fixture
def phone(open_page, address) -> Driver:
    """The same on the narrowest phone that still counts."""
    return open_page(address, viewport={"width": 360, "height": 740}, is_mobile=True, has_touch=True)


@pytest.fixture(scope="session")
def address(service) -> str:
    """Where the service that is there for many tests listens, with a slash at the end."""
    return f"http://127.0.0.1:{service.port}/"


@pytest.fixture(scope="module")
def keyed_service(model, folder) -> Iterator[RunningService]:
    """Wants a key, explains short reviews only, and has room for a single small batch to wait."""
    (folder / "key").write_text(KEY)
    limits = {"max_texts": 8, "queue": 8, "explain_characters": 100}
    options = [word for name, value in limits.items() for word in ("--set", f"serve.{name}={value}")]
    with running_service(model, folder, "--api-key-file", folder / "key", *options) as running:
        yield running
