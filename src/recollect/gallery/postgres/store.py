"""The store over one PostgreSQL, as one of several nodes has it."""

from __future__ import annotations

import logging
import os
import threading
from typing import TYPE_CHECKING, Final

from recollect.gallery import crypt, master
from recollect.gallery.audit import Chain
from recollect.gallery.postgres.changes import KEPT_S, Changes
from recollect.gallery.postgres.database import Database
from recollect.gallery.postgres.feed import Feed
from recollect.gallery.postgres.keys import Keys
from recollect.gallery.rows import nobody
from recollect.gallery.store import StoreUnusable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from recollect.gallery.postgres.database import Sql
    from recollect.gallery.store import Change

log = logging.getLogger(__name__)

TEND_EVERY_S: Final = 1.0
FORGET_EVERY: Final = 30
"""Rounds of tending between two looks for what is too old to count."""


class PostgresStore(Changes, Keys):
    """The Store protocol over a PostgreSQL that several nodes share.

    The database holds everything; templates, secrets and the keys of collections lie in it
    sealed, under a key that is sealed under the master key, which all nodes have and it has not.

    Args:
        url: a postgresql:// URL.
        master_key: 32 bytes, the same on all nodes.
        clock: epoch seconds.
        ids: makes a UUID in its canonical text form.
        kept_s: how long changes are kept for nodes that are behind.

    Raises:
        StoreUnusable: PostgreSQL cannot be reached or used, or the master key is another one.
    """

    def __init__(
        self,
        url: str,
        master_key: bytes,
        *,
        clock: Callable[[], float],
        ids: Callable[[], str],
        kept_s: float = KEPT_S,
    ) -> None:
        self._clock, self._ids, self._kept_s = clock, ids, kept_s
        self._subscribers: list[Callable[[Change], None]] = []
        self._boxes: dict[int, crypt.TemplateBox] = {}
        self._boxes_lock = threading.Lock()
        self._gate, self._turn = threading.Lock(), threading.Lock()
        self._waiting = []
        self._closing = threading.Event()
        self._tender = threading.Thread(target=self._tend_until_closed, name="tend", daemon=True)
        self._database = Database(url)
        try:
            self._key = key = self._root_key(master_key)
        except BaseException:
            self._database.close()
            raise
        self._wrapping = crypt.Box(crypt.derived(key, "collection keys"))
        self._secrets = crypt.Box(crypt.derived(key, "access keys"))
        self._nobody = nobody(self._secrets)
        self._chain, self._head = Chain(crypt.derived(key, "audit")), None
        self._feed = Feed(self._database, self._changes, self._publish)

    def subscribe(self, apply: Callable[[Change], None]) -> None:
        """See Store. From the first time on this node follows the others by itself."""
        self._subscribers.append(apply)
        if len(self._subscribers) == 1:
            self._feed.start()
            self._tender.start()

    def seal_under(self, master_keys: Sequence[bytes]) -> None:
        """See Store."""
        sealed = master.sealed(self._key, master_keys)
        self._database.write(lambda sql: sql.run("UPDATE root SET sealed = %s", sealed))

    def key_for(self, purpose: str) -> bytes:
        """See Store."""
        return crypt.derived(self._key, purpose)

    def tend(self) -> None:
        """Erase what deleted collections left and forget what is too old to count."""
        while self.erase_doomed() and not self._closing.is_set():
            pass
        self.forget_tokens()
        self.forget_changes()

    def close(self) -> None:
        """See Store."""
        self._closing.set()
        self._feed.close()
        if self._tender.is_alive():
            self._tender.join()
        self._database.close()

    def _publish(self, change: Change) -> None:
        if change.dropped:
            with self._boxes_lock:
                self._boxes.pop(change.collection.key, None)
        for apply in self._subscribers:
            apply(change)

    def _root_key(self, master_key: bytes) -> bytes:
        """The key that all others are derived from; made by the first node that ever starts."""
        made = master.sealed(os.urandom(crypt.KEY_BYTES), [master_key])

        def write(sql: Sql) -> bytes:
            sql.run("INSERT INTO root VALUES (1, %s) ON CONFLICT DO NOTHING", made)
            ((sealed,),) = sql.rows("SELECT sealed FROM root")
            return bytes(sealed)

        try:
            return master.unsealed(self._database.write(write), master_key)
        except crypt.Damaged:
            raise StoreUnusable(
                "the database does not open: the master key is not the one it was made with. All"
                " nodes need the same one, by master_key_file, master_key_command or master_key"
                " (nothing was changed)"
            ) from None

    def _tend_until_closed(self) -> None:
        rounds = 0
        while not self._closing.wait(TEND_EVERY_S):
            try:
                while self.erase_doomed() and not self._closing.is_set():
                    pass
                if rounds % FORGET_EVERY == 0:
                    self.forget_tokens()
                    self.forget_changes()
                rounds += 1
            except Exception:
                # The thread outlives whatever befell it: deletions depend on it.
                log.exception("tending the store failed; it is tried again")
