"""Requests that mean harm, and what each has to be answered; also for benchmarks/hostile_input.py."""

import gzip
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from tests.serving.running_service import Answer

MIB = 2**20
JSON = b"content-type: application/json\r\n"
HEAD = b"POST /v1/predict HTTP/1.1\r\nhost: localhost\r\n" + JSON
GET = b"GET %s HTTP/1.1\r\nhost: localhost\r\n\r\n"
LONG = "a" * 20_001
CLOSED = "closed"
"""The connection was ended without an answer."""


@dataclass(frozen=True)
class Result:
    """What came back for one request, and what may."""

    case: str
    got: str
    allowed: tuple[str, ...]

    @property
    def is_right(self) -> bool:
        """Whether that is an answer to such a request."""
        return self.got in self.allowed


def outcome(status: int, body: bytes) -> str:
    """Status and the code of the error: "422 invalid"."""
    if status < 400:
        return str(status)
    try:
        return f"{status} {json.loads(body)['error']['code']}"
    except (ValueError, KeyError, TypeError):
        return f"{status} in another shape"


def outcome_of(answer: Answer) -> str:
    """The same of a whole answer."""
    return outcome(answer.status, answer.body)


def outcomes(received: bytes) -> list[str]:
    """Those of all answers on one connection, as they were received."""
    found = []
    while received.startswith(b"HTTP/1.1 "):
        head, _, rest = received.partition(b"\r\n\r\n")
        size = re.search(rb"content-length: (\d+)", head.lower())
        body, received = rest[: int(size[1])] if size else b"", rest[int(size[1]) if size else 0 :]
        found.append(outcome(int(head[9:12]), body))
    return found or [CLOSED]


BODIES: Mapping[str, tuple[bytes, str]] = {
    "nothing": (b"", "422 invalid"),
    "a brace": (b"{", "400 bad_request"),
    "no JSON": (b"nonsense", "400 bad_request"),
    "100,000 brackets": (b"[" * 100_000, "400 bad_request"),
    "100,000 brackets and their ends": (b"[" * 100_000 + b"]" * 100_000, "400 bad_request"),
    "100,000 brackets as texts": (b'{"texts": ' + b"[" * 100_000, "400 bad_request"),
    "100,000 objects in each other": (b'{"a":' * 100_000, "400 bad_request"),
    "90,000 unknown fields": (json.dumps({f"{n:x}": 0 for n in range(90_000)}).encode(), "422 invalid"),
    "90,000 unknown fields beside texts": (
        json.dumps({"texts": ["a"], **{f"{n:x}": 0 for n in range(90_000)}}).encode(),
        "422 invalid",
    ),
    "an unknown field of 1 MB": (json.dumps({"texts": ["a"], "x" * 1_000_000: 0}).encode(), "422 invalid"),
    "250,000 objects as texts": (b'{"texts": [' + b"{}," * 250_000 + b"{}]}", "422 too_many_texts"),
    "other encoding, broken": (b"\xff\xfe\x00", "400 bad_request"),
    "bytes that are no UTF-8": (b'{"texts": ["\xff\xfe"]}', "400 bad_request"),
    "half of a pair in UTF-8": (b'{"texts": ["\xed\xa0\x80"]}', "200"),
    "UTF-16": ('{"texts": ["good"]}'.encode("utf-16"), "200"),
    "an overlong NUL": (b'{"texts": ["\xc0\x80"]}', "400 bad_request"),
    "a control character, not escaped": (b'{"texts": ["a\x01b"]}', "400 bad_request"),
    "a number of 10,000 digits": (b"1" * 10_000, "400 bad_request"),
    "null": (b"null", "422 invalid"),
    "a list": (b"[]", "422 invalid"),
    "an empty object": (b"{}", "422 invalid"),
    "a text in place of a list": (b'{"texts": "good"}', "422 invalid"),
    "no texts": (b'{"texts": []}', "422 invalid"),
    "null as a text": (b'{"texts": [null]}', "422 invalid"),
    "NaN": (b'{"texts": [NaN]}', "422 invalid"),
    "Infinity": (b'{"texts": [-Infinity]}', "422 invalid"),
    "a number as a text": (b'{"texts": [1e400]}', "422 invalid"),
    "an object as a text": (b'{"texts": [{"a": []}]}', "422 invalid"),
    "explain as a text": (b'{"texts": ["a"], "explain": "yes"}', "422 invalid"),
    "explain as 1e400": (b'{"texts": ["a"], "explain": 1e400}', "422 invalid"),
    "half of a pair as a field": (b'{"texts": ["a"], "\\ud800": 1}', "422 invalid"),
    "__proto__": (b'{"texts": ["a"], "__proto__": {}}', "422 invalid"),
    "257 texts": (json.dumps({"texts": ["a"] * 257}).encode(), "422 too_many_texts"),
    "10,000 texts": (json.dumps({"texts": ["a"] * 10_000}).encode(), "422 too_many_texts"),
    "a text too long": (json.dumps({"texts": [LONG]}).encode(), "422 text_too_long"),
    "a word of 1 MB": (json.dumps({"texts": ["a" * 1_000_000]}).encode(), "422 text_too_long"),
    "a million words": (json.dumps({"texts": ["a " * 1_000_000]}).encode(), "413 body_too_large"),
    "33 to be explained": (json.dumps({"texts": ["a"] * 33, "explain": True}).encode(), "422 too_many_texts"),
    "compressed": (gzip.compress(b'{"texts": ["good"]}'), "400 bad_request"),
    "compressed, 10 MB when unpacked": (gzip.compress(bytes(10 * MIB), 1), "400 bad_request"),
    "the same field twice": (b'{"texts": [1], "texts": ["good"]}', "200"),
    "halves of pairs and control characters": (
        b'{"texts": ["\\u0000\\u0001\\u202e\\ud800 x \\udfff", "\\ud83d\\ude00"]}',
        "200",
    ),
    "256 empty texts": (json.dumps({"texts": [""] * 256}).encode(), "200"),
}

