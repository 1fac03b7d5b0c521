"""One structured log line and the counters of a request; never a picture, template or secret."""

from __future__ import annotations

import logging
import os
import sys
import time
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import structlog
from prometheus_client import Counter, Gauge, Histogram

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)

REQUESTS = Counter(
    "recollect_requests",
    "Calls answered, by operation and error code (OK where none)",
    ["operation", "code"],
)
REQUEST_SECONDS = Histogram(
    "recollect_request_duration_seconds",
    "Time from the last byte of a call to its answer",
    ["operation"],
    buckets=SECONDS,
)
STAGE_SECONDS = Histogram(
    "recollect_stage_duration_seconds",
    "Time spent in one stage of a call",
    ["stage"],
    buckets=SECONDS,
)
INDEX_BYTES = Gauge("recollect_index_bytes", "Memory of the index of this process")
COLLECTIONS_LOADED = Counter(
    "recollect_collections_loaded", "Collections read into the index of this process"
)
COLLECTIONS_PUT_AWAY = Counter(
    "recollect_collections_put_away", "Collections dropped from the index to make room"
)
CALLS_WAITING = Gauge("recollect_calls_waiting", "Calls that wait for a thread")
CALLS_WORKING = Gauge("recollect_calls_working", "Calls in work")

# To look a counter up in the registry costs more than to write to it.
_seconds_of = cache(STAGE_SECONDS.labels)
_requests_of = cache(REQUESTS.labels)
_request_seconds_of = cache(REQUEST_SECONDS.labels)

log = structlog.get_logger("recollect")


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of a call: when it began, in epoch seconds, and how long it took."""

    name: str
    started: float
    seconds: float


_stages: ContextVar[list[Stage] | None] = ContextVar("stages", default=None)


class stage:
    """Time a stage of the current call."""

    __slots__ = ("_began", "_name", "_started")

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        self._started, self._began = time.time(), time.perf_counter()

    def __exit__(self, *_: object) -> None:
        seconds = time.perf_counter() - self._began
        stages = _stages.get()
        if stages is None:
            _seconds_of(self._name).observe(seconds)
        else:
            stages.append(Stage(self._name, self._started, seconds))


@contextmanager
def stages() -> Iterator[list[Stage]]:
    """Collect the stages of the call that runs inside, and count them together at its end.

    One after the other: between two stages of a call its processor forgets how counting goes, and
    to count each as it ends takes several times as long.
    """
    collected: list[Stage] = []
    token = _stages.set(collected)
    try:
        yield collected
    finally:
        _stages.reset(token)
        for each in collected:
            _seconds_of(each.name).observe(each.seconds)


def stages_so_far() -> list[Stage]:
    """The stages of the current call that have ended."""
    return list(_stages.get() or ())


def answered(operation: str, code: str, seconds: float, **facts: str | None) -> None:
    """Count one answered call and write its line of the log; stages of one name add up."""
    _requests_of(operation, code).inc()
    _request_seconds_of(operation).observe(seconds)
    spent: dict[str, float] = {}
    for each in _stages.get() or ():
        spent[f"{each.name}_ms"] = spent.get(f"{each.name}_ms", 0.0) + 1000 * each.seconds
    rounded = {name: round(ms, 1) for name, ms in spent.items()}
    log.info(
        "call", operation=operation, code=code, ms=round(1000 * seconds, 1), **facts, **rounded
    )


def configure_log(level: str) -> None:
    """Log to standard output, from our code and from libraries, one record a line.

    JSON for programs; where a person looks at a terminal, the same fields to be read.
    """
    number = logging.getLevelNamesMapping()[level.upper()]
    stated: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        # Tracebacks without the values of variables: those may be a picture or a template.
        structlog.processors.format_exc_info,
    ]
    written: structlog.typing.Processor = structlog.processors.JSONRenderer()
    if sys.stdout.isatty():
        plainly = structlog.dev.plain_traceback
        written = structlog.dev.ConsoleRenderer(
            colors="NO_COLOR" not in os.environ, exception_formatter=plainly
        )
    structlog.configure(
        processors=[*stated, written],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )
    of_libraries = logging.StreamHandler(sys.stdout)
    of_libraries.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=stated,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, written],
        )
    )
    logging.basicConfig(level=max(number, logging.WARNING), handlers=[of_libraries], force=True)
