"""The real service in a process of its own, and clients for it."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

START_SECONDS = 240.0


@dataclass(frozen=True)
class Answer:
    """Status, headers in lower case and body of a response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error, whose shape is checked."""
        assert self.headers["content-type"] == "application/json"
        assert set(self.json) == {"error"}
        assert set(self.json["error"]) == {"code", "message", "limit"}
        return self.json["error"]


@dataclass
class RunningService:
    """A running service."""

    process: subprocess.Popen[bytes]
    log: Path
    port: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    """Sent with every `predict`."""

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        """What it has logged; every line is JSON, but the last one may be half written."""
        *whole, _ = self.log.read_text().split("\n")
        lines = [json.loads(line) for line in whole]
        return [line for line in lines if name is None or line["event"] == name]

    def wait_for(self, name: str, count: int = 1, seconds: float = 150) -> dict[str, Any]:
        """The event of that name, the `count`-th of its kind."""
        until = time.monotonic() + seconds
        while len(found := self.events(name)) < count:
            assert time.monotonic() < until, f"no event {name} among {self.log.read_text()[-3000:]}"
            time.sleep(0.02)
        return found[count - 1]

    def workers(self) -> list[psutil.Process]:
        return [child for child in psutil.Process(self.process.pid).children() if child.is_running()]

    def ask(
        self, method: str, path: str, body: Any = None, headers: Any = None, seconds: float = 120
    ) -> Answer:
        """One request on a connection of its own; a body that is not bytes is sent as JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        try:
            return ask(connection, method, path, body, headers)
        finally:
            connection.close()

    def predict(self, *texts: str, **options: Any) -> Answer:
        return self.ask("POST", "/v1/predict", {"texts": list(texts), **options}, self.headers)

    def metric(self, name: str) -> float:
        """The sum of the samples whose name begins so."""
        lines = self.ask("GET", "/metrics").body.decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))

    def raw(self, *parts: bytes, pause: float = 0.0, seconds: float = 120) -> bytes:
        """Send bytes as they are; everything that comes back until the service closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=seconds) as connection:
            try:
                for part in parts:
                    connection.sendall(part)
                    time.sleep(pause)
            except (BrokenPipeError, ConnectionResetError):
                pass
            received = b""
            try:
                while chunk := connection.recv(65536):
                    received += chunk
            except ConnectionResetError:
                pass
            return received

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask it to end; its exit code."""
        self.process.send_signal(number)
        return self.process.wait(120)


def ask(
    connection: http.client.HTTPConnection, method: str, path: str, body: Any = None, headers: Any = None
) -> Answer:
    """One request on an open connection."""
    given = {"Content-Type": "application/json"} if body is not None else {}
    content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    connection.request(method, path, content, {**given, **(headers or {})})
    response = connection.getresponse()
    named = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, named, response.read())


@contextmanager
def running_service(
    model: Path, folder: Path, *arguments: object, **environment: str
) -> Iterator[RunningService]:
    """Run `sentiscale serve` on a free port until the block ends."""
    log = folder / f"serve-{time.monotonic_ns()}.log"
    command = [sys.executable, "-m", "sentiscale", "serve", str(model), "--port", "0", *map(str, arguments)]
    with open(log, "wb") as messages:
        process = subprocess.Popen(
            command,
            stderr=messages,
            stdout=messages,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **environment},
        )
    service = RunningService(process, log)
    try:
        until = time.monotonic() + START_SECONDS
        while '"listening"' not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.02)
        service.port = int(service.events("listening")[0]["url"].rpartition(":")[2])
        yield service
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


@dataclass
class Load:
    """Threads that send requests one after the other, and what they were answered."""

    service: RunningService
    texts: list[str]
    clients: int = 4
    headers: dict[str, str] = field(default_factory=dict)
    pause: float = 0.0
    """Seconds between requests of one client, so that others get some of the processors."""
    answers: list[Answer] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    """Requests without an answer, and why."""

    def __enter__(self) -> "Load":
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._send, daemon=True) for _ in range(self.clients)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(150)

    @property
    def statuses(self) -> set[int]:
        return {answer.status for answer in self.answers}

    def wait_for(self, count: int, seconds: float = 150) -> None:
        """Until so many more answers are there."""
        until, wanted = time.monotonic() + seconds, len(self.answers) + count
        while len(self.answers) < wanted:
            assert time.monotonic() < until, f"{len(self.answers)} answers, lost: {self.lost}"
            time.sleep(0.01)

    def _send(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.service.port, timeout=150)
        while not self._ended.is_set():
            try:
                body = {"texts": self.texts}
                self.answers.append(ask(connection, "POST", "/v1/predict", body, self.headers))
            except (OSError, http.client.HTTPException) as error:
                self.lost.append(repr(error))
                connection.close()
            time.sleep(self.pause)
        connection.close()
