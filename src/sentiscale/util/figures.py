"""Matplotlib figures as files: PNG, or SVG that stands alone. Pages are drawn by `report.charts` instead."""

import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def render_figure(
    draw: Callable[[], "Figure"], formats: Sequence[str], style: dict[Any, Any]
) -> dict[str, bytes]:
    """Draw a figure and return it as file contents by format, png or svg.

    Args:
        draw: makes the figure.
        formats: file formats by suffix.
        style: matplotlib's rcParams to draw it with.
    """
    import matplotlib as mpl

    # Without the salt and the date the same data would make another file each time.
    with mpl.rc_context({"svg.hashsalt": "sentiscale", **style}):
        figure = draw()
        files = {}
        for suffix in formats:
            content = io.BytesIO()
            metadata = {"Date": None} if suffix == "svg" else {}
            figure.savefig(content, format=suffix, dpi=130, metadata=metadata)
            files[suffix] = content.getvalue()
    return files
