"""One picture of a comparison: accuracy against training time; for light and dark, and without colour."""

import io
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sentiscale.study.compare.contestants import CONTESTANTS
from sentiscale.study.compare.records import CompareRun
from sentiscale.study.compare.summary import Series, series_of
from sentiscale.util.atomic import write_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

    from sentiscale.study.compare.summary import Point


PLACES = (
    (9, 0),
    (-9, 0),
    (0, 10),
    (0, -10),
    (9, 11),
    (9, -11),
    (-9, 11),
    (-9, -11),
    (14, 22),
    (14, -22),
    (-14, 22),
    (-14, -22),
    (20, 36),
    (20, -36),
    (-20, 36),
    (-20, -36),
)
"""Where a name is tried, in points from its mark."""

MARK, TRACE = 6.0, 1.5
"""Half the size of a mark and of a curve's trace, in pixels."""
TRACE_STEPS = 12
"""Places between two points of a curve that are kept free."""


class Placer:
    """Knows what is taken; coordinates are seconds and accuracy, shown as per cent."""

    def __init__(self, axes: "Axes") -> None:
        self.axes = axes
        self._points: list[Sequence[Point]] = []
        self._written: list[Bbox] = []

    def avoid(self, points: "Sequence[Point]") -> None:
        """Keep a curve and its marks free."""
        self._points.append(points)

    def write(self, place: "Point", text: str, colour: str, *, optional: bool = False) -> None:
        """Write beside a mark; where nothing is free, an optional name is left out, another one covers."""
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
        for x, y in PLACES:
            note.set_position((x, y))
            note.set_horizontalalignment("left" if x > 0 else "right" if x < 0 else "center")
            note.set_verticalalignment("bottom" if y > 0 else "top" if y < 0 else "center")
            box = note.get_window_extent()
            if self._inside(box) and not any(box.overlaps(other) for other in taken):
                break
        else:
            if optional:
                note.remove()
                return
            note.set_position(PLACES[0])
        self._written.append(note.get_window_extent())

    def _inside(self, box: "Bbox") -> bool:
        frame = self.axes.get_window_extent()
        within = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
        return bool(within)

    def _obstacles(self) -> "list[Bbox]":
        """Marks, and the traces between them."""
        from matplotlib.transforms import Bbox

        found = []
        for points in self._points:
            spots = self.axes.transData.transform([(x, 100 * y) for x, y in points])
            found += [Bbox.from_extents(*(spot - MARK), *(spot + MARK)) for spot in spots]
            for start, end in itertools.pairwise(spots):
                for share in np.linspace(0, 1, TRACE_STEPS):
                    spot = start + share * (end - start)
                    found.append(Bbox.from_extents(*(spot - TRACE), *(spot + TRACE)))
        return found


INK, MUTED, PAPER = ("#1d2127", "#e6e9ed"), ("#5b636e", "#a3acb8"), ("#fefefe", "#14171b")
"""On light and on dark ground."""
OURS = (
    ("#0072b2", "#56b4e9"),
    ("#d55e00", "#ff9447"),
    ("#008f68", "#3fd0a4"),
    ("#a1508a", "#e59bcb"),
    ("#8a6d00", "#e6c229"),
)
"""After Okabe and Ito: told apart with any kind of colour vision."""
PEERS = ("#5b636e", "#a3acb8")
OUR_MARKS, PEER_MARKS = "osD^v", "PX<>*hp"
SMALL = 9.0
ROOM = 0.012
"""Accuracy shown below the worst result."""


def plot(runs: Sequence[CompareRun], path: Path) -> Path | None:
    """Write an SVG of all runs that were trained to the end; None when there is none.

    Lines are validation accuracy on the way, median over seeds; marks are test accuracy at the end, with
    the range over seeds. It follows the reader's light or dark setting.
    """
    found = series_of(runs)
    if not found:
        return None
    import matplotlib as mpl

    # Without the salt and the date the same runs would give another file each time.
    with mpl.rc_context({"svg.hashsalt": "sentiscale", "svg.fonttype": "none", "font.size": 10}):
        drawn = io.StringIO()
        _draw(found).savefig(drawn, format="svg", metadata={"Date": None})
    write_file(path, for_dark_ground(drawn.getvalue()))
    return path


def for_dark_ground(svg: str) -> str:
    """Add rules that change the colours where the reader prefers dark ground."""
    pairs = (INK, MUTED, PAPER, *OURS)
    rules = "".join(
        f'[style*="{part}: {light}"]{{{part}:{dark} !important}}'
        for light, dark in pairs
        for part in ("fill", "stroke")
    )
    style = f"<style>@media (prefers-color-scheme: dark){{{rules}}}</style>"
    return svg.replace("<defs>", f"{style}\n <defs>", 1)


def _draw(found: Sequence[Series]) -> "Figure":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6), layout="constrained", facecolor=PAPER[0])
    axes = figure.subplots()
    _frame(axes, found)
    placer, ours, peers = Placer(axes), iter(zip(OURS, OUR_MARKS, strict=True)), iter(PEER_MARKS)
    looks = [next(ours) if CONTESTANTS[each.model].is_ours else (PEERS, next(peers)) for each in found]
    for each, ((colour, _), mark) in zip(found, looks, strict=True):
        _draw_series(axes, each, colour, mark)
        placer.avoid(each.all_points)
    figure.draw_without_rendering()
    for each, ((colour, _), _) in zip(found, looks, strict=True):
        placer.write(each.ends[-1].place, each.model, colour)
        for end in each.ends[:-1]:
            placer.write(end.place, end.name, colour, optional=True)
        if len(each.ends) > 1:
            placer.write(each.ends[-1].place, each.ends[-1].name, colour, optional=True)
    return figure


def _frame(axes: "Axes", found: Sequence[Series]) -> None:
    """Axes, grid and title."""
    from matplotlib.ticker import FuncFormatter, LogLocator

    lowest = min(end.low for each in found for end in each.ends) - ROOM
    highest = max(max(accuracy for _, accuracy in each.all_points) for each in found)
    times = [seconds for each in found for seconds, accuracy in each.all_points if accuracy >= lowest]
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


def _draw_series(axes: "Axes", series: Series, colour: str, mark: str) -> None:
    """Curve, marks and ranges of one contestant; runs of different length are joined by a dotted line."""
    if series.curve:
        seconds, accuracy = zip(*series.curve, strict=True)
        axes.plot(seconds, [100 * each for each in accuracy], "-", color=colour, linewidth=1.4)
        last = series.ends[-1].place
        joint = [series.curve[-1], last]
        axes.plot(*_percent(joint), ":", color=colour, linewidth=1.0)
    if len(series.ends) > 1:
        axes.plot(*_percent([end.place for end in series.ends]), ":", color=colour, linewidth=1.4)
    for end in series.ends:
        x, y = end.place
        axes.plot([x, x], [100 * end.low, 100 * end.high], "-", color=colour, linewidth=2.4)
        axes.plot([x], [100 * y], mark, color=colour, markersize=7.5, markeredgecolor=PAPER[0])


def _percent(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [seconds for seconds, _ in points], [100 * accuracy for _, accuracy in points]
