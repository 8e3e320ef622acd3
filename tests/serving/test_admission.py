"""What stands before the application, in front of one that takes its time."""

import asyncio
import io
from collections.abc import MutableMapping
from typing import Any

from sentiscale.serving.admission import MAX_BODIES_BYTES, Admission
from sentiscale.serving.settings import ServeSettings
from sentiscale.serving.telemetry import EventLog, ServiceMetrics

MIB = 2**20
HEADERS = [(b"host", b"localhost"), (b"content-type", b"application/json")]


def test_bodies_count_until_they_are_answered():
    """They once counted until they were received: a thousand of them could wait in line, a gigabyte."""

    async def run() -> tuple[list[int], int]:
        answered, statuses = asyncio.Event(), []

        async def slow(scope, receive, send) -> None:
            await receive()
            await answered.wait()
            await send({"type": "http.response.start", "status": 200, "headers": []})

        admission = Admission(slow, ServeSettings(), ServiceMetrics(), EventLog("json", io.StringIO()))

        async def request() -> None:
            async def receive() -> MutableMapping[str, Any]:
                return {"type": "http.request", "body": bytes(MIB), "more_body": False}

            async def send(message: MutableMapping[str, Any]) -> None:
                statuses.extend([message["status"]] if "status" in message else [])

            scope = {"type": "http", "method": "POST", "path": "/v1/predict", "headers": HEADERS}
            await admission(scope, receive, send)

        first = [asyncio.create_task(request()) for _ in range(MAX_BODIES_BYTES // MIB + 3)]
        async with asyncio.timeout(120):
            while len(statuses) < 3:  # those beyond the limit are refused while the others wait
                await asyncio.sleep(0.01)
        answered.set()
        await asyncio.gather(*first)
        await request()
        return statuses, MAX_BODIES_BYTES // MIB

    statuses, room = asyncio.run(run())
    assert statuses == [503] * 3 + [200] * (room + 1)
