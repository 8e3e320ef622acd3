"""Preparation by engine and workers: real processes, small files."""

import gzip
import importlib.util
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from sentiscale.datasets.output import blocks
from sentiscale.errors import DataError, SentiscaleError, UsageError
from sentiscale.study.bench.engines import CLEANERS, PrepareBenchJob, TimedWork
from sentiscale.study.bench.plan import doubling
from sentiscale.study.bench.preparation import ENGINES, BenchEngine, PreparationCases, RawFiles, raw_files
from sentiscale.study.harness import run_fresh
from sentiscale.study.records import BenchRun, Case
from sentiscale.util.processes import with_threads
from tests.benchmarks.test_bench_prepare import HOSTILE, WITHOUT_REPEAT

ROWS = 2000
INSTALLED = [engine.name for engine in ENGINES.values() if engine.missing is None]


@pytest.fixture(scope="module")
def reviews(tmp_path_factory) -> Path:
    """Generated reviews, the last ten of which are there twice."""
    path = tmp_path_factory.mktemp("reviews") / "reviews.txt"
    lines = b"".join(blocks(ROWS - 10, seed=1)).splitlines(keepends=True)
    path.write_bytes(b"".join([*lines, *lines[-10:]]))
    return path


@pytest.fixture(scope="module")
def files(reviews, tmp_path_factory):
    return raw_files([reviews], tmp_path_factory.mktemp("files"))


@pytest.fixture(scope="module")
def runs(files, tmp_path_factory) -> dict[str, BenchRun]:
    """One run of every engine that is installed, with one worker."""
    out = tmp_path_factory.mktemp("out")
    preparing = PreparationCases(files, out, workers=(1,))
    found = {case.engine: preparing.run(case, 0)[0] for case in preparing.cases}
    assert list(out.iterdir()) == [], "outputs of runs are removed"
    return found


def case_of(engine: str, workers: int = 1) -> Case:
    return Case(kind="prepare", engine=engine, engine_workers=workers, collectives=False)


def test_every_installed_engine_is_measured(runs):
    assert list(runs) == INSTALLED
    assert {"sentiscale", "sentiscale-clean"} <= set(runs)


def test_a_run_says_what_it_took(runs, files):
    for run in runs.values():
        assert run.rows == ROWS
        assert run.amount == {"rows": ROWS}
        assert run.rows_per_s == pytest.approx(ROWS / run.seconds)
        assert run.start_seconds > 0.05, "a process was started and libraries were loaded"
        assert run.warm_up_seconds > 0
        assert run.shape["bytes_in"] == files.size
        assert run.shape["bytes_out"] > 0
        assert 30 < run.peak_memory_mb_per_rank[0] < 2000
        assert run.data_digest == files.digest


def test_all_engines_keep_the_same_rows(runs):
    """Ten texts come twice; generated reviews may repeat others."""
    kept = {name: run.shape["rows_out"] for name, run in runs.items() if name != "sentiscale"}
    assert len(set(kept.values())) == 1, kept
    assert 0 < kept["sentiscale-clean"] <= ROWS - 10
    assert 0 < runs["sentiscale"].shape["rows_out"] <= ROWS - 10


def test_only_sentiscale_is_said_to_prepare_completely(runs):
    assert [name for name, run in runs.items() if run.shape["complete"]] == ["sentiscale"]
    assert "encodes" in runs["sentiscale"].shape["does"]
    assert "encodes" not in runs["sentiscale-clean"].shape["does"]


@pytest.mark.parametrize("workers", [1, 2])
def test_own_cleaning_does_what_the_peers_do(workers, tmp_path):
    file = tmp_path / "reviews.txt"
    file.write_text("\n".join(HOSTILE) + "\n", encoding="utf-8", newline="")
    with CLEANERS["sentiscale-clean"](workers) as clean:
        clean([file], tmp_path / "out.parquet")
    table = pq.read_table(tmp_path / "out.parquet")
    found = list(zip(table["label"].to_pylist(), table["text"].to_pylist(), strict=True))
    assert found == WITHOUT_REPEAT


def test_a_cleaner_can_be_called_again(reviews, tmp_path):
    """The warm-up and the measured run share libraries and workers."""
    with CLEANERS["sentiscale-clean"](2) as clean:
        for name in ("first", "second"):
            clean([reviews], tmp_path / name)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


