"""Attacks that take time, connections or memory: what comes back, and that the service stands as before."""

from collections.abc import Iterator
from functools import partial

import psutil
import pytest

from tests.serving import attacks
from tests.serving.hostile import MIB
from tests.serving.running_service import RunningService, running_service

QUICK = {
    "100 MB announced": attacks.announced_100_mb,
    "100 MB sent": attacks.sent_100_mb,
    "heads without end": attacks.endless_heads,
    "a byte at a time": partial(attacks.tricklers, pause=0.05),
    "odd texts": attacks.odd_texts,
    "odd texts, explained": partial(attacks.odd_texts, explain=True),
    "forged lines in the log": attacks.forged_logs,
    "clients that leave": partial(attacks.left_early, clients=20),
    "pipelined": partial(attacks.pipelined, clients=2),
    "a few bodies that are blank": partial(attacks.padded, clients=8),
}
SLOW = {
    "2,000 idle connections": attacks.idle,
    "answers never read": attacks.unread,
    "answers read a little at a time": attacks.slow_readers,
    "many bodies that are blank": attacks.padded,
    "pipelined by many": attacks.pipelined,
    "a killed worker": attacks.killed,
}


def stands(service: RunningService, attack: attacks.Attack, grown_mib: int) -> None:
    """All that came back is allowed, nothing failed inside, the front process has grown by little."""
    front = psutil.Process(service.process.pid)
    before = front.memory_info().rss
    assert [came for came in attack(service) if not came.is_right] == []
    assert service.predict("good").status == 200
    assert service.events("failed") == []
    assert front.memory_info().rss < before + grown_mib * MIB


@pytest.mark.parametrize("name", QUICK)
def test_quick(service, name):
    stands(service, QUICK[name], 48)


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_slow(attacked, name):
    stands(attacked, SLOW[name], 160)


@pytest.fixture(scope="module")
def attacked(model, folder) -> Iterator[RunningService]:
    """A service with its usual limits, but impatient with those who say nothing."""
    with running_service(model, folder, "--workers", 2, "--set", "serve.header_timeout_s=3") as running:
        yield running


@pytest.mark.slow
def test_the_largest_texts_that_may_be_allowed(model, folder):
    room = ("--max-body-kb", 16384, "--max-characters", 4_000_000, "--max-texts", 10_000, "--queue", 20_000)
    with running_service(model, folder, "--workers", 1, "--timeout-s", 60, *room) as running:
        stands(running, attacks.large_texts, 200)
