"""The directive `{verbs}`: every verb of the command with its flags, made from the Typer application."""

import importlib
from pathlib import Path
from typing import Any, get_args, get_type_hints

from docutils import nodes
from markdown_cells import cell, code, table
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from typer.main import get_command

from sentiscale.cli import VERBS, app
from sentiscale.config import PREPARE_FLAGS, TRAIN_FLAGS

SETTINGS = {"prepare": PREPARE_FLAGS, "train": TRAIN_FLAGS}


TYPES = {int: "N", float: "NUMBER", str: "TEXT", Path: "PATH"}


def flags(parameter: Any, kind: Any) -> str:
    """`--wide / --no-wide`, or the name of an argument; `kind` is its type."""
    if parameter.param_type_name == "argument":
        return code(parameter.metavar or parameter.name.upper())
    names = " / ".join([", ".join(parameter.opts), *parameter.secondary_opts])
    takes = "" if parameter.is_flag else f" {parameter.metavar or TYPES[kind]}"
    return code(f"{names}{takes}")


def types_of(verb: str) -> dict[str, Any]:
    """The type of each parameter of a verb, without `Annotated`, `None` and `list`."""
    hints = get_type_hints(getattr(importlib.import_module(f"sentiscale.cli.{verb}"), verb))
    return {name: innermost(hint) for name, hint in hints.items()}


def innermost(hint: Any) -> Any:
    """`int` of `list[int] | None`."""
    inner = [each for each in get_args(hint) if each is not type(None)]
    return innermost(inner[0]) if inner else hint


def default_of(parameter: Any) -> str:
    """What holds where the flag is not given, as `--help` shows it."""
    if isinstance(parameter.show_default, str):
        return cell(parameter.show_default)
    value = parameter.default
    if parameter.required:
        return "required"
    if value is None or value is False or callable(value) or type(value).__name__ == "Sentinel":
        return ""
    return code("on" if value is True else str(value))


def verb_lines(verb: str, command: Any) -> list[str]:
    """One section: what it does, how it is called, a row for each argument and flag."""
    types = types_of(verb)
    parameters = [each for each in command.params if each.name != "help"]
    arguments = [flags(each, None).strip("`") for each in parameters if each.param_type_name == "argument"]
    settings = SETTINGS.get(verb, {})
    rows = []
    for parameter in parameters:
        names = flags(parameter, types.get(parameter.name))  # none for the flags common to all verbs
        row = [names, default_of(parameter), cell(getattr(parameter, "help", "") or "")]
        setting = settings.get(parameter.name)
        rows.append([*row, code(setting) if setting else ""] if settings else row)
    titles = ["", "default", "what it does", *(["setting"] if settings else [])]
    usage = " ".join(["sentiscale", verb, *arguments, "[OPTIONS]"])
    return [f"## {verb}", "", *about(command.help), "", "```text", usage, "```", "", *table(titles, rows), ""]


def about(text: str) -> list[str]:
    """A docstring as Markdown; what stands under click's mark of fixed lines is kept as it is."""
    lines = []
    for paragraph in text.strip().split("\n\n"):
        if "\b" in paragraph:
            lines += ["```text", *paragraph.replace("\b", "").strip("\n").splitlines(), "```", ""]
        else:
            lines += [" ".join(paragraph.split()), ""]
    return lines


class Verbs(SphinxDirective):
    """All verbs in the order of the menu."""

    def run(self) -> list[nodes.Node]:
        """Called by Sphinx."""
        commands = get_command(app).commands  # type: ignore[attr-defined]
        lines = [line for verb in VERBS for line in verb_lines(verb, commands[verb])]
        return self.parse_text_to_nodes("\n".join(lines), allow_section_headings=True)


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("verbs", Verbs)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
