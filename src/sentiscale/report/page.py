"""Turn a template and values into one HTML file that needs nothing else: no network, no other file."""

import base64
import hashlib
import html
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from sentiscale.errors import UsageError
from sentiscale.report.charts import short_number
from sentiscale.study.analysis.words import count, percent, size
from sentiscale.util.atomic import check_output

SUFFIXES = (".html", ".htm")


def render(template: str, **values: Any) -> str:
    """Fill a template of `report/templates`; every value is escaped, whatever it holds.

    The page carries its style and its script in itself and a content security policy that lets a browser
    run that script, known by its hash, and load nothing: a hostile review could do no harm even if it
    came through unescaped.
    """
    environment = Environment(
        loader=PackageLoader("sentiscale.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= FILTERS
    style, script = _part("page.css"), _part("page.js")
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{_hash(script)}'"
    page = environment.get_template(template)
    return page.render(style=Markup(style), script=Markup(script), policy=policy, **values)  # noqa: S704 - ours


def check_page(out: Path, force: bool, example: str) -> None:
    """Fail before any work is done; the suffix keeps --force from replacing a file of another kind.

    Raises: UsageError when `out` exists, cannot be written or is no name of a page.
    """
    if out.suffix.lower() not in SUFFIXES or out.is_dir():
        what = "is a directory" if out.is_dir() else "does not end in .html"
        raise UsageError(f"--out is {out}, which {what}; the page is one HTML file. Try: --out {example}")
    check_output(out, replace=force)


def seconds(value: float) -> str:
    """A duration in the unit a person would use."""
    if value < 100:
        return f"{value:.3g} s"
    minutes, left = divmod(round(value), 60)
    return f"{minutes} min {left:02d} s"


FILTERS: dict[str, Callable[..., str]] = {
    "count": count,
    "percent": percent,
    "seconds": seconds,
    "size": size,
    "short": short_number,
}


def _part(name: str) -> str:
    """A file of the templates folder that is put into the page as it is."""
    return (files("sentiscale.report") / "templates" / name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


@dataclass(frozen=True)
class Framed:
    """A page as the last value of a notebook's cell; it is kept within the notebook, so it travels with it.

    >>> Framed(Path("report.html"))  # doctest: +SKIP
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
