"""Pages beside the calls: which requests are for them, and the headers they are served under."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.datastructures import MutableHeaders

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    # Nothing inline, nothing from elsewhere; pictures that the page itself made may be shown.
    # With trusted types and no policy of them, a browser turns no string into markup or script.
    "content-security-policy": "default-src 'self'; img-src 'self' blob: data:; media-src 'self' "
    "blob:; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
    "cache-control": "no-cache",
}


class Beside:
    """Pages beside calls; pure ASGI.

    Every call is a POST, and no page is: so a call is not held against the path of each page first.

    Args:
        calls: the endpoint.
        pages: everything else; passes on to `calls` what it does not know.
    """

    def __init__(self, calls: ASGIApp, pages: ASGIApp) -> None:
        self._calls = calls
        self._pages = pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request to whoever it is for."""
        called = scope["type"] == "http" and scope["method"] == "POST"
        await (self._calls if called else self._pages)(scope, receive, send)


class Guarded:
    """Adds the headers to every answer of an application; pure ASGI."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the application does, under our headers."""

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await self._app(scope, receive, guarded)
