"""Log lines that nothing in a request can forge."""

import io
import json
import logging

import pytest

from sentiscale.serving.telemetry import EventLog

NASTY = '/a\nevent=forged "x"=1 \x1b[31m\u2028é'


def test_a_json_line_is_one_line_whatever_was_sent():
    stream = io.StringIO()
    EventLog("json", stream).event("request", path=NASTY, texts=None, status=404)
    assert stream.getvalue().count("\n") == 1
    line = json.loads(stream.getvalue())
    assert line["path"] == NASTY
    assert "texts" not in line


def test_a_line_of_words_quotes_what_could_break_it():
    stream = io.StringIO()
    EventLog("text", stream).event("request", path=NASTY, status=404)
    line = stream.getvalue()
    assert line.count("\n") == 1
    assert line.isascii()
    assert "\x1b" not in line
    assert line.rstrip().endswith("status=404")
    assert 'path="/a\\nevent=forged \\"x\\"=1' in line


def test_paths_are_cut():
    stream = io.StringIO()
    EventLog("json", stream).event("request", path="/" + "a" * 10_000)
    assert len(stream.getvalue()) < 400


def test_a_log_that_nobody_reads_any_more_stops_nothing():
    stream = io.StringIO()
    stream.close()
    EventLog("json", stream).event("request")


@pytest.mark.parametrize("form", ["json", "text"])
def test_libraries_write_into_the_same_log_without_tracebacks(form, monkeypatch):
    stream = io.StringIO()
    loggers = [logging.getLogger(name) for name in ("uvicorn", "uvicorn.error", "asyncio")]
    for logger in loggers:
        for name in ("handlers", "propagate", "level"):
            monkeypatch.setattr(logger, name, getattr(logger, name))
    EventLog(form, stream).capture_libraries()
    try:
        raise ValueError("the review's text")
    except ValueError:
        logging.getLogger("uvicorn.error").exception("It failed")
    assert "ValueError" in stream.getvalue()
    assert "It failed" in stream.getvalue()
    assert "the review's text" not in stream.getvalue()
    assert stream.getvalue().count("\n") == 1
