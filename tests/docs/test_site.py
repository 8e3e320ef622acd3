"""The site builds without a warning, is complete, is searched without a network, and asks no other host."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import sentiscale
from sentiscale.cli import VERBS
from sentiscale.config import Settings
from tests.conftest import REPOSITORY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ELSEWHERE = re.compile(
    r"""(?:src|srcset|action|poster)=["']?(?:https?:)?//|@import|url\(["']?(?:https?:)?//"""
)
LINKED = re.compile(r"""<link\b[^>]*href=["'](?:https?:)?//""")


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` builds it."""
    pytest.importorskip("sphinx", reason="needs Sphinx; `make docs` installs it")
    out = tmp_path_factory.mktemp("site")
    command = [
        "-m",
        "sphinx",
        "-W",
        "--keep-going",
        "-q",
        "-c",
        "docs",
        "-d",
        out / "doctrees",
        ".",
        out / "html",
    ]
    done = subprocess.run(
        [sys.executable, *command], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return out / "html"


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def test_every_page_is_there(site):
    pages = {page.relative_to(REPOSITORY) for page in (REPOSITORY / "docs").rglob("*.md")}
    assert [page for page in pages if not (site / page.with_suffix(".html")).is_file()] == []
    assert "docs/index.html" in text_of(site / "index.html")


def test_the_command_s_page_has_every_verb_and_flag(site):
    page = text_of(site / "docs/reference/cli.html")
    for verb in VERBS:
        assert f'id="{verb}"' in page
    for flag in ("--stars-column", "--no-wide", "--micro-batches", "--target-accuracy", "--scheduler"):
        assert flag in page
    assert "train.micro_batches" in page, "the setting that a flag stands for"


def test_the_page_of_settings_has_every_setting_with_its_meaning(site):
    page = text_of(site / "docs/reference/settings.html")
    for section in Settings.model_fields:
        fields = type(getattr(Settings(), section)).model_fields
        for name, field in fields.items():
            assert f">{name}</span>" in page, f"{section}.{name}"
            assert field.description, f"{section}.{name} has no docstring"


def test_the_python_page_has_every_public_name(site):
    page = text_of(site / "docs/reference/python.html")
    for name in sentiscale.__all__:
        assert f'id="sentiscale.{name}"' in page
    for name in ("bench", "report", "plan"):
        assert f'id="sentiscale.api.{name}"' in page


def test_no_page_asks_another_host(site):
    asking = [
        page.name
        for page in [*site.rglob("*.html"), *site.rglob("*.css")]
        if ELSEWHERE.search(text_of(page)) or LINKED.search(text_of(page))
    ]
    assert asking == []


def test_links_between_pages_lead_to_files(site):
    broken = []
    for page in site.rglob("*.html"):
        for link in re.findall(r'href="([^"#:?]+)[^":]*"', text_of(page)):
            if not (page.parent / link).exists():
                broken.append(f"{page.relative_to(site)}: {link}")
    assert broken == []


def test_search_finds_pages_in_a_browser_without_a_network(site, tmp_path):
    """Opened from the disk, in a browser that is told to reach no host."""
    from playwright.sync_api import sync_playwright

    found = [
        path
        for path in ("/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome")
        if Path(path).exists()
    ]
    if not found:
        pytest.skip("needs Chromium")
    asked: list[str] = []
    problems: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found[0], args=["--no-sandbox"])
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(f"{(site / 'search.html').as_uri()}?q=micro-batches")
        page.wait_for_selector("#search-results li a:has-text('When model parallelism pays')", timeout=60_000)
        browser.close()
    assert [url for url in asked if not url.startswith("file:")] == []
    assert problems == []
