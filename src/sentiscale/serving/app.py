"""The HTTP interface: FastAPI's routes over the waiting line and the pool of workers."""

import asyncio
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from sentiscale.errors import did_you_mean
from sentiscale.serving.checks import CODES, SHOWN, Fault, shown
from sentiscale.serving.pool import Pool, not_ready
from sentiscale.serving.queue import WaitingLine
from sentiscale.serving.schema import ErrorAnswer, ModelAnswer, PredictAnswer, State, request_model
from sentiscale.serving.settings import ServeSettings
from sentiscale.serving.telemetry import CONTENT_TYPE, Metrics

HERE = Path(__file__).parent
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
}


@dataclass(frozen=True)
class File:
    """One file in memory."""

    content: bytes
    kind: str
    tag: str
    """Its ETag."""


def read_files(folder: Path) -> dict[str, File]:
    """The files of a folder by name; those of other kinds and folders in it are left out."""
    files = {}
    for path in sorted(folder.glob("*")):
        if path.suffix in KINDS and path.is_file():
            content = path.read_bytes()
            tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
            files[path.name] = File(content, KINDS[path.suffix], tag)
    return files


JSON = "application/json"
DESCRIPTION = """Labels reviews as negative or positive. All errors have the shape
`{"error": {"code", "message", "limit"}}`; after 429 and 503, wait for the seconds of `Retry-After`."""

REASONS = {
    400: "The body is no JSON.",
    401: "The key is missing or wrong.",
    403: "Sent by a page of another site, or to another name than this service's.",
    404: "There is no such path.",
    408: "The body took too long to arrive.",
    413: "The body is too large.",
    415: "Content-Type is not application/json.",
    422: "The body does not have the form described, or oversteps a limit.",
    429: "Too many texts are waiting; try again after Retry-After seconds.",
    500: "A text could not be answered.",
    503: "Not ready, stopping, or too many requests at a time; try again after Retry-After seconds.",
    504: "No answer in time.",
}


@dataclass
class Service:
    """What the routes work with."""

    settings: ServeSettings
    line: WaitingLine
    pool: Pool
    metrics: Metrics
    draining: bool = False

    def check_ready(self) -> None:
        """Raises: Fault 503 while no request can be answered."""
        if self.draining:
            raise not_ready("the service is stopping; try again in a moment.")
        if self.pool.current is None or self.pool.hopeless:
            raise not_ready("no worker can load the model; the log of the service says why.")

    @property
    def limits(self) -> dict[str, int]:
        """What one request may hold."""
        settings = self.settings
        return {
            "texts": settings.max_texts,
            "characters": settings.max_characters,
            "body_bytes": settings.body_bytes,
            "explain_texts": settings.explain_texts,
            "explain_characters": settings.explain_characters,
        }


def build_app(service: Service) -> FastAPI:
    """The application, without what stands before it (`Gate`)."""
    app = FastAPI(
        title="sentiscale",
        version="1",
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        responses=_errors(403),
    )
    app.add_exception_handler(Fault, _fault_answer)
    app.add_exception_handler(HTTPException, _http_answer)
    app.add_exception_handler(RequestValidationError, _invalid_answer)
    _add_predict(app, service)
    _add_facts(app, service)
    _add_files(app)
    return app


def _add_predict(app: FastAPI, service: Service) -> None:
    Body = request_model(service.settings)
    errors = _errors(400, 401, 408, 413, 415, 422, 429, 500, 503, 504)

    @app.post("/v1/predict", response_model=PredictAnswer, responses=errors, summary="Label reviews")
    async def predict(body: Body, request: Request) -> Response:  # type: ignore[valid-type]
        """One prediction a text, in the same order. Nothing that is sent is kept."""
        texts: Sequence[str] = body.texts  # type: ignore[attr-defined]
        explain: bool = body.explain  # type: ignore[attr-defined]
        request.scope["texts"] = len(texts)
        service.check_ready()
        if explain:
            _check_explainable(texts, service)
        predictions, generation = await _answered(service, texts, explain)
        card = service.pool.cards[generation]
        model = {"name": card["name"], "digest": card["digest"]}
        return json_answer({"predictions": predictions, "model": model})


async def _answered(service: Service, texts: Sequence[str], explain: bool) -> Any:
    seconds = service.settings.timeout_s
    job = service.line.submit(texts, explain=explain)
    try:
        return await asyncio.wait_for(job.answer, seconds)
    except TimeoutError:
        raise Fault(
            504, f"there was no answer within {seconds:g} s; try fewer texts.", limit=seconds
        ) from None


def _check_explainable(texts: Sequence[str], service: Service) -> None:
    settings = service.settings
    if len(texts) > settings.explain_texts:
        message = (
            f"texts has {len(texts)} entries; with explain, at most {settings.explain_texts} are allowed."
        )
        raise Fault(422, message, code="too_many_texts", limit=settings.explain_texts)
    for place, text in enumerate(texts):
        if len(text) > settings.explain_characters:
            message = (
                f"texts.{place} has {len(text)} characters; with explain, at most "
                f"{settings.explain_characters} are allowed."
            )
            raise Fault(422, message, code="text_too_long", limit=settings.explain_characters)


