"""Read a changelog in the manner of "Keep a Changelog", and say where it is none."""

import re
from collections.abc import Iterator
from datetime import date
from itertools import pairwise

from packaging.version import InvalidVersion, Version

KINDS = ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")
UNRELEASED = "Unreleased"
RELEASE = re.compile(r"(\S+) - (\S+)")


def sections(text: str) -> dict[str, list[str]]:
    """Heading of each section of the second level -> its lines; brackets of a link are left out."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("## "):
            found[line[3:].strip().replace("[", "").replace("]", "")] = []
        elif found:
            found[list(found)[-1]].append(line)
    return found


def releases(text: str) -> list[Version]:
    """Released versions in the order of the file."""
    return [Version(found[1]) for found in map(RELEASE.fullmatch, sections(text)) if found]


def faults(text: str) -> list[str]:
    """Everything that is not as it should be."""
    found = sections(text)
    wrong = [] if text.startswith("# Changelog\n") else ["the first line is not '# Changelog'"]
    if UNRELEASED in found and next(iter(found)) != UNRELEASED:
        wrong.append("'Unreleased' is not on top")
    for heading, lines in found.items():
        wrong += [f"{heading}: {fault}" for fault in (*heading_faults(heading), *body_faults(heading, lines))]
    if not wrong:
        later = pairwise(releases(text))
        wrong += [f"{older} stands below {newer}" for newer, older in later if older >= newer]
    return wrong


def heading_faults(heading: str) -> Iterator[str]:
    """A section is called `Unreleased`, or `1.2.0 - 2026-01-31`."""
    if heading == UNRELEASED:
        return
    given = RELEASE.fullmatch(heading)
    if not given:
        yield "is neither 'Unreleased' nor 'VERSION - YYYY-MM-DD'"
        return
    try:
        Version(given[1])
        date.fromisoformat(given[2])
    except (InvalidVersion, ValueError) as error:
        yield str(error)


def body_faults(heading: str, lines: list[str]) -> Iterator[str]:
    """Entries stand below one of the six headings, each once; only "Unreleased" may be empty."""
    kinds = [line[4:].strip() for line in lines if line.startswith("### ")]
    yield from (f"'{kind}' is none of {', '.join(KINDS)}" for kind in kinds if kind not in KINDS)
    yield from (f"'{kind}' stands twice" for kind in sorted(set(kinds)) if kinds.count(kind) > 1)
    if heading != UNRELEASED and not kinds:
        yield "says nothing"
    kind, entries = "", 0
    for line in [*lines, "### end"]:
        if line.startswith("### "):
            if kind and not entries:
                yield f"'{kind}' is empty"
            kind, entries = line[4:].strip(), 0
        elif line.startswith("- "):
            entries += 1
            if not kind:
                yield f"'{line[:40]}' stands below no heading"