NO_HTTP: Mapping[str, bytes] = {
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200,
    "no request": b"nonsense\r\n\r\n",
    "version 9.9": b"GET / HTTP/9.9\r\n\r\n",
    "HTTP/2 at once": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "bytes in the path": b"GET /\xff\xfe HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "a tunnel": b"CONNECT localhost:22 HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "two lengths": HEAD + b"content-length: 5\r\ncontent-length: 6\r\n\r\nabcdef",
    "length and chunks": HEAD + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\nabcde",
    "chunks and length": HEAD + b"transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\nGET",
    "chunks that are not last": HEAD + b"transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "a space before the colon": HEAD + b"content-length : 5\r\n\r\nabcde",
    "a length below 0": HEAD + b"content-length: -1\r\n\r\n",
    "a length with a sign": HEAD + b"content-length: +5\r\n\r\nabcde",
    "a length of 40 digits": HEAD + b"content-length: " + b"9" * 40 + b"\r\n\r\n",
    "a chunk of no size": HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\n",
    "a chunk too large to count": HEAD + b"transfer-encoding: chunked\r\n\r\n" + b"f" * 17 + b"\r\n",
    "NUL in a header": b"GET / HTTP/1.1\r\nhost: localhost\r\nx: a\x00b\r\n\r\n",
    "a line feed in a header": b"GET / HTTP/1.1\r\nhost: localhost\r\nx-request-id: a\nforged: b\r\n\r\n",
    "a header that goes on": b"GET / HTTP/1.1\r\nhost: localhost\r\nx: a\r\n b\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nhost: evil.example\r\nhost: localhost\r\n\r\n",
}
"""What is no HTTP, or means one thing to a proxy and another to what stands behind it: 400 for all."""

PATHS = (
    "/static/../settings.py",
    "/static/..%2fsettings.py",
    "/static/%2e%2e/settings.py",
    "/static//etc/passwd",
    "/static/..%5csettings.py",
    "/static/app.js%00.html",
    "/static/",
    "/static",
    "/docs/../server.py",
    "/static/%252e%252e/settings.py",
    "/static/..;/settings.py",
    "//etc/passwd",
    "///etc/passwd",
    "/%2e%2e/%2e%2e/etc/passwd",
    "/static/~root",
    "/v1/predict/",
    "/index.html",
    "/a" * 5000,
    "/\u202e".encode().decode("latin-1"),
    "/%ff%fe",
    "/%0d%0aevent:%20forged",
    "file:///etc/passwd",
    "http://localhost/nothing",
    "*",
)
"""None of them leads to a file of the disk: 404, or 400 where it is no path."""

SITES: Mapping[str, tuple[Mapping[str, str], str]] = {
    "a page elsewhere": ({"Origin": "https://evil.example"}, "403 cross_site"),
    "a page from a file": ({"Origin": "null"}, "403 cross_site"),
    "a site of a similar name": ({"Origin": "http://localhost.evil.example"}, "403 cross_site"),
    "an origin that is none": ({"Origin": "http://["}, "403 cross_site"),
    "as a browser says it": ({"Sec-Fetch-Site": "cross-site"}, "403 cross_site"),
    "another port of this machine": ({"Sec-Fetch-Site": "same-site"}, "403 cross_site"),
    "a name that leads here (DNS rebinding)": ({"Host": "evil.example"}, "403 foreign_host"),
    "a name like ours": ({"Host": "127.0.0.1.evil.example:80"}, "403 foreign_host"),
    "a host that is none": ({"Host": "["}, "403 foreign_host"),
    "a form's text": ({"Content-Type": "text/plain"}, "415 not_json"),
    "a form": ({"Content-Type": "application/x-www-form-urlencoded"}, "415 not_json"),
    "a form with files": ({"Content-Type": "multipart/form-data; boundary=x"}, "415 not_json"),
    "its own page": ({"Sec-Fetch-Site": "same-origin"}, "200"),
    "typed in": ({"Sec-Fetch-Site": "none"}, "200"),
    "any port of its own name": ({"Host": "localhost:1"}, "200"),
    "its own name in IPv6": ({"Host": "[::1]:8000"}, "200"),
    "JSON with a character set": ({"Content-Type": "application/json; charset=utf-8"}, "200"),
    "headers of a proxy": ({"X-Forwarded-For": "1.2.3.4\t", "Cookie": "a=b"}, "200"),
}

METHODS = (
    ("GET", "/v1/predict", "405 method_not_allowed"),
    ("DELETE", "/v1/model", "405 method_not_allowed"),
    ("PUT", "/", "405 method_not_allowed"),
    ("TRACE", "/", "405 method_not_allowed"),
    ("QUERY", "/v1/predict", "405 method_not_allowed"),
    ("OPTIONS", "/v1/predict", "405 method_not_allowed"),
    ("POST", "/healthz", "415 not_json"),
    ("GET", "/nothing", "404 not_found"),
    ("GET", "/V1/model", "404 not_found"),
)
"""Without a body; OPTIONS is what a browser asks before it sends for another site."""
