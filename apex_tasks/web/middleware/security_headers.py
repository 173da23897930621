"""Headers that keep a browser from doing more with an answer than to show it."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

DATA_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
"""For answers that programs read."""
DOCS_HEADERS = {
    **{name: value for name, value in DATA_HEADERS.items() if name != "Cache-Control"},
    # The page of the documentation starts itself with a script inside it.
    "Content-Security-Policy": "default-src 'none'; script-src 'self' 'unsafe-inline'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'",
}
"""For the interactive documentation."""


class SecurityHeaders:
    """Middleware that adds them to every answer.

    Parameters
    ----------
    headers
        Set where an answer has no such header of its own.
    docs
        First parts of the paths of the interactive documentation, which has headers of its own.
    """

    def __init__(self, app: ASGIApp, headers: Mapping[str, str], docs: tuple[str, ...] = ()) -> None:
        self.app = app
        self._headers = headers
        self._docs = docs

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        is_docs = bool(self._docs) and scope["path"].startswith(self._docs)
        added = DOCS_HEADERS if is_docs else self._headers

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in added.items():
                    headers.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, with_headers)
