"""Where an id stands: open addressing over the ids that the arena holds anyway."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Callable

    from recollect.gallery.columns import Bytes

Addresses = npt.NDArray[np.int64]

EMPTY: Final = 0xFFFFFFFF
GONE: Final = 0xFFFFFFFE
"""A slot that held an id once: a search for another id goes on behind it, a new id may take it."""

SLOTS_MIN: Final = 128


class Directory:
    """Addresses of ids, 4 bytes a slot, at most two thirds of the slots used.

    The ids themselves are not copied; `ids_at` reads them where they stand.

    Args:
        ids_at: gives the ids, shape (count, 16), that stand at addresses.
    """

    def __init__(self, ids_at: Callable[[Addresses], Bytes]) -> None:
        self._ids_at = ids_at
        self._slots = np.full(SLOTS_MIN, EMPTY, np.uint32)
        self._used = 0
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def find(self, ids: Bytes) -> Addresses:
        """Find the addresses of ids, shape (count, 16); -1 for those that are not here."""
        return self._probe(ids)[0]

    def add(self, ids: Bytes, addresses: Addresses) -> None:
        """Enter ids that are not here yet."""
        if 3 * (self._used + len(ids)) > 2 * len(self._slots):
            self._rebuild(len(ids))
        self._enter(ids, addresses)

    def remove(self, ids: Bytes) -> None:
        """Strike out ids that are here."""
        addresses, slots = self._probe(ids)
        assert (addresses >= 0).all(), "an id is struck out that was never entered"
        self._slots[slots] = GONE
        self._count -= len(ids)

    def _enter(self, ids: Bytes, addresses: Addresses) -> None:
        mask = len(self._slots) - 1
        slots = _hash(ids) & mask
        waiting = np.arange(len(ids))
        while len(waiting):
            held = self._slots[slots[waiting]]
            free = waiting[held >= GONE]
            self._slots[slots[free]] = addresses[free]
            # Where two ids want one free slot the last one written has it.
            lost = self._slots[slots[waiting]] != addresses[waiting]
            self._used += int(np.count_nonzero(held[~lost] == EMPTY))
            waiting = waiting[lost]
            slots[waiting] = (slots[waiting] + 1) & mask
        self._count += len(ids)

    def _probe(self, ids: Bytes) -> tuple[Addresses, npt.NDArray[np.int64]]:
        mask = len(self._slots) - 1
        slots = _hash(ids) & mask
        addresses = np.full(len(ids), -1, np.int64)
        waiting = np.arange(len(ids))
        while len(waiting):
            found = self._slots[slots[waiting]].astype(np.int64)
            waiting, found = waiting[found != EMPTY], found[found != EMPTY]
            held = np.flatnonzero(found != GONE)
            same = held[(self._ids_at(found[held]) == ids[waiting[held]]).all(axis=1)]
            addresses[waiting[same]] = found[same]
            waiting = np.delete(waiting, same)
            slots[waiting] = (slots[waiting] + 1) & mask
        return addresses, slots

    def _rebuild(self, more: int) -> None:
        addresses = self._slots[self._slots < GONE].astype(np.int64)
        size = SLOTS_MIN
        while size < 2 * (len(addresses) + more):
            size *= 2
        self._slots = np.full(size, EMPTY, np.uint32)
        self._used = self._count = 0
        self._enter(self._ids_at(addresses), addresses)


def _hash(ids: Bytes) -> npt.NDArray[np.int64]:
    """Spread ids over 31 bits; UUIDs of tests may differ in their last bytes only."""
    halves = np.ascontiguousarray(ids).view(np.uint64)
    mixed = halves[:, 0] ^ (halves[:, 1] * np.uint64(0x9E3779B97F4A7C15))
    for factor in (np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)):
        # Multiplying carries upwards only: fold the upper half down before and after.
        mixed ^= mixed >> np.uint64(33)
        mixed *= factor
    return (mixed >> np.uint64(33)).astype(np.int64)
