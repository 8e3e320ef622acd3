"""Files that a project is judged by: licence, citation, security, the source of its version."""

import tomllib
from importlib.metadata import metadata

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import REPOSITORY

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))


def test_licence_is_there_and_is_the_one_that_is_named():
    text = (REPOSITORY / "LICENSE").read_text(encoding="utf-8")
    assert text.split()[:4] == ["Apache", "License", "Version", "2.0,"]
    assert text.rstrip().splitlines()[-1].strip() == "limitations under the License."
    assert PROJECT["project"]["license"] == "Apache-2.0"
    assert metadata("sentiscale")["License-Expression"] == "Apache-2.0"
    assert (REPOSITORY / "README.md").read_text(encoding="utf-8").rstrip().endswith("Apache License 2.0.")


def test_citation_has_what_the_format_requires():
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert citation["license"] == PROJECT["project"]["license"]
    assert "version" not in citation, "git's tags have it"


def test_version_is_written_down_nowhere():
    assert "version" in PROJECT["project"]["dynamic"]
    assert PROJECT["tool"]["hatch"]["version"]["source"] == "vcs"


def test_archives_of_a_commit_are_told_their_tag():
    """Which files git fills in when it makes an archive, and what it fills in."""
    assert ".git_archival.txt export-subst" in (REPOSITORY / ".gitattributes").read_text().splitlines()
    assert "describe-name: $Format:%(describe:" in (REPOSITORY / ".git_archival.txt").read_text()


def test_constraints_pin_every_dependency_of_the_project():
    """A range in pyproject.toml without a pin would make two installations differ."""
    wanted = [
        *PROJECT["project"]["dependencies"],
        *PROJECT["project"]["optional-dependencies"]["fetch"],
        *PROJECT["dependency-groups"]["dev"],
        *PROJECT["dependency-groups"]["docs"],
    ]
    pins = {}
    for line in (REPOSITORY / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            pin = Requirement(line)
            pins[canonicalize_name(pin.name)] = str(pin.specifier).removeprefix("==")
    for text in wanted:
        requirement = Requirement(text)
        version = pins.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} is not pinned in constraints.txt"
        assert requirement.specifier.contains(version), f"{text} forbids the pinned {version}"
