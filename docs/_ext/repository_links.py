"""Links to folders and to pages outside the site (README.md) lead to their text, copied beside the pages.

Files that are no pages become downloads by themselves; only what is left over comes here.
"""

from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment


def as_download(app: Sphinx, env: BuildEnvironment, node: nodes.Element, content: nodes.Element) -> Any:
    """Answer a reference to a file that is there, but is no page, with a link to a copy of it."""
    page = Path(env.doc2path(node["refdoc"]))
    target = (page.parent / node["reftarget"].split("#")[0]).resolve()
    for file in (target, target.with_name(target.name + ".md")):
        if file.is_file():
            name = file.relative_to(Path(app.srcdir)).as_posix()
            link = addnodes.download_reference("", "", reftarget=f"/{name}", refdoc=node["refdoc"])
            link["filename"] = env.dlfiles.add_file(node["refdoc"], name)
            link += content
            return link
    return None


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("missing-reference", as_download)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
