"""One TCP connection: httptools' parser in uvicorn's protocol, with deadlines and strictness."""

from __future__ import annotations

import asyncio
import math
import uuid
from enum import Enum, auto
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Self

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from recollect.errors import (
    AnswerError,
    RequestHeaderTooLargeException,
    RequestTimeoutException,
    SerializationException,
    ThrottlingException,
)
from recollect.wire.dialect import Dialect, failure, spoken
from recollect.wire.limits import Limits

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

# Where one of these stands twice, two readers may understand two different requests.
ONCE = {
    b"authorization",
    b"content-encoding",
    b"content-length",
    b"content-type",
    b"host",
    b"transfer-encoding",
    b"x-amz-content-sha256",
    b"x-amz-date",
    b"x-amz-security-token",
    b"x-amz-target",
}

LINGER_S = 5.0
"""How long a refused client is still listened to: closing at once would reset the connection and
take the answer away before it is read."""
CROWDED_HEADER_S = 2.0
"""How long a connection beyond the bound may take to say what it wants, to be told no."""
UNREAD_BYTES_MAX = 1 << 20
"""Bytes of a body that may wait to be taken by the application. It takes them in the same round of
the loop; uvicorn's bound of 64 KiB would pause and resume the socket at every piece."""
STUCK_S = 30.0
"""How long a client may take nothing of an answer that does not fit the buffers."""
STOPPING_S = 2.0
"""How long a request that is half received at the stop of the server may take to end."""
STOPPING_IDLE_S = 0.25
"""Likewise for a connection without a request: one may be on its way already."""
STOPPING_LINGER_S = 0.5
"""Likewise for a refused client that is still listened to."""


class State(Enum):
    """What a connection is waiting for."""

    HEADER = auto()
    BODY = auto()
    ANSWER = auto()
    IDLE = auto()
    CLOSING = auto()


class Refused(Exception):
    """Leaves httptools' callbacks with the error to answer."""

    def __init__(self, error: AnswerError) -> None:
        super().__init__(error)
        self.error = error


class Pieces:
    """What has arrived of a body, put together when the application takes it.

    uvicorn's array is copied whenever it outgrows its place, several times for a megabyte.
    """

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0

    def __iadd__(self, piece: bytes) -> Self:
        self._pieces.append(piece)
        self._size += len(piece)
        return self

    def __len__(self) -> int:
        return self._size

    def __bytes__(self) -> bytes:
        return b"".join(self._pieces)


