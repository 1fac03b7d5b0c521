"""The feed of changes: what this node and the others committed, to this node's index, in order.

Correctness rests on the change numbers in the table alone. Notifications only wake a node up, so
that its next search need not wait; they are sent after the commit and together, because a NOTIFY
inside of transactions makes PostgreSQL commit them one by one.
"""

from __future__ import annotations

import logging
import threading
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Final

import psycopg

from recollect.errors import AnswerError, InternalServerError
from recollect.gallery.postgres.database import cut

if TYPE_CHECKING:
    from collections.abc import Callable

    from recollect.gallery.postgres.database import Connection, Database
    from recollect.gallery.store import Change, Collection

log = logging.getLogger(__name__)

CHANNEL: Final = "recollect_change"
WAIT_S_MAX: Final = 20.0
"""Longest wait for those who deliver before."""
LEVEL_EVERY_S: Final = 2.0
"""How often all followed collections are looked at, whatever was notified."""
TOGETHER_S: Final = 0.005
"""How long notifications are gathered."""
TOLD_TOGETHER: Final = 200
"""Collections in one notification, which may have 8000 bytes."""

BEHIND = "The write is done, but the index does not follow yet; searches wait for it"


class Position:
    """How far a collection's changes are delivered; `lock` is held by whoever delivers."""

    def __init__(self, collection: Collection, sequence: int) -> None:
        self.collection = collection
        self.sequence = sequence
        self.gone = False
        self.lock = threading.RLock()


class Feed:
    """Delivers each change of the followed collections once, in order, from any thread.

    Args:
        database: where the changes are.
        read: reads the next changes of a collection after a sequence; none where there are none.
        publish: takes one change into this node's index.
    """

    def __init__(
        self,
        database: Database,
        read: Callable[[Collection, int], list[Change]],
        publish: Callable[[Change], None],
    ) -> None:
        self._database = database
        self._read = read
        self._publish = publish
        self._positions: dict[int, Position] = {}
        self._touched: dict[int, int] = {}
        self._touched_lock = threading.Lock()
        self._wake = threading.Event()
        self._closed = threading.Event()
        self._listening: Connection | None = None
        self._threads = [
            threading.Thread(target=self._listen_until_closed, name="follow", daemon=True),
            threading.Thread(target=self._tell_until_closed, name="tell", daemon=True),
        ]

    def start(self) -> None:
        """Follow other nodes by itself, and wake them; without it changes wait to be asked for."""
        self._threads[0].start()
        self._threads[1].start()

    def follow(self, collection: Collection, sequence: int) -> None:
        """Deliver a collection's changes from here on, where it is not followed already."""
        if collection.key not in self._positions:
            # Atomic, and without a wait: the lock of a position may be held for long.
            self._positions.setdefault(collection.key, Position(collection, sequence))

    def unfollow(self, key: int) -> None:
        """Deliver nothing more of a collection, but for what is being delivered now."""
        self._positions.pop(key, None)

    def deliver(self, change: Change) -> None:
        """Deliver a change that this node has committed, and before it those of other nodes.

        Raises InternalServerError where those cannot be read now; they are delivered later.
        """
        key = change.collection.key
        with self._touched_lock:
            self._touched[key] = max(change.sequence, self._touched.get(key, 0))
        self._wake.set()
        position = self._positions.get(key)
        if position is None:
            return  # Dropped meanwhile.
        self._hold(position)
        try:
            if change.dropped or change.sequence == position.sequence + 1:
                self._hand_over(position, change)
            else:
                self._catch_up(position, change.sequence)
        finally:
            position.lock.release()

    def catch_up(self, key: int, sequence: int) -> None:
        """Deliver the changes of a collection up to a sequence, where it is followed."""
        position = self._positions.get(key)
        if position is None or position.sequence >= sequence:
            return
        self._hold(position)
        try:
            self._catch_up(position, sequence)
        finally:
            position.lock.release()

    def close(self) -> None:
        """Follow no longer."""
        self._closed.set()
        self._wake.set()
        listening = self._listening
        if listening is not None:
            cut(listening)
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    def _hold(self, position: Position) -> None:
        if not position.lock.acquire(timeout=WAIT_S_MAX):
            raise InternalServerError(BEHIND)

    def _catch_up(self, position: Position, sequence: int) -> None:
        while position.sequence < sequence and not position.gone:
            changes = self._read(position.collection, position.sequence)
            if not changes:
                return
            for change in changes:
                self._hand_over(position, change)

    def _hand_over(self, position: Position, change: Change) -> None:
        if position.gone:
            return
        # Before it is applied: an index that could not follow says so itself, and is not asked
        # a second time.
        position.sequence = change.sequence
        if change.dropped:
            position.gone = True
            self._positions.pop(change.collection.key, None)
        self._publish(change)

    def _listen_until_closed(self) -> None:
        while not self._closed.is_set():
            try:
                with closing(self._database.connect()) as connection:
                    self._listening = connection
                    connection.execute(f"LISTEN {CHANNEL}")
                    self._listen(connection)
            except (psycopg.Error, AnswerError) as error:
                if not self._closed.is_set():
                    log.warning("following other nodes is interrupted: %s", error)
            except Exception:
                # The thread outlives whatever befell it: searches would have to do its work.
                log.exception("a change could not be applied")
            finally:
                self._listening = None
            self._closed.wait(LEVEL_EVERY_S / 4)

    def _listen(self, connection: Connection) -> None:
        while not self._closed.is_set():
            self._level()
            for notice in connection.notifies(timeout=LEVEL_EVERY_S):
                for touched in notice.payload.split(","):
                    key, _, sequence = touched.partition(":")
                    self.catch_up(int(key), int(sequence))

    def _level(self) -> None:
        """Look at every followed collection: notices may be lost, and a failover to a standby
        that was behind may have taken back what was delivered.
        """
        positions = dict(self._positions)
        if not positions:
            return
        query = "SELECT collection, sequence FROM tally WHERE collection = ANY(%s)"
        found = dict(self._database.rows(query, list(positions)))
        for key, position in positions.items():
            if found.get(key) != position.sequence:
                self._hold(position)
                try:
                    for change in self._read(position.collection, position.sequence):
                        self._hand_over(position, change)
                finally:
                    position.lock.release()

    def _tell_until_closed(self) -> None:
        while self._wake.wait() and not self._closed.wait(TOGETHER_S):
            self._wake.clear()
            if self._closed.is_set():
                return  # Perhaps it was the end that woke us.
            with self._touched_lock:
                touched, self._touched = list(self._touched.items()), {}
            for first in range(0, len(touched), TOLD_TOGETHER):
                some = touched[first : first + TOLD_TOGETHER]
                payload = ",".join(f"{key}:{sequence}" for key, sequence in some)
                # Who is not told looks by itself soon, and before every search.
                with suppress(AnswerError):
                    self._database.rows("SELECT pg_notify(%s, %s)", CHANNEL, payload)
