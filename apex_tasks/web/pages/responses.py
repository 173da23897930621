"""Answers of the page application: security headers on all of them, and no error without a readable page."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response

from apex_tasks.refusal import Refusal
from apex_tasks.web.errors import UnhandledErrorMiddleware
from apex_tasks.web.middleware.security_headers import SecurityHeaders
from apex_tasks.web.pages.published_files import UnknownError
from apex_tasks.web.pages.rendering import LEAVE_SCRIPT_SOURCE, Links, message_page, refusal_page

POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'self'; base-uri 'none'; "
    f"frame-ancestors 'self'; frame-src 'self'; script-src {LEAVE_SCRIPT_SOURCE}"
)
PAGE_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""The report is shown in a frame of the tab, and the tab in one of Airflow's interface."""


def install_error_pages(app: FastAPI, login: Callable[[Request], Links] = lambda _: ()) -> None:
    """Give an application the handlers and headers of this module.

    Parameters
    ----------
    login
        Text and address of the page to log in at, for a request that lacks a login.
    """

    def refused(_: Request, error: Exception) -> Response:
        assert isinstance(error, Refusal)  # noqa: S101 - for the type checker
        return HTMLResponse(refusal_page(error), status_code=HTTPStatus.SERVICE_UNAVAILABLE.value)

    def unknown(_: Request, error: Exception) -> Response:
        return HTMLResponse(message_page("Not found", str(error)), status_code=HTTPStatus.NOT_FOUND.value)

    def invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101 - for the type checker
        details = [(".".join(str(part) for part in one["loc"]), str(one["msg"])) for one in error.errors()]
        page = message_page("Not understood", "A part of the address is missing or wrong.", details)
        return HTMLResponse(page, status_code=HTTPStatus.UNPROCESSABLE_ENTITY.value)

    def answered(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - for the type checker
        title, text = _explain(error.status_code, str(error.detail)), str(error.detail)
        links: Links = ()
        if error.status_code == HTTPStatus.UNAUTHORIZED:
            text, links = "This page is for people who are logged in to Airflow.", login(request)
        elif error.status_code == HTTPStatus.FORBIDDEN:
            text = "Airflow does not let you read the DAG that this page is about. Ask who runs Airflow."
        elif error.status_code == HTTPStatus.NOT_FOUND:
            text = "There is no such page."
        return HTMLResponse(
            message_page(title, text, links=links), status_code=error.status_code, headers=error.headers
        )

    app.add_exception_handler(Refusal, refused)
    app.add_exception_handler(UnknownError, unknown)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, answered)
    app.add_middleware(UnhandledErrorMiddleware, reply=_unexpected)
    app.add_middleware(SecurityHeaders, headers=PAGE_HEADERS)


def _explain(status: int, otherwise: str) -> str:
    titles = {401: "Please log in", 403: "Not for you", 404: "Not found", 405: "Not allowed"}
    return titles.get(status, otherwise)


def _unexpected(number: str) -> Response:
    text = f"This page could not be made; the web server's log says why, under {number}."
    return HTMLResponse(
        message_page("Something went wrong", text), status_code=HTTPStatus.INTERNAL_SERVER_ERROR.value
    )