def test_workers_reach_all_cores():
    assert doubling(1) == [1]
    assert doubling(2) == [1, 2]
    assert doubling(6) == [1, 2, 4, 6]
    assert doubling(8) == [1, 2, 4, 8]


def test_an_engine_that_cannot_scale_has_one_worker(files, tmp_path):
    cases = PreparationCases(files, tmp_path, workers=(3, 1, 2, 3)).cases
    counts = {name: [case.workers for case in cases if case.engine == name] for name in INSTALLED}
    assert counts.pop("pandas", [1]) == [1]
    assert all(found == [1, 2, 3] for found in counts.values())


def test_a_missing_engine_is_left_out_with_the_way_to_get_it(files, tmp_path):
    lacking = BenchEngine("other", "pandas", ("no_such_library",)).missing
    assert lacking is not None
    assert "no_such_library" in lacking
    assert "sentiscale[bench]" in lacking
    absent = [name for name in ("pandas", "polars") if importlib.util.find_spec(name) is None]
    left_out = PreparationCases(files, tmp_path).left_out
    assert {each.case.engine for each in left_out} >= set(absent)
    assert len(left_out) == len(ENGINES) - len(INSTALLED)


def test_a_compressed_file_is_measured_unpacked(reviews, files, tmp_path):
    packed = tmp_path / "reviews.txt.gz"
    packed.write_bytes(gzip.compress(reviews.read_bytes()))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    found = raw_files([packed], scratch)
    assert found.plain[0].parent == scratch
    assert (found.rows, found.size, found.digest) == (files.rows, files.size, files.digest)
    assert found.names == ["reviews.txt.gz"]


def test_a_last_line_without_an_end_counts(tmp_path):
    path = tmp_path / "reviews.txt"
    path.write_text("__label__1 bad\n__label__2 good")
    found = raw_files([path], tmp_path)
    assert found.rows == 2
    assert found.head.read_bytes() == path.read_bytes()


def test_a_file_without_reviews_is_refused(tmp_path):
    (tmp_path / "empty.txt").touch()
    with pytest.raises(DataError, match=r"empty\.txt"):
        raw_files([tmp_path / "empty.txt"], tmp_path)


def test_other_formats_are_refused_with_the_reason(tmp_path):
    table = tmp_path / "reviews.csv"
    table.write_text("label,text\n0,bad\n1,good\n")
    with pytest.raises(UsageError, match=r"reviews\.csv, csv; .*fastText"):
        raw_files([table], tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        raw_files([tmp_path / "none.txt"], tmp_path)


def test_a_run_that_fails_is_told_in_its_own_words(files, tmp_path):
    gone = RawFiles(5, "0" * 64, ["gone.txt"], [tmp_path / "gone.txt"], files.head, 100)
    with pytest.raises(DataError, match=r"(?s)preparation with sentiscale-clean.*gone\.txt does not exist"):
        PreparationCases(gone, tmp_path).run(case_of("sentiscale-clean"), 0)
    assert "gone.txt" in (tmp_path / "failed.log").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["failed.log"]


def test_an_unknown_failure_is_no_traceback_of_ours(files, tmp_path):
    job = PrepareBenchJob(engine="sentiscale-clean", workers=0, files=files.plain, warm_up=files.head)
    with pytest.raises(SentiscaleError, match=r"(?s)the run of nobody ended with exit code 1.*max_workers"):
        run_fresh(
            PreparationCases.function, job, TimedWork, label="nobody", out=tmp_path, variables=with_threads(1)
        )


def test_kept_runs_of_other_files_are_recognised(runs, files, tmp_path):
    kept, preparing = runs["sentiscale"], PreparationCases(files, tmp_path)
    assert list(preparing.mismatches(kept)) == []
    other = kept.model_copy(update={"data_digest": "f" * 64})
    assert [text for text in preparing.mismatches(other) if "other texts" in text]
    less = kept.model_copy(update={"shape": {**kept.shape, "does": "something else"}})
    assert [text for text in preparing.mismatches(less) if "does was something else" in text]


def test_what_others_do_meanwhile_is_noticed(files, tmp_path):
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        _, others = PreparationCases(files, tmp_path).run(case_of("sentiscale-clean"), 0)
    finally:
        busy.kill()
        busy.wait()
    assert others > 0.4
