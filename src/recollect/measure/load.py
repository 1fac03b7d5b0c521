"""Load on a running server: calls sent when they are due, whatever became of those before.

A generator that waits for an answer before it sends the next call lets a slow server set the pace
and reports the few calls that it managed to send (coordinated omission). Here every call has a
time at which it is due, and its latency counts from then, not from when it was sent.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

OK = "OK"
BUSY = frozenset({"ThrottlingException", "ProvisionedThroughputExceededException"})
"""Refusals that clients try again."""

RESET, TIMEOUT, UNSENT = "connection reset", "no answer in time", "not sent"
ANSWER_TIMEOUT_S = 60.0
IN_FLIGHT_MAX = 2000
"""Calls under way at once; one that is due beyond that is counted as not sent."""

BACKOFF_MAX_S = 20.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one call. Times in seconds since the load began."""

    due_s: float
    sent_s: float
    done_s: float
    code: str
    """`OK`, an error's code, or one of `RESET`, `TIMEOUT`, `UNSENT`."""
    attempts: int = 1

    @property
    def latency_s(self) -> float:
        """From when it was due to its answer."""
        return self.done_s - self.due_s


class Connection(asyncio.Protocol):
    """One kept connection: a request out, its answer in. Made for a load of thousands a second."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.kept = False
        """Whether the server lets another request follow."""
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._got = bytearray()

    @property
    def silent(self) -> bool:
        """Whether nothing of an answer has come."""
        return not self._got

    async def exchange(self, request: bytes) -> tuple[int, bytes]:
        """Send a request; status and body of its answer.

        Raises:
            ConnectionError: the connection ended before.
        """
        assert self.transport is not None
        if self.transport.is_closing():
            raise ConnectionResetError
        self._got.clear()
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self._answer

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Keep the way out."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Take a piece of the answer; the whole of it goes to whoever waits."""
        self._got += data
        head, end, body = self._got.partition(b"\r\n\r\n")
        if not end or self._answer is None or self._answer.done():
            return
        lines = head.decode("latin-1").lower().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
        if len(body) >= int(headers.get("content-length", 0)):
            self.kept = headers.get("connection") != "close"
            self._answer.set_result((int(lines[0].split(" ", 2)[1]), bytes(body)))

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits that no answer will come."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionResetError())


