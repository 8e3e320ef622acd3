"""The directive `{listed-pages}`: pages that the list of a section links to are its contents, in that order.

So a page is entered once, as a link that also works on GitHub. Lines inside the directive are further pages.
"""

import re
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

BESIDE = re.compile(r"\]\(([^)/#]+)\.md\)")


class ListedPages(SphinxDirective):
    """A hidden table of contents made from the links to pages in the same folder."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Called by Sphinx."""
        page = Path(self.env.doc2path(self.env.docname)).read_text(encoding="utf-8")
        linked = dict.fromkeys(BESIDE.findall(page))
        lines = ["```{toctree}", ":hidden:", ":glob:", "", *linked, *self.content, "```"]
        return self.parse_text_to_nodes("\n".join(lines))


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("listed-pages", ListedPages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
