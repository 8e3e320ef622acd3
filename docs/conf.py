"""How Sphinx makes the site of these pages. `make docs` builds it; every page reads as well on GitHub.

The source folder is the whole repository, so that a link from a page to a benchmark's figures or to a file of
the code is the same relative path here, on GitHub and in the site. Which pages are taken stands below.
"""

import sys
from importlib.metadata import version as installed_version
from pathlib import Path

from pygments.lexers.shell import BashLexer
from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "sentiscale"
version = release = installed_version("sentiscale")
copyright = "the sentiscale authors, Apache License 2.0"  # noqa: A001 - Sphinx' name for it
language = "en"

root_doc = "docs/index"
include_patterns = [
    "docs/**.md",
    "benchmarks/README.md",
    "benchmarks/results/*.md",
    "deploy/*/README.md",
    "examples/README.md",
    "notebooks/README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
]

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "listed_pages",
    "repository_links",
    "cli_reference",
    "fields_reference",
    "python_reference",
]

myst_heading_anchors = 3  # links such as page.md#a-heading work as on GitHub

default_role = "code"  # docstrings write `name` for code, as Markdown does
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
maximum_signature_line_length = 90
napoleon_google_docstring = True
napoleon_numpy_docstring = False

copybutton_prompt_text = "$ "
copybutton_only_copy_prompt_lines = True

html_theme = "furo"  # system fonts; nothing is fetched from another host
html_title = f"sentiscale {release}"
html_extra_path = ["_root"]  # index.html of the site's root, which leads to docs/
html_copy_source = False
html_show_search_summary = False  # summaries are fetched, which a browser refuses for files on the disk
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": True}
pygments_style = "friendly"
pygments_dark_style = "github-dark"


def setup(app: Sphinx) -> None:
    """Called by Sphinx. Commands that are not run by the tests look like those that are."""
    app.add_lexer("console", BashLexer)
