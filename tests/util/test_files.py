"""Files that others wrote: anything but a regular file of bounded size and nesting is refused, at once."""

import os
import socket

import pytest

from sentiscale.errors import DataError
from sentiscale.util.files import MAX_DEPTH, MAX_DOTS, open_regular, read_bytes, read_json, read_toml


def test_a_regular_file_and_a_link_to_one_are_read(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    (tmp_path / "b").symlink_to("a")
    assert read_bytes(tmp_path / "a", 5) == read_bytes(tmp_path / "b", 5) == b"12345"
    with open_regular(tmp_path / "b") as file:
        assert file.read(2) == b"12"


def test_a_larger_file_is_refused_before_it_is_read(tmp_path):
    (tmp_path / "a").write_bytes(b"")
    os.truncate(tmp_path / "a", 2**40)  # a sparse file
    with pytest.raises(DataError, match=r"a has 1,099,511,627,776 bytes; at most 100 are allowed\."):
        read_bytes(tmp_path / "a", 100)


def make_fifo(path):
    os.mkfifo(path)


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))


SPECIAL_FILES = [
    (make_fifo, "is a FIFO; only a regular file is allowed"),
    (lambda path: path.mkdir(), "is a directory; only a regular file is allowed"),
    (lambda path: path.symlink_to("/dev/zero"), "is a device; only a regular file is allowed"),
    (lambda path: path.symlink_to(path), "cannot be read: Too many levels of symbolic links"),
    (make_socket, "cannot be read"),
]


@pytest.mark.parametrize(("make", "message"), SPECIAL_FILES)
def test_other_kinds_of_files_are_refused_without_waiting(tmp_path, monkeypatch, make, message):
    monkeypatch.chdir(tmp_path)  # the path of a socket is at most 100 bytes
    make(tmp_path / "a")
    for read in (open_regular, lambda path: read_bytes(path, 100), read_toml, read_json):
        with pytest.raises(DataError, match=message):
            read(tmp_path / "a")


def test_a_missing_file_is_left_to_the_caller(tmp_path):
    (tmp_path / "a").write_bytes(b"")
    with pytest.raises(FileNotFoundError):
        read_bytes(tmp_path / "b", 5)
    with pytest.raises(NotADirectoryError):
        read_bytes(tmp_path / "a" / "b", 5)


def test_a_refused_file_is_closed(tmp_path):
    before = len(os.listdir("/dev/fd"))
    for _ in range(20):
        with pytest.raises(DataError):
            open_regular(tmp_path)
    assert len(os.listdir("/dev/fd")) == before


def test_toml_and_json_are_read(tmp_path):
    (tmp_path / "a.toml").write_bytes(b"\xef\xbb\xbfa = [1, {b = 0.5}] # " + 200 * b"." + b"\r\nc.d = 'x'\n")
    (tmp_path / "a.json").write_text('{"a": [1, {"b": 0.5}]}')
    assert read_toml(tmp_path / "a.toml") == {"a": [1, {"b": 0.5}], "c": {"d": "x"}}
    assert read_json(tmp_path / "a.json") == {"a": [1, {"b": 0.5}]}


def nested(levels):
    return "[" * levels + "]" * levels


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = ", "is not valid TOML: Invalid value"),
        ("a = \udcff", "is not valid TOML: 'utf-8' codec"),
        ("a = " + "1" * 5000, "is not valid TOML: Exceeds the limit"),
        ("a = " + nested(5000), "is not valid TOML: it is nested too deep"),
        ("a = " + nested(MAX_DEPTH), "is nested too deep; at most 32 levels are allowed"),
        (
            "b = 1\n" + "a." * (MAX_DOTS + 1) + "a = 1",
            ":2 has more than 100 dots, the most allowed in a line",
        ),
        ("#" * 2**20, "has 1,048,576 bytes; at most 65,536 are allowed"),
    ],
)
def test_hostile_toml_is_refused(tmp_path, text, message):
    (tmp_path / "a.toml").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=message):
        read_toml(tmp_path / "a.toml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not valid JSON: Expecting"),
        ("1" * 5000, "is not valid JSON: Exceeds the limit"),
        (nested(100_000), "is not valid JSON: it is nested too deep"),
        (nested(MAX_DEPTH + 1), "is nested too deep; at most 32 levels are allowed"),
    ],
)
def test_hostile_json_is_refused(tmp_path, text, message):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError, match=message):
        read_json(tmp_path / "a.json")
