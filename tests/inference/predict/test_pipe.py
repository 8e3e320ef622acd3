"""Lines from a pipe: one in, one out, at once where the pipe pauses, whatever its bytes."""

import json
import os
import subprocess
import sys
from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiscale.data import inputs as module
from sentiscale.data.inputs import whole_lines


def blocks_of(data: bytes, sizes: list[int]) -> list[bytes]:
    """What `whole_lines` makes of data that comes in pieces of these sizes."""
    pieces, place = [], 0
    for size in sizes:
        pieces.append(data[place : place + size])
        place += size
    pieces = [piece for piece in [*pieces, data[place:]] if piece]
    return list(whole_lines(lambda: pieces.pop(0) if pieces else b""))


@given(
    data=st.lists(st.sampled_from([b"a", b"\n", b"bc", b"\r\n", b"\xff"])).map(b"".join),
    sizes=st.lists(st.integers(1, 9)),
)
def test_every_byte_comes_once_in_blocks_that_end_with_lines(data, sizes):
    blocks = blocks_of(data, sizes)
    assert b"".join(blocks) == data
    assert all(block.endswith(b"\n") for block in blocks[:-1])
    assert all(blocks)


@given(lengths=st.lists(st.integers(0, 40), max_size=8), sizes=st.lists(st.integers(1, 30)))
def test_of_a_line_without_end_the_beginning_is_kept(lengths, sizes):
    most = module.MAX_RECORD_BYTES
    module.MAX_RECORD_BYTES = 20
    try:
        found = b"".join(blocks_of(b"".join(b"x" * length + b"\n" for length in lengths), sizes)).split(
            b"\n"
        )[:-1]
    finally:
        module.MAX_RECORD_BYTES = most
    assert len(found) == len(lengths)
    for line, length in zip(found, lengths, strict=True):
        assert min(length, 20) <= len(line) <= length


def test_a_pipe_that_pauses_is_answered_at_once(model):
    command = [sys.executable, "-m", "sentiscale", "predict", model, "--quiet"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for text in ("good film", "", "never again"):
            process.stdin.write(text + "\n")
            process.stdin.flush()
            label, probability = process.stdout.readline().rstrip("\n").split("\t")  # would wait for ever
            assert label in ("positive", "negative")
            assert 0.5 <= float(probability) <= 1
        process.stdin.close()
        assert process.stdout.read() == ""
    assert process.returncode == 0


def test_printed_lines_are_what_formatting_gives(predictor, capsys):
    import numpy as np

    from sentiscale.data.inputs import Chunk
    from sentiscale.inference.outputs import print_lines
    from sentiscale.inference.predictor import Predictions
    from sentiscale.text.classes import Classes

    positive = np.concatenate([np.random.default_rng(0).random(2000), [0.0, 0.5, 1.0, 0.49999999, 0.99996]])
    chances = np.column_stack([1 - positive, positive])
    others = np.zeros(len(positive), bool), np.zeros(len(positive))
    rows = Predictions(chances, np.random.default_rng(1).integers(0, 3, len(positive)), *others, Classes())
    print_lines(Chunk("", None, np.arange(len(positive)), None, None), rows)
    wanted = "".join(f"{row.label}\t{row.probability:.4f}\n" for row in rows.rows())
    assert capsys.readouterr().out == wanted


def test_fasttext_labels_are_not_part_of_the_review(cli, model):
    bare = cli("predict", model, stdin="good film\n").stdout
    assert cli("predict", model, stdin="__label__2 good film\n").stdout == bare


def test_a_named_pipe_is_read_as_lines(cli, model, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    writer = Thread(target=(tmp_path / "pipe").write_text, args=("good film\nbad\n",))
    writer.start()
    done = cli("predict", model, "pipe")
    writer.join()
    assert done.returncode == 0, done.stderr
    assert done.stdout == cli("predict", model, stdin="good film\nbad\n").stdout


def test_a_table_comes_through_standard_input_if_it_is_called_one(model):
    command = [
        sys.executable,
        "-m",
        "sentiscale",
        "predict",
        model,
        "-",
        "--format",
        "csv",
        "--quiet",
        "--json",
    ]
    done = subprocess.run(
        command, input="id,text\n1,good\n2,bad\n", capture_output=True, text=True, check=True
    )
    assert [row["line"] for row in json.loads(done.stdout)["predictions"]] == [2, 3]


@pytest.mark.parametrize(
    ("text", "format_name"),
    [
        ("label,text\n1,good film\n2,bad film\n", "csv"),
        ("text\tstars\ngood film\t5\n", "csv"),
        ('{"text": "good film"}\n{"text": "bad film"}\n', "jsonl"),
    ],
)
def test_a_table_that_a_pipe_delivers_is_not_answered_line_by_line(cli, model, text, format_name):
    done = cli("predict", model, stdin=text)
    assert (done.returncode, done.stdout) == (3, "")
    assert f"--format {format_name}" in done.stderr
    lines = cli("predict", model, "--format", "fasttext", stdin=text)
    assert len(lines.stdout.splitlines()) == len(text.splitlines())


@pytest.mark.parametrize(
    "text", ["Good text, bad film\nBad film\n", "text\n", "{sic} good\n", "Review: good, I say\n"]
)
def test_reviews_that_resemble_a_table_are_lines(cli, model, text):
    done = cli("predict", model, stdin=text)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(text.splitlines())
