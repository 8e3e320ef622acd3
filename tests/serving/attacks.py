"""Attacks that take time, many connections or much memory; each returns what came back."""

import http.client
import json
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress

import psutil

from tests.serving.hostile import (
    BODIES,
    CLOSED,
    GET,
    HEAD,
    METHODS,
    MIB,
    NO_HTTP,
    PATHS,
    SITES,
    Result,
    outcome_of,
    outcomes,
)
from tests.serving.odd_texts import CONTROLS, ODD_TEXTS
from tests.serving.running_service import Load, RunningService

Attack = Callable[[RunningService], list[Result]]
REFUSED = ("429 queue_full", "503 too_many_requests")
BLANK = b" " * (MIB - 100)


def bodies(service: RunningService) -> list[Result]:
    """Every body of the list."""
    return [
        Result(name, outcome_of(service.ask("POST", "/v1/predict", body)), (allowed,))
        for name, (body, allowed) in BODIES.items()
    ]


def no_http(service: RunningService) -> list[Result]:
    """Everything that is no HTTP."""
    return [
        Result(name, outcomes(service.raw(sent))[-1], ("400 bad_request",)) for name, sent in NO_HTTP.items()
    ]


def paths(service: RunningService) -> list[Result]:
    """Every path that could lead to a file."""
    allowed = ("404 not_found", "400 bad_request")
    found = []
    for path in PATHS:
        sent = b"GET " + path.encode("latin-1") + b" HTTP/1.0\r\nhost: localhost\r\n\r\n"
        found.append(Result(path[:40], outcomes(service.raw(sent))[0], allowed))
    return found


def sites(service: RunningService) -> list[Result]:
    """What other sites' pages can make a browser send."""
    found = []
    for name, (headers, allowed) in SITES.items():
        answer = service.ask("POST", "/v1/predict", {"texts": ["good"]}, headers)
        found.append(Result(name, outcome_of(answer), (allowed,)))
    return found


def methods(service: RunningService) -> list[Result]:
    """Methods and paths that are none of ours."""
    found = [Result(f"{m} {p}", outcome_of(service.ask(m, p)), (allowed,)) for m, p, allowed in METHODS]
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    for name, answer in {
        "a web socket": service.ask("GET", "/healthz", headers=upgrade),
        "a web socket with a body": service.ask("POST", "/v1/predict", {"texts": ["good"]}, upgrade),
        "another protocol": service.ask("GET", "/healthz", headers={**upgrade, "Upgrade": "h2c"}),
    }.items():
        found.append(Result(name, outcome_of(answer), ("200", "422 invalid")))  # no body counts behind it
    return found


def odd_texts(service: RunningService, *, explain: bool = False) -> list[Result]:
    """Every odd text, and every control character for itself; words lie inside the text."""
    found = []
    for name, text in {**ODD_TEXTS, "each control character": "\n".join(CONTROLS)}.items():
        answer = service.predict(text, explain=explain)
        got = outcome_of(answer)
        if explain and answer.status == 200 and not _words_lie_inside(text, answer.json["predictions"][0]):
            got = "words outside the text"
        found.append(Result(name, got, ("200", "422 text_too_long") if len(text) > 5000 else ("200",)))
    return found


def _words_lie_inside(text: str, prediction: Mapping[str, object]) -> bool:
    words = prediction["words"]
    assert isinstance(words, list)
    last = 0
    for word in words:
        if not last <= word["start"] < word["end"] <= len(text):
            return False
        last = word["end"]
    return True


def announced_100_mb(service: RunningService) -> list[Result]:
    """Only the head of a request that announces 100 MB."""
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=120)
    connection.putrequest("POST", "/v1/predict")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", str(100 * MIB))
    connection.endheaders()
    response = connection.getresponse()
    response.read()
    connection.close()
    return [Result("announced", str(response.status), ("413",))]


def sent_100_mb(service: RunningService) -> list[Result]:
    """100 MB sent in spite of the refusal, with and without announcement."""
    plain = service.raw(HEAD + b"content-length: %d\r\n\r\n" % (100 * MIB), *[b"a" * MIB] * 100)
    chunk = b"100000\r\n" + b"a" * MIB + b"\r\n"
    chunked = service.raw(HEAD + b"transfer-encoding: chunked\r\n\r\n", *[chunk] * 100, b"0\r\n\r\n")
    allowed = ("413 body_too_large", CLOSED)  # a reset may overtake the answer
    return [
        Result("announced", outcomes(plain)[0], allowed),
        Result("in chunks", outcomes(chunked)[0], allowed),
    ]


