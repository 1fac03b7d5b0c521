"""Spans of each call and of its stages, for an OpenTelemetry collector; off unless asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recollect import __version__
from recollect.settings import SettingError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from recollect.telemetry import Stage
    from recollect.wire.outcome import Outcome

NANOSECONDS = 1_000_000_000
EXPORT_DEADLINE_S = 3.0
"""Also what a collector that is gone can cost the end of a drain."""


class Tracer:
    """Sends a span for each call once it is answered, and one for each of its stages below it.

    A span says operation, dialect, request id and error code. Who called, from where, about which
    collection and with which parameters stands in the audit log and in no span.

    Args:
        provider: an OpenTelemetry TracerProvider with its exporters.
    """

    def __init__(self, provider: Any) -> None:
        from opentelemetry import trace

        self._provider = provider
        self._tracer = provider.get_tracer("recollect", __version__)
        self._kind = trace.SpanKind.SERVER
        self._failed = trace.Status(trace.StatusCode.ERROR)
        self._inside: Callable[[Any], Any] = trace.set_span_in_context

    def call(self, outcome: Outcome, stages: Sequence[Stage]) -> None:
        """Send the spans of one call, with the times it was measured at."""
        span = self._tracer.start_span(
            outcome.operation or "unknown operation",
            kind=self._kind,
            start_time=_ns(outcome.started),
            attributes={
                "rpc.system": "aws-api",
                "rpc.method": outcome.operation or "",
                "recollect.dialect": str(outcome.dialect),
                "recollect.request_id": outcome.request_id,
                "recollect.code": outcome.error.code if outcome.error else "OK",
            },
        )
        if outcome.error is not None:
            span.set_status(self._failed)
        inside, ended = self._inside(span), outcome.ended
        for stage in stages:
            part = self._tracer.start_span(
                stage.name, context=inside, start_time=_ns(stage.started)
            )
            part.end(_ns(stage.started + stage.seconds))
            # The audit record tells when the call ended, so it is written after that.
            ended = max(ended, stage.started + stage.seconds)
        span.end(_ns(ended))

    def close(self) -> None:
        """Send what waits and stop."""
        self._provider.shutdown()


def tracer(endpoint: str) -> Tracer | None:
    """The tracer that sends to a collector over OTLP/HTTP, or None where there is none.

    Spans wait in a bounded queue and leave in a thread of their own: a collector that is slow or
    gone costs spans, never calls.

    Raises:
        SettingError: the extra is not installed, or the endpoint is no http(s) URL.
    """
    if not endpoint:
        return None
    if not endpoint.startswith(("http://", "https://")):
        raise SettingError("otlp_endpoint has to be an http:// or https:// URL")
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise SettingError("otlp_endpoint needs the extra: pip install 'recollect[otel]'") from None
    provider = TracerProvider(
        resource=Resource.create({"service.name": "recollect", "service.version": __version__})
    )
    url = f"{endpoint.rstrip('/')}/v1/traces"
    exporter = OTLPSpanExporter(endpoint=url, timeout=EXPORT_DEADLINE_S)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return Tracer(provider)


def _ns(epoch_s: float) -> int:
    return int(epoch_s * NANOSECONDS)
