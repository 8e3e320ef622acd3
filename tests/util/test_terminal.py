"""Progress: silent by default, lines where nobody watches, and the arithmetic of a line."""

import pytest

from sentiscale.util import terminal
from sentiscale.util.progress import Progress
from sentiscale.util.terminal import TerminalProgress, make_progress, progress_line


def test_line_shows_share_rate_and_time_left():
    """50 of 200 rows in 5 s: a quarter, 10 rows/s, 150 rows more take 15 s."""
    line = progress_line("train", done=50, total=200, unit="rows", seconds=5, note="loss 0.31")
    assert line == "train 25 %: 50 rows, 10 rows/s, 15 s left, loss 0.31"


@pytest.mark.parametrize(("total", "seconds"), [(None, 5), (None, 0), (200, 0)])
def test_line_promises_nothing_without_a_total_or_a_rate(total, seconds):
    assert "left" not in progress_line("read", 50, total, "MB", seconds, "")


def test_default_is_silent(capfd):
    with Progress().task("train", 10, "rows") as advance:
        advance(5, "loss 0.31")
    Progress().say("hello")
    assert capfd.readouterr() == ("", "")


def test_quiet_is_the_silent_default():
    assert type(make_progress(quiet=True)) is Progress
    assert type(make_progress(quiet=False)) is TerminalProgress


def test_lines_go_to_stderr_once_in_a_while(capfd, monkeypatch):
    monkeypatch.setattr(terminal, "LINE_EVERY_SECONDS", 0.0)
    with TerminalProgress().task("train", 10, "rows") as advance:
        advance(5, "loss [0.31]")
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("train 50 %: 5 rows, ")
    assert err.endswith("loss [0.31]\n")


def test_bar_shows_notes_with_brackets_as_they_are(capfd, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    with TerminalProgress().task("[train]", 10, "rows") as advance:
        advance(10, "epoch [last]")
    err = capfd.readouterr().err
    assert "[train]" in err
    assert "epoch [last]" in err
