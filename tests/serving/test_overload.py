"""More than it can do, and who may ask: 429 or 503 and a time to wait, never a crash; the key."""

import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import psutil
import pytest

from tests.serving.running_service import Load, RunningService, running_service

KEY = "0123456789abcdef0123"
BEARER = {"Authorization": f"Bearer {KEY}"}


@pytest.fixture(scope="module")
def narrow(model, folder) -> Iterator[RunningService]:
    """A service with a short queue, little patience and a key."""
    key_file = folder / "key"
    key_file.write_text(KEY + "\n")
    limits = (
        "--workers",
        1,
        "--queue",
        12,
        "--max-texts",
        8,
        "--max-batch",
        2,
        "--set",
        "serve.max_requests=12",
    )
    with running_service(model, folder, *limits, "--api-key-file", key_file) as running:
        yield running


def test_overload_gives_429_and_503_only_and_is_over_at_once(narrow):
    front = psutil.Process(narrow.process.pid)
    before = front.memory_info().rss
    with Load(narrow, ["good film " * 200] * 8, clients=16, headers=BEARER) as load:
        load.wait_for(400)
    assert load.lost == []
    assert {200, 429} <= load.statuses <= {200, 429, 503}
    for answer in load.answers:
        if answer.status != 200:
            assert int(answer.headers["retry-after"]) >= 1
            assert answer.error["code"] in ("queue_full", "too_many_requests")
            assert answer.error["limit"] == 12
    assert narrow.ask("POST", "/v1/predict", {"texts": ["good"]}, BEARER).status == 200
    assert front.memory_info().rss < before + 64 * 2**20
    assert narrow.events("worker_lost") == []


def test_requests_that_are_still_arriving_count_too(narrow):
    head = b"POST /v1/predict HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    start = head + f"authorization: Bearer {KEY}\r\ncontent-length: 100\r\n\r\n".encode()
    with ExitStack() as stack:
        for _ in range(12):
            client = socket.create_connection(("127.0.0.1", narrow.port), timeout=120)
            stack.enter_context(client).sendall(start + b"{")
        until = time.monotonic() + 120
        while (answer := narrow.ask("GET", "/healthz")).status == 200:
            assert time.monotonic() < until
    assert (answer.status, answer.error["limit"]) == (503, 12)
    assert int(answer.headers["retry-after"]) >= 1


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer x"},
        {"Authorization": f"Basic {KEY}"},
        {"Authorization": f"Bearer {KEY}x"},
    ],
    ids=str,
)
def test_without_the_key_nothing_but_the_page_is_answered(narrow, headers):
    for method, path in (
        ("POST", "/v1/predict"),
        ("GET", "/v1/model"),
        ("GET", "/metrics"),
        ("GET", "/else"),
    ):
        answer = narrow.ask(method, path, headers=headers)
        assert (answer.status, answer.error["code"]) == (401, "no_key")
        assert answer.headers["www-authenticate"] == "Bearer"
    for path in ("/", "/healthz", "/readyz", "/static/style.css", "/docs"):
        assert narrow.ask("GET", path, headers=headers).status == 200
    assert KEY not in narrow.log.read_text()


def test_with_the_key_all_is_answered(narrow):
    assert narrow.ask("GET", "/v1/model", headers=BEARER).status == 200
    assert narrow.ask("GET", "/metrics", headers={"Authorization": f"bearer  {KEY}"}).status == 200


def test_ctrl_c_ends_it_with_the_exit_code_of_interruption(narrow):
    """The last test of this service."""
    assert narrow.stop(signal.SIGINT) == 130