def _add_facts(app: FastAPI, service: Service) -> None:
    @app.get("/v1/model", response_model=ModelAnswer, responses=_errors(401, 503), summary="The model")
    async def model() -> Response:
        """What the model is, what it has learnt from, how good it is, and what one request may hold."""
        service.check_ready()
        assert service.pool.current is not None
        return json_answer({**service.pool.current.card, "limits": service.limits})

    @app.get("/healthz", response_model=State, summary="Alive")
    async def healthz() -> Response:
        """The process answers."""
        return json_answer({"status": "ok"})

    @app.get("/readyz", response_model=State, responses=_errors(503), summary="Ready")
    async def readyz() -> Response:
        """A worker has loaded the model, and the service is not stopping."""
        service.check_ready()
        if service.pool.ready == 0:
            raise not_ready("no worker is ready at the moment; one is being started.")
        return json_answer({"status": "ready"})

    @app.get("/metrics", responses={200: {"content": {"text/plain": {}}}, **_errors(401)}, summary="Metrics")
    async def metrics() -> Response:
        """For Prometheus."""
        card = service.pool.current.card if service.pool.current else {}
        text = service.metrics.exposition(card.get("name", ""), card.get("digest", ""))
        return Response(text, headers={"content-type": CONTENT_TYPE})


def _add_files(app: FastAPI) -> None:
    for folder, index, address in (("static", "index.html", "/"), ("docs", "index.html", "/docs")):
        files = read_files(HERE / folder)
        _add_file(app, address, files.get(index))
        for name, file in files.items():
            if name != index:
                _add_file(app, f"/{folder}/{name}", file)


def _add_file(app: FastAPI, address: str, file: File | None) -> None:
    async def answer(request: Request) -> Response:
        if file is None:
            raise Fault(404, "this installation has no page.")
        headers = {"ETag": file.tag, "Cache-Control": "no-cache", "Content-Type": file.kind}
        if request.headers.get("if-none-match") == file.tag:
            return Response(status_code=304, headers=headers)
        return Response(file.content, headers=headers)

    app.add_api_route(address, answer, methods=["GET", "HEAD"], include_in_schema=False)


def json_answer(document: Mapping[str, Any]) -> Response:
    """A document as JSON."""
    content = json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Response(content.encode(), media_type=JSON)


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": ErrorAnswer, "description": REASONS[status]} for status in statuses}


async def _fault_answer(request: Request, error: Exception) -> Response:
    assert isinstance(error, Fault)
    await asyncio.sleep(error.pause)
    return Response(error.body, error.status, error.headers, JSON)


async def _http_answer(request: Request, error: Exception) -> Response:
    """What the framework refuses: unknown paths and methods, bodies that cannot be parsed."""
    assert isinstance(error, HTTPException)
    messages = {
        400: "the body is not JSON that can be read; it must be UTF-8, and not deeply nested.",
        404: f"there is no {shown(request.scope['path'])} here; /docs lists what there is.",
        405: f"{request.method} is not allowed for this path.",
    }
    message = messages.get(error.status_code, str(error.detail))
    code = CODES.get(error.status_code, "refused")
    fault = Fault(error.status_code, message, code=code, headers=error.headers)
    return await _fault_answer(request, fault)


async def _invalid_answer(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return await _fault_answer(request, invalid(error.errors()))


def invalid(problems: Sequence[Mapping[str, Any]]) -> Fault:
    """The answer to a body that does not have the right form: its first problem, in words."""
    problem = problems[0]
    place = ".".join(str(part) for part in problem["loc"][1:]) or "the body"
    got, kind, context = problem.get("input"), problem["type"], problem.get("ctx") or {}
    if kind == "json_invalid":
        reason = context.get("error", "")
        return Fault(400, f"the body is not JSON: {reason} at character {problem['loc'][-1]}.")
    if kind == "extra_forbidden":
        fields = ("texts", "explain")
        hint = did_you_mean(str(problem["loc"][-1])[:SHOWN], fields)  # comparing a megabyte takes 0.1 s
        return Fault(422, f"unknown field {shown(place)}.{hint} Allowed: {', '.join(fields)}.")
    limit = context.get("max_length")
    if kind == "too_long" and isinstance(got, list):
        message = f"{place} has {len(got)} entries; at most {limit} are allowed."
        return Fault(422, message, code="too_many_texts", limit=limit)
    if kind == "string_too_long" and isinstance(got, str):
        message = f"{place} has {len(got)} characters; at most {limit} are allowed."
        return Fault(422, message, code="text_too_long", limit=limit)
    return Fault(422, f"{place} is {_named(got)}: {problem['msg'].lower()}.")


def _named(value: object) -> str:
    """What was got, for a message: its kind, and itself where it is small."""
    kinds = {"dict": "an object", "list": "a list", "str": "a string", "bytes": "bytes"}
    return kinds.get(type(value).__name__) or shown(value)
