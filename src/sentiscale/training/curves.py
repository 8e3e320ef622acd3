"""Learning curves of a run: losses and accuracy over time and over steps, as PNG and SVG."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sentiscale.records import EpochMetrics
from sentiscale.util.atomic import write_file
from sentiscale.util.figures import render_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette: told apart with any kind of colour vision.
TRAINING, VALIDATION, ACCURACY = "#D55E00", "#0072B2", "#009E73"
SMALL = 8.5


def plot_curves(metrics: Sequence[EpochMetrics], out: Path, steps: Sequence[tuple[int, float]] = ()) -> None:
    """Write `curves.png` and `curves.svg` into the directory `out`; nothing when there are no metrics.

    Args:
        metrics: validations in the order they were made.
        out: an existing directory.
        steps: (step, training loss in nats) of single steps, drawn faintly behind the means.
    """
    if not metrics:
        return
    files = render_figure(lambda: _draw(metrics, steps), ("png", "svg"), {"font.size": 9.5})
    for suffix, content in files.items():
        write_file(out / f"curves.{suffix}", content)


def _draw(metrics: Sequence[EpochMetrics], steps: Sequence[tuple[int, float]]) -> "Figure":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6), layout="constrained")
    axes = figure.subplots(2, 2, sharex="col", sharey="row")
    best = max(metrics, key=lambda point: point.valid_accuracy)
    for column, unit in enumerate(("seconds", "step")):
        at = [float(getattr(point, unit)) for point in metrics]
        faint = [(_position(step, metrics, unit), loss) for step, loss in steps]
        _draw_losses(axes[0, column], at, metrics, faint)
        _draw_accuracy(axes[1, column], at, metrics, metrics.index(best))
    axes[0, 0].set_ylabel("cross-entropy loss (nats a review)")
    axes[1, 0].set_ylabel("validation accuracy (%)")
    axes[1, 0].set_xlabel("time since training began (s)")
    axes[1, 1].set_xlabel("optimiser steps")
    figure.suptitle(
        f"Best validation accuracy {100 * best.valid_accuracy:.2f} %"
        f" at step {best.step:,}, after {best.seconds:,.0f} s",
        x=0.01,
        ha="left",
        fontsize=11,
    )
    return figure


def _draw_losses(
    axes: "Axes", at: list[float], metrics: Sequence[EpochMetrics], faint: list[tuple[float, float]]
) -> None:
    if faint:
        axes.plot(*zip(*faint, strict=True), color=TRAINING, linewidth=0.6, alpha=0.3)
    points = list(zip(at, metrics, strict=True))
    training = [(x, point.train_loss) for x, point in points if point.train_loss is not None]
    validation = [(x, point.valid_loss) for x, point in points]
    training_is_above = bool(training) and training[-1][1] >= validation[-1][1]
    _draw_line(axes, validation, "validation", VALIDATION, above=not training_is_above)
    if training:
        _draw_line(axes, training, "training", TRAINING, above=training_is_above)
    _tidy(axes)


def _draw_accuracy(axes: "Axes", at: list[float], metrics: Sequence[EpochMetrics], place: int) -> None:
    percent = [100 * point.valid_accuracy for point in metrics]
    axes.plot(at, percent, "o-", color=ACCURACY, markersize=3.5, linewidth=1.6)
    axes.plot(at[place], percent[place], "o", color=ACCURACY, markersize=9, fillstyle="none")
    axes.annotate(
        f"best {percent[place]:.2f}",
        (at[place], percent[place]),
        xytext=(0, 8),
        textcoords="offset points",
        color=ACCURACY,
        fontsize=SMALL,
        ha="center",
        va="bottom",
    )
    _tidy(axes)


def _draw_line(
    axes: "Axes", points: list[tuple[float, float]], name: str, colour: str, *, above: bool
) -> None:
    """Draw a curve with its name at its end: no legend to look up, and readable without colour."""
    axes.plot(*zip(*points, strict=True), "o-", color=colour, markersize=3.5, linewidth=1.6)
    axes.annotate(
        name,
        points[-1],
        xytext=(2, 7 if above else -7),
        textcoords="offset points",
        color=colour,
        fontsize=SMALL,
        ha="right",
        va="bottom" if above else "top",
    )


def _tidy(axes: "Axes") -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", linewidth=0.4, alpha=0.5)
    axes.margins(x=0.04, y=0.14)
    axes.ticklabel_format(axis="y", useOffset=False)


def _position(step: int, metrics: Sequence[EpochMetrics], unit: str) -> float:
    """Where a step lies on an axis; its time is read off between the validations around it."""
    if unit == "step":
        return float(step)
    import numpy as np

    known_steps = [0, *(point.step for point in metrics)]
    known_seconds = [0.0, *(point.seconds for point in metrics)]
    return float(np.interp(step, known_steps, known_seconds))
