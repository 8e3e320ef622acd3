"""Write words beside the dots of a chart where there is room for them."""

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

from sentiscale.analysis.charts import Chart, Label, Point

LETTER, LINE, DOT = 0.0075, 0.035, 0.009
"""Width of a letter, height of a line and size of a dot, as shares of a wide chart."""
NARROW_LETTER = 0.025
"""Width of a letter on a phone; labels without room there are hidden by the style `roomy`."""


class Box(NamedTuple):
    """Where something lies, as shares of the chart from its left and its top."""

    left: float
    right: float
    top: float
    bottom: float

    def is_free(self, taken: Iterable["Box"]) -> bool:
        """Whether it lies within the chart and overlaps none of the others."""
        within = self.left >= 0 and self.right <= 1
        return within and not any(
            self.left < other.right and other.left < self.right
            and self.top < other.bottom and other.top < self.bottom
            for other in taken
        )  # fmt: skip


def label_where_free(chart: Chart, words: list[tuple[Point, str, str]]) -> None:
    """Write words beside their dots where they touch no other word and no dot.

    Args:
        chart: gets the labels.
        words: the dot in units of the axes, the words and their style; the first ones have the choice.
            What has room on a wide chart only gets the style `roomy`, which hides it on a narrow one.
    """
    spots = [(chart.x.at(x), 1 - chart.y.at(y)) for (x, y), _, _ in words]
    taken = [Box(x - DOT / 2, x + DOT / 2, y - DOT, y + DOT) for x, y in spots]
    taken_narrow: list[Box] = []
    for (x, y), (_, text, style) in zip(spots, words, strict=True):
        right = Label(x, y, text, f"word {style}")
        for tried in (right, replace(right, side="left")):
            box = _label_box(tried, LETTER)
            if not box.is_free(taken):
                continue
            taken.append(box)
            narrow = _label_box(tried, NARROW_LETTER)
            if narrow.is_free(taken_narrow):
                taken_narrow.append(narrow)
            else:
                tried = replace(tried, style=f"{tried.style} roomy")
            chart.labels.append(tried)
            break


def _label_box(label: Label, letter: float) -> Box:
    """Where the words stand, a little beside their dot."""
    width = letter * (len(label.text) + 1)
    left = label.x + DOT if label.side == "right" else label.x - DOT - width
    return Box(left, left + width, label.y - LINE / 2, label.y + LINE / 2)
