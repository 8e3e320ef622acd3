"""One picture of a comparison: accuracy against training time; for light and dark, and without colour."""

import io
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sentiscale.study.compare.contestants import CONTESTANTS
from sentiscale.study.compare.records import CompareRun
from sentiscale.study.compare.summary import AccuracyCurve, CurveXY, curves_of
from sentiscale.util.atomic import write_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

CORNERS = ((1, 1), (1, -1), (-1, 1), (-1, -1))
PLACES = (
    *((9, 0), (-9, 0), (0, 10), (0, -10)),
    *((x * right, y * up) for x, y in ((9, 11), (14, 22), (20, 36)) for right, up in CORNERS),
)
"""Places of a name in points from its mark, in the order of trying."""

MARK, LINE = 6.0, 1.5
"""Half the size of a mark and of a curve, in pixels."""
SPOTS_PER_SEGMENT = 12
"""Spots between two points of a curve that labels avoid."""


class LabelPlacer:
    """Places names next to marks without covering others; points are seconds and accuracy."""

    def __init__(self, axes: "Axes") -> None:
        self.axes = axes
        self._curves: list[Sequence[CurveXY]] = []
        self._written: list[Bbox] = []

    def avoid(self, points: Sequence[CurveXY]) -> None:
        """Keep a curve and its marks free."""
        self._curves.append(points)

    def write(self, place: CurveXY, text: str, colour: str, *, optional: bool = False) -> None:
        """Write next to a mark. Without free space an optional name is omitted, another one covers."""
        taken = [*self._written, *self._obstacles()]
        note = self.axes.annotate(
            text,
            (place[0], 100 * place[1]),
            PLACES[0],
            textcoords="offset points",
            color=colour,
            fontsize=8.0 if optional else 10.0,
            fontweight="normal" if optional else "bold",
        )
        frame = self.axes.get_window_extent()
        for x, y in PLACES:
            note.set_position((x, y))
            note.set_horizontalalignment("left" if x > 0 else "right" if x < 0 else "center")
            note.set_verticalalignment("bottom" if y > 0 else "top" if y < 0 else "center")
            box = note.get_window_extent()
            inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
            if inside and not any(box.overlaps(other) for other in taken):
                break
        else:
            if optional:
                note.remove()
                return
            note.set_position(PLACES[0])
        self._written.append(note.get_window_extent())

    def _obstacles(self) -> "list[Bbox]":
        """Marks, and spots of the curves between them."""
        from matplotlib.transforms import Bbox

        boxes = []
        for points in self._curves:
            spots = self.axes.transData.transform([(x, 100 * y) for x, y in points])
            boxes += [Bbox.from_extents(*(spot - MARK), *(spot + MARK)) for spot in spots]
            for start, end in itertools.pairwise(spots):
                for spot in np.linspace(start, end, SPOTS_PER_SEGMENT):
                    boxes.append(Bbox.from_extents(*(spot - LINE), *(spot + LINE)))
        return boxes


INK, MUTED, PAPER = ("#1d2127", "#e6e9ed"), ("#5b636e", "#a3acb8"), ("#fefefe", "#14171b")
"""Colours on a light and on a dark background."""
OURS = (
    ("#0072b2", "#56b4e9"),
    ("#d55e00", "#ff9447"),
    ("#008f68", "#3fd0a4"),
    ("#a1508a", "#e59bcb"),
    ("#8a6d00", "#e6c229"),
)
"""After Okabe and Ito: distinct with any kind of colour vision."""
PEERS = ("#5b636e", "#a3acb8")
OUR_MARKS, PEER_MARKS = "osD^v", "PX<>*hp"
SMALL = 9.0
ROOM = 0.012
"""Accuracy shown below the worst result."""


def plot(runs: Sequence[CompareRun], path: Path) -> Path | None:
    """Write an SVG of all runs that were trained to the end; None if there is none.

    Lines are validation accuracy during training, median over seeds; marks are test accuracy at the end, with
    the range over seeds. Colours follow the reader's light or dark setting.
    """
    curves = curves_of(runs)
    if not curves:
        return None
    import matplotlib as mpl

    # A random salt and the date would make another file of the same runs each time.
    with mpl.rc_context({"svg.hashsalt": "sentiscale", "svg.fonttype": "none", "font.size": 10}):
        svg = io.StringIO()
        _draw(curves).savefig(svg, format="svg", metadata={"Date": None})
    write_file(path, _with_dark_colours(svg.getvalue()))
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
    placer, ours, peers = LabelPlacer(axes), iter(zip(OURS, OUR_MARKS, strict=True)), iter(PEER_MARKS)
    colours = []
    for each in curves:
        is_peer = CONTESTANTS[each.model].preset is None
        (colour, _), mark = (PEERS, next(peers)) if is_peer else next(ours)
        colours.append(colour)
        _draw_curve(axes, each, colour, mark)
        placer.avoid(each.all_points)
    figure.draw_without_rendering()
    for each, colour in zip(curves, colours, strict=True):
        *others, last = each.ends
        placer.write(last.place, each.model, colour)
        for end in (*others, *([last] if others else [])):
            placer.write(end.place, end.name, colour, optional=True)
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
    """Curve, marks and ranges of one contestant; runs of different length are joined by a dotted line."""
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
