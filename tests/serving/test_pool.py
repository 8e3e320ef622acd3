"""The pool with real workers that have a fault: who is answered, who is not, what goes on."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from sentiscale.serving.errors import RequestError
from sentiscale.serving.pool import WorkerPool
from sentiscale.serving.queue import BatchQueue
from sentiscale.serving.settings import ServeSettings
from sentiscale.serving.telemetry import ServiceMetrics

FRAGILE = (sys.executable, str(Path(__file__).with_name("fragile_worker.py")))


def with_pool(model: Path, test: Callable[[WorkerPool, list[str]], Awaitable[None]]) -> None:
    """Run `test` with a pool of one fragile worker, and the names of what it has logged."""

    async def run() -> None:
        told: list[str] = []

        def tell(name: str, **fields: Any) -> None:
            told.append(name)

        settings = ServeSettings(workers=1, timeout_s=120)
        queue = BatchQueue(settings)
        pool = WorkerPool(model, settings, queue, ServiceMetrics(), tell)
        pool.program = FRAGILE
        await pool.start()
        try:
            await test(pool, told)
        finally:
            await pool.stop()

    asyncio.run(run())


@pytest.mark.slow
def test_a_batch_that_raises_is_answered_but_for_the_text_at_fault(model):
    async def test(pool: WorkerPool, told: list[str]) -> None:
        good = [pool.queue.submit([f"good {n}"], explain=False) for n in range(4)]
        bad = pool.queue.submit(["fine", "faulty"], explain=False)
        assert [len((await job.answer)[0]) for job in good] == [1] * 4
        with pytest.raises(RequestError) as failed:
            await bad.answer
        assert (failed.value.status, failed.value.code) == (500, "text_failed")
        assert told.count("batch_raised") == 3
        assert "worker_lost" not in told
        assert pool.ready == 1

    with_pool(model, test)


@pytest.mark.slow
def test_a_text_that_ends_workers_is_answered_500_and_its_neighbours_200(model):
    async def test(pool: WorkerPool, told: list[str]) -> None:
        good = [pool.queue.submit([f"good {n}"], explain=False) for n in range(4)]
        bad = pool.queue.submit(["deadly"], explain=False)
        assert [len((await job.answer)[0]) for job in good] == [1] * 4
        with pytest.raises(RequestError) as failed:
            await bad.answer
        assert (failed.value.status, failed.value.code) == (500, "text_failed")
        assert told.count("worker_lost") == 3
        assert len((await pool.queue.submit(["good"], explain=False).answer)[0]) == 1

    with_pool(model, test)
