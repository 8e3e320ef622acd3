"""Render Matplotlib figures as PNG or SVG files. HTML pages use `report.charts` instead."""

import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def render_figure(
    draw: Callable[[], "Figure"], formats: Sequence[str], style: dict[Any, Any]
) -> dict[str, bytes]:
    """Draw a figure and return the contents of its files by format.

    Args:
        draw: creates the figure.
        formats: file formats, png or svg.
        style: Matplotlib rcParams for drawing.
    """
    import matplotlib as mpl

    # With a fixed salt and no date, equal data result in identical files.
    with mpl.rc_context({"svg.hashsalt": "sentiscale", **style}):
        figure = draw()
        files = {}
        for suffix in formats:
            content = io.BytesIO()
            metadata = {"Date": None} if suffix == "svg" else {}
            figure.savefig(content, format=suffix, dpi=130, metadata=metadata)
            files[suffix] = content.getvalue()
    return files
