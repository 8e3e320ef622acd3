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

# Okabe and Ito's palette, which people with any kind of colour vision can distinguish.
TRAINING, VALIDATION, ACCURACY = "#D55E00", "#0072B2", "#009E73"
SMALL = 8.5

Point = tuple[float, float]


def plot_curves(metrics: Sequence[EpochMetrics], out: Path) -> None:
    """Write `curves.png` and `curves.svg` into the existing directory `out`, unless `metrics` is empty."""
    if not metrics:
        return
    files = render_figure(lambda: _draw(metrics), ("png", "svg"), {"font.size": 9.5})
    for suffix, content in files.items():
        write_file(out / f"curves.{suffix}", content)


def _draw(metrics: Sequence[EpochMetrics]) -> "Figure":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6))
    # A fixed layout takes half the time of one that Matplotlib computes.
    edges = {"left": 0.08, "right": 0.97, "bottom": 0.09, "top": 0.91, "wspace": 0.08, "hspace": 0.06}
    axes = figure.subplots(2, 2, sharex="col", sharey="row", gridspec_kw=edges)
    best = max(metrics, key=lambda point: point.valid_accuracy)
    for column, unit in enumerate(("seconds", "step")):
        points = [(float(getattr(point, unit)), point) for point in metrics]
        losses, accuracies = axes[:, column]
        training = [(x, point.train_loss) for x, point in points if point.train_loss is not None]
        validation = [(x, point.valid_loss) for x, point in points]
        training_is_above = bool(training) and training[-1][1] >= validation[-1][1]
        _draw_line(losses, validation, VALIDATION)
        _label(losses, "validation", validation[-1], VALIDATION, above=not training_is_above)
        if training:
            _draw_line(losses, training, TRAINING)
            _label(losses, "training", training[-1], TRAINING, above=training_is_above)
        accuracy = [(x, 100 * point.valid_accuracy) for x, point in points]
        top = accuracy[metrics.index(best)]
        _draw_line(accuracies, accuracy, ACCURACY)
        accuracies.plot(*top, "o", color=ACCURACY, markersize=9, fillstyle="none")
        _label(accuracies, f"best {top[1]:.2f}", top, ACCURACY, align="center")
        _tidy(losses)
        _tidy(accuracies)
    axes[0, 0].set_ylabel("cross-entropy loss (nats per review)")
    axes[1, 0].set_ylabel("validation accuracy (%)")
    axes[1, 0].set_xlabel("time since training began (s)")
    axes[1, 1].set_xlabel("optimizer steps")
    title = (
        f"Best validation accuracy {100 * best.valid_accuracy:.2f} %"
        f" at step {best.step:,}, after {best.seconds:,.0f} s"
    )
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    return figure


def _draw_line(axes: "Axes", points: list[Point], colour: str) -> None:
    axes.plot(*zip(*points, strict=True), "o-", color=colour, markersize=3.5, linewidth=1.6)


def _label(
    axes: "Axes", text: str, at: Point, colour: str, *, above: bool = True, align: str = "right"
) -> None:
    """Label a curve next to its line, so that it needs no legend and can be read without colour."""
    shift = (0, 8) if align == "center" else (2, 7 if above else -7)
    axes.annotate(
        text,
        at,
        xytext=shift,
        textcoords="offset points",
        color=colour,
        fontsize=SMALL,
        ha=align,
        va="bottom" if above else "top",
    )


def _tidy(axes: "Axes") -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", linewidth=0.4, alpha=0.5)
    axes.margins(x=0.04, y=0.14)
    axes.ticklabel_format(axis="y", useOffset=False)
