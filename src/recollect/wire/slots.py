"""Slots for calls in work, and the queues before them; who cannot be served is told soon."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, islice

from recollect.errors import ThrottlingException

FIRST_GUESS_S = 0.05
"""How long a call of a kind that was never seen is expected to work."""
NEWEST_WEIGHT = 0.2
"""Weight of the newest call in the running mean of its kind."""
CALM_S = 5.0
"""Time without a refusal after which a crowd is no longer expected."""
CROWDED_WAIT_S = 0.02
"""Expected wait that is accepted even while others are being refused."""
CROWDED_CALLS = 1.0
"""... or this many times the length of the calls in work, if that is more: enough that a slot that
comes free is taken at once, and short enough that every accepted call is answered soon."""

MISJUDGED = 5.0
"""A wait that turned out to be so many times its bound ends in a refusal, late as it is."""


@dataclass(eq=False, slots=True)
class Waiter:
    """A call in a queue."""

    turn: asyncio.Future[None]
    kind: str


class Slots:
    """As many calls in work as there are threads, and two queues bounded by their waiting time.

    Each kind of call has a running mean of its length, so the wait of a newcomer can be told
    beforehand and a refusal costs nobody anything. A burst may fill the queue. Where the burst
    turns out to last, that is, once somebody had to be refused, newcomers are let in only if their
    turn comes soon: else every accepted call would wait behind a queue that never empties.

    To a client on its last attempt a refusal is a failure, so those may wait much longer, in a
    queue of their own. Each queue gets every other turn: neither starves, and no slot is idle.

    Belongs to one event loop; nothing here is shared between threads.

    Args:
        count: calls in work at once.
        queue_max: calls in both queues.
        wait_max_s: expected wait above which a call is refused.
        last_wait_max_s: likewise for a client's last attempt.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        count: int,
        queue_max: int,
        wait_max_s: float,
        last_wait_max_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._free = count
        self._count = count
        self._queue_max = queue_max
        self._wait_max_s = wait_max_s
        self._last_wait_max_s = max(wait_max_s, last_wait_max_s)
        self._clock = clock
        self._queues: tuple[deque[Waiter], deque[Waiter]] = deque(), deque()
        """Of the others, and of last attempts."""
        self._next_queue = 0
        self._mean_s: dict[str, float] = {}
        self._working: list[str] = []
        """The kinds of the calls in work."""
        self._refused_at = -CALM_S
        self._over_at = math.inf

    @property
    def waiting(self) -> int:
        """Calls in the queues."""
        return sum(map(len, self._queues))

    @property
    def working(self) -> int:
        """Calls in work."""
        return self._count - self._free

    def check(self, kind: str, *, last: bool = False) -> None:
        """Refuse a call that would have to wait too long.

        Args:
            kind: calls of one kind are expected to work equally long.
            last: its client will not come again.

        Raises:
            ThrottlingException: the queue is full or too slow, or the drain will be over first.
        """
        expected_s = 0.0 if self._free else self._expected_s(last)
        if self._clock() + expected_s + self._length_s(kind) > self._over_at:
            raise _stopping()
        if self._free:
            return
        if self.waiting >= self._queue_max or expected_s > self._patience_s(kind, last):
            self._refused_at = self._clock()
            raise ThrottlingException

    async def take(self, kind: str, *, last: bool = False) -> None:
        """Wait for a slot; whoever returns from here must `give` it back.

        Raises:
            ThrottlingException: there is none and there will not be one soon enough.
        """
        self.check(kind, last=last)
        if self._free:
            self._free -= 1
            self._working.append(kind)
        else:
            await self._turn(kind, last)

    async def _turn(self, kind: str, last: bool) -> None:
        waiter = Waiter(asyncio.get_running_loop().create_future(), kind)
        queue = self._queues[last]
        queue.append(waiter)
        bound_s = MISJUDGED * self._wait_max_s
        try:
            async with asyncio.timeout(max(bound_s, self._last_wait_max_s) if last else bound_s):
                await waiter.turn
        except (TimeoutError, asyncio.CancelledError) as error:
            if waiter.turn.done() and not waiter.turn.cancelled():
                if waiter.turn.exception() is None:  # The slot came in the same moment.
                    self._working.remove(kind)
                    self._pass_on()
            elif waiter in queue:  # Else it was passed over already.
                queue.remove(waiter)
            if isinstance(error, TimeoutError):
                self._refused_at = self._clock()
                raise ThrottlingException from None
            raise

    def give(self, kind: str, worked_s: float) -> None:
        """Give a slot back and learn how long such a call works."""
        before = self._mean_s.get(kind, worked_s)
        self._mean_s[kind] = before + NEWEST_WEIGHT * (worked_s - before)
        self._working.remove(kind)
        self._pass_on()
        if self._over_at < math.inf:
            self._shed()

    def drain(self, seconds: float) -> None:
        """Work on whom so many seconds are enough for; refuse the others as soon as this shows."""
        self._over_at = self._clock() + seconds
        self._shed()

    def _shed(self) -> None:
        left_s = self._over_at - self._clock()
        before_s = self._in_work_s()
        for queue in self._queues:
            for waiter in list(queue):
                length_s = self._length_s(waiter.kind)
                if before_s / self._count + length_s <= left_s:
                    before_s += length_s
                    continue
                queue.remove(waiter)
                if not waiter.turn.done():
                    waiter.turn.set_exception(_stopping())

    def _pass_on(self) -> None:
        while self.waiting:
            self._next_queue = 1 - self._next_queue
            queue = self._queues[self._next_queue] or self._queues[1 - self._next_queue]
            waiter = queue.popleft()
            if not waiter.turn.done():
                self._working.append(waiter.kind)
                waiter.turn.set_result(None)
                return
        self._free += 1

    def _length_s(self, kind: str) -> float:
        return self._mean_s.get(kind, FIRST_GUESS_S)

    def _in_work_s(self) -> float:
        """Work left of the calls in work: they are half done on average."""
        return sum(map(self._length_s, self._working)) / 2

    def _expected_s(self, last: bool) -> float:
        """The wait of a newcomer behind those who are there."""
        mine, others = self._queues[last], self._queues[not last]
        before = chain(mine, islice(others, len(mine)))  # Each second turn is somebody else's.
        before_s = sum(self._length_s(waiter.kind) for waiter in before)
        return (self._in_work_s() + before_s) / self._count

    def _patience_s(self, kind: str, last: bool) -> float:
        if last:
            return self._last_wait_max_s
        if self._clock() - self._refused_at >= CALM_S:
            return self._wait_max_s
        kinds = [*self._working, kind]
        usual_s = sum(map(self._length_s, kinds)) / len(kinds)
        return min(self._wait_max_s, max(CROWDED_WAIT_S, CROWDED_CALLS * usual_s))


def _stopping() -> ThrottlingException:
    """Clients try again, here or elsewhere."""
    return ThrottlingException("Service Unavailable")
