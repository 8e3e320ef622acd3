"""The directive `{public-names} module`: everything in its `__all__`, or its public functions, by docstring.

Functions come first, then classes. A name that is added to the package is in the reference by itself.
"""

import importlib
import inspect
from types import ModuleType
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


def public_names(module: ModuleType) -> dict[str, Any]:
    """What the module offers, by name."""
    own = [
        name
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_")
    ]
    return {name: getattr(module, name) for name in getattr(module, "__all__", own)}


class PublicNames(SphinxDirective):
    """Functions and classes of a module."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Called by Sphinx."""
        name = self.arguments[0]
        public = public_names(importlib.import_module(name))
        classes = [each for each, value in public.items() if inspect.isclass(value)]
        lines = ["```{eval-rst}"]
        lines += [f".. autofunction:: {name}.{each}" for each in public if each not in classes]
        for each in classes:
            lines += ["", f".. autoclass:: {name}.{each}", "   :members:", ""]
        return self.parse_text_to_nodes("\n".join([*lines, "```"]))


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("public-names", PublicNames)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
