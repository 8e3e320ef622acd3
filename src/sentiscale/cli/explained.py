"""Show an explanation on a terminal: the review on one line, its words coloured by their contributions.

Blue words contribute to "positive" and orange words to "negative"; with more than two classes, blue words
contribute to the explained class and orange words speak against it. Colour-blind readers see the difference.
Without colour (NO_COLOR, a pipe, a simple terminal), words are marked instead: `[++great]`, `[-not]`.
"""

import unicodedata
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from sentiscale.inference.explain import Explanation

FOR = ("black on #c9def5", "black on #85b4e8", "bold white on #1f5fa8")
AGAINST = ("black on #fbdcb8", "black on #f5ac62", "bold black on #e8790c")
"""Styles for weak, medium and strong contributions. They set the background too, so that dark and light
terminals show the same colours."""

BOUNDS = (0.15, 0.4, 0.75)
"""Minimum shares of the largest contribution for weak, medium and strong; words below the first have no
colour."""
MIN_LARGEST = 0.3
"""Lower bound for the largest contribution, so that no word is strong when none contributes much."""

LINE_BREAKS = "\t\n\v\f\r\x85\u2028\u2029"
DIRECTION_CONTROLS = frozenset(("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"))


def coloured_line(text: str, explanation: "Explanation", *, marked: bool | None = None) -> Text:
    """Return the text on one line, its words coloured blue or orange for contributions above or below 0.

    Line breaks become spaces. Each character that could control the terminal is replaced by U+FFFD.

    Args:
        text: the text that was explained.
        explanation: its explanation.
        marked: mark words instead of colouring them: medium ones as `[-not]`, strong ones as `[++great]`.
            None marks them when stdout shows no colour.
    """
    if marked is None:
        marked = not shows_colour(Console())
    shown = text.translate(_SafeCharacters())
    largest = max([MIN_LARGEST, *(abs(share.contribution) for share in explanation.words)])
    line, at = Text(), 0
    for share in explanation.words:
        level = sum(abs(share.contribution) >= bound * largest for bound in BOUNDS)
        if level == 0:
            continue
        is_for = share.contribution > 0
        word = shown[share.start : share.end]
        line.append(shown[at : share.start])
        if marked and level > 1:
            line.append(f"[{('+' if is_for else '-') * (level - 1)}{word}]")
        else:
            line.append(word, None if marked else (FOR if is_for else AGAINST)[level - 1])
        at = share.end
    return line.append(shown[at:])


def shows_colour(console: Console) -> bool:
    """Whether the console shows colours, according to NO_COLOR, FORCE_COLOR and TERM as Rich reads them."""
    return console.color_system is not None and not console.no_color


class _SafeCharacters(dict[int, int | str]):
    """Table for `str.translate` that replaces control characters, direction marks and lone surrogates."""

    def __missing__(self, code: int) -> int | str:
        character = chr(code)
        category, direction = unicodedata.category(character), unicodedata.bidirectional(character)
        safe: int | str = code
        if character in LINE_BREAKS:
            safe = " "
        elif category in ("Cc", "Cs") or direction in DIRECTION_CONTROLS:
            safe = "\N{REPLACEMENT CHARACTER}"
        self[code] = safe
        return safe
