"""Free places of a pool of processes; a thread gets the one that it had last."""

from __future__ import annotations

import queue
import threading
from typing import TypeVar

T = TypeVar("T")


class Familiar(queue.LifoQueue[T]):
    """A queue of what is free: the calling thread's last one, else the one that came back last.

    The process that worked last has the warmest caches. And one that answers the same thread each
    time is woken on that thread's processor, which falls idle in this moment: Linux spreads those
    who wake many different ones, here to a processor that works for another call.
    """

    def _init(self, maxsize: int) -> None:
        super()._init(maxsize)
        self._threads = threading.local()

    def _get(self) -> T:
        last: T | None = getattr(self._threads, "last", None)
        if last in self.queue:
            self.queue.remove(last)
            self.queue.append(last)
        self._threads.last = found = super()._get()
        return found
