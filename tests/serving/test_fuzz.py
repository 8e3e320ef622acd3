"""Requests drawn from the interface's own description, good and bad: schemathesis finds no contradiction."""

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
    unsupported_method,
)


def fuzz(service, examples: int) -> int:
    """Send drawn requests to every operation; how many were sent."""
    schema = schemathesis.openapi.from_url(f"http://127.0.0.1:{service.port}/openapi.json")
    sent = 0
    for result in schema.get_all_operations():
        operation = result.ok()

        def send(case) -> None:
            nonlocal sent
            sent += 1
            case.call_and_validate(checks=list(CHECKS))

        try_all(operation.as_strategy(), send, examples)
        if operation.method == "post":  # the others have nothing that could be wrong
            wrong = operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE)
            try_all(wrong, send, examples)
    return sent


def try_all(strategy, send, examples: int) -> None:
    from hypothesis import given

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case=strategy)
    def test(case):
        send(case)

    test()


def test_a_few(service):
    assert fuzz(service, 5) > 10
    assert service.events("failed") == []


def test_a_few_of_a_model_with_five_classes(class_services):
    assert fuzz(class_services[5], 3) > 6
    assert class_services[5].events("failed") == []


@pytest.mark.slow
def test_many(service):
    assert fuzz(service, 400) > 800
    assert service.events("failed") == []
    assert service.events("worker_lost") == []
