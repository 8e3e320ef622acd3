"""The HTTP interface: FastAPI routes that use the queue and the worker pool."""

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException

from sentiscale.errors import LONGEST_QUOTE, did_you_mean, quoted
from sentiscale.serving.errors import CODES, RequestError, not_ready
from sentiscale.serving.pool import WorkerPool
from sentiscale.serving.queue import BatchQueue
from sentiscale.serving.schema import ErrorAnswer, ModelAnswer, PredictAnswer, State, request_model
from sentiscale.serving.settings import ServeSettings
from sentiscale.serving.telemetry import ServiceMetrics

PAGES = (("static", "/"), ("docs", "/docs"))
"""Folders of static files, and the path at which each index.html is served."""
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
JSON = "application/json"
DESCRIPTION = """Gives each review one of the model's classes as a label. All errors have the form
`{"error": {"code", "message", "limit"}}`. After 429 and 503, wait as many seconds as `Retry-After` states."""

REASONS = {
    400: "The body is not JSON.",
    401: "The key is missing or wrong.",
    403: "The request comes from a page of another site, or uses a host name that is not allowed.",
    404: "The path does not exist.",
    408: "The body took too long to arrive.",
    413: "The body is too large.",
    415: "Content-Type is not application/json.",
    422: "The body does not match the schema, or exceeds a limit.",
    429: "Too many texts are waiting; try again after Retry-After seconds.",
    500: "A text could not be labelled.",
    503: "The service is starting, stopping or overloaded; try again after Retry-After seconds.",
    504: "The request was not answered in time.",
}


@dataclass
class Service:
    """State that the routes share."""

    settings: ServeSettings
    queue: BatchQueue
    pool: WorkerPool
    metrics: ServiceMetrics
    draining: bool = False

    def model_card(self) -> Mapping[str, Any]:
        """Return the card of the current model.

        Raises: RequestError 503 while the service cannot answer requests.
        """
        if self.draining:
            raise not_ready("the service is stopping; try again in a moment.")
        if self.pool.current is None or self.pool.broken:
            raise not_ready("no worker can load the model; see the log of the service.")
        return self.pool.current.card

    async def predict(self, texts: Sequence[str], *, explain: bool, thresholds: bool) -> bytes:
        """Label the texts, and return the body of the answer.

        Raises: RequestError when the service is not ready, a limit is exceeded, or no answer comes in time.
        """
        self.model_card()
        if explain:
            check_explainable(texts, self.settings)
        seconds = self.settings.timeout_s
        request = self.queue.submit(texts, explain=explain, thresholds=thresholds)
        try:
            predictions, generation = await asyncio.wait_for(request.answer, seconds)
        except TimeoutError:
            message = f"there was no answer within {seconds:g} s; try fewer texts."
            raise RequestError(504, message, limit=seconds) from None
        card = self.pool.cards[generation]
        model = json_content({"name": card["name"], "digest": card["digest"]})
        return b'{"predictions":[' + b",".join(predictions) + b'],"model":' + model + b"}"


def check_explainable(texts: Sequence[str], settings: ServeSettings) -> None:
    """Raises: RequestError 422 when there are too many texts, or one is too long, to explain."""
    limit = settings.explain_texts
    if len(texts) > limit:
        message = f"texts has {len(texts)} entries; with explain, at most {limit} are allowed."
        raise RequestError(422, message, code="too_many_texts", limit=limit)
    limit = settings.explain_characters
    for place, text in enumerate(texts):
        if len(text) > limit:
            message = f"texts.{place} has {len(text)} characters; with explain, at most {limit} are allowed."
            raise RequestError(422, message, code="text_too_long", limit=limit)


def build_app(service: Service) -> FastAPI:
    """Create the application, without the checks of `Admission`."""
    app = FastAPI(
        title="sentiscale",
        version="1",
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        responses=_errors(403),
    )
    for error in (RequestError, HTTPException, RequestValidationError):
        app.add_exception_handler(error, _answer_error)
    _add_predict(app, service)
    _add_status(app, service)
    _add_files(app)
    return app


def _add_predict(app: FastAPI, service: Service) -> None:
    Body = request_model(service.settings)
    errors = _errors(400, 401, 408, 413, 415, 422, 429, 500, 503, 504)

    @app.post("/v1/predict", response_model=PredictAnswer, responses=errors, summary="Label reviews")
    async def predict(body: Body, request: Request) -> Response:  # type: ignore[valid-type]
        """Return one prediction per text, in the same order. The service does not store texts."""
        options = body.model_dump()  # type: ignore[attr-defined]
        request.scope["texts"] = len(options["texts"])
        return Response(await service.predict(**options), media_type=JSON)


