"""Slots for calls in work, and the queue before them; a call that cannot be served is told soon."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

from recollect.errors import ThrottlingException

FIRST_GUESS_S = 0.05
"""How long a call of a kind that was never seen is expected to work."""
NEWEST_WEIGHT = 0.2
"""Weight of the newest call in the running mean of its kind."""
CALM_S = 5.0
"""Time without a refusal after which a crowd is no longer expected."""
CROWDED_WAIT_S = 0.1
"""Expected wait that is accepted even while others are being refused."""
CROWDED_CALLS = 1.5
"""... or this many times the length of the calls in work, if that is more."""

MISJUDGED = 5.0
"""A wait that turned out to be so many times its bound ends in a refusal, late as it is."""


class Slots:
    """As many calls in work as there are threads, and a queue that is bounded by its waiting time.

    Each kind of call has a running mean of its length, so the wait of a newcomer can be told
    beforehand and a refusal costs nobody anything. A burst may fill the queue. Where the burst
    turns out to last, that is, once somebody had to be refused, newcomers are let in only if their
    turn comes soon: else every accepted call would wait behind a queue that never empties.

    Belongs to one event loop; nothing here is shared between threads.
    """

    def __init__(
        self,
        count: int,
        queue_max: int,
        wait_max_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._free = count
        self._count = count
        self._queue_max = queue_max
        self._wait_max_s = wait_max_s
        self._clock = clock
        self._queue: deque[tuple[asyncio.Future[None], float]] = deque()
        self._mean_s: dict[str, float] = {}
        self._working: list[float] = []
        self._refused_at = -CALM_S

    @property
    def waiting(self) -> int:
        """Calls in the queue."""
        return len(self._queue)

    @property
    def working(self) -> int:
        """Calls in work."""
        return self._count - self._free

    def check(self, kind: str) -> None:
        """Refuse a call that would have to wait too long.

        Raises:
            ThrottlingException: the queue is full or too slow.
        """
        if self._free:
            return
        if len(self._queue) >= self._queue_max or self._expected_s() > self._patience_s(kind):
            self._refused_at = self._clock()
            raise ThrottlingException

    async def take(self, kind: str) -> None:
        """Wait for a slot; whoever returns from here must `give` it back.

        Raises:
            ThrottlingException: there is none and there will not be one soon enough.
        """
        self.check(kind)
        length_s = self._length_s(kind)
        if self._free:
            self._free -= 1
        else:
            await self._turn(length_s)
        self._working.append(length_s)

    async def _turn(self, length_s: float) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (turn, length_s)
        self._queue.append(entry)
        try:
            async with asyncio.timeout(MISJUDGED * self._wait_max_s):
                await turn
        except (TimeoutError, asyncio.CancelledError) as error:
            if turn.done() and not turn.cancelled():
                self._pass_on()  # The slot came in the same moment.
            elif entry in self._queue:  # Else it was passed over already.
                self._queue.remove(entry)
            if isinstance(error, TimeoutError):
                self._refused_at = self._clock()
                raise ThrottlingException from None
            raise

    def give(self, kind: str, worked_s: float) -> None:
        """Give a slot back and learn how long such a call works."""
        before = self._mean_s.get(kind, worked_s)
        self._mean_s[kind] = before + NEWEST_WEIGHT * (worked_s - before)
        self._working.pop(0)
        self._pass_on()

    def _pass_on(self) -> None:
        while self._queue:
            turn, _ = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def _length_s(self, kind: str) -> float:
        return self._mean_s.get(kind, FIRST_GUESS_S)

    def _expected_s(self) -> float:
        """The wait of a newcomer: the calls in work are half done on average."""
        queued_s = sum(length_s for _, length_s in self._queue)
        return (sum(self._working) / 2 + queued_s) / self._count

    def _patience_s(self, kind: str) -> float:
        if self._clock() - self._refused_at >= CALM_S:
            return self._wait_max_s
        lengths = [*self._working, self._length_s(kind)]
        usual_s = sum(lengths) / len(lengths)
        return min(self._wait_max_s, max(CROWDED_WAIT_S, CROWDED_CALLS * usual_s))
