"""The endpoint: one HTTP request in, one operation called, one HTTP response out."""

from __future__ import annotations

import asyncio
import re
import time
import traceback
import uuid
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import structlog

from recollect import telemetry
from recollect.errors import (
    AnswerError,
    InternalServerError,
    MethodNotAllowedException,
    SerializationException,
    ThrottlingException,
    UnknownOperationException,
)
from recollect.wire import bearer, codec, plain, route, validate
from recollect.wire.body import Bodies, Body
from recollect.wire.caller import Caller, HttpRequest
from recollect.wire.dialect import Answer, Dialect, failure
from recollect.wire.limits import Limits
from recollect.wire.outcome import Outcome, without_blobs
from recollect.wire.rate import KeyRate
from recollect.wire.slots import Slots

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from recollect.wire.model import OperationModel
    from recollect.wire.route import Route

log = structlog.get_logger("recollect")

Operation = Callable[[Caller, dict[str, Any]], dict[str, Any]]

CORS_HEADERS = (
    "authorization,content-type,x-amz-content-sha256,x-amz-date,x-amz-security-token,"
    "x-amz-target,x-amz-user-agent,amz-sdk-invocation-id,amz-sdk-request"
)


SDK_ATTEMPT = re.compile(r"\battempt=(\d{1,4})\b.*\bmax=(\d{1,4})\b")
"""As AWS's SDKs count their attempts in `amz-sdk-request`."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request that was let in."""

    id: str
    started: float
    request: HttpRequest
    route: Route


