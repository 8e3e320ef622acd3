"""Sharing out memory: more never means less, too little is refused, and the result is the same."""

import random
import re
from types import SimpleNamespace

import psutil
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiscale.config import PrepareSettings
from sentiscale.data.job import MB, MEMORY_PER_BYTE, share_out
from sentiscale.data.phases import MAX_GROUP, Phases
from sentiscale.data.prepare import prepare
from sentiscale.errors import UsageError
from sentiscale.text.clean import raw_rows
from sentiscale.text.tokens import number_new, rule_for

SIZES = st.integers(1, 10_000)
WORKERS = st.integers(1, 64)
BLOCKS = st.sampled_from([0.1, 0.5, 8.0, 100.0, 1024.0])


def shared(memory_mb, workers, block_mb=8.0, processes=False):
    """The budget, None when it is refused."""
    try:
        return share_out(memory_mb * MB, workers, block_mb, processes=processes)
    except UsageError:
        return None


@given(SIZES, SIZES, WORKERS, BLOCKS, st.booleans())
def test_more_memory_never_means_less_of_anything(one, other, workers, block_mb, processes):
    less, more = (shared(size, workers, block_mb, processes) for size in sorted((one, other)))
    if less is not None:
        assert more.block_bytes >= less.block_bytes
        assert more.duplicates_bytes + 1 >= less.duplicates_bytes  # a byte is lost to rounding
        assert more.words_bytes + 1 >= less.words_bytes


@given(SIZES, WORKERS, BLOCKS, st.booleans())
def test_the_parts_never_add_up_to_more_than_there_is(memory_mb, workers, block_mb, processes):
    budget = shared(memory_mb, workers, block_mb, processes)
    if budget is not None:
        used = budget.block_bytes * workers * MEMORY_PER_BYTE + budget.duplicates_bytes + budget.words_bytes
        assert used <= memory_mb * MB
        assert 0 < budget.block_bytes <= block_mb * MB
        assert min(budget.duplicates_bytes, budget.words_bytes) > 5 * MB


@given(SIZES, WORKERS)
def test_processes_leave_less_than_threads(memory_mb, workers):
    apart, together = shared(memory_mb, workers, processes=True), shared(memory_mb, workers)
    assert apart is None or apart.block_bytes <= together.block_bytes


@pytest.mark.parametrize("processes", [False, True])
@pytest.mark.parametrize("workers", [1, 2, 16])
def test_too_little_is_refused_and_the_least_is_told(workers, processes):
    with pytest.raises(
        UsageError, match=rf"--memory is 50 MB; {workers} workers need at least \d+ MB"
    ) as caught:
        share_out(50 * MB, workers, 8, processes=processes)
    least = int(re.search(r"at least (\d+) MB", str(caught.value)).group(1))
    assert shared(least, workers, processes=processes) is not None
    assert shared(least - 1, workers, processes=processes) is None


@pytest.mark.parametrize("total_gb", [0.5, 1, 4, 64])
def test_the_default_is_never_refused(monkeypatch, total_gb):
    class Memory:
        total = total_gb * 1e9

    monkeypatch.setattr(psutil, "virtual_memory", Memory)
    for workers in (1, 2, 8, 200):
        for processes in (False, True):
            assert share_out(None, workers, 8, processes=processes).block_bytes > 100_000


def test_sizes_are_given_as_people_write_them():
    assert PrepareSettings(memory="1.5GB").memory == 1_500_000_000
    assert PrepareSettings(memory="380MB").memory == 380 * MB


def test_a_block_has_a_byte_at_least():
    """A mistyped block_mb makes many partitions, no traceback."""
    assert share_out(None, 2, 1e-9, processes=False).block_bytes == 1


@given(st.lists(st.floats(0, 1.5), min_size=1, max_size=60), st.integers(1, 3))
def test_what_is_counted_together_fits_into_a_workers_memory(shares, workers):
    phases = SimpleNamespace(engine=SimpleNamespace(workers=workers))
    tasks = list(range(len(shares)))
    groups = list(Phases._grouped(phases, tasks, shares))
    assert [task for _, group in groups for task in group] == tasks
    for first, group in groups:
        assert first == group[0]
        assert len(group) == 1 or sum(shares[task] for task in group) <= 1
        assert len(group) <= MAX_GROUP
    free = [len(group) for _, group in Phases._grouped(phases, tasks)]
    assert len(set(free[:-1])) <= 1, "without shares they are equally many"


def test_a_review_of_megabytes_makes_no_table_of_gigabytes():
    """Only the tokens that are kept need room in the table of words."""
    row = " ".join(f"w{number}" for number in range(400_000))
    rows, table = number_new(*raw_rows(pa.array(["a few words", row, row])), rule_for("words", 512))
    assert rows.lengths.tolist() == [3, 400_000, 400_000]
    assert len(table.offsets) - 1 == 3 + 512
    assert table.slots.nbytes < 4 * 2**20


def test_little_memory_goes_by_way_of_the_disk_to_the_same_result(tmp_path):
    rng = random.Random(0)
    with open(tmp_path / "a.txt", "w") as file:
        for number in range(130_000):
            words = f"{rng.getrandbits(24):x} {number % 100_000:x}q the"
            file.write(f"__label__{1 + number % 2} {words}\n")
    roomy = prepare(tmp_path / "a.txt", tmp_path / "roomy").manifest
    tight = prepare(tmp_path / "a.txt", tmp_path / "tight", memory="380MB", workers=2).manifest
    assert roomy.spilled_mb == {"texts": 0, "words": 0}
    assert tight.spilled_mb["texts"] > 1
    assert tight.spilled_mb["words"] > 1
    assert tight.partitions["count"] > roomy.partitions["count"]
    assert tight.digest == roomy.digest
    assert (tight.distinct_words, tight.duplicates) == (roomy.distinct_words, roomy.duplicates)