def _add_status(app: FastAPI, service: Service) -> None:
    @app.get("/v1/model", response_model=ModelAnswer, responses=_errors(401, 503), summary="The model")
    async def model() -> Response:
        """Return the model's properties, training data and scores, and the limits of a request."""
        settings = service.settings
        limits = {
            "texts": settings.max_texts,
            "characters": settings.max_characters,
            "body_bytes": settings.body_bytes,
            "explain_texts": settings.explain_texts,
            "explain_characters": settings.explain_characters,
        }
        return json_answer({**service.model_card(), "limits": limits})

    @app.get("/healthz", response_model=State, summary="Alive")
    async def healthz() -> Response:
        """Return 200 while the process is running."""
        return json_answer({"status": "ok"})

    @app.get("/readyz", response_model=State, responses=_errors(503), summary="Ready")
    async def readyz() -> Response:
        """Return 200 when a worker has loaded the model and the service is not stopping."""
        service.model_card()
        if service.pool.ready == 0:
            raise not_ready("no worker is ready yet; one is starting.")
        return json_answer({"status": "ready"})

    @app.get("/metrics", responses={200: {"content": {"text/plain": {}}}, **_errors(401)}, summary="Metrics")
    async def metrics() -> Response:
        """Return the metrics in the text format of Prometheus."""
        card = service.pool.current.card if service.pool.current else {}
        text = service.metrics.exposition(card.get("name", ""), card.get("digest", ""))
        return Response(text, headers={"content-type": CONTENT_TYPE_LATEST})


def _add_files(app: FastAPI) -> None:
    """Serve the static files from memory, so that no request path can reach the disk."""
    for folder, index_path in PAGES:
        for file in sorted(Path(__file__).with_name(folder).iterdir()):
            if media_type := MEDIA_TYPES.get(file.suffix):
                path = index_path if file.name == "index.html" else f"/{folder}/{file.name}"
                route = _file_route(file.read_bytes(), media_type)
                app.add_api_route(path, route, methods=["GET", "HEAD"], include_in_schema=False)


def _file_route(content: bytes, media_type: str) -> Callable[[Request], Awaitable[Response]]:
    etag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
    headers = {"ETag": etag, "Cache-Control": "no-cache", "Content-Type": media_type}

    async def answer(request: Request) -> Response:
        if request.headers.get("if-none-match") == etag:
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers)

    return answer


def json_answer(document: Mapping[str, Any]) -> Response:
    return Response(json_content(document), media_type=JSON)


def json_content(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": ErrorAnswer, "description": REASONS[status]} for status in statuses}


async def _answer_error(request: Request, error: Exception) -> Response:
    if isinstance(error, RequestValidationError):
        error = invalid(error.errors())
    elif isinstance(
        error, HTTPException
    ):  # raised by FastAPI for unknown paths, wrong methods and bodies it cannot parse
        messages = {
            400: "the body is not valid JSON; it must be UTF-8, and not deeply nested.",
            404: f"the path {quoted(request.scope['path'])} does not exist; see /docs.",
            405: f"{request.method} is not allowed for this path.",
        }
        message = messages.get(error.status_code, str(error.detail))
        code = CODES.get(error.status_code, "refused")
        error = RequestError(error.status_code, message, code=code, headers=error.headers)
    assert isinstance(error, RequestError)
    await asyncio.sleep(error.delay)
    return error.response()


def invalid(problems: Sequence[Mapping[str, Any]]) -> RequestError:
    """Convert the validation errors of a body to one error that names the first problem."""
    problem = problems[0]
    location = problem["loc"]
    place = ".".join(str(part) for part in location[1:]) or "the body"
    value, kind, context = problem.get("input"), problem["type"], problem.get("ctx") or {}
    if kind == "json_invalid":
        reason = context.get("error", "")
        return RequestError(400, f"the body is not JSON: {reason} at character {location[-1]}.")
    if kind == "extra_forbidden":
        fields = ("texts", "explain", "thresholds")
        hint = did_you_mean(str(location[-1])[:LONGEST_QUOTE], fields)  # comparing a megabyte takes 0.1 s
        return RequestError(422, f"unknown field {quoted(place)}.{hint} Allowed: {', '.join(fields)}.")
    limit = context.get("max_length")
    if kind == "too_long" and isinstance(value, list):
        message = f"{place} has {len(value)} entries; at most {limit} are allowed."
        return RequestError(422, message, code="too_many_texts", limit=limit)
    if kind == "string_too_long" and isinstance(value, str):
        message = f"{place} has {len(value)} characters; at most {limit} are allowed."
        return RequestError(422, message, code="text_too_long", limit=limit)
    names = {dict: "an object", list: "a list", str: "a string", bytes: "bytes"}
    shown = next((name for kind, name in names.items() if isinstance(value, kind)), None) or quoted(value)
    return RequestError(422, f"{place} is {shown}: {problem['msg'].lower()}.")
