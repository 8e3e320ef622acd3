"""Load for an HTTP service: by wrk where it is installed; else, and at a fixed rate, by a small client."""

import asyncio
import json
import resource
import shutil
import subprocess
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import uvloop

from sentiscale.records import Record

SETTLED_SECONDS = 0.3
"""From the opening of the connections to the first request: the service has accepted them all then."""
CONNECTION_SECONDS = 1.0
"""A request that finds no free connection for so long is not sent."""
ANSWER_SECONDS = 30.0

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
    return uvloop.run(_closed(port, bodies, connections, seconds))


def at_rate(
    port: int, bodies: Sequence[bytes], rate: float, seconds: float, connections: int | None = None
) -> Outcome:
    """Requests leave at a fixed rate whatever comes back; a latency counts from when its request was due.

    So a service that stalls is charged for all that were due meanwhile (no coordinated omission). A request
    that finds no free connection within a second is not sent, and counts as lost; there are enough of them
    for all that is due within half a second, at most 3,000.
    """
    enough = connections or min(3000, max(16, round(rate / 2)))
    return uvloop.run(_at_rate(port, bodies, rate, seconds, enough))


def _wrk(port: int, bodies: Sequence[bytes], connections: int, seconds: float) -> Outcome:
    with tempfile.TemporaryDirectory() as folder:
        lines, script = Path(folder) / "bodies", Path(folder) / "post.lua"
        lines.write_bytes(b"\n".join(bodies) + b"\n")
        script.write_text(LUA.replace("BODIES", str(lines)))
        command = [
            "wrk",
            "-t1",
            f"-c{connections}",
            f"-d{max(1, round(seconds))}s",
            "--timeout",
            "30s",
            "-s",
            str(script),
            f"http://127.0.0.1:{port}/v1/predict",
        ]
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

    def add(self, status: str, since: float) -> None:
        """Count an answer; the time counts if it was a good one."""
        self.statuses[status] += 1
        if status == "200":
            self.milliseconds.append(1000 * (time.perf_counter() - since))

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
        self._then: Callable[[str | None], None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but its class

    def send(self, request: bytes, then: Callable[[str | None], None]) -> None:
        """Call `then` with the status of the answer when it is complete; with None if there will be none."""
        assert self.transport is not None
        self._then = then
        if self.is_open:
            self.transport.write(request)
        else:
            self._end(None)

    @property
    def is_open(self) -> bool:
        """Whether the service has not closed it."""
        return self.transport is not None and not self.transport.is_closing()

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self._received[:end]).lower()
        size = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
        if len(self._received) >= end + 4 + size:
            self._received.clear()
            self._end(head[9:12].decode())

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(None)

    def _end(self, status: str | None) -> None:
        then, self._then = self._then, None
        if then is not None:
            then(status)


class FixedRate:
    """Requests that are due at their times, over whichever connection is free.

    It calls back instead of waiting in a task for each: the client must leave the cores to the service.
    """

    def __init__(self, connections: Sequence[Connection]) -> None:
        self.tally = Tally()
        self._free = list(connections)
        self._waiting: deque[tuple[bytes, float]] = deque()
        self.open = 0
        """Requests that are sent and not answered."""

    def due(self, request: bytes, due: float) -> None:
        """Send it now, or when a connection is free; those that the service closed, idle, are passed over."""
        while self._free:
            connection = self._free.pop()
            if connection.is_open:
                self._send(connection, request, due)
                return
        self._waiting.append((request, due))

    async def end(self) -> None:
        """Wait for the answers that are still to come; those that do not come are lost."""
        until = time.perf_counter() + ANSWER_SECONDS
        while self.open and time.perf_counter() < until:
            await asyncio.sleep(0.01)
        self.tally.lost += self.open + len(self._waiting)

    def _send(self, connection: Connection, request: bytes, due: float) -> None:
        def then(status: str | None) -> None:
            self.open -= 1
            if status is None:
                self.tally.lost += 1
            else:
                self.tally.add(status, due)
                self._take_next(connection)

        self.open += 1
        connection.send(request, then)

    def _take_next(self, connection: Connection) -> None:
        too_late = time.perf_counter() - CONNECTION_SECONDS
        while self._waiting:
            request, due = self._waiting.popleft()
            if due > too_late:
                self._send(connection, request, due)
                return
            self.tally.lost += 1
        self._free.append(connection)


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
    requests = _requests(port, bodies)
    load = FixedRate(await _connected(port, connections))
    await asyncio.sleep(SETTLED_SECONDS)
    started_at = time.perf_counter()
    for number in range(int(rate * seconds)):
        due = started_at + number / rate
        if (ahead := due - time.perf_counter()) > 0.0005:
            await asyncio.sleep(ahead)
        elif number % 16 == 0:
            await asyncio.sleep(0)
        load.due(requests[number % len(requests)], due)
    await load.end()
    return load.tally.outcome(max(seconds, time.perf_counter() - started_at))


async def _one(connection: Connection, request: bytes, since: float, tally: Tally) -> bool:
    answer: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
    connection.send(request, lambda status: None if answer.done() else answer.set_result(status))
    try:
        status = await asyncio.wait_for(answer, ANSWER_SECONDS)
    except TimeoutError:
        status = None
    if status is None:
        tally.lost += 1
        return False
    tally.add(status, since)
    return True
