"""Requests that mean harm: each is answered in the one error shape or cut off, and the service lives on."""

import http.client
import json
import socket
import time

import psutil
import pytest

from tests.serving.served import ask

JSON = b"content-type: application/json\r\n"
HEAD = b"POST /v1/predict HTTP/1.1\r\nhost: localhost\r\n" + JSON
MIB = 2**20


@pytest.fixture(autouse=True)
def _lives_on(service):
    """After each attack the same process answers as before, and has grown by little."""
    process = psutil.Process(service.process.pid)
    before = process.memory_info().rss
    yield
    assert service.predict("good").status == 200
    assert process.memory_info().rss < before + 32 * MIB
    assert service.events("failed") == []


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 422, "invalid"),
        (b"{", 400, "bad_request"),
        (b"nonsense", 400, "bad_request"),
        (b"[" * 100_000, 400, "bad_request"),
        (b'{"texts": ' + b"[" * 100_000, 400, "bad_request"),
        (b'{"a":' * 100_000, 400, "bad_request"),
        (b"\xff\xfe\x00", 400, "bad_request"),
        (b'{"texts": ["\xff\xfe"]}', 400, "bad_request"),
        (b"1" * 10_000, 400, "bad_request"),
        (b"null", 422, "invalid"),
        (b"[]", 422, "invalid"),
        (b"{}", 422, "invalid"),
        (b'{"texts": "good"}', 422, "invalid"),
        (b'{"texts": []}', 422, "invalid"),
        (b'{"texts": [null]}', 422, "invalid"),
        (b'{"texts": [NaN]}', 422, "invalid"),
        (b'{"texts": [{"a": []}]}', 422, "invalid"),
        (b'{"texts": ["a"], "explain": "yes"}', 422, "invalid"),
        (b'{"texts": ["a"], "explain": 1e400}', 422, "invalid"),
        (b'{"texts": ["a"], "\\ud800": 1}', 422, "invalid"),
        (b'{"texts": ["a"], "__proto__": {}}', 422, "invalid"),
        (json.dumps({"texts": ["a"] * 257}).encode(), 422, "too_many_texts"),
        (json.dumps({"texts": ["a" * 5001]}).encode(), 422, "text_too_long"),
        (json.dumps({"texts": ["a"] * 33, "explain": True}).encode(), 422, "too_many_texts"),
    ],
    ids=lambda value: repr(value[:24]) if isinstance(value, bytes) else None,
)
def test_bodies_that_cannot_be_used(service, body, status, code):
    answer = service.ask("POST", "/v1/predict", body)
    assert (answer.status, answer.error["code"]) == (status, code)


def test_a_message_names_the_field_what_was_got_and_what_is_allowed(service):
    got = service.ask("POST", "/v1/predict", {"texts": ["a"], "explian": True}).error["message"]
    assert got == "unknown field 'explian'. Did you mean 'explain'? Allowed: texts, explain."
    got = service.ask("POST", "/v1/predict", {"texts": ["a", 5]}).error["message"]
    assert got == "texts.1 is 5: input should be a valid string."
    error = service.ask("POST", "/v1/predict", {"texts": ["a" * 5001]}).error
    assert error["message"] == "texts.0 has 5001 characters; at most 5000 are allowed."
    assert error["limit"] == 5000


def test_control_characters_and_half_pairs_are_text_like_any_other(service):
    body = b'{"texts": ["\\u0000\\u0001\\u202e\\ud800 x \\udfff", "\\ud83d\\ude00"]}'
    answer = service.ask("POST", "/v1/predict", body)
    assert answer.status == 200
    assert len(answer.json["predictions"]) == 2
    explained = service.ask("POST", "/v1/predict", body[:-1] + b', "explain": true}')
    assert explained.status == 200


def test_a_text_of_a_million_tokens_is_refused(service):
    answer = service.predict("a " * 1_000_000)
    assert answer.status == 413  # 2 MB: the body is already too large
    assert answer.error["limit"] == MIB
    assert service.predict("a " * 400_000).error["code"] == "text_too_long"


def test_a_body_of_100_mb_is_refused_before_it_is_read(service):
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=20)
    connection.putrequest("POST", "/v1/predict")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", str(100 * MIB))
    connection.endheaders()
    response = connection.getresponse()
    assert response.status == 413
    connection.close()


def test_a_body_of_100_mb_without_announcement_is_cut_off(service):
    chunk = b"100000\r\n" + b"a" * MIB + b"\r\n"
    received = service.raw(HEAD + b"transfer-encoding: chunked\r\n\r\n", *[chunk] * 100, b"0\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 413 ")


def test_a_head_that_trickles_is_cut_off(service):
    received = service.raw(HEAD, *[b"x-%d: a\r\n" % n for n in range(30)], pause=0.05)
    assert b" 408 " in received
    assert b'"code": "request_too_slow"' in received


def test_a_body_that_trickles_is_cut_off(service):
    received = service.raw(HEAD + b"content-length: 1000\r\n\r\n", *[b"a"] * 30, pause=0.05)
    assert b" 408 " in received
    assert b"request_too_slow" in received


