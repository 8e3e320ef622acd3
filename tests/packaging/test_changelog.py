"""The changelog keeps its form, and has the version of the last tag on top."""

import subprocess
import tomllib

import pytest
from packaging.version import Version

from tests.conftest import REPOSITORY
from tests.packaging.changelog import faults, releases

CHANGELOG = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")

GOOD = """# Changelog

What changed.

## [Unreleased]

### Added

- a thing

## [1.10.0] - 2026-02-01

### Fixed

- another one,
  over two lines

## 1.9.1 - 2026-01-31

### Added

- the first
"""


def tags() -> list[Version]:
    """Versions that are tagged in the history of what is checked out, the newest first."""
    command = ["git", "tag", "--list", "v*", "--merged", "HEAD"]
    listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("needs a git checkout to know the tags")
    return sorted((Version(tag) for tag in listed.stdout.split()), reverse=True)


def test_changelog_keeps_its_form():
    assert faults(CHANGELOG) == []


def test_newest_version_of_the_changelog_is_the_newest_tag():
    """Or the one to be tagged next, which is written down before."""
    written, tagged = releases(CHANGELOG), tags()
    assert written[:1] == tagged[:1] or written[1:2] == tagged[:1]


def test_version_without_git_is_that_of_a_release_to_come():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    fallback = Version(project["tool"]["hatch"]["version"]["fallback-version"])
    assert fallback.is_devrelease
    assert [tag for tag in tags() if tag > fallback] == []


def test_a_good_changelog_has_no_fault():
    assert faults(GOOD) == []
    assert releases(GOOD) == [Version("1.10.0"), Version("1.9.1")]


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("# Changelog", "# Changes", "first line"),
        ("## [Unreleased]", "## Next", "Next: is neither"),
        ("2026-02-01", "2026-02-30", "1.10.0 - 2026-02-30: "),
        ("[1.10.0]", "[one]", "Invalid version"),
        ("## 1.9.1 - 2026-01-31", "## 1.11 - 2026-03-01", "1.11 stands below 1.10.0"),
        ("### Fixed", "### Repaired", "'Repaired' is none of Added,"),
        ("- a thing", "a thing", "Unreleased: 'Added' is empty"),
        ("### Added\n\n- the first", "", "1.9.1 - 2026-01-31: says nothing"),
        ("### Added\n\n- a thing", "- a thing", "'- a thing' stands below no heading"),
        ("- a thing", "- a thing\n\n### Added\n\n- more", "'Added' stands twice"),
        ("## [Unreleased]\n", "## 2.0 - 2026-04-01\n\n### Added\n\n- x\n\n## [Unreleased]\n", "not on top"),
    ],
)
def test_a_fault_of_a_changelog_is_found(before, after, told):
    assert before in GOOD
    assert told in " ".join(faults(GOOD.replace(before, after, 1)))
