"""What the benchmarks of preparation rest on: peers that clean, statistics, memory, large inputs."""

import importlib
import importlib.util
import json
import math
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentiscale.datasets.output import blocks
from sentiscale.text.clean import clean
from tests.conftest import REPOSITORY

BENCHMARKS = REPOSITORY / "benchmarks"
PEERS = {
    "pandas": "pandas",
    "pandas-object": "pandas",
    "dask": "dask.dataframe",
    "polars": "polars",
    "polars-dedupe": "polars",
}

HOSTILE = [
    "__label__2 Great!!  It's  \t GREAT, really. ",
    '__label__1 "Unbalanced quote, and a comma',
    "__label__1 it works",
    "__label__2 It works!",  # cleaned, the same text as before
    "__label__1 123 !!! ???",  # nothing is left
    "__label__2 caf\u00e9 na\u00efve \u4f60\u597d end",
    "__label__1 two\u00a0parts\u2003wide",
    "__label__2 NULL",
    "__label__1 ",
    "__label__2 a",
]
CLEANED = [
    (1, "great its great really"),
    (0, "unbalanced quote and a comma"),
    (0, "it works"),
    (1, "it works"),
    (1, "caf nave end"),
    (0, "two parts wide"),
    (1, "null"),
    (1, "a"),
]
WITHOUT_REPEAT = [row for row in CLEANED if row != (1, "it works")]


@pytest.fixture
def benchmark_module(monkeypatch):
    """Import a script of the benchmarks as another of them does."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


@pytest.fixture
def measured(benchmark_module) -> ModuleType:
    return benchmark_module("measured")


@pytest.fixture
def grow_reviews(benchmark_module) -> ModuleType:
    return benchmark_module("grow_reviews")


@pytest.fixture
def source(tmp_path) -> Path:
    """3,000 generated reviews."""
    path = tmp_path / "source.txt"
    path.write_bytes(b"".join(blocks(3000, seed=1)))
    return path


def peer(name: str, file: Path, out: Path) -> list[tuple[int, str]]:
    """What a peer makes of a file, as the benchmark starts it."""
    if importlib.util.find_spec(PEERS[name].split(".")[0]) is None or (
        name == "dask" and importlib.util.find_spec("pandas") is None
    ):
        pytest.skip(f"needs {PEERS[name]}: pip install 'sentiscale[bench]'")
    command = [sys.executable, BENCHMARKS / "prepare_peers.py", name, out, file, "--cores", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    table = pq.read_table(out)
    assert json.loads(done.stdout)["rows"] == len(table)
    return list(zip(table["label"].to_pylist(), table["text"].to_pylist(), strict=True))


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_really_cleans(name, tmp_path):
    """All agree, character for character; only `polars` keeps texts that come again."""
    file = tmp_path / "reviews.txt"
    file.write_text("\n".join(HOSTILE) + "\n", encoding="utf-8", newline="")
    assert peer(name, file, tmp_path / "out.parquet") == (CLEANED if name == "polars" else WITHOUT_REPEAT)


def test_profile_alpha_cleans_as_the_peers_do():
    texts = clean(pa.array([line[11:] for line in HOSTILE], pa.large_string()), "alpha").texts()
    assert [text for text in texts if text] == [text for _, text in CLEANED]


def test_interval_of_five_is_their_range(measured):
    assert measured.interval([3, 1, 5, 2, 4]) == (3, 1, 5, 1 - 2 / 32)  # all five on one side: 2 of 32 cases


def test_interval_of_nine_leaves_out_the_extremes(measured):
    """Nine values: 2 * (1 + 9) / 512 is the chance that the median lies outside the inner seven."""
    assert measured.interval(range(1, 10)) == (5, 2, 8, 1 - 20 / 512)


def test_memory_of_child_processes_counts(measured):
    """Two processes hold 100 MB each for a second; the kernel's mark of the largest would say 100."""
    child = "data = bytearray(100_000_000); print('ready', flush=True); input()"
    parent = f"""
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {child!r}], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
data = bytearray(100_000_000)
child.stdout.readline()
time.sleep(1)
child.communicate(b"end\\n")
"""
    taken, _ = measured.run([sys.executable, "-c", parent])
    assert taken.processes == 2
    assert 200e6 < taken.anonymous_mib * 2**20 < 300e6
    assert taken.peak_mib > taken.anonymous_mib  # at least this process's size, which a child begins with
    assert taken.seconds > 1


def test_a_command_that_fails_ends_the_benchmark(measured):
    with pytest.raises(SystemExit, match=r"ended with 3:\nno such"):
        measured.run([sys.executable, "-c", "import sys; print('no such', file=sys.stderr); sys.exit(3)"])


