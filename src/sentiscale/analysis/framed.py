"""Show a finished page inside a notebook."""

import html
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Framed:
    """A page as the last value of a notebook's cell; it is kept within the notebook, so it travels with it.

    >>> Framed(Path("report.html"))  # doctest: +SKIP
    """

    page: Path
    height: int = 700
    """Pixels of the frame; the page scrolls inside."""

    def _repr_html_(self) -> str:
        # A frame by address would depend on which folder Jupyter serves, and shows nothing in other editors.
        document = html.escape(self.page.read_text(encoding="utf-8"))
        return (
            f'<iframe srcdoc="{document}" title="{html.escape(self.page.name)}" sandbox '
            f'style="width: 100%; height: {self.height}px; border: 0"></iframe>'
        )
