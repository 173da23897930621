"""Every error of the API in one form: `{"detail": [{"field": ..., "reason": ...}]}`, never a traceback."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from apex_tasks.frozen_model import FrozenModel
from apex_tasks.refusal import Refusal

RETRY_AFTER_SECONDS = 5
MAX_PROBLEMS = 20
MAX_FIELD_LENGTH = 100

logger = logging.getLogger(__name__)


class Problem(FrozenModel):
    """One thing that is wrong with a request, or with the server's inputs."""

    field: str | None = Field(description="Field, header or input at fault; null: the request as a whole.")
    reason: str = Field(description="What is wrong, and what to do.")


class ErrorReply(FrozenModel):
    """Body of every answer that is an error."""

    detail: list[Problem]


class ApiError(HTTPException):
    """A request that is not answered, with the field at fault."""

    def __init__(
        self, status_code: int, field: str | None, reason: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(status_code, reason, dict(headers or {}))
        self.field = field


_MEANINGS = {
    400: "The request body cannot be parsed.",
    401: "No API key, or none that is known.",
    403: "The caller may not ask: without API keys only this host is served.",
    404: "There is nothing under this address.",
    408: "The request body did not arrive in time.",
    413: "The request body is too large.",
    422: "A field is missing, unknown or out of its range; the detail names each.",
    429: "Too many requests; `Retry-After` says when to come back.",
    500: "A bug; the server's log holds the id that the reason names.",
    503: "The bundle or the dataset is not usable, or the prediction is not ready; the reason says which.",
}


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Errors of a route, for OpenAPI."""
    return {status: {"model": ErrorReply, "description": _MEANINGS[status]} for status in statuses}


def error_response(
    status: int, problems: Iterable[Problem], headers: Mapping[str, str] | None = None
) -> Response:
    """An error as a response; no more than `MAX_PROBLEMS` of them are listed."""
    detail = [problem.model_dump() for problem in problems][:MAX_PROBLEMS]
    body = json.dumps({"detail": detail})  # in ASCII: a name in the request may hold what is no text
    return Response(body, status, dict(headers or {}), media_type="application/json")


def refused(refusal: Refusal) -> Response:
    """A refusal as a response: the inputs must be fixed, the request is sound."""
    return error_response(
        503,
        [Problem(field=None, reason=str(refusal))],
        {"Retry-After": str(RETRY_AFTER_SECONDS)},
    )


def add_error_handlers(app: FastAPI) -> None:
    """Answer each kind of error in the one form."""
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _stopped)
    app.add_exception_handler(Refusal, _refused)


class JsonErrors(APIRoute):
    """Route that answers errors in the one form in any application, also in one that answers people with pages."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the handler."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                return await handler(request)
            except RequestValidationError as error:
                return await _invalid(request, error)
            except HTTPException as error:
                return await _stopped(request, error)
            except Refusal as error:
                return await _refused(request, error)

        return handle


def _internal_error(number: str) -> Response:
    return error_response(500, [Problem(field=None, reason=f"internal error {number}")])


class UnhandledErrorMiddleware:
    """Middleware that answers an unforeseen error with an id and writes the traceback to the log only.

    Parameters
    ----------
    reply
        Makes the answer from the id.
    """

    def __init__(self, app: ASGIApp, reply: Callable[[str], Response] = _internal_error) -> None:
        self.app = app
        self._reply = reply

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on a request."""
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, watched)
        except Exception:
            if scope["type"] != "http" or started:
                raise
            number = uuid.uuid4().hex
            logger.exception("Bug %s at %s %r", number, scope["method"], scope["path"])
            await self._reply(number)(scope, receive, send)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - what Starlette's signature cannot say
    problems = [
        Problem(field=_field(found["loc"]), reason=str(found["msg"]))
        for found in error.errors()[:MAX_PROBLEMS]
    ]
    return error_response(422, problems)


async def _stopped(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    field = error.field if isinstance(error, ApiError) else None
    headers = dict(error.headers or {})
    if error.status_code in (408, 413):
        headers["Connection"] = "close"  # the rest of the body is not waited for
    return error_response(error.status_code, [Problem(field=field, reason=str(error.detail))], headers)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)  # noqa: S101
    logger.warning("REFUSED %s", error)
    return refused(error)


def _field(location: tuple[Any, ...]) -> str | None:
    """Name of a field; its place (body, path) and positions in broken JSON are left out."""
    parts = [str(part) for part in location[1:] if not isinstance(part, int)]
    return ".".join(parts)[:MAX_FIELD_LENGTH] or None
