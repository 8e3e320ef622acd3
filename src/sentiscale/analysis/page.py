"""Turn a template and values into one HTML file that needs nothing else: no network, no other file."""

import base64
import hashlib
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from sentiscale.analysis.charts import short_number
from sentiscale.atomic import check_output
from sentiscale.errors import UsageError

SUFFIXES = (".html", ".htm")


def render(template: str, **values: Any) -> str:
    """Fill a template of `analysis/templates`; every value is escaped, whatever it holds.

    The page carries its style and its script in itself and a content security policy that lets a browser
    run that script, known by its hash, and load nothing: a hostile review could do no harm even if it
    came through unescaped.
    """
    environment = Environment(
        loader=PackageLoader("sentiscale.analysis"),
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


def count(value: float) -> str:
    """A whole number with separators."""
    return f"{value:,.0f}"


def percent(share: float, digits: int = 1) -> str:
    """A share as per cent; what is not quite none or all is never shown as 0 or 100."""
    if share in (0, 1):
        return f"{100 * share:.0f} %"
    shown = f"{100 * share:.{digits}f}"
    least = 10.0**-digits
    if share > 0 and float(shown) == 0:
        return f"< {least:g} %"
    if share < 1 and float(shown) == 100:
        return f"> {100 - least:g} %"
    return f"{shown} %"


def size(amount: float) -> str:
    """A number of bytes in the unit a person would use."""
    unit, scale = next(
        (u, s) for u, s in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3), ("bytes", 1)) if amount >= s or s == 1
    )
    return f"{amount / scale:.3g} {unit}"


def seconds(value: float) -> str:
    """A duration in the unit a person would use."""
    if value < 100:
        return f"{value:.3g} s"
    minutes, left = divmod(round(value), 60)
    return f"{minutes} min {left:02d} s"


FILTERS: dict[str, Callable[..., str]] = {
    "count": count, "percent": percent, "seconds": seconds, "size": size, "short": short_number,
}  # fmt: skip


def _part(name: str) -> str:
    """A file of the templates folder that is put into the page as it is."""
    return (files("sentiscale.analysis") / "templates" / name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
