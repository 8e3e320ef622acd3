"""Format numbers, sizes and lists for messages, tables, charts and sentences."""

import math
from collections.abc import Sequence

DIGITS = 3
SMALLEST = 1e-5
"""Values closer to zero are shown as less than this."""


def figure(value: float) -> str:
    """Format a number with three significant digits, or as an integer from 100 on: 0.0213, 1.83, 15,796."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    if abs(value) < SMALLEST:
        return f"{'-' if value < 0 else ''}< {SMALLEST:.5f}"
    if abs(value) >= 10**DIGITS:
        return count(value)
    rounded = float(f"{value:.{DIGITS - 1}e}")
    decimals = DIGITS - 1 - math.floor(math.log10(abs(rounded)))
    return f"{rounded:,.{max(decimals, 0)}f}"


def count(value: float) -> str:
    """Format a number as an integer with thousands separators."""
    return f"{value:,.0f}"


def short_number(value: float) -> str:
    """Format a number in few characters: 950, 12k, 3.4M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def interval(ends: tuple[float, float] | None) -> str:
    """Format a confidence interval; an empty string for None."""
    return f"{figure(ends[0])} to {figure(ends[1])}" if ends else ""


def with_interval(value: float, ends: tuple[float, float] | None) -> str:
    """Format a number with its confidence interval: `1.83 (1.79 to 1.86)`."""
    return f"{figure(value)} ({interval(ends)})" if ends else figure(value)


def per_cent(share: float) -> str:
    """Format a share as an integer percentage, which may exceed 100."""
    return f"{100 * share:.0f} %"


def percent(share: float, digits: int = 1) -> str:
    """Format a share as a percentage; only exactly 0 and 1 are shown as 0 % and 100 %."""
    if share in (0, 1):
        return f"{100 * share:.0f} %"
    shown = f"{100 * share:.{digits}f}"
    least = 10.0**-digits
    if share > 0 and float(shown) == 0:
        return f"< {least:g} %"
    if share < 1 and float(shown) == 100:
        return f"> {100 - least:g} %"
    return f"{shown} %"


def many(number: float, noun: str) -> str:
    """Format a number with a noun in singular or plural: `1 rank`, `2 ranks`, `2 copies`."""
    plural = f"{noun[:-1]}ies" if noun.endswith("py") else f"{noun}s"
    return f"{count(number)} {noun if number == 1 else plural}"


def joined(words: Sequence[object]) -> str:
    """Join words as in a sentence: `a`, `a and b`, `a, b and c`."""
    *first, last = map(str, words)
    return f"{', '.join(first)} and {last}" if first else last


def size(amount: float) -> str:
    """Format a number of bytes in bytes, kB, MB or GB."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if amount >= scale:
            return f"{amount / scale:.3g} {unit}"
    return f"{amount:.3g} bytes"


def duration(seconds: float) -> str:
    """Format seconds as seconds below 100 s, otherwise as minutes and seconds."""
    if seconds < 100:
        return f"{seconds:.3g} s"
    minutes, left = divmod(round(seconds), 60)
    return f"{minutes} min {left:02d} s"
