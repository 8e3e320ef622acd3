"""An explanation on a terminal: legible with and without colour, and harmless."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from sentiscale.cli.explained import AGAINST, FOR, coloured_line, shows_colour
from sentiscale.inference.explain import Explanation, WordShare, explain
from sentiscale.inference.predictor import Prediction
from tests.inference.explain.conftest import made
from tests.inference.explain.test_explain import BOTH, CHARACTERS


def explanation_of(text: str, contributions: list[float]) -> Explanation:
    """As if the model had said so of the words of `text`."""
    words, at = [], 0
    for word, contribution in zip(text.split(), contributions, strict=True):
        start = text.index(word, at)
        at = start + len(word)
        words.append(WordShare(word.lower(), start, at, contribution))
    prediction = Prediction("positive", 0.9, 0.9, False, 0.0, {"negative": 0.1, "positive": 0.9})
    return Explanation(prediction, "positive", 2.2, 0.1, tuple(words), 0.0)


def test_words_are_tinted_by_direction_and_size():
    text = "Great  but not the best"
    line = coloured_line(text, explanation_of(text, [2.0, -0.1, -1.0, 0.4, 0.2]), marked=False)
    assert line.plain == text
    assert [(line.plain[span.start : span.end], span.style) for span in line.spans] == [
        ("Great", FOR[2]),
        ("not", AGAINST[1]),
        ("the", FOR[0]),
    ]


def test_without_colour_signs_stand_by_what_counts():
    text = "Great but not the best"
    line = coloured_line(text, explanation_of(text, [2.0, -0.1, -1.0, -1.9, 0.4]), marked=True)
    assert line.plain == "[++Great] but [-not] [--the] best"
    assert line.spans == []


def test_where_no_word_says_much_none_is_marked_strongly():
    text = "the box came"
    assert coloured_line(text, explanation_of(text, [0.01, 0.02, -0.02]), marked=True).plain == text
    assert coloured_line(text, explanation_of(text, [0.01, 0.2, 0.0]), marked=True).plain == "the [+box] came"


def test_a_review_cannot_steer_the_terminal():
    text = "red \x1b[31m bell\x07 line\nnext \u202eback \ud800 [bold]x[/bold] 👩\u200d👧"
    plain = coloured_line(text, explanation_of(text, [0.0] * len(text.split())), marked=False).plain
    assert plain == "red \ufffd[31m bell\ufffd line next \ufffdback \ufffd [bold]x[/bold] 👩\u200d👧"


@given(text=st.text(CHARACTERS, max_size=40))
def test_any_text_is_shown_with_one_character_for_each(text):
    (explanation,) = explain(made(BOTH), [text], steps=2)
    line = coloured_line(text, explanation, marked=False)
    assert len(line.plain) == len(text)
    assert "\x1b" not in line.plain
    shown = io.StringIO()
    Console(file=shown, color_system=None, soft_wrap=True).print(line, end="")
    shown.getvalue().encode()


@pytest.mark.parametrize(
    ("variables", "colour"),
    [
        ({"TERM": "xterm-256color"}, True),
        ({"TERM": "xterm-256color", "NO_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
    ],
    ids=str,
)
def test_colour_goes_by_the_usual_variables(variables, colour):
    assert shows_colour(Console(force_terminal=True, _environ=variables)) == colour


def test_no_colour_into_a_pipe():
    assert not shows_colour(Console(file=io.StringIO(), _environ={"TERM": "xterm-256color"}))