def test_silence_is_ended(service):
    started_at = time.monotonic()
    assert service.raw(b"") == b""
    assert service.raw(b"GET / HT").startswith(b"HTTP/1.1 408 ")
    assert service.raw(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\nGET /").count(b"HTTP/1.1") == 2
    assert time.monotonic() - started_at < 20  # not the patience of the client


def test_heads_without_end_are_refused(service):
    received = service.raw(b"GET / HTTP/1.1\r\n", *[b"x: " + b"a" * 30_000 + b"\r\n"] * 50)
    assert received == b"" or b" 431 " in received
    received = service.raw(b"GET /", *[b"a" * 100_000] * 20)
    assert received == b"" or b" 431 " in received


def test_trailers_without_end_are_refused(service):
    body = b'a\r\n{"texts":[\r\n0\r\n'
    start = HEAD + b"transfer-encoding: chunked\r\n\r\n" + body
    received = service.raw(start, *[b"x: " + b"a" * 30_000 + b"\r\n"] * 50)
    assert received == b"" or b" 400 " in received


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200,
        b"nonsense\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nhost: localhost\r\n\r\n",
        HEAD + b"content-length: 5\r\ncontent-length: 6\r\n\r\nabcdef",
        HEAD + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\nabcde",
        HEAD + b"content-length: -1\r\n\r\n",
        HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\nhost: localhost\r\nx: a\x00b\r\n\r\n",
    ],
    ids=lambda sent: repr(sent[-24:]),
)
def test_what_is_no_http_is_answered_400_in_the_error_shape(service, sent):
    received = service.raw(sent)
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert set(json.loads(body)["error"]) == {"code", "message", "limit"}


def test_an_upgrade_is_an_ordinary_request(service):
    wanted = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    assert service.ask("GET", "/healthz", headers=wanted).status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/static/../settings.py", "/static/..%2fsettings.py", "/static/%2e%2e/settings.py",
        "/static//etc/passwd", "/static/..%5csettings.py", "/static/app.js%00.html", "/static/",
        "/static", "/docs/../server.py",
        "//etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/static/~root", "/v1/predict/",
        "/index.html", "/a" * 5000, "/\u202e".encode().decode("latin-1"),
    ],
)  # fmt: skip
def test_no_path_leads_to_a_file_of_the_disk(service, path):
    answer = service.raw(b"GET " + path.encode("latin-1") + b" HTTP/1.0\r\nhost: localhost\r\n\r\n")
    assert answer.startswith((b"HTTP/1.1 404 ", b"HTTP/1.1 400 ")), answer[:200]
    assert b'"error"' in answer


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost.evil.example"}, 403),
        ({"Origin": "http://["}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Host": "127.0.0.1.evil.example:80"}, 403),
        ({"Host": "localhost:1"}, 200),
        ({"Host": "[::1]:8000"}, 200),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Type": "multipart/form-data; boundary=x"}, 415),
        ({"Content-Type": "application/json; charset=utf-8"}, 200),
        ({"X-Forwarded-For": "1.2.3.4\t", "Cookie": "a=b"}, 200),
    ],
    ids=str,
)
def test_pages_of_other_sites_get_nothing(service, headers, status):
    answer = service.ask("POST", "/v1/predict", {"texts": ["good"]}, headers)
    assert answer.status == status
    assert "access-control-allow-origin" not in answer.headers
    if status != 200:
        assert answer.error["code"] in ("cross_site", "foreign_host", "not_json")


def test_a_page_may_ask_its_own_service(service):
    own = {"Origin": f"http://127.0.0.1:{service.port}"}
    assert service.ask("POST", "/v1/predict", {"texts": ["good"]}, own).status == 200
    assert service.ask("OPTIONS", "/v1/predict", headers=own).status == 405


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/predict", 405), ("DELETE", "/v1/model", 405), ("PUT", "/", 405),
        ("POST", "/healthz", 415), ("GET", "/nothing", 404), ("GET", "/V1/model", 404), ("TRACE", "/", 405),
        ("QUERY", "/v1/predict", 405),
    ],
)  # fmt: skip
def test_other_methods_and_paths(service, method, path, status):
    answer = service.ask(method, path)
    assert answer.status == status
    assert answer.error["message"]
    if status == 405:
        assert answer.headers["allow"]


def test_a_client_that_leaves_without_waiting_harms_nobody(service):
    for _ in range(20):
        body = json.dumps({"texts": ["bad " * 500] * 8}).encode()
        with socket.create_connection(("127.0.0.1", service.port), timeout=10) as connection:
            connection.sendall(HEAD + b"content-length: %d\r\n\r\n" % len(body) + body)
    assert service.predict("good").status == 200


def test_requests_one_behind_the_other_are_answered_in_order(service):
    one = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nx-request-id: n%d\r\n\r\n"
    received = service.raw(b"".join(one % n for n in range(50)), seconds=20)
    ids = [line.split(b": ")[1] for line in received.split(b"\r\n") if line.startswith(b"x-request-id")]
    assert ids == [b"n%d" % n for n in range(50)]


def test_a_kept_connection_is_used_again(service):
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=20)
    for _ in range(3):
        assert ask(connection, "POST", "/v1/predict", {"texts": ["good"]}).status == 200
        assert ask(connection, "POST", "/v1/predict", b"{").status == 400
    connection.close()