class Endpoint:
    """Serves a table of operations; knows the protocol and nothing about faces.

    The order of the checks is the contract's: path, verb and content type; size; a free slot; then,
    in one thread of a bounded pool: who signed, which operation, what it says, every rule of its
    shape, may they. Only then the operation runs, and its outcome is recorded before the reply.

    Args:
        operations: functions by operation name; each gets the caller and the checked parameters.
        identify: verifies the signature or bearer key of a whole request; raises an AnswerError.
        authorise: raises AccessDeniedException where the caller may not do it.
        record: called once for each call that was let in, in the call's thread, before its reply;
            where it raises, the caller gets InternalServerError and no result.
        refused: called for each request that was turned away at the door, on the event loop, so it
            must not block; nothing is known of its sender.
        limits: every bound.
        path_prefix: path in front of every route, such as `/rekognition`.
        cors_origins: origins whose pages may call; none by default.
    """

    def __init__(
        self,
        operations: Mapping[str, Operation],
        *,
        identify: Callable[[HttpRequest], Caller],
        authorise: Callable[[Caller, str, dict[str, Any]], None],
        record: Callable[[Outcome], None],
        refused: Callable[[Outcome], None] | None = None,
        limits: Limits | None = None,
        path_prefix: str = "",
        cors_origins: Iterable[str] = (),
    ) -> None:
        limits = limits or Limits()
        self._operations = operations
        self._identify = identify
        self._authorise = authorise
        self._record = record
        self._refused = refused
        self._limits = limits
        self._path_prefix = path_prefix
        self._cors_origins = frozenset(cors_origins)
        self._bodies = Bodies(limits.bodies_bytes_max)
        self._slots = Slots(
            limits.call_threads,
            limits.call_queue_max,
            limits.call_wait_max_s,
            limits.call_last_wait_max_s,
        )
        telemetry.CALLS_WAITING.set_function(lambda: self._slots.waiting)
        telemetry.CALLS_WORKING.set_function(lambda: self._slots.working)
        self._rate = KeyRate(limits.key_rate_per_s)
        self._pool = ThreadPoolExecutor(limits.call_threads, thread_name_prefix="call")

    def drain(self, seconds: float) -> None:
        """Work on the calls that so many seconds are enough for, and refuse the others now."""
        self._slots.drain(seconds)

    def close(self) -> None:
        """Wait for the calls in work and end their threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request of ASGI; nothing of it leaves without a request id."""
        request_id, request = str(uuid.uuid4()), head(scope)
        if request.method == "OPTIONS" and request.header("origin") in self._cors_origins:
            answer: Answer | None = Answer(204, "", b"", _preflight())
        else:
            answer = await self._answer(request_id, request, receive)
        if answer is not None:
            await self._send(send, request, request_id, answer)

    async def _answer(
        self, request_id: str, request: HttpRequest, receive: Receive
    ) -> Answer | None:
        """Let a request in and have it worked on, or refuse it; None where its client has left."""
        started, dialect, operation = time.time(), Dialect.PLAIN, None
        try:
            found = route.find(request, self._path_prefix)
            dialect, operation = found.dialect, found.operation
            if request.method != "POST" and dialect is Dialect.NEITHER:
                dialect = Dialect.PLAIN
            _check_head(request, found)
            body = Body(
                self._bodies,
                self._limits.body_bytes_for(operation),
                signed=not bearer.is_bearer(request),
            )
            try:
                body.declared(request.header("content-length"))
                self._slots.check(_kind(operation), last=_last_attempt(request))
                received = await body.received(receive)
                if received is None:
                    return None
                digest = body.sha256.result if body.sha256 is not None else None
                request = replace(request, body=received, body_sha256=digest)
                call = Call(request_id, started, request, found)
                return await self._in_turn(call, receive, meanwhile=body.finish)
            finally:
                body.release()
        except AnswerError as error:
            if self._refused is not None:
                name = operation.name if operation else None
                self._refused(
                    _outcome(request_id, request, dialect, started, operation=name, error=error)
                )
            return failure(dialect, error, request_id)
        except asyncio.CancelledError:
            # Only the end of a drain cancels calls. Their clients try again, here or elsewhere.
            return failure(dialect, ThrottlingException("Service Unavailable"), request_id)

    async def _in_turn(
        self, call: Call, receive: Receive, meanwhile: Callable[[], None]
    ) -> Answer | None:
        """Wait for a slot and work; None where the client left while it waited.

        `meanwhile` is called here while a thread begins to work.
        """
        kind = _kind(call.route.operation)
        # After the body nothing more comes but the news that the client has gone.
        gone = asyncio.ensure_future(receive())
        try:
            await self._slots.take(kind, last=_last_attempt(call.request))
            began = time.monotonic()
            try:
                # Whoever left while the turn did not come is not worked for. A free slot is taken
                # in the same moment, before the task above has even begun.
                if gone.done():
                    return None
                loop = asyncio.get_running_loop()
                working = loop.run_in_executor(self._pool, self._timed, call)
                meanwhile()
                return await working
            finally:
                self._slots.give(kind, time.monotonic() - began)
        finally:
            gone.cancel()

    def _timed(self, call: Call) -> Answer:
        with telemetry.stages():
            return self._work(call)

    def _work(self, call: Call) -> Answer:
        """Stops 2 to 7, in one thread: recognise, read, check, permit, do, record, answer."""
        caller: Caller | None = None
        params: dict[str, Any] | None = None
        result: dict[str, Any] | None = None
        error: AnswerError | None = None
        body = b""
        operation = call.route.operation
        try:
            caller = self._identify(call.request)
            self._rate.spend(caller.key_id)
            if operation is None or operation.name not in self._operations:
                raise UnknownOperationException
            decoded = codec.decode(call.request.body, operation.input)
            validate.check(decoded, operation.input)
            # Recorded from here on: what broke a rule may be 8 MiB of anything.
            params = decoded
            self._authorise(caller, operation.name, params)
            result = self._operations[operation.name](caller, params)
            body = _encode(call, operation, params, result)
        except AnswerError as answer:
            # Its traceback leads here, where it would be kept: a circle around body and picture.
            result, error = None, answer.with_traceback(None)
        except Exception:
            result, error = None, _bug("a call failed", call)
        try:
            self._record(
                _outcome(
                    call.id,
                    call.request,
                    call.route.dialect,
                    call.started,
                    operation=operation.name if operation else None,
                    caller=caller,
                    params=_recorded(params, operation),
                    result=_without_secrets(result, operation),
                    error=error,
                )
            )
        except Exception:
            error = _bug("a call could not be recorded", call)
        if error is not None:
            return failure(call.route.dialect, error, call.id)
        spoken = call.route.dialect
        return Answer(
            200, codec.CONTENT_TYPE if spoken is Dialect.AWS else plain.CONTENT_TYPE, body
        )

    async def _send(
        self, send: Send, request: HttpRequest, request_id: str, answer: Answer
    ) -> None:
        headers = [("x-amzn-requestid", request_id), ("content-length", str(len(answer.body)))]
        if answer.content_type:
            headers.append(("content-type", answer.content_type))
        headers += answer.headers
        origin = request.header("origin")
        if origin is not None and origin in self._cors_origins:
            headers += [
                ("access-control-allow-origin", origin),
                ("access-control-expose-headers", "x-amzn-RequestId,x-amzn-ErrorType,date"),
                ("vary", "origin"),
            ]
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        await send({"type": "http.response.start", "status": answer.status, "headers": raw})
        await send({"type": "http.response.body", "body": answer.body})


