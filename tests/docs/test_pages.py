"""The pages keep their word: their blocks run, their links lead somewhere, every page can be found."""

import re
from pathlib import Path

import pytest

from sentiscale.cli import VERBS
from tests.conftest import REPOSITORY
from tests.docs.conftest import Lay
from tests.docs.running import blocks_of, run_page, runnable

DOCS = REPOSITORY / "docs"
PAGES = sorted(
    [
        *DOCS.rglob("*.md"),
        *REPOSITORY.glob("benchmarks/**/*.md"),
        *REPOSITORY.glob("deploy/*/README.md"),
        *(REPOSITORY / name for name in ("CONTRIBUTING.md", "examples/README.md", "notebooks/README.md")),
    ]
)

TAGS = {
    "bash",
    "python",  # run
    "console",  # installs something, never ends, needs a network, a cluster or a graphics processor
    "text",
    "toml",
    "json",
    "csv",
    "yaml",
    "ini",
    "html",
    "dockerfile",  # shown
}

GIVEN = {
    "docs/tutorial/amazon-reviews.md": ("train.ft.txt", "test.ft.txt"),
    "docs/how-to/compare-runs.md": ("data", "run", "reviews.csv"),
    "docs/how-to/export-to-onnx.md": ("data", "run"),
    "docs/how-to/lopsided-data.md": ("data", "run"),
    "docs/how-to/find-label-errors.md": ("data", "run", "reviews.csv"),
    "docs/how-to/predict-millions.md": ("run",),
    "docs/how-to/resume.md": ("reviews.ft.txt", "data"),
    "docs/how-to/run-a-scaling-study.md": ("data",),
    "docs/how-to/track-experiments.md": ("data",),
    "docs/explanation/row-sparse-gradients.md": ("data",),
    "docs/explanation/reading-a-scaling-report.md": ("study",),
    "docs/explanation/how-plan-predicts.md": ("study",),
}
"""What a page takes for granted, as its reader has it from the tutorial; in small."""

QUICK = {"docs/explanation/what-the-classic-study-got-wrong.md"}
"""Pages that run within seconds; all others wait for the slow tests."""

LINK = re.compile(r"\]\((?!https?:|mailto:)([^)\s]+)\)")


def name_of(page: Path) -> str:
    return page.relative_to(REPOSITORY).as_posix()


def pages_to_run() -> list[object]:
    marks = [pytest.mark.slow, pytest.mark.timeout(900)]
    found = [name_of(page) for page in PAGES if runnable(page.read_text(encoding="utf-8"))]
    return [pytest.param(name, marks=[] if name in QUICK else marks, id=name) for name in found]


@pytest.mark.parametrize("page", pages_to_run())
def test_blocks_of_a_page_run(page, lay: Lay, tmp_path):
    lay(GIVEN.get(page, ()), tmp_path)
    run_page((REPOSITORY / page).read_text(encoding="utf-8"), tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_blocks_say_what_they_are(page):
    """A tag that nobody knows would neither be run nor be found out."""
    tags = {block.tag for block in blocks_of(page.read_text(encoding="utf-8"))}
    assert {tag for tag in tags if not tag.startswith("{")} <= TAGS


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_of_a_page_lead_to_files_and_headings(page):
    broken = [link for link in LINK.findall(prose(page)) if not leads_somewhere(page, link)]
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_of_a_page_exist(page):
    used = {
        verb
        for block in blocks_of(page.read_text(encoding="utf-8"))
        for verb in re.findall(r"^(?:\$ )?sentiscale ([a-z]+)", block.text, re.MULTILINE)
    }
    assert used <= set(VERBS)


def test_given_and_quick_pages_exist():
    assert {*GIVEN, *QUICK} <= {name_of(page) for page in PAGES}


@pytest.mark.parametrize("section", ["tutorial", "how-to", "explanation", "reference", "decisions"])
def test_every_page_is_in_the_list_of_its_section(section):
    index = DOCS / section / "index.md"
    listed = {link.split("#")[0] for link in LINK.findall(index.read_text(encoding="utf-8"))}
    there = {page.name for page in (DOCS / section).glob("*.md")} - {"index.md"}
    assert there - listed == set()


def prose(page: Path) -> str:
    """A page without its blocks and without `code`."""
    text = page.read_text(encoding="utf-8")
    text = re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]*`", "", text)


def leads_somewhere(page: Path, link: str) -> bool:
    path, _, heading = link.partition("#")
    target = (page.parent / path) if path else page
    if not target.exists():
        return False
    return not heading or heading in headings(target)


def headings(page: Path) -> set[str]:
    """Anchors of a page as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
