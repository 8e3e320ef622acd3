"""Jinja templates: pages and documents, and findings that become sentences."""

import re
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from sentiscale.util import numbers

if TYPE_CHECKING:
    from jinja2 import Environment


class Finding(NamedTuple):
    """A fact worth a sentence."""

    kind: str
    """Name of the macro that phrases it."""
    values: dict[str, Any]
    """What the macro is called with."""


def finding(kind: str, /, **values: Any) -> Finding:
    return Finding(kind, values)


@cache
def environment(package: str, *, html: bool) -> "Environment":
    """The templates of a package; `html` escapes every value, whatever it holds."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    found = Environment(
        loader=PackageLoader(package),
        autoescape=html,  # noqa: S701 - text and Markdown have no HTML to escape
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
    """Phrase findings with the macros of a template, where a line break counts as a space."""
    module: Any = environment(package, html=False).get_template(template).module
    return [re.sub(r"\s*\n\s*", " ", getattr(module, kind)(**values)).strip() for kind, values in findings]
