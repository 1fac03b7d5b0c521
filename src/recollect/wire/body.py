"""Bodies on their way in: bounded each, and bounded together."""

from __future__ import annotations

import hashlib
from concurrent.futures import Future
from typing import TYPE_CHECKING

from recollect.errors import (
    RequestEntityTooLargeException,
    SerializationException,
    ThrottlingException,
)

if TYPE_CHECKING:
    from starlette.types import Receive


class Bodies:
    """The bytes of all bodies that are being received or held by calls."""

    def __init__(self, bytes_max: int) -> None:
        """Start with nothing held."""
        self._bytes_max = bytes_max
        self.held_bytes = 0

    def hold(self, count: int) -> None:
        """Count bytes that have arrived.

        Raises:
            ThrottlingException: other calls hold too much already.
        """
        if self.held_bytes + count > self._bytes_max:
            raise ThrottlingException
        self.held_bytes += count


class Body:
    """The body of one call; `release` it when the call is over.

    Args:
        bodies: it is counted among.
        bytes_max: it may have.
        signed: its SHA-256 will be asked for. All of it but the last piece is then hashed while
            the client sends the next, and the rest in `finish`.
    """

    def __init__(self, bodies: Bodies, bytes_max: int, *, signed: bool) -> None:
        self._bodies = bodies
        self._bytes_max = bytes_max
        self._size = 0
        self._hash = hashlib.sha256()
        self._last = b""
        self.sha256: Future[str] | None = Future() if signed else None
        """In hex; there after `finish`."""

    def declared(self, content_length: str | None) -> None:
        """Refuse a body that announces itself as too long, before any of it is read.

        Raises:
            RequestEntityTooLargeException: it does.
            SerializationException: the announcement is no number.
        """
        if content_length is None:
            return
        if not (content_length.isascii() and content_length.isdigit()):
            raise SerializationException("Content-Length is not a number")
        # Twenty digits are more than any body; Python refuses to convert thousands of them.
        if len(content_length) > 20 or int(content_length) > self._bytes_max:
            raise self._too_long()

    async def received(self, receive: Receive) -> bytes | None:
        """Receive the whole body; None where the client left before its end.

        Raises:
            RequestEntityTooLargeException: it goes on beyond its bound.
            ThrottlingException: other calls hold too much already.
        """
        parts: list[bytes] = []
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            part: bytes = message.get("body", b"")
            if self._size + len(part) > self._bytes_max:
                raise self._too_long()
            self._bodies.hold(len(part))
            self._size += len(part)
            parts.append(part)
            if not message.get("more_body", False):
                self._last = part
                return b"".join(parts)
            if self.sha256 is not None:
                self._hash.update(part)

    def finish(self) -> None:
        """Hash what is left, beside a thread that works on the received body already."""
        if self.sha256 is not None:
            self._hash.update(self._last)
            self.sha256.set_result(self._hash.hexdigest())

    def release(self) -> None:
        """Forget the bytes."""
        self._bodies.held_bytes -= self._size
        self._size = 0

    def _too_long(self) -> RequestEntityTooLargeException:
        return RequestEntityTooLargeException(
            f"The body has more than the {self._bytes_max} bytes that this operation takes"
        )
