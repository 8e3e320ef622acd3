"""Links to Markdown that is no page of the site, such as README.md, lead to a copy of it beside the pages.

Links to other files of the repository become such downloads by themselves.
"""

from pathlib import Path
from typing import Any

from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform


class LinksToCopies(SphinxPostTransform):
    """Replaces links to documents that are files, but not pages."""

    default_priority = 5  # before the links are resolved, which would be warnings

    def run(self, **kwargs: Any) -> None:
        """Called by Sphinx for each page."""
        for node in list(self.document.findall(addnodes.pending_xref)):
            name = f"{node['reftarget']}.md"
            if node.get("refdomain") != "doc" or node["reftarget"] in self.env.all_docs:
                continue
            if (Path(self.env.srcdir) / name).is_file():
                link = addnodes.download_reference("", "", *node.children, reftarget=f"/{name}")
                link["filename"] = Path(self.env.dlfiles.add_file(node["refdoc"], name)).as_posix()
                node.replace_self(link)


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_post_transform(LinksToCopies)
    return {"parallel_read_safe": True, "parallel_write_safe": False}