class Wire:
    """Kept connections to one server; each call takes a free one or opens another.

    Args:
        url: `http://` address.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or parts.hostname is None:
            raise ValueError(f"load goes to http:// addresses only, not to {url!r}")
        self._address = parts.hostname, parts.port or 80
        self._free: list[Connection] = []

    async def send(self, request: bytes) -> str:
        """Send one request and read its answer: its code, see `Outcome`."""
        while True:
            connection = self._free.pop() if self._free else None
            kept = connection is not None
            try:
                async with asyncio.timeout(ANSWER_TIMEOUT_S):
                    connection = connection or await self._open()
                    status, body = await connection.exchange(request)
            except TimeoutError:
                _close(connection)
                return TIMEOUT
            except OSError:
                # A kept connection that the server closed between two calls says nothing at all.
                if not (kept and connection is not None and connection.silent):
                    return RESET
                continue
            if connection.kept:
                self._free.append(connection)
            else:
                _close(connection)
            return OK if status == 200 else _code(status, body)

    async def _open(self) -> Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(Connection, *self._address)
        return connection

    def close(self) -> None:
        """Close the free connections."""
        while self._free:
            _close(self._free.pop())


def _close(connection: Connection | None) -> None:
    if connection is not None and connection.transport is not None:
        connection.transport.close()


def _code(status: int, body: bytes) -> str:
    try:
        return str(msgspec.json.decode(body)["__type"]).rpartition("#")[2]
    except (msgspec.DecodeError, KeyError, TypeError):
        return f"HTTP {status}"


def poisson(rate_per_s: float, seconds: float, seed: int) -> list[float]:
    """Times at which calls of independent callers are due, in seconds."""
    source = np.random.default_rng(seed)
    count = int(rate_per_s * seconds + 10 * math.sqrt(rate_per_s * seconds) + 10)
    due = np.cumsum(source.exponential(1 / rate_per_s, count))
    return [float(t) for t in due[due < seconds]]


async def open_loop(
    url: str,
    write: Callable[[int], bytes],
    due: Sequence[float],
    *,
    attempts: int = 1,
    seed: int = 0,
) -> list[Outcome]:
    """Send call number n when `due[n]` has come, and wait for every answer.

    Args:
        url: of the server.
        write: the number of a call to its whole HTTP request.
        due: rising times in seconds.
        attempts: how often a call is sent while the server is busy, told and with the pauses as
            AWS's SDKs do it in standard mode: chance times 2^n seconds, at most 20.
        seed: of the pauses.
    """
    source = random.Random(seed)  # noqa: S311 - spreads clients
    wire = Wire(url)
    began = time.perf_counter()
    flying = 0

    async def call(number: int, at_s: float) -> Outcome:
        nonlocal flying
        sent_s = time.perf_counter() - began
        try:
            for attempt in range(1, attempts + 1):
                request = write(number)
                if attempts > 1:
                    request = _counted(request, attempt, attempts)
                code = await wire.send(request)
                if code not in BUSY or attempt == attempts:
                    break
                await asyncio.sleep(min(BACKOFF_MAX_S, source.random() * 2 ** (attempt - 1)))
        finally:
            flying -= 1
        return Outcome(at_s, sent_s, time.perf_counter() - began, code, attempt)

    tasks: list[asyncio.Task[Outcome]] = []
    unsent = []
    for number, at_s in enumerate(due):
        # Even when this is late: what was sent before has to get its turn.
        await asyncio.sleep(max(0.0, at_s - (time.perf_counter() - began)))
        if flying >= IN_FLIGHT_MAX:
            unsent.append(Outcome(at_s, at_s, at_s, UNSENT))
        else:
            flying += 1
            tasks.append(asyncio.create_task(call(number, at_s)))
    outcomes = await asyncio.gather(*tasks)
    wire.close()
    return sorted([*outcomes, *unsent], key=lambda outcome: outcome.due_s)


async def closed_loop(
    url: str,
    write: Callable[[int], bytes],
    *,
    clients: int,
    seconds: float,
    at_end: Callable[[], object] | None = None,
) -> list[Outcome]:
    """Let each of some clients send its next call when its last one was answered.

    Args:
        url: of the server.
        write: the number of a call to its whole HTTP request.
        clients: so many calls are under way until the time is over.
        seconds: after which no call is sent any more.
        at_end: called at that moment, in which a call of every client is under way.

    Returns:
        In the order of the answers; the last ones, as many as clients, were under way at the end.
    """
    wire = Wire(url)
    began = time.perf_counter()
    outcomes: list[Outcome] = []
    over = False

    async def client() -> None:
        while not over:
            sent_s = time.perf_counter() - began
            code = await wire.send(write(len(outcomes)))
            outcomes.append(Outcome(sent_s, sent_s, time.perf_counter() - began, code))

    tasks = [asyncio.create_task(client()) for _ in range(clients)]
    await asyncio.sleep(seconds)
    over = True
    if at_end is not None:
        at_end()
    await asyncio.gather(*tasks)
    wire.close()
    return outcomes


def _counted(request: bytes, attempt: int, attempts: int) -> bytes:
    """The request with the header in which SDKs count; it needs no signature."""
    line = f"\r\namz-sdk-request: attempt={attempt}; max={attempts}\r\n"
    return request.replace(b"\r\n", line.encode("ascii"), 1)


def summary(outcomes: Sequence[Outcome], seconds: float) -> dict[str, Any]:
    """Rates and percentiles of a load that lasted so long.

    Returns:
        offered_per_s, goodput_per_s (answered OK within the time), the latency of those answered
        OK in ms at p50, p95 and p99, codes (how often each), refused_p99_ms (of busy refusals),
        and lag_p99_ms: how late the generator itself sent.
    """
    ok = [outcome for outcome in outcomes if outcome.code == OK]
    refused = [outcome for outcome in outcomes if outcome.code in BUSY]
    sent = [outcome for outcome in outcomes if outcome.code != UNSENT]
    return {
        "offered_per_s": len(outcomes) / seconds,
        "goodput_per_s": sum(outcome.done_s <= seconds for outcome in ok) / seconds,
        **{f"p{p}_ms": _percentile_ms([o.latency_s for o in ok], p) for p in (50, 95, 99)},
        "refused_p99_ms": _percentile_ms([o.done_s - o.sent_s for o in refused], 99),
        "lag_p99_ms": _percentile_ms([o.sent_s - o.due_s for o in sent], 99),
        "codes": dict(sorted(Counter(outcome.code for outcome in outcomes).items())),
    }


def _percentile_ms(seconds: Sequence[float], percent: float) -> float | None:
    """A percentile in milliseconds, of the values themselves; None of none."""
    if not seconds:
        return None
    return 1000 * float(np.percentile(np.array(seconds), percent, method="inverted_cdf"))
