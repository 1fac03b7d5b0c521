"""Signatures that were used, so that none is used again."""

from __future__ import annotations

import math
import threading

from recollect.errors import InvalidSignatureException, ThrottlingException


class Replays:
    """Signatures that were used, each remembered until it would have expired anyway.

    A client that sends two equal requests within one second signs them alike, and the second is
    refused: offer this where replay matters more than that.
    """

    def __init__(self, count_max: int = 1_000_000) -> None:
        self._count_max = count_max
        self._until: dict[tuple[str, str], float] = {}
        self._lock = threading.Lock()

    def use(self, key_id: str, signature: str, until: float, now: float) -> None:
        """Remember one use; InvalidSignatureException if it is the second.

        Raises ThrottlingException where the memory is full of signatures that could still be
        replayed: forgetting one of them would let it pass.
        """
        with self._lock:
            if self._until.get((key_id, signature), -math.inf) >= now:
                raise InvalidSignatureException("The request signature was used before.")
            if len(self._until) >= self._count_max:
                self._until = {use: end for use, end in self._until.items() if end >= now}
            if len(self._until) >= self._count_max:
                raise ThrottlingException
            self._until[key_id, signature] = until
