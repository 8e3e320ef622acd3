"""Words and numbers as Markdown that shows them as they are, whatever they hold."""

import re
from collections.abc import Iterable, Sequence

SPECIAL = re.compile(r"([\\&`*_\[\]<>|#~$])")


def plain(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return SPECIAL.sub(r"\\\1", " ".join(text.split()))


def said(text: str) -> str:
    """A sentence whose code between backticks stays code."""
    parts = " ".join(text.split()).split("`")
    if len(parts) % 2 == 0:
        return plain(text)
    return "`".join(part if number % 2 else SPECIAL.sub(r"\\\1", part) for number, part in enumerate(parts))


def grid(headings: Sequence[str], lines: Iterable[Sequence[str]], rule: str = "---:") -> str:
    """A table; its first column holds words, the others numbers unless `rule` says otherwise."""
    rules = ["---", *[rule] * (len(headings) - 1)]
    rows = [[plain(cell) for cell in line] for line in (headings, *lines)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (rows[0], rules, *rows[1:]))
