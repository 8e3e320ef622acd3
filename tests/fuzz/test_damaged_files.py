"""A short run of damaged_files.py; `make fuzz` is a long one."""

import os
import signal
import time
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings

from tests.fuzz import damaged_files
from tests.fuzz.damaged_files import SUBJECTS, Case, Fuzzer, cases, forked, fuzzer
from tests.fuzz.mutations import KINDS, Mutation

pytestmark = [
    pytest.mark.timeout(900),  # on a busy machine, starting alone takes minutes
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def fuzz() -> Iterator[Fuzzer]:
    with fuzzer() as running:
        yield running


@settings(max_examples=60, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(case=cases)
def test_damaged_files_are_refused_or_make_no_difference(fuzz, case):
    outcome = fuzz.try_case(case)
    assert not outcome.failed, f"{outcome.kind}: {outcome.detail}"


@pytest.mark.parametrize("subject", SUBJECTS)
def test_digests_that_were_made_to_match_are_accepted(fuzz, subject):
    assert fuzz.try_case(Case(subject, (), signed=True)).kind == "same"


def test_each_kind_of_mutation_is_noticed_somewhere(fuzz):
    for kind in KINDS:
        tried = (Case(s, (Mutation(kind, n, n, n),), signed=False) for s in SUBJECTS for n in range(3, 9))
        assert any(fuzz.try_case(case).kind == "refused" for case in tried), kind


def test_what_becomes_of_a_process_is_reported(monkeypatch):
    monkeypatch.setattr(damaged_files, "SECONDS", 1)
    assert forked(lambda: [1.5]) == {"answer": [1.5]}
    assert forked(lambda: os.kill(os.getpid(), signal.SIGKILL)) == {"crash": "SIGKILL"}
    assert forked(lambda: os._exit(3)) == {"crash": "exit status 3"}
    assert forked(lambda: time.sleep(1000)) == {"hang": 1}
    assert forked(lambda: [1 / 0])["exception"].startswith("ZeroDivisionError")
    assert forked(lambda: [len(bytearray(2**31))])["exception"].startswith("MemoryError")