def head(scope: Scope) -> HttpRequest:
    """A request of ASGI as its header tells it, the body still to come."""
    client = scope.get("client")
    return HttpRequest(
        method=scope["method"],
        path=(scope.get("raw_path") or scope["path"].encode()).decode("latin-1"),
        query=scope["query_string"].decode("latin-1"),
        headers=tuple(
            (name.decode("latin-1").lower(), value.decode("latin-1"))
            for name, value in scope["headers"]
        ),
        body=b"",
        source_ip=client[0] if client else "",
        secure=scope["scheme"] == "https",
    )


def _check_head(request: HttpRequest, found: Route) -> None:
    """Refuse what no operation takes: another path, verb, content type or an encoded body."""
    if not found.known_path:
        raise UnknownOperationException
    if request.method != "POST":
        raise MethodNotAllowedException("This path takes POST only")
    if found.dialect is Dialect.NEITHER:
        raise UnknownOperationException
    # Nothing is inflated here: a small body stays small.
    encoding = request.header("content-encoding")
    if encoding is not None and encoding.strip().lower() != "identity":
        raise SerializationException("Send the body without a Content-Encoding")


def _encode(
    call: Call, operation: OperationModel, params: dict[str, Any], result: dict[str, Any]
) -> bytes:
    if call.route.dialect is Dialect.AWS:
        return codec.encode(result, operation.output)
    return plain.encode(operation, params, result, call.id, time.time())


def _recorded(
    params: dict[str, Any] | None, operation: OperationModel | None
) -> dict[str, Any] | None:
    if params is None or operation is None or operation.input is None:
        return None
    recorded: dict[str, Any] = without_blobs(params, operation.input)
    return recorded


def _without_secrets(
    result: dict[str, Any] | None, operation: OperationModel | None
) -> dict[str, Any] | None:
    """An answer without the members that its shape calls sensitive."""
    if result is None or operation is None or operation.output is None:
        return result
    members = operation.output.members
    return {name: value for name, value in result.items() if not members[name].shape.sensitive}


def _outcome(
    request_id: str,
    request: HttpRequest,
    dialect: Dialect,
    started: float,
    *,
    operation: str | None,
    error: AnswerError | None,
    caller: Caller | None = None,
    params: dict[str, Any] | None = None,
    result: dict[str, Any] | None = None,
) -> Outcome:
    return Outcome(
        request_id=request_id,
        operation=operation,
        caller=caller,
        params=params,
        result=result,
        error=error,
        dialect=dialect,
        source_ip=request.source_ip,
        user_agent=request.header("user-agent") or "",
        started=started,
        ended=time.time(),
    )


def _bug(event: str, call: Call) -> InternalServerError:
    """Log the exception at hand under the request's id; its text goes to nobody else."""
    operation = call.route.operation
    log.error(
        event,
        request_id=call.id,
        operation=operation.name if operation else None,
        # Made here, not by the log: loggers with fancy tracebacks print the values of variables,
        # and here those are a signature and a picture.
        exception=traceback.format_exc(),
    )
    return InternalServerError()


def _kind(operation: OperationModel | None) -> str:
    return operation.name if operation else ""


def _last_attempt(request: HttpRequest) -> bool:
    """Whether an SDK says that this call was refused before and will not be tried again."""
    found = SDK_ATTEMPT.search(request.header("amz-sdk-request") or "")
    return found is not None and 1 < int(found[1]) >= int(found[2])


def _preflight() -> tuple[tuple[str, str], ...]:
    return (
        ("access-control-allow-methods", "POST"),
        ("access-control-allow-headers", CORS_HEADERS),
        ("access-control-max-age", "600"),
    )
