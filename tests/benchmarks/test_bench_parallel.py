"""The tables of the layouts' benchmark: ratios of like with like, medians over all rounds."""

import importlib
from types import ModuleType

import pytest

from sentiscale.records import PhaseTimes
from sentiscale.study.bench.steps import StepTimes
from tests.conftest import REPOSITORY

BENCHMARKS = REPOSITORY / "benchmarks"
RESULTS = BENCHMARKS / "results"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("bench_parallel")


def times(rows_per_s: float, reduce: tuple[float, ...] = (0.0,)) -> StepTimes:
    """One run of a case whose ranks compute for a millisecond a step, and exchange for some of it."""
    return StepTimes(
        layout="2x1",
        threads_per_rank=1,
        precision="fp32",
        steps=1,
        step_seconds=0.001,
        rows_per_s=rows_per_s,
        phases_per_rank=[PhaseTimes(compute=0.001, reduce=each) for each in reduce],
        bytes_per_step=[int(1e6 * rows_per_s)] * len(reduce),
        peak_memory_mb_per_rank=[100.0] * len(reduce),
        losses=[],
    )


def cells(table: str) -> dict[str, list[str]]:
    """Those behind the case, by case."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    return {row[0]: row[1:] for row in rows}


def test_sparse_is_compared_with_dense_at_the_same_vocabulary_and_layout(bench):
    rates = {
        f"{words} words, {kind}, {layout}": rate
        for (words, kind, layout), rate in {
            ("30k", "sparse", "2x1"): 6,
            ("30k", "dense", "2x1"): 3,
            ("130k", "sparse", "2x1"): 5,
            ("130k", "dense", "2x1"): 1,
            ("130k", "sparse", "1x1"): 4,
            ("130k", "dense", "1x1"): 1,
        }.items()
    }
    table = cells(bench.table("sparse", {case: [[times(rate)]] * 5 for case, rate in rates.items()}))
    assert {case: row[2].split()[0] for case, row in table.items() if "dense" in case} == {
        "30k words, dense, 2x1": "2.00",
        "130k words, dense, 2x1": "5.00",
        "130k words, dense, 1x1": "4.00",
    }


def test_figures_are_medians_over_the_rounds_and_waiting_is_that_of_the_worst_rank(bench):
    rounds = [[times(rate, (0.001, wait))] for rate, wait in ((1, 0.003), (2, 0.009), (3, 0.0))]
    row = cells(bench.table("stages", {"1x1, 1 thread": rounds}))["1x1, 1 thread"]
    rate, _, _, phases, waiting, sent, peaks = row
    assert rate == "2"
    assert phases == "0.0, 1.0, 3.0, 0.0", "of the rank with the longest steps"
    assert waiting == "0.75 (0.50-0.90)"
    assert sent == "2.00"
    assert peaks == "100 + 100"


def test_what_is_filed_is_what_the_records_say(bench):
    for records in RESULTS.glob("parallel_*.jsonl"):
        filed = records.with_suffix(".md").read_text().splitlines()
        for part, found in bench.read(records).items():
            for line in bench.table(part, found).splitlines():
                assert line in filed