def endless_heads(service: RunningService) -> list[Result]:
    """Heads of a megabyte and more."""
    many = b"".join(b"x%d: a\r\n" % n for n in range(100_000))
    start = b"GET / HTTP/1.1\r\nhost: localhost\r\n"
    body = b'a\r\n{"texts":[\r\n0\r\n'
    tried = {
        "one header of 1 MB": (start, b"x: " + b"a" * MIB + b"\r\n\r\n"),
        "100,000 headers": (start, many, b"\r\n"),
        "1,000 headers at once": (start + many[:9_000] + b"\r\n",),
        "a path of 1 MB": (b"GET /" + b"a" * MIB, b" HTTP/1.1\r\n\r\n"),
        "trailers of 1.5 MB": (
            HEAD + b"transfer-encoding: chunked\r\n\r\n" + body,
            *[b"x: " + b"a" * 30_000 + b"\r\n"] * 50,
        ),
    }
    allowed = ("431 head_too_large", "400 bad_request", CLOSED)
    return [Result(name, outcomes(service.raw(*parts))[-1], allowed) for name, parts in tried.items()]


def tricklers(service: RunningService, pause: float = 1.0, parts: int = 30) -> list[Result]:
    """A byte at a time: of a head, of a body, of a chunk's head; and nothing at all."""
    tried = {
        "a head": (HEAD, *[b"x"] * parts),
        "a body": (HEAD + b"content-length: 1000\r\n\r\n", *[b"a"] * parts),
        "a chunk's head": (HEAD + b"transfer-encoding: chunked\r\n\r\n1;", *[b"a"] * parts),
        "nothing": (b"",),
        "half a head, then nothing": (b"GET / HT",),
        "the second request's head": (GET % b"/healthz" + b"GET /", *[b"a"] * parts),
    }
    allowed = {"nothing": (CLOSED,)}
    with ThreadPoolExecutor(len(tried)) as pool:
        received = pool.map(lambda sent: service.raw(*sent, pause=pause, seconds=60), tried.values())
        found = [outcomes(each)[-1] for each in received]
    return [
        Result(name, got, allowed.get(name, ("408 request_too_slow",)))
        for name, got in zip(tried, found, strict=True)
    ]


def idle(service: RunningService, count: int = 2000) -> list[Result]:
    """Connections that send nothing, while others are answered; they are ended by the service."""
    _allow_files(count + 256)
    with ExitStack() as stack:
        opened = [stack.enter_context(_connected(service)) for _ in range(count)]
        meanwhile = outcome_of(service.predict("good"))
        for connection in opened:
            connection.settimeout(60)
        ended = sum(connection.recv(1) == b"" for connection in opened)
    return [
        Result("another client meanwhile", meanwhile, ("200",)),
        Result(f"{count:,} connections", f"{ended:,} closed", (f"{count:,} closed",)),
    ]


def unread(service: RunningService, clients: int = 50, seconds: float = 90) -> list[Result]:
    """Clients that ask for some megabytes and never read any of it: all are left in the end."""
    with ExitStack() as stack:
        for _ in range(clients):
            _ask_for_much(stack.enter_context(_connected(service)))
        meanwhile = outcome_of(service.predict("good"))
        left = _wait_until_left(service, seconds)
    return [
        Result("another client meanwhile", meanwhile, ("200",)),
        Result(f"{clients} clients", f"{left} connections left", ("0 connections left",)),
    ]


def slow_readers(service: RunningService, clients: int = 20, seconds: float = 90) -> list[Result]:
    """Clients that read the same a little at a time."""
    ended = threading.Event()

    def sip(connection: socket.socket) -> None:
        with suppress(OSError):
            while not ended.wait(0.5) and connection.recv(256):
                pass

    with ExitStack() as stack:
        opened = [stack.enter_context(_connected(service)) for _ in range(clients)]
        threads = [threading.Thread(target=sip, args=(connection,)) for connection in opened]
        for connection, thread in zip(opened, threads, strict=True):
            _ask_for_much(connection)
            thread.start()
        left = _wait_until_left(service, seconds)
        ended.set()
        for thread in threads:
            thread.join()
    return [Result(f"{clients} clients", f"{left} connections left", ("0 connections left",))]


