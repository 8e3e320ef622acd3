"""Draw the picture of a comparison: accuracy against training time, for light and dark backgrounds."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sentiscale.study.compare.contestants import CONTESTANTS
from sentiscale.study.compare.records import CompareRun
from sentiscale.study.compare.summary import AccuracyCurve, CurveXY, curves_of
from sentiscale.util.atomic import write_file
from sentiscale.util.figures import render_figure
from sentiscale.util.label_layout import Box, LabelLayout

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation
    from matplotlib.transforms import Bbox

CORNERS = ((1, 1), (1, -1), (-1, 1), (-1, -1))
PLACES = (
    *((9, 0), (-9, 0), (0, 10), (0, -10)),
    *((x * right, y * up) for x, y in ((9, 11), (14, 22), (20, 36)) for right, up in CORNERS),
)
"""Offsets of a label from its mark, in points, in the order in which they are tried."""

MARK, LINE = 6.0, 1.5
"""Half the size of a mark and half the width of a curve, in pixels."""
SPOTS_PER_SEGMENT = 12
"""Number of spots between two points of a curve that labels must not cover."""


class PictureLabels:
    """Writes names next to marks so that they do not cover each other, marks or curves."""

    def __init__(self, axes: "Axes", curves: Sequence[AccuracyCurve]) -> None:
        """Create the layout after everything except the names is drawn. Boxes are in pixels, y upwards."""
        self.axes = axes
        lines = [axes.transData.transform([(x, 100 * y) for x, y in each.all_points]) for each in curves]
        spots = [
            spot
            for line in lines
            for start, end in itertools.pairwise(line)
            for spot in np.linspace(start, end, SPOTS_PER_SEGMENT)
        ]
        self.layout = LabelLayout(
            _box(axes.get_window_extent()),
            [Box.around(mark[0], mark[1], MARK) for line in lines for mark in line],
            [Box.around(spot[0], spot[1], LINE) for spot in spots],
        )

    def write(self, place: CurveXY, text: str, colour: str, *, optional: bool = False) -> None:
        """Write a name next to a mark. An optional name is omitted if there is no free place."""
        note = self.axes.annotate(
            text,
            (place[0], 100 * place[1]),
            PLACES[0],
            textcoords="offset points",
            color=colour,
            fontsize=8.0 if optional else 10.0,
            fontweight="normal" if optional else "bold",
        )
        boxes = []
        for offset in PLACES:
            _move(note, offset)
            boxes.append(_box(note.get_window_extent()))
        chosen = self.layout.place(boxes, [index / 1000 for index in range(len(PLACES))], optional=optional)
        if chosen is None:
            note.remove()
        else:
            _move(note, PLACES[chosen])


def _box(extent: "Bbox") -> Box:
    return Box(extent.x0, extent.x1, extent.y0, extent.y1)


def _move(note: "Annotation", offset: tuple[float, float]) -> None:
    x, y = offset
    note.set_position(offset)
    note.set_horizontalalignment("left" if x > 0 else "right" if x < 0 else "center")
    note.set_verticalalignment("bottom" if y > 0 else "top" if y < 0 else "center")


INK, MUTED, PAPER = ("#1d2127", "#e6e9ed"), ("#5b636e", "#a3acb8"), ("#fefefe", "#14171b")
"""Colours on a light and on a dark background."""
OURS = (
    ("#0072b2", "#56b4e9"),
    ("#d55e00", "#ff9447"),
    ("#008f68", "#3fd0a4"),
    ("#a1508a", "#e59bcb"),
    ("#8a6d00", "#e6c229"),
)
"""Colours based on the Okabe-Ito palette, which is distinct for all types of colour vision."""
PEERS = ("#5b636e", "#a3acb8")
OUR_MARKS, PEER_MARKS = "osD^v", "PX<>*hp"
SMALL = 9.0
ROOM = 0.012
"""Margin of the accuracy axis below the worst result."""


def plot(runs: Sequence[CompareRun], path: Path) -> Path | None:
    """Write an SVG of all runs that were trained to the end, and return its path; None without such runs.

    Lines show the validation accuracy during training, as the median over seeds. Marks show the test accuracy
    at the end, with the range over seeds. Colours follow the light or dark setting of the viewer.
    """
    curves = curves_of(runs)
    if not curves:
        return None
    files = render_figure(lambda: _draw(curves), ["svg"], {"svg.fonttype": "none", "font.size": 10})
    write_file(path, _with_dark_colours(files["svg"].decode()))
    return path


def _with_dark_colours(svg: str) -> str:
    pairs = (INK, MUTED, PAPER, *OURS)
    rules = "".join(
        f'[style*="{part}: {light}"]{{{part}:{dark} !important}}'
        for light, dark in pairs
        for part in ("fill", "stroke")
    )
    style = f"<style>@media (prefers-color-scheme: dark){{{rules}}}</style>"
    return svg.replace("<defs>", f"{style}\n <defs>", 1)


def _draw(curves: Sequence[AccuracyCurve]) -> "Figure":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6), layout="constrained", facecolor=PAPER[0])
    axes = figure.subplots()
    _frame(axes, curves)
    ours, peers = iter(zip(OURS, OUR_MARKS, strict=True)), iter(PEER_MARKS)
    colours = []
    for each in curves:
        is_peer = CONTESTANTS[each.model].preset is None
        (colour, _), mark = (PEERS, next(peers)) if is_peer else next(ours)
        colours.append(colour)
        _draw_curve(axes, each, colour, mark)
    figure.draw_without_rendering()
    labels = PictureLabels(axes, curves)
    for each, colour in zip(curves, colours, strict=True):
        *others, last = each.ends
        labels.write(last.place, each.model, colour)
        for end in (*others, *([last] if others else [])):
            labels.write(end.place, end.name, colour, optional=True)
    return figure


def _frame(axes: "Axes", curves: Sequence[AccuracyCurve]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator

    lowest = min(end.low for each in curves for end in each.ends) - ROOM
    highest = max(max(accuracy for _, accuracy in each.all_points) for each in curves)
    times = [seconds for each in curves for seconds, accuracy in each.all_points if accuracy >= lowest]
    axes.set_xscale("log")
    axes.set_xlim(min(times) / 1.3, max(times) * 1.9)
    axes.set_ylim(100 * lowest, 100 * (highest + (highest - lowest) * 0.06))
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: f"{seconds:g}"))
    axes.xaxis.set_minor_formatter(FuncFormatter(lambda *_: ""))
    axes.set_facecolor(PAPER[0])
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED[0])
    axes.tick_params(which="both", color=MUTED[0], labelcolor=MUTED[0])
    axes.grid(axis="y", color=MUTED[0], linewidth=0.4, alpha=0.45)
    axes.set_xlabel("training time (s, logarithmic)", color=MUTED[0])
    axes.set_ylabel("accuracy (%)", color=MUTED[0])
    axes.set_title(
        "Marks: test accuracy when training ended, bars: range over seeds. "
        "Lines: validation accuracy on the way.",
        loc="left",
        fontsize=SMALL + 0.5,
        color=INK[0],
    )


def _draw_curve(axes: "Axes", series: AccuracyCurve, colour: str, mark: str) -> None:
    """Draw curve, marks and ranges of one contestant. A dotted line joins its runs of different length."""
    if series.curve:
        axes.plot(*_percent(series.curve), "-", color=colour, linewidth=1.4)
        axes.plot(*_percent([series.curve[-1], series.ends[-1].place]), ":", color=colour, linewidth=1.0)
    if len(series.ends) > 1:
        axes.plot(*_percent([end.place for end in series.ends]), ":", color=colour, linewidth=1.4)
    for end in series.ends:
        x, y = end.place
        axes.plot([x, x], [100 * end.low, 100 * end.high], "-", color=colour, linewidth=2.4)
        axes.plot([x], [100 * y], mark, color=colour, markersize=7.5, markeredgecolor=PAPER[0])


def _percent(points: Sequence[CurveXY]) -> tuple[list[float], list[float]]:
    return [seconds for seconds, _ in points], [100 * accuracy for _, accuracy in points]