class Ending:
    """The transport as uvicorn's cycle sees it: closing it is left to the connection, and the head
    of an answer leaves together with what follows it.

    A server that is killed between the two would leave a head without a body. botocore does not
    compare what came with Content-Length, takes that for an empty answer and does not try again.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._cycle = connection.cycle
        self._head: bytes | None = None

    def write(self, data: bytes) -> None:
        """Send bytes."""
        if self._head is None and self._cycle.response_started:
            self._head = data
        else:
            self.flush(data)

    def flush(self, more: bytes = b"") -> None:
        """Send what was kept, and more."""
        if self._head:
            self._head, more = b"", self._head + more
        if more:
            self._connection.transport.write(more)

    def is_closing(self) -> bool:
        """Whether the end has begun."""
        return self._connection.transport.is_closing()

    def close(self) -> None:
        """End the connection after what was written."""
        self.flush()
        self._connection.end()


class Connection(HttpToolsProtocol):
    """Closes what does not move, refuses what can be read in two ways, takes one call at a time.

    uvicorn itself never closes an unfinished header or body, waits for them at its stop, and
    accepts a request without Host. A connection that was refused answers once and closes, so that
    nothing behind a misread request is ever taken for a second one; so does one on which a second
    request arrived before the first was answered (no SDK does that).
    """

    limits = Limits()
    """Set by `serve` on a subclass of its own."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._state = State.HEADER
        self._deadline_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_s = math.inf
        """When the timer comes; the deadline is that or later."""
        self._header_bytes = 0
        self._body_bytes = 0
        self._stopping = False
        self._surplus = False
        self._crowded = False
        self._stuck: asyncio.TimerHandle | None = None

    # The transport's side.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, or turn it away where there are too many."""
        others = len(self.connections)
        super().connection_made(transport)
        self._crowded = others >= self.limits.connections_max
        seconds = CROWDED_HEADER_S if self._crowded else self.limits.header_deadline_s
        self._await(State.HEADER, seconds)
        if others >= self.limits.connections_max * 5 // 4:
            transport.abort()  # Even to be refused there are too many.

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._state = State.CLOSING
        for timer in (self._timer, self._stuck):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Give a client that does not take its answer a while."""
        super().pause_writing()
        self._stuck = self.loop.call_later(STUCK_S, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on: the client takes its answer."""
        super().resume_writing()
        if self._stuck is not None:
            self._stuck.cancel()

    def data_received(self, data: bytes) -> None:
        """Parse what came, within the bounds."""
        if self._state is State.CLOSING or self._surplus:
            return
        if self._state is State.IDLE:
            self._await_header()
        if self._state is State.HEADER:
            self._header_bytes += len(data)
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__
            self._refuse(
                cause.error if isinstance(cause, Refused) else SerializationException("Bad request")
            )
        except httptools.HttpParserUpgrade:
            self._refuse(SerializationException("This server speaks HTTP/1.1 only"))
        except httptools.HttpParserError:
            self._refuse(SerializationException("The request is not HTTP/1.1"))
        else:
            # By pieces as they arrive: a header without end never reaches the parser's callbacks.
            if self._state is State.HEADER and self._header_bytes > self.limits.header_bytes_max:
                self._refuse(RequestHeaderTooLargeException("The header is too large"))

    # The parser's side.

    def on_message_begin(self) -> None:
        """Begin a request, unless the one before is still to be answered."""
        if self._state in {State.BODY, State.ANSWER}:
            self._surplus = True
            self.cycle.keep_alive = False
        if self._state is State.IDLE:  # In one piece with the end of the request before.
            self._await_header()
        if not self._surplus:
            super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Take a piece of the request's target."""
        if not self._surplus:
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, or refuse one too many."""
        if self._surplus:
            return
        super().on_header(name, value)
        if len(self.headers) > self.limits.header_count_max:
            raise Refused(RequestHeaderTooLargeException("The header has too many fields"))

    def on_headers_complete(self) -> None:
        """Check the header as a whole and hand the request to the application."""
        if self._surplus:
            return
        self._check_headers()
        self._header_bytes = self._body_bytes = 0
        seconds = STOPPING_S if self._stopping else self.limits.body_deadline_s
        self._await(State.BODY, seconds)
        super().on_headers_complete()
        self.cycle.transport = Ending(self)  # type: ignore[assignment]
        if self._stopping:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body and grant the time that it deserves."""
        if self._surplus:
            return
        before = self._body_bytes // self.limits.body_rate_min_bytes_s
        self._body_bytes += len(body)
        self._deadline_s += self._body_bytes // self.limits.body_rate_min_bytes_s - before
        if self.cycle.response_complete:
            return
        if not self.cycle.body:  # uvicorn's empty array: the application has taken what there was.
            self.cycle.body = Pieces()  # type: ignore[assignment]
        self.cycle.body += body
        if len(self.cycle.body) > UNREAD_BYTES_MAX:
            self.flow.pause_reading()
        self.cycle.message_event.set()

    def on_message_complete(self) -> None:
        """Wait for the application, however long it takes."""
        if self._surplus:
            return
        super().on_message_complete()
        if self.cycle.response_complete:  # It was refused before its end.
            self._await(State.IDLE, self.limits.idle_deadline_s)
            if self._stopping:
                self.end()
        else:
            self._await(State.ANSWER, None)

    def on_response_complete(self) -> None:
        """Wait for the next request, or for the end of a body that nobody reads."""
        self.cycle.transport.flush()  # type: ignore[attr-defined]
        super().on_response_complete()
        self._unset_keepalive_if_required()  # The deadline is ours.
        if self._state is State.ANSWER:
            self._await(State.IDLE, self.limits.idle_deadline_s)

    def _check_headers(self) -> None:
        """Refuse what two readers may understand in two ways."""
        if self._crowded:
            raise Refused(ThrottlingException())
        values = dict(self.headers)
        if len(values) < len(self.headers):
            names = [name for name, _ in self.headers]
            for name in ONCE:
                if names.count(name) > 1:
                    raise Refused(SerializationException(f"{name.decode()} stands twice"))
        if b"host" not in values and self.parser.get_http_version() != "1.0":
            raise Refused(SerializationException("Host is missing"))
        coding = values.get(b"transfer-encoding")
        if coding is not None:
            if b"content-length" in values:
                raise Refused(SerializationException("Transfer-Encoding beside Content-Length"))
            if coding.strip().lower() != b"chunked" or self.parser.get_http_version() == "1.0":
                raise Refused(SerializationException("Transfer-Encoding may be chunked only"))
        if self.parser.should_upgrade():
            raise Refused(SerializationException("This server speaks HTTP/1.1 only"))

    # Deadlines and the end.

    def shutdown(self) -> None:
        """End soon: answer what is in work, give what is half received a moment, close the rest."""
        self._stopping = True
        if self._state is State.ANSWER:
            self.cycle.keep_alive = False
        elif self._state is State.CLOSING:
            self._await(State.CLOSING, STOPPING_LINGER_S)
        elif self._state is State.BODY:
            self.cycle.keep_alive = False
            self._await(State.BODY, STOPPING_S)
        elif self._header_bytes:
            self._await(State.HEADER, STOPPING_S)
        else:
            self._await(self._state, STOPPING_IDLE_S)

    def _await_header(self) -> None:
        self._await(State.HEADER, STOPPING_S if self._stopping else self.limits.header_deadline_s)

    def _await(self, state: State, seconds: float | None) -> None:
        """Enter a state, which ends with the connection after so many seconds."""
        self._state = state
        self._deadline_s = self.loop.time() + seconds if seconds is not None else math.inf
        # A timer that comes too early looks at the deadline: most are put off before they come.
        if self._deadline_s < self._timer_s:
            self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._timer_s = None, self._deadline_s
        if self._deadline_s < math.inf:
            self._timer = self.loop.call_at(self._deadline_s, self._late)

    def _late(self) -> None:
        self._timer, self._timer_s = None, math.inf
        if self.loop.time() < self._deadline_s:
            self._set_timer()
        elif self._state is State.CLOSING:
            self.transport.abort()
        elif self._state is State.IDLE or (self._state is State.HEADER and not self._header_bytes):
            self.end()
        else:
            self._refuse(RequestTimeoutException("The request did not arrive in time"))

    def _refuse(self, error: AnswerError) -> None:
        """Answer a request that never became a call, once, and close."""
        answered = self.cycle is not None and self._state is State.BODY
        answered = answered and self.cycle.response_started
        if self._state is State.ANSWER:
            # Garbage behind a request in work: that one is answered, nothing else is.
            self._surplus = True
            self.cycle.keep_alive = False
            return
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if not answered:
            self.transport.write(self._written(error))
        self._linger()

    def _written(self, error: AnswerError) -> bytes:
        headers = dict(self.headers or ())
        content_type = headers.get(b"content-type", b"").decode("latin-1")
        dialect = spoken(content_type, headers.get(b"accept", b"").decode("latin-1"))
        if dialect is Dialect.NEITHER:
            dialect = Dialect.PLAIN
        request_id = str(uuid.uuid4())
        answer = failure(dialect, error, request_id)
        lines = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}".encode()]
        lines += [name + b": " + value for name, value in self.server_state.default_headers]
        lines += [
            f"x-amzn-requestid: {request_id}".encode(),
            f"content-type: {answer.content_type}".encode(),
            f"content-length: {len(answer.body)}".encode(),
            b"connection: close",
        ]
        return b"\r\n".join(lines) + b"\r\n\r\n" + answer.body

    def _linger(self) -> None:
        """Say that nothing more will come, and throw away what still arrives for a while."""
        self._await(State.CLOSING, STOPPING_LINGER_S if self._stopping else LINGER_S)
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def end(self) -> None:
        """End the connection behind the answer, so that the client gets to read it."""
        if self._state is State.BODY:
            self._linger()
        elif self._state is not State.CLOSING:
            # Cut where the client does not even take what was written.
            self._await(State.CLOSING, LINGER_S)
            self.transport.close()
