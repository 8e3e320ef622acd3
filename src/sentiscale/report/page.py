"""Render templates as self-contained HTML pages or as Markdown."""

import base64
import hashlib
import html
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from markupsafe import Markup

from sentiscale.errors import UsageError
from sentiscale.util.atomic import check_output
from sentiscale.util.templates import environment

SUFFIXES = (".html", ".htm")
SPECIAL = re.compile(r"([\\&`*_\[\]<>|#~$])")
"""Characters with a special meaning in Markdown."""


def render(template: str, **values: Any) -> str:
    """Render an HTML template of `report/templates`; all values are escaped.

    Style and script are inline. The content security policy allows only this script, identified by its hash,
    and no loading of resources, so a malicious review is harmless even if its text were not escaped.
    """
    style, script = _part("page.css"), _part("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    page = environment(__package__, html=True).get_template(template)
    return page.render(style=Markup(style), script=Markup(script), policy=policy, **values)  # noqa: S704 - ours


def render_markdown(template: str, **values: Any) -> str:
    """Render a Markdown template of `report/templates`; the template must escape its values."""
    markdown = environment(__package__, html=False).overlay()
    markdown.filters = {
        **markdown.filters,
        "json": json.dumps,
        "plain": plain,
        "plain_with_code": plain_with_code,
    }
    text = markdown.get_template(template).render(table=table, **values)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def check_page(out: Path, force: bool, example: str) -> None:
    """Check before any work that the page can be written; --force cannot replace files that are not HTML.

    Raises: UsageError when `out` exists, cannot be written or does not end in .html or .htm.
    """
    if out.suffix.lower() not in SUFFIXES or out.is_dir():
        what = "is a directory" if out.is_dir() else "does not end in .html"
        raise UsageError(f"--out is {out}, which {what}; it must be an HTML file. Try: --out {example}")
    check_output(out, replace=force)


def _part(name: str) -> str:
    """Read a file of the templates folder that is included in pages unchanged."""
    return (files("sentiscale.report") / "templates" / name).read_text(encoding="utf-8")


@dataclass(frozen=True)
class PageFrame:
    """A page to display in a notebook, as the last value of a cell; the notebook stores a copy of the page.

    >>> PageFrame(Path("report.html"))  # doctest: +SKIP
    """

    page: Path
    height: int = 700
    """Height of the frame in pixels; the page scrolls inside it."""

    def _repr_html_(self) -> str:
        # A frame with a URL would depend on the folder that Jupyter serves and stay empty in other editors.
        document = html.escape(self.page.read_text(encoding="utf-8"))
        return (
            f'<iframe srcdoc="{document}" title="{html.escape(self.page.name)}" sandbox '
            f'style="width: 100%; height: {self.height}px; border: 0"></iframe>'
        )


def plain(text: str) -> str:
    """Escape text for Markdown and join its lines."""
    return SPECIAL.sub(r"\\\1", " ".join(text.split()))


def plain_with_code(text: str) -> str:
    """Escape a sentence for Markdown, except for code between backticks."""
    parts = " ".join(text.split()).split("`")
    if len(parts) % 2 == 0:
        return plain(text)
    return "`".join(part if number % 2 else SPECIAL.sub(r"\\\1", part) for number, part in enumerate(parts))


def table(headings: Sequence[str], lines: Iterable[Sequence[str]], rule: str = "---:") -> str:
    """Format a Markdown table; `rule` aligns all columns except the first, by default as numbers."""
    rules = ["---", *[rule] * (len(headings) - 1)]
    rows = [[plain(cell) for cell in line] for line in (headings, *lines)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (rows[0], rules, *rows[1:]))
