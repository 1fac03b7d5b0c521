"""A bucket of tokens for each access key: so many calls a second, and no more."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from recollect.errors import ProvisionedThroughputExceededException


class KeyRate:
    """The calls a second that each key may make; a second's worth may come at once.

    Only keys whose signature was verified are seen here, so there are no more buckets than keys.
    """

    def __init__(self, per_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Set the rate; 0 for no bound."""
        self._per_s = per_s
        self._burst = max(1.0, per_s)
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: dict[str, tuple[float, float]] = {}

    def spend(self, key_id: str) -> None:
        """Take a token of a key.

        Raises:
            ProvisionedThroughputExceededException: it has none left.
        """
        if self._per_s <= 0:
            return
        with self._lock:
            now = self._clock()
            tokens, filled_at = self._buckets.get(key_id, (self._burst, now))
            tokens = min(self._burst, tokens + (now - filled_at) * self._per_s)
            if tokens < 1:
                raise ProvisionedThroughputExceededException
            self._buckets[key_id] = (tokens - 1, now)