def test_ratios_are_taken_within_a_round(benchmark_module):
    """Rounds of 20 s / 2 s, 30 s / 2 s and 40 s / 8 s: ratios 10, 15 and 5."""
    bench = benchmark_module("bench_prepare")
    found = [
        bench.Measurement(
            contestant=name,
            round=number,
            place=0,
            bytes_in=10**8,
            bytes_out=10**6,
            seconds=seconds + 1,
            work_seconds=seconds,
            cpu_seconds=1,
            peak_mib=100,
            anonymous_mib=50,
            processes=1,
            samples=9,
            longest_gap=0.1,
            others=0,
            stolen=0,
            printed={"rows": 5},
        )
        for number, pair in enumerate([(20, 2), (30, 2), (40, 8)])
        for name, seconds in zip(("pandas", "words-2"), pair, strict=True)
    ]
    lines = list(bench.comparison("work", ["pandas", "words-2"], ["words-2"], found))
    assert lines[-2:] == ["| pandas | 10.00 (5.00-15.00) |", "| words-2 | 1.00 |"]
    assert "| 30.00 (20.00-40.00) | 3.3 (2.5-5.0) |" in list(bench.summary(["pandas"], found))[-1]


def test_what_other_programs_use_is_noticed(measured):
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        disturbed, _ = measured.run([sys.executable, "-c", "import time; time.sleep(0.8)"])
    finally:
        busy.kill()
        busy.wait()
    assert disturbed.others > 0.6


def test_a_disturbed_run_is_repeated_and_not_kept(measured, monkeypatch):
    monkeypatch.setattr(measured, "PAUSE_SECONDS", 0)
    limits = measured.argparse.Namespace(others=0.5, again=2, realtime=False)
    quiet, _ = measured.run([sys.executable, "-c", "pass"])

    def kept(*others: float) -> list[bool]:
        runs = iter([quiet.model_copy(update={"others": used, "stolen": 0.0}) for used in others])
        return [found.kept for found in measured.undisturbed(lambda: next(runs), limits)]

    assert kept(0.1, 9) == [True]
    assert kept(0.9, 0.4, 9) == [False, True]
    assert kept(0.9, 0.9, 0.9, 9) == [False, False, True], "the last one stands, whatever it was"
    limits.realtime = True
    assert kept(0.9, 9) == [True], "other programs only had what the run left over"


def test_warm_up_reads_whole_lines(benchmark_module, tmp_path):
    file = tmp_path / "reviews.txt"
    file.write_bytes(b"__label__1 good\n" * 200_000)
    start = benchmark_module("bench_prepare").head(file, tmp_path / "head.txt").read_bytes()
    assert start == b"__label__1 good\n" * (2_000_000 // 16)


def grown(module: ModuleType, source: Path, *, seed: int = 0, **size: int) -> bytes:
    found = module.whole_rows(module.grow(module.read_source([source]), seed), **size)
    return b"".join(bytes(block) for block in found)


def test_large_input_begins_with_the_source_and_then_differs(grow_reviews, source):
    data = grown(grow_reviews, source, rows=9000)
    lines = data.splitlines()
    first, second, third = (lines[start : start + 3000] for start in (0, 3000, 6000))
    assert b"\n".join(first) + b"\n" == source.read_bytes()
    for changed in (second, third):
        assert [line[:11] for line in changed] == [line[:11] for line in first], "labels stay"
    assert len(set(lines)) > 0.999 * len(lines), "copies are no duplicates"


def test_large_input_depends_on_the_seed_alone(grow_reviews, source):
    long = grown(grow_reviews, source, rows=7000)
    assert long == grown(grow_reviews, source, rows=7000)
    assert long != grown(grow_reviews, source, rows=7000, seed=1)
    short = grown(grow_reviews, source, size=2_000_000)
    assert long.startswith(short)
    assert short.endswith(b"\n")
    assert 0 <= len(short) - 2_000_000 < 10_000, "it ends with the row that reaches the size"


def test_vocabulary_grows_by_the_law_of_the_source(grow_reviews, source):
    exponent = grow_reviews.read_source([source]).exponent
    words = re.compile(rb"[a-z]+")
    text = source.read_bytes().lower().replace(b"__label__", b"")
    before = len(set(words.findall(text)))
    half = len(set(words.findall(b"\n".join(text.splitlines()[::2]))))
    assert exponent == pytest.approx(math.log2(before / half), abs=0.02)
    after = len(set(words.findall(grown(grow_reviews, source, rows=15_000).lower())))
    assert after / before == pytest.approx(5**exponent, rel=0.15)


def test_a_pipe_gets_what_a_file_gets(grow_reviews, source, tmp_path):
    pipe, file = tmp_path / "pipe", tmp_path / "file.txt"
    os.mkfifo(pipe)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()))
    reader.start()
    for out in (pipe, file):
        reviews = grow_reviews.grow(grow_reviews.read_source([source]), 0)
        grow_reviews.write(grow_reviews.whole_rows(reviews, rows=4000), str(out))
    reader.join()
    assert received == [file.read_bytes()]
    assert file.read_bytes().count(b"\n") == 4000


@given(st.lists(st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"])), min_size=1))
@settings(max_examples=25)
def test_any_lines_can_grow(tmp_path_factory, texts):
    """Odd sources (no labels, no words, one giant word) give as many rows of sound UTF-8 a copy."""
    path = tmp_path_factory.mktemp("odd") / "source.txt"
    path.write_text("\n".join(texts) + "\n", encoding="utf-8", newline="")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        module = importlib.import_module("grow_reviews")
        patch.setattr(module, "DRAWN", 64)  # so few words need no 32,768 to choose from
        data = grown(module, path, rows=3 * len(texts))
    assert data.count(b"\n") == 3 * len(texts)
    data.decode("utf-8")
