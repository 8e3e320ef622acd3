"""Links to Markdown that is no page of the site, such as README.md, lead to a copy of it beside the pages.

Links to other files of the repository become such downloads by themselves.
"""

from pathlib import Path
from typing import Any

from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform


class LinksToCopies(SphinxTransform):
    """Replaces links to documents that are files, but not pages."""

    default_priority = 400  # while a page is read: files to copy are collected after that

    def apply(self, **kwargs: Any) -> None:
        """Called by Sphinx for each page."""
        for node in list(self.document.findall(addnodes.pending_xref)):
            name = f"{node['reftarget']}.md"
            if node.get("refdomain") != "doc" or node["reftarget"] in self.env.found_docs:
                continue
            if (Path(self.env.srcdir) / name).is_file():
                node.replace_self(addnodes.download_reference("", "", *node.children, reftarget=f"/{name}"))


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_transform(LinksToCopies)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