def _ask_for_much(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.sendall(GET % b"/openapi.json" * 60)


def pipelined(service: RunningService, clients: int = 20, requests: int = 20_000) -> list[Result]:
    """Thousands of requests behind a slow one on each of some connections."""
    slow = json.dumps({"texts": ["not bad " * 300] * 8, "explain": True}).encode()
    first = HEAD + b"content-length: %d\r\n\r\n" % len(slow) + slow
    sent = first + b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n" * requests
    with ThreadPoolExecutor(clients) as pool:
        received = list(pool.map(lambda _: service.raw(sent, seconds=60), range(clients)))
    found = {outcome for each in received for outcome in outcomes(each)}
    allowed = ("200", "504 timeout", "400 bad_request", CLOSED, *REFUSED)
    return [Result("answers", got, allowed) for got in sorted(found)]


def padded(service: RunningService, clients: int = 150) -> list[Result]:
    """Requests of a megabyte, nearly all of it blank, that wait behind explanations."""
    body = b'{"explain": true, "texts": ["not bad at all"]' + BLANK + b"}"
    with ThreadPoolExecutor(clients) as pool:
        asked = [pool.submit(service.ask, "POST", "/v1/predict", body) for _ in range(clients)]
        found = {outcome_of(answer.result()) for answer in asked}
    return [Result("answers", got, ("200", "504 timeout", *REFUSED)) for got in sorted(found)]


def forged_logs(service: RunningService) -> list[Result]:
    """Ids and paths that try to write lines of their own into the log."""
    before = len(service.events())
    for name in ("a\tb", 'a"b', "x" * 10_000, "a b", "%0a", "{}"):
        service.ask("GET", "/healthz", headers={"X-Request-ID": name})
    for path in ("/%0a%7b%22event%22:%22forged%22%7d", "/%0d%0aforged", "/%1b[31mforged", "/%e2%80%a8forged"):
        service.ask("GET", path)
    lines = service.events()[before:]  # fails where a line is no JSON
    forged = [line for line in lines if line["event"] == "forged"]
    return [Result("lines that are forged", str(len(forged)), ("0",))]


def left_early(service: RunningService, clients: int = 200) -> list[Result]:
    """Clients that go away without waiting for the answer."""
    body = json.dumps({"texts": ["bad " * 500] * 8}).encode()
    for _ in range(clients):
        with _connected(service) as connection:
            connection.sendall(HEAD + b"content-length: %d\r\n\r\n" % len(body) + body)
    time.sleep(1)
    return [Result("another client", outcome_of(service.predict("good")), ("200", "429 queue_full"))]


def killed(service: RunningService) -> list[Result]:
    """A worker ended by kill -9 while eight clients ask."""
    lost, started = (len(service.events(name)) for name in ("worker_lost", "worker_started"))
    with Load(service, ["not bad at all", "good film " * 30], clients=8, pause=0.01) as load:
        load.wait_for(50)
        service.workers()[0].kill()
        service.wait_for("worker_lost", lost + 1)
        load.wait_for(50)
    service.wait_for("worker_started", started + 1)
    found = [Result("answers", str(status), ("200",)) for status in sorted(load.statuses)]
    return [*found, Result("requests lost", str(len(load.lost)), ("0",))]


def keys(service: RunningService, key: str) -> list[Result]:
    """Wrong keys, near misses and other places, for a service that wants one."""
    tried: Sequence[Mapping[str, str]] = (
        {},
        {"Authorization": f"Bearer {key}x"},
        {"Authorization": f"Bearer {key[:-1]}"},
        {"Authorization": f"Basic {key}"},
        {"Authorization": key},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer " + "x" * 30_000},
        {"Authorization": f"Bearer {key.upper()}"},
        {"X-API-Key": key},
        {"Cookie": f"key={key}"},
        {"Authorization": "Bearer \xe9\xff"},
    )
    found = []
    for headers in tried:
        answer = service.ask("POST", "/v1/predict", {"texts": ["good"]}, headers)
        found.append(Result(str(headers)[:40], outcome_of(answer), ("401 no_key",)))
    for path in ("//v1/model", "/static/../v1/model", "/v1/model/", "/metrics?key=" + key):
        answer = service.ask("GET", path)
        found.append(Result(path, outcome_of(answer), ("401 no_key", "404 not_found")))
    right = service.ask("POST", "/v1/predict", {"texts": ["good"]}, {"Authorization": f"Bearer {key}"})
    told = key in service.log.read_text()
    return [
        *found,
        Result("the right one", outcome_of(right), ("200",)),
        Result("the key in the log", str(told), ("False",)),
    ]


def large_texts(service: RunningService) -> list[Result]:
    """For a service that takes 16 MB: what its text path makes of the largest."""
    tried = {
        "a million words": ["a b " * 500_000],
        "a word of 1 MB": ["a" * MIB],
        "a word of 1 MB in two-byte letters": ["é" * (MIB // 2)],
        "a million apostrophes": ["x'" * 500_000],
        "a million marks": ["!?" * 500_000],
        "200,000 emoji": ["\U0001f600" * 200_000],
        "10,000 texts": ["good film"] * 10_000,
        "10,000 empty texts": [""] * 10_000,
        "1 long text among 5,000 short ones": ["not bad"] * 5000 + ["good " * 200_000],
    }
    return [Result(name, outcome_of(service.predict(*texts)), ("200",)) for name, texts in tried.items()]


@contextmanager
def _connected(service: RunningService) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", service.port), timeout=120) as connection:
        yield connection


def _wait_until_left(service: RunningService, seconds: float) -> int:
    """Connections that the service still has, at best 0; kept ones of other clients end by themselves."""
    process = psutil.Process(service.process.pid)
    until = time.monotonic() + seconds
    while True:
        states = [each.status for each in process.net_connections("tcp") if each.raddr]
        if not states or time.monotonic() > until:
            return len(states)
        time.sleep(0.2)


def _allow_files(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, count)), hard))
