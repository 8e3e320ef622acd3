"""A measured quantity over another one, read off between the measurements and a little beyond."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

BEYOND = 2.0
"""How many times below the smallest or above the largest measurement a value is still trusted."""

HEAPS = 0.65
"""Exponent with which different words grow with the rows of a batch, from 16 to 512 reviews (in two data sets
of 170,000 reviews with 30,000 and 130,000 words); it falls beyond, so larger batches are overestimated."""


@dataclass(frozen=True)
class Curve:
    """Points (x rising, y), joined by straight lines; the outer lines go on beyond the points.

    With `power`, lines are straight in the logarithms of both: power laws, such as the growth of a
    vocabulary with the text (Heaps, 1978). With a single point, y is proportional to x, or to x ** `HEAPS`.
    """

    x: tuple[float, ...]
    y: tuple[float, ...]
    power: bool = False

    @classmethod
    def through(cls, points: Mapping[float, Sequence[float]], *, power: bool = False) -> "Curve":
        """The medians of what was measured at each x."""
        known = sorted(points)
        return cls(tuple(known), tuple(median(points[x]) for x in known), power)

    def at(self, x: float) -> float:
        """The value at `x`, however far away; never negative, and with less at a smaller x."""
        if len(self.x) == 1 or x <= 0:
            return float(self.y[0] * (x / self.x[0]) ** (HEAPS if self.power else 1.0))
        right = int(np.clip(np.searchsorted(self.x, x), 1, len(self.x) - 1))
        ends_x, ends_y = np.array(self.x[right - 1 : right + 1]), np.array(self.y[right - 1 : right + 1])
        if self.power:
            if ends_y.min() <= 0:
                return float(ends_y.max())
            slope = np.diff(np.log(ends_y))[0] / np.diff(np.log(ends_x))[0]
            return float(ends_y[0] * (x / ends_x[0]) ** slope)
        slope = np.diff(ends_y)[0] / np.diff(ends_x)[0]
        least = ends_y[0] * min(1.0, x / ends_x[0])  # work in proportion: fewer rows cannot cost less a row
        return float(max(ends_y[0] + slope * (x - ends_x[0]), least))

    def reaches(self, x: float, beyond: float = BEYOND) -> bool:
        """Whether `x` is near enough to what was measured for its value to be trusted."""
        return self.x[0] / beyond <= x <= self.x[-1] * beyond

    def range(self) -> str:
        """What was measured, and how far that is trusted, in words."""
        least, most = self.x[0], self.x[-1]
        return f"{least:g} to {most:g}, trusted from {least / BEYOND:g} to {most * BEYOND:g}"
