"""Jinja templates for pages and documents, and for phrasing findings as sentences."""

import re
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from sentiscale.util import numbers

if TYPE_CHECKING:
    from jinja2 import Environment


class Finding(NamedTuple):
    """A fact to report in a sentence."""

    kind: str
    """Name of the template macro that phrases the finding."""
    values: dict[str, Any]
    """Keyword arguments of the macro."""


def finding(kind: str, /, **values: Any) -> Finding:
    return Finding(kind, values)


@cache
def environment(package: str, *, html: bool) -> "Environment":
    """Return the Jinja environment for the templates of a package; `html` escapes every value."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    found = Environment(
        loader=PackageLoader(package),
        autoescape=html,  # noqa: S701 - text and Markdown need no HTML escaping
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=not html,
    )
    found.filters |= {
        "count": numbers.count,
        "duration": numbers.duration,
        "figure": numbers.figure,
        "interval": numbers.interval,
        "joined": numbers.joined,
        "many": numbers.many,
        "per_cent": numbers.per_cent,
        "percent": numbers.percent,
        "short": numbers.short_number,
        "size": numbers.size,
        "with_interval": numbers.with_interval,
    }
    return found


def sentences(package: str, template: str, findings: Iterable[Finding]) -> list[str]:
    """Phrase findings with the macros of a template; line breaks in the result become spaces."""
    module: Any = environment(package, html=False).get_template(template).module
    return [re.sub(r"\s*\n\s*", " ", getattr(module, kind)(**values)).strip() for kind, values in findings]
