"""What machines ask a server about itself: /livez, /readyz and /metrics."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

import structlog
from prometheus_client import REGISTRY
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import JSONResponse, Response

from recollect.errors import AnswerError
from recollect.wire.dialect import Dialect, failure
from recollect.wire.server import head

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from starlette.requests import Request

    from recollect.wire.caller import HttpRequest

log = structlog.get_logger("recollect")

CHECK_DEADLINE_S = 5.0

Handler = Callable[["Request"], Awaitable[Response]]


async def livez(request: Request) -> Response:
    """Answer 200 as long as the event loop turns: a process that does not is to be restarted."""
    return JSONResponse({"alive": True})


def readyz(checks: Mapping[str, Callable[[], bool]], about: Mapping[str, str]) -> Handler:
    """Make the handler that answers 200 when every check holds, else 503.

    Args:
        checks: name to a function that may take a while, but not longer than five seconds. One
            that raises does not hold; why stands in the log, not in the answer.
        about: what else is told to whoever asks.
    """

    async def handler(request: Request) -> Response:
        states = await asyncio.gather(*(_holds(name, check) for name, check in checks.items()))
        named = [
            {"name": name, "state": "ok" if holds else "failing"}
            for name, holds in zip(checks, states, strict=True)
        ]
        ready = all(states)
        return JSONResponse({"ready": ready, "checks": named, **about}, 200 if ready else 503)

    return handler


async def _holds(name: str, check: Callable[[], bool]) -> bool:
    try:
        async with asyncio.timeout(CHECK_DEADLINE_S):
            return await asyncio.to_thread(check)
    except Exception as error:
        log.warning("a readiness check failed", check=name, error=repr(error))
        return False


def metrics(
    identify: Callable[[HttpRequest], object] | None = None,
    registry: CollectorRegistry = REGISTRY,
) -> Handler:
    """Make the handler of the counters, in OpenMetrics' form.

    Args:
        identify: verifies who asks and raises an AnswerError; None only where the address that it
            is served on keeps strangers out.
        registry: the metrics.
    """

    async def handler(request: Request) -> Response:
        if identify is not None:
            try:
                await asyncio.to_thread(identify, head(request.scope))
            except AnswerError as error:
                answer = failure(Dialect.PLAIN, error, str(uuid.uuid4()))
                headers = dict(answer.headers) | {"content-type": answer.content_type}
                return Response(answer.body, answer.status, headers)
        text = await asyncio.to_thread(generate_latest, registry)
        return Response(text, headers={"content-type": CONTENT_TYPE_LATEST})

    return handler
