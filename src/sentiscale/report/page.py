"""Turn a template and values into one HTML file that needs no network and no other file, or into Markdown."""

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
"""Characters that mean something in Markdown."""


def render(template: str, **values: Any) -> str:
    """Fill an HTML template of `report/templates`; every value is escaped, whatever it holds.

    The page carries its style and its script in itself and a content security policy that lets a browser
    run that script, known by its hash, and load nothing: a hostile review could do no harm even if it
    came through unescaped.
    """
    style, script = _part("page.css"), _part("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    page = environment(__package__, html=True).get_template(template)
    return page.render(style=Markup(style), script=Markup(script), policy=policy, **values)  # noqa: S704 - ours


def render_markdown(template: str, **values: Any) -> str:
    """Fill a Markdown template of `report/templates`, which has to escape its values."""
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
    """Fail before any work is done; the suffix keeps --force from replacing a file of another kind.

    Raises: UsageError when `out` exists, cannot be written or does not end as a page does.
    """
    if out.suffix.lower() not in SUFFIXES or out.is_dir():
        what = "is a directory" if out.is_dir() else "does not end in .html"
        raise UsageError(f"--out is {out}, which {what}; the page is one HTML file. Try: --out {example}")
    check_output(out, replace=force)


def _part(name: str) -> str:
    """A file of the templates folder that is put into the page as it is."""
    return (files("sentiscale.report") / "templates" / name).read_text(encoding="utf-8")


@dataclass(frozen=True)
class PageFrame:
    """A page as the last value of a notebook's cell; it is stored in the notebook, so it travels with it.

    >>> PageFrame(Path("report.html"))  # doctest: +SKIP
    """

    page: Path
    height: int = 700
    """Pixels of the frame; the page scrolls inside."""

    def _repr_html_(self) -> str:
        # A frame by address would depend on which folder Jupyter serves, and shows nothing in other editors.
        document = html.escape(self.page.read_text(encoding="utf-8"))
        return (
            f'<iframe srcdoc="{document}" title="{html.escape(self.page.name)}" sandbox '
            f'style="width: 100%; height: {self.height}px; border: 0"></iframe>'
        )


def plain(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return SPECIAL.sub(r"\\\1", " ".join(text.split()))


def plain_with_code(text: str) -> str:
    """The same for a sentence whose code between backticks stays code."""
    parts = " ".join(text.split()).split("`")
    if len(parts) % 2 == 0:
        return plain(text)
    return "`".join(part if number % 2 else SPECIAL.sub(r"\\\1", part) for number, part in enumerate(parts))


def table(headings: Sequence[str], lines: Iterable[Sequence[str]], rule: str = "---:") -> str:
    """A Markdown table; its first column holds words, the others numbers unless `rule` says otherwise."""
    rules = ["---", *[rule] * (len(headings) - 1)]
    rows = [[plain(cell) for cell in line] for line in (headings, *lines)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (rows[0], rules, *rows[1:]))
