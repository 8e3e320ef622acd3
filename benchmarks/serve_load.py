"""Load for an HTTP service: by wrk where it is installed; else, and at a fixed rate, by a small client."""

import asyncio
import json
import resource
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sentiscale.records import Record

LUA = """
local bodies, place = {}, 0
for line in io.lines("BODIES") do bodies[#bodies + 1] = line end
local head = {["Content-Type"] = "application/json"}
local counter = 0
function setup(thread) thread:set("first", counter * 997); counter = counter + 1 end
function init(args) place = first; statuses = "" end
function request() place = place + 1; return wrk.format("POST", nil, head, bodies[place % #bodies + 1]) end
function done(summary, latency, requests)
  io.write(string.format("JSON {\\"answers\\": %d, \\"seconds\\": %f, \\"refused\\": %d, \\"lost\\": %d, "
    .. "\\"p50\\": %f, \\"p95\\": %f, \\"p99\\": %f, \\"longest\\": %f}\\n",
    summary.requests, summary.duration / 1e6, summary.errors.status,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout,
    latency:percentile(50) / 1e3, latency:percentile(95) / 1e3, latency:percentile(99) / 1e3,
    latency.max / 1e3))
end
"""


class Outcome(Record):
    """What a load was answered."""

    client: str
    seconds: float
    answers: int
    """Responses of any status."""
    statuses: dict[str, int]
    """By status; wrk tells only 200 and the others."""
    lost: int
    """Requests without a response."""
    p50_ms: float
    p95_ms: float
    p99_ms: float
    longest_ms: float

    @property
    def rate(self) -> float:
        """Responses of status 200 a second."""
        return self.statuses.get("200", 0) / self.seconds


def closed(port: int, bodies: Sequence[bytes], connections: int, seconds: float) -> Outcome:
    """Each connection sends its next request when it has the answer to the last."""
    if shutil.which("wrk"):
        return _wrk(port, bodies, connections, seconds)
    return asyncio.run(_closed(port, bodies, connections, seconds))


def at_rate(
    port: int, bodies: Sequence[bytes], rate: float, seconds: float, connections: int | None = None
) -> Outcome:
    """Requests leave at a fixed rate whatever comes back; a latency counts from when its request was due.

    So a service that stalls is charged for all that were due meanwhile (no coordinated omission). A request
    that finds no free connection within a second is not sent, and counts as lost; there are enough of them
    for all that is due within 3 s, at most 3,000.
    """
    enough = connections or min(3000, max(16, round(3 * rate)))
    return asyncio.run(_at_rate(port, bodies, rate, seconds, enough))


def _wrk(port: int, bodies: Sequence[bytes], connections: int, seconds: float) -> Outcome:
    with tempfile.TemporaryDirectory() as folder:
        lines, script = Path(folder) / "bodies", Path(folder) / "post.lua"
        lines.write_bytes(b"\n".join(bodies) + b"\n")
        script.write_text(LUA.replace("BODIES", str(lines)))
        command = [
            "wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "30s",
            "-s", str(script), f"http://127.0.0.1:{port}/v1/predict",
        ]  # fmt: skip
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = json.loads(next(line for line in output.splitlines() if line.startswith("JSON "))[5:])
    statuses = {"200": found["answers"] - found["refused"], "other": found["refused"]}
    return Outcome(
        client="wrk",
        seconds=found["seconds"],
        answers=found["answers"],
        statuses={status: count for status, count in statuses.items() if count},
        lost=found["lost"],
        p50_ms=found["p50"],
        p95_ms=found["p95"],
        p99_ms=found["p99"],
        longest_ms=found["longest"],
    )


@dataclass
class Tally:
    """Answers as they come."""

    milliseconds: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    lost: int = 0

    def outcome(self, seconds: float) -> Outcome:
        """The whole."""
        ordered = sorted(self.milliseconds) or [0.0]
        p50, p95, p99 = (ordered[min(len(ordered) - 1, int(q * len(ordered)))] for q in (0.5, 0.95, 0.99))
        return Outcome(
            client="own",
            seconds=seconds,
            answers=sum(self.statuses.values()),
            statuses=dict(self.statuses),
            lost=self.lost,
            p50_ms=p50,
            p95_ms=p95,
            p99_ms=p99,
            longest_ms=ordered[-1],
        )


class Connection(asyncio.Protocol):
    """One kept connection, one request at a time."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._answer: asyncio.Future[str] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def send(self, request: bytes) -> "asyncio.Future[str]":
        """The status of the answer, when it is complete."""
        assert self.transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self._received[:end]).lower()
        size = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
        if len(self._received) >= end + 4 + size and self._answer and not self._answer.done():
            self._answer.set_result(head[9:12].decode())
            self._received.clear()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer and not self._answer.done():
            self._answer.set_exception(exc or ConnectionResetError())


async def _connected(port: int, count: int) -> list[Connection]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, count + 64)), hard))
    loop = asyncio.get_running_loop()
    made = [await loop.create_connection(Connection, "127.0.0.1", port) for _ in range(count)]
    return [connection for _, connection in made]


def _requests(port: int, bodies: Sequence[bytes]) -> list[bytes]:
    head = b"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\n" % port
    return [head + b"Content-Length: %d\r\n\r\n" % len(body) + body for body in bodies]


async def _closed(port: int, bodies: Sequence[bytes], connections: int, seconds: float) -> Outcome:
    tally, requests = Tally(), _requests(port, bodies)
    until = time.perf_counter() + seconds

    async def client(number: int, connection: Connection) -> None:
        place = 997 * number
        while (sent_at := time.perf_counter()) < until:
            place += 1
            await _one(connection, requests[place % len(requests)], sent_at, tally)

    opened = await _connected(port, connections)
    started_at = time.perf_counter()
    await asyncio.gather(*(client(number, connection) for number, connection in enumerate(opened)))
    return tally.outcome(time.perf_counter() - started_at)


async def _at_rate(
    port: int, bodies: Sequence[bytes], rate: float, seconds: float, connections: int
) -> Outcome:
    tally, requests = Tally(), _requests(port, bodies)
    free: asyncio.Queue[Connection] = asyncio.Queue()
    for connection in await _connected(port, connections):
        free.put_nowait(connection)

    async def one(request: bytes, due: float) -> None:
        try:
            connection = await asyncio.wait_for(free.get(), 1)
        except TimeoutError:
            tally.lost += 1
            return
        if await _one(connection, request, due, tally):
            free.put_nowait(connection)

    tasks = set()
    started_at = time.perf_counter()
    total = int(rate * seconds)
    for number in range(total):
        due = started_at + number / rate
        if (ahead := due - time.perf_counter()) > 0.0005:
            await asyncio.sleep(ahead)
        elif number % 16 == 0:
            await asyncio.sleep(0)
        tasks.add(asyncio.create_task(one(requests[number % len(requests)], due)))
    await asyncio.gather(*tasks)
    return tally.outcome(max(seconds, time.perf_counter() - started_at))


async def _one(connection: Connection, request: bytes, since: float, tally: Tally) -> bool:
    try:
        status = await asyncio.wait_for(connection.send(request), 30)
    except (OSError, TimeoutError):
        tally.lost += 1
        return False
    tally.statuses[status] += 1
    if status == "200":
        tally.milliseconds.append(1000 * (time.perf_counter() - since))
    return True
