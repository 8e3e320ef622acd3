"""Requests that mean harm: each is answered in the one error shape or cut off, and the service lives on."""

import http.client
import json

import psutil
import pytest
from pydantic import ValidationError

from sentiscale.serving.app import invalid
from sentiscale.serving.protocol import MAX_HEADERS, MAX_PIPELINED
from sentiscale.serving.schema import request_model
from sentiscale.serving.settings import ServeSettings
from tests.serving.hostile import (
    BODIES,
    CLOSED,
    GET,
    METHODS,
    MIB,
    NO_HTTP,
    PATHS,
    SITES,
    outcome_of,
    outcomes,
)
from tests.serving.running_service import ask


@pytest.fixture(autouse=True)
def _lives_on(service):
    """After each attack the same process answers as before, and has grown by little."""
    process = psutil.Process(service.process.pid)
    before = process.memory_info().rss
    yield
    assert service.predict("good").status == 200
    assert process.memory_info().rss < before + 32 * MIB
    assert service.events("failed") == []


@pytest.mark.parametrize("name", BODIES)
def test_bodies(service, name):
    body, allowed = BODIES[name]
    answer = service.ask("POST", "/v1/predict", body)
    assert outcome_of(answer) == allowed
    assert answer.status == 200 or answer.error["message"]


def test_a_message_names_the_field_what_was_got_and_what_is_allowed(service):
    got = service.ask("POST", "/v1/predict", {"texts": ["a"], "explian": True}).error["message"]
    assert got == "unknown field 'explian'. Did you mean 'explain'? Allowed: texts, explain, thresholds."
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


@pytest.mark.parametrize("name", NO_HTTP)
def test_what_is_no_http_is_answered_400_in_the_error_shape(service, name):
    received = service.raw(NO_HTTP[name])
    assert outcomes(received)[-1] == "400 bad_request"
    assert set(json.loads(received.rpartition(b"\r\n\r\n")[2])["error"]) == {"code", "message", "limit"}


def test_an_upgrade_is_an_ordinary_request(service):
    wanted = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    assert service.ask("GET", "/healthz", headers=wanted).status == 200


@pytest.mark.parametrize("path", PATHS)
def test_no_path_leads_to_a_file_of_the_disk(service, path):
    received = service.raw(b"GET " + path.encode("latin-1") + b" HTTP/1.0\r\nhost: localhost\r\n\r\n")
    assert outcomes(received) in (["404 not_found"], ["400 bad_request"])


@pytest.mark.parametrize("host", ["localhost:[", "[::1]x", "localhost:\xbd"])
def test_a_host_that_is_half_right_fails_nothing(service, host):
    """The message about an unknown path once put the whole address together, and failed at such a name."""
    sent = b"GET /nothing HTTP/1.0\r\nhost: " + host.encode("latin-1") + b"\r\n\r\n"
    assert outcomes(service.raw(sent)) == ["404 not_found"]


@pytest.mark.parametrize("name", SITES)
def test_pages_of_other_sites_get_nothing(service, name):
    headers, allowed = SITES[name]
    answer = service.ask("POST", "/v1/predict", {"texts": ["good"]}, headers)
    assert outcome_of(answer) == allowed
    assert "access-control-allow-origin" not in answer.headers


def test_a_page_may_ask_its_own_service(service):
    own = {"Origin": f"http://127.0.0.1:{service.port}"}
    assert service.ask("POST", "/v1/predict", {"texts": ["good"]}, own).status == 200
    assert service.ask("OPTIONS", "/v1/predict", headers=own).status == 405


@pytest.mark.parametrize(("method", "path", "allowed"), METHODS)
def test_other_methods_and_paths(service, method, path, allowed):
    answer = service.ask(method, path)
    assert outcome_of(answer) == allowed
    assert answer.error["message"]
    if answer.status == 405:
        assert answer.headers["allow"]


def test_requests_one_behind_the_other_are_answered_in_order(service):
    one = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nx-request-id: n%d\r\n\r\n"
    received = service.raw(b"".join(one % n for n in range(50)))
    ids = [line.split(b": ")[1] for line in received.split(b"\r\n") if line.startswith(b"x-request-id")]
    assert ids == [b"n%d" % n for n in range(50)]


def test_a_hundred_headers_are_enough(service):
    start = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
    headers = [b"x%d: a\r\n" % n for n in range(MAX_HEADERS - 1)]
    assert outcomes(service.raw(start + b"".join(headers[:-1]) + b"\r\n")) == ["200"]
    assert outcomes(service.raw(start + b"".join(headers) + b"\r\n")) == ["431 head_too_large"]


def test_more_requests_than_may_wait_end_the_connection_and_no_other(service):
    """Each takes some kilobytes while it waits, and 10,000 of them fit into one read."""
    received = service.raw(GET % b"/healthz" * 10_000)
    assert set(outcomes(received)) <= {"200", CLOSED}
    assert len(outcomes(received)) <= 1 + MAX_PIPELINED


def test_of_many_unknown_fields_one_is_told_and_quickly_found():
    """90,000 of them were 90,000 errors: a third of a second in which nobody was answered."""
    unknown = {f"field-{n}": 0 for n in range(90_000)}
    for fields in (unknown, {"texts": ["a"], **unknown}):
        with pytest.raises(ValidationError) as refused:
            request_model(ServeSettings()).model_validate(fields)
        problems = refused.value.errors()
        assert len(problems) <= 2
        assert invalid([{**problems[-1], "loc": ("body", *problems[-1]["loc"])}]).message.startswith(
            "unknown field 'field-0'."
        )


def test_a_kept_connection_is_used_again(service):
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=120)
    for _ in range(3):
        assert ask(connection, "POST", "/v1/predict", {"texts": ["good"]}).status == 200
        assert ask(connection, "POST", "/v1/predict", b"{").status == 400
    connection.close()
