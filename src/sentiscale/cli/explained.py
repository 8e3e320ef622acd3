"""An explanation on a terminal: the review in one line, its words coloured by their contributions.

Blue is towards "positive", orange towards "negative": people with any colour vision can distinguish the two.
Without colour (NO_COLOR, a pipe, a simple terminal), words get marks instead: `[++great]`, `[-not]`.
"""

import unicodedata
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from sentiscale.inference.explain import Explanation

POSITIVE = ("black on #c9def5", "black on #85b4e8", "bold white on #1f5fa8")
NEGATIVE = ("black on #fbdcb8", "black on #f5ac62", "bold black on #e8790c")
"""Weak, medium and strong; with a background, so that dark and light terminals show the same."""

BOUNDS = (0.15, 0.4, 0.75)
"""Shares of the largest contribution from which a word is weak, medium, strong; below, it has no colour."""
MIN_LARGEST = 0.3
"""Lower bound of the largest contribution: where no word contributes much, no colour is strong."""

LINE_BREAKS = "\t\n\v\f\r\x85\u2028\u2029"
DIRECTION_CONTROLS = frozenset(("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"))


def coloured_line(text: str, explanation: "Explanation", *, marked: bool | None = None) -> Text:
    """The raw text in one line with its words coloured, blue for "positive" and orange for "negative".

    Line breaks become spaces; characters that would control the terminal are replaced, one for one.

    Args:
        text: the text that was explained.
        explanation: its explanation.
        marked: put medium words in brackets with a sign, `[-not]`, and strong ones with two, `[++great]`;
            None does so where stdout shows no colour.
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
        positive = share.contribution > 0
        word = shown[share.start : share.end]
        line.append(shown[at : share.start])
        if marked and level > 1:
            line.append(f"[{('+' if positive else '-') * (level - 1)}{word}]")
        else:
            line.append(word, None if marked else (POSITIVE if positive else NEGATIVE)[level - 1])
        at = share.end
    return line.append(shown[at:])


def shows_colour(console: Console) -> bool:
    """Whether a console shows colours, by the rules of NO_COLOR, FORCE_COLOR and TERM that Rich follows."""
    return console.color_system is not None and not console.no_color


class _SafeCharacters(dict[int, int | str]):
    """Table for `str.translate`: controls, text direction and lone surrogates must not reach a terminal."""

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
