"""The directives `{fields} module:Class` and `{sections} module:Class`.

The first makes a table of the fields of a class, with the docstring that stands under each in the source: for
settings and for everything that is written as JSON. The second does so for each field of a class of classes.
"""

import importlib
import inspect
import re
import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from docutils import nodes
from markdown_cells import cell, code, table
from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.docutils import SphinxDirective

WORDS = {int: "whole number", float: "number", str: "text", bool: "true or false", type(None): "null"}
TITLES = ("name", "type", "default", "meaning")
BOUNDS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}


def type_words(annotation: Any, metadata: tuple[Any, ...] = ()) -> str:
    """A type as a reader of TOML or JSON would say it."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_words(arguments[0], arguments[1:])
    if origin is Literal:
        return " | ".join(str(each) for each in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(type_words(each) for each in arguments if each is not type(None))
    if origin in (list, tuple):
        return f"list of {type_words(arguments[0])}"
    if origin is dict:
        return "object"
    words = WORDS.get(annotation, getattr(annotation, "__name__", str(annotation)))
    return " ".join([words, *bounds(metadata)])


def bounds(metadata: tuple[Any, ...]) -> list[str]:
    """`>= 1`, `< 1`: the limits pydantic checks."""
    found = []
    for each in metadata:
        for limit in (each, *getattr(each, "metadata", ())):
            found += [
                f"{sign} {getattr(limit, name)}"
                for name, sign in BOUNDS.items()
                if getattr(limit, name, None) is not None
            ]
    return list(dict.fromkeys(found))


def default_words(value: Any, *, is_setting: bool) -> str:
    """The default as TOML or JSON would have it; of a setting that is not set, the meaning says the rest."""
    if value is PydanticUndefined or isinstance(value, BaseModel):
        return ""
    if value is None:
        return "not set" if is_setting else code("null")
    if isinstance(value, tuple):
        return code(str(list(value)))
    return code(str(value).lower() if isinstance(value, bool) else str(value))


def meaning(text: str, *, is_setting: bool) -> str:
    """A field's docstring for those who read TOML or JSON: Python's None has another name there."""
    return cell(re.sub(r"\bNone\b", "not set" if is_setting else "null", text))


def field_rows(kind: type[BaseModel]) -> list[list[str]]:
    """A row for each field, with the docstring under it in the class it comes from."""
    rows = []
    is_setting = kind.model_config.get("extra") == "forbid"
    for name, field in kind.model_fields.items():
        owner = next(each for each in kind.__mro__ if name in inspect.get_annotations(each))
        documented = ModuleAnalyzer.for_module(owner.__module__).find_attr_docs()
        text = " ".join(documented.get((owner.__name__, name), []))
        words = type_words(field.annotation, tuple(field.metadata))
        default = default_words(field.default, is_setting=is_setting)
        rows.append([code(name), cell(words), default, meaning(text, is_setting=is_setting)])
    return rows


class Fields(SphinxDirective):
    """A table of fields."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Called by Sphinx."""
        module, _, name = self.arguments[0].partition(":")
        kind = getattr(importlib.import_module(module), name)
        lines = table(TITLES, field_rows(kind))
        return self.parse_text_to_nodes("\n".join(lines))


class Sections(SphinxDirective):
    """A heading and a table for each section of the settings."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Called by Sphinx."""
        module, _, name = self.arguments[0].partition(":")
        lines = []
        for section, field in getattr(importlib.import_module(module), name).model_fields.items():
            kind = field.annotation
            about = (kind.__doc__ or "").split("\n\n")[0]
            rows = field_rows(kind)
            lines += [f"## {section}", "", about, "", *table(TITLES, rows), ""]
        return self.parse_text_to_nodes("\n".join(lines), allow_section_headings=True)


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("fields", Fields)
    app.add_directive("sections", Sections)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
