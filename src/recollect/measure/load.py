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
from contextlib import suppress
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
ANSWER_BYTES_MAX = 64 << 20
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
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def send(self, request: bytes) -> str:
        """Send one request and read its answer: its code, see `Outcome`."""
        while True:
            kept = bool(self._free)
            try:
                async with asyncio.timeout(ANSWER_TIMEOUT_S):
                    stream = self._free.pop() if kept else await self._open()
                    return await self._exchange(stream, request)
            except asyncio.IncompleteReadError as problem:
                # A kept connection that the server closed between two calls says nothing at all.
                if not (kept and not problem.partial):
                    return RESET
            except TimeoutError:
                return TIMEOUT
            except OSError:
                if not kept:
                    return RESET

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(*self._address, limit=ANSWER_BYTES_MAX)

    async def _exchange(
        self, stream: tuple[asyncio.StreamReader, asyncio.StreamWriter], request: bytes
    ) -> str:
        reader, writer = stream
        whole = False
        try:
            writer.write(request)
            await writer.drain()
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in head[1:] if ": " in line)
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            whole = True
        finally:
            if whole and headers.get("connection") != "close":
                self._free.append(stream)
            else:
                writer.close()
        status = int(head[0].split(" ", 2)[1])
        return OK if status == 200 else _code(status, body)

    async def close(self) -> None:
        """Close the free connections."""
        for _, writer in self._free:
            writer.close()
        for _, writer in self._free:
            with suppress(OSError):  # The server was faster.
                await writer.wait_closed()
        self._free.clear()


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
        attempts: how often a call is sent while the server is busy, with the pauses of AWS's
            SDKs in standard mode: chance times 2^n seconds, at most 20.
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
                code = await wire.send(write(number))
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
    await wire.close()
    return sorted([*outcomes, *unsent], key=lambda outcome: outcome.due_s)


async def closed_loop(
    url: str, write: Callable[[int], bytes], *, clients: int, seconds: float
) -> list[Outcome]:
    """Let each of some clients send its next call when its last one was answered."""
    wire = Wire(url)
    began = time.perf_counter()
    outcomes: list[Outcome] = []

    async def client() -> None:
        while (sent_s := time.perf_counter() - began) < seconds:
            code = await wire.send(write(len(outcomes)))
            outcomes.append(Outcome(sent_s, sent_s, time.perf_counter() - began, code))

    await asyncio.gather(*(client() for _ in range(clients)))
    await wire.close()
    return outcomes


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
