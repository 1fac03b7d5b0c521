"""The store over one data folder: its lock, its files, and the thread that tends them."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Final

import apsw

from recollect.errors import InternalServerError
from recollect.gallery import crypt, disk, master
from recollect.gallery.audit import Chain
from recollect.gallery.disk import MIB, FolderLock, Reserve
from recollect.gallery.rows import nobody
from recollect.gallery.sqlite.commit import GroupCommit, Volume
from recollect.gallery.sqlite.database import Database
from recollect.gallery.sqlite.erasures import Erasures
from recollect.gallery.sqlite.keyring import Keyring
from recollect.gallery.sqlite.keys import Keys
from recollect.gallery.store import StoreUnusable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from recollect.gallery.store import Change

log = logging.getLogger(__name__)

TEND_EVERY_S: Final = 1.0
TEND_AGAIN_S: Final = 60.0
"""Pause after tending failed, on a damaged page perhaps."""
CARRY_EVERY_S: Final = 10.0
"""How soon after a deletion the log is cut off; the promise is 60 s."""


DATABASE: Final = "recollect.db"
KEYRING: Final = "keyring.db"
DATA_KEY: Final = "data.key"
"""The files of a store, in its data folder and in a backup of it."""


def open_database(folder: Path, data_key: bytes, *, vfs: str = "unix") -> Database:
    """Open the database of a data folder."""
    return Database(folder / DATABASE, crypt.derived(data_key, "database"), "sqlite", vfs=vfs)


class SQLiteStore(Erasures, Keys):
    """The Store protocol over one data folder.

    Files: `data.key`, sealed under the master key; `recollect.db` (everything) and `keyring.db`
    (the keys of the collections), encrypted page by page under keys derived from it; `reserve`
    (room for deletions on a full disk); `lock`.

    Args:
        folder: the data folder; made where there is none.
        master_key: 32 bytes.
        clock: epoch seconds.
        ids: makes a UUID in its canonical text form.
        exclusive: true for the process that serves the folder, of which there may be one; false
            for a command beside it, which may change keys only.
        reserve_bytes: room kept for deletions on a full disk.
        vfs: file layer under the encryption; tests put a failing one there.

    Raises:
        StoreUnusable: the folder is in use, the key is wrong, or the schema is newer.
    """

    def __init__(
        self,
        folder: Path,
        master_key: bytes,
        *,
        clock: Callable[[], float],
        ids: Callable[[], str],
        exclusive: bool = True,
        reserve_bytes: int = 64 * MIB,
        vfs: str = "unix",
    ) -> None:
        self._folder = folder
        self._clock, self._ids, self._exclusive = clock, ids, exclusive
        self._subscribers: list[Callable[[Change], None]] = []
        self._lock: FolderLock | None = None
        self._closing = threading.Event()
        self._tender = threading.Thread(target=self._tend_until_closed, name="tend", daemon=True)
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if exclusive:
                self._lock = FolderLock(folder)
            volume = Volume(Reserve(folder / "reserve", reserve_bytes if exclusive else 0))
            self._key = key = master.data_key(folder / DATA_KEY, master_key)
            self._secrets = crypt.Box(crypt.derived(key, "access keys"))
            self._nobody = nobody(self._secrets)
            self._chain = Chain(crypt.derived(key, "audit"))
            self._index_key = crypt.derived(key, "index")
            self._database = open_database(folder, key, vfs=vfs)
            self._keyring = Keyring(folder / KEYRING, key, volume, vfs=vfs)
            self._commits = GroupCommit(self._database, volume, self._publish)
            if exclusive:
                with self._database.reading() as sql:
                    self._keyring.keep(uid for (uid,) in sql.rows("SELECT uid FROM collection"))
        except (crypt.Damaged, InternalServerError, OSError, apsw.Error) as error:
            self._unlock()
            raise StoreUnusable(f"{folder} cannot be opened: {error}") from error
        except BaseException:
            self._unlock()
            raise
        if exclusive:
            self._tender.start()

    def index_key(self) -> bytes:
        """A key, 32 bytes, that changes with every record of the audit log.

        What is sealed under it opens only beside the very truth that it was made of: neither one
        that went on without it nor one that was put back from a backup.
        """
        head = self.audit_head()
        return crypt.derived(self._index_key, f"index {head.mac.hex() if head else ''}")

    def subscribe(self, apply: Callable[[Change], None]) -> None:
        """See Store."""
        self._subscribers.append(apply)

    def seal_under(self, master_keys: Sequence[bytes]) -> None:
        """See Store."""
        master.seal_again(self._folder / DATA_KEY, self._key, master_keys)

    def key_for(self, purpose: str) -> bytes:
        """See Store."""
        return crypt.derived(self._key, purpose)

    def tend(self) -> None:
        """Erase what deleted collections left, forget what is too old to count, prepare the log."""
        while self.erase_doomed() and not self._closing.is_set():
            pass
        self.forget_tokens()
        self._keyring.carry()
        self._commits.lengthen_log()

    def carry(self) -> None:
        """Carry the log into the file; nothing deleted before is on a page of either after."""
        self._commits.carry()

    def copy(self, folder: Path, progress: Callable[[int, int], None] | None = None) -> None:
        """Write one moment of the store to an empty folder, while others read and write.

        Args:
            folder: gets a database, a keyring and the sealed data key.
            progress: called with the pages copied so far and those there are.
        """
        # The database first: of a collection made meanwhile the keyring has a key too many, not
        # one too few.
        self._database.copy(folder / DATABASE, progress)
        self._keyring.copy(folder / KEYRING)
        disk.write_new(folder / DATA_KEY, (self._folder / DATA_KEY).read_bytes())

    def close(self) -> None:
        """See Store."""
        self._closing.set()
        if self._tender.is_alive():
            self._tender.join()
        self._keyring.carry()
        self._commits.close()
        self._keyring.close()
        self._database.close()
        self._unlock()

    def _publish(self, change: Change) -> None:
        for apply in self._subscribers:
            apply(change)

    def _tend_until_closed(self) -> None:
        carried_at, tend_at = time.monotonic(), 0.0
        while not self._closing.wait(TEND_EVERY_S):
            now = time.monotonic()
            if now >= tend_at:
                try:
                    self.tend()
                except Exception:
                    # The thread outlives whatever befell it: deletions depend on it.
                    log.exception("tending the store failed; it is tried again in a minute")
                    tend_at = now + TEND_AGAIN_S
            if self._commits.erased and now - carried_at >= CARRY_EVERY_S:
                self.carry()
                carried_at = now

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None
