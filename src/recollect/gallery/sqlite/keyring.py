"""The keys of the collections, in a file of their own that no backup of the database holds.

Destroying a collection's key here makes what is left of it unreadable everywhere: in the
database's free pages, in its log, in every backup of it.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Final

from recollect.gallery import crypt
from recollect.gallery.sqlite.commit import GroupCommit
from recollect.gallery.sqlite.database import Database
from recollect.gallery.store import StoreUnusable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from recollect.gallery.sqlite.commit import Volume

BOXES_MAX: Final = 4096
"""Unsealed keys held in memory."""


class Keyring:
    """Random keys of 32 bytes, each wrapped (AES-256-GCM).

    Args:
        path: its file.
        data_key: 32 bytes; what it wraps with is derived from it.
        volume: the disk it lies on.
        vfs: as of Database.
    """

    def __init__(self, path: Path, data_key: bytes, volume: Volume, *, vfs: str = "unix") -> None:
        self._database = Database(path, crypt.derived(data_key, "keyring"), "keyring", vfs=vfs)
        self._commits = GroupCommit(self._database, volume)
        self._wrapping = crypt.Box(crypt.derived(data_key, "collection keys"))
        self._lock = threading.Lock()
        self._boxes: dict[int, crypt.TemplateBox] = {}

    def make(self, uid: bytes, made_at: float) -> None:
        """Make a collection's key, durably."""
        sealed = self._wrapping.seal(os.urandom(crypt.KEY_BYTES), uid)
        self._commits.run(
            lambda transaction: transaction.sql.run(
                "INSERT INTO key VALUES (?, ?, ?)", uid, sealed, made_at
            )
        )

    def open(self, uid: bytes, account: str, number: int) -> crypt.TemplateBox:
        """Open a collection's key; crypt.Damaged where it is destroyed or cannot be opened."""
        box = self.open_all([(uid, account, number)])[number]
        with self._lock:
            if len(self._boxes) >= BOXES_MAX:
                self._boxes.pop(next(iter(self._boxes)))
            self._boxes[number] = box
        return box

    def open_all(self, owners: Sequence[tuple[bytes, str, int]]) -> dict[int, crypt.TemplateBox]:
        """Open the keys of many collections at once, each as `open`; they are not held."""
        with self._database.reading(snapshot=False) as sql:
            query = "SELECT uid, sealed FROM key WHERE uid = ?"
            sealed = dict(sql.each(query, [(uid,) for uid, _, _ in owners]))
            if len(owners) > 1:
                # Its pages would stay in memory, and are not asked for again soon.
                sql.connection.release_memory()
        boxes = {}
        for uid, account, number in owners:
            if uid not in sealed:
                raise crypt.Damaged(f"the key of collection {account}/{number} is gone")
            key = self._wrapping.open(sealed[uid], uid)
            boxes[number] = crypt.TemplateBox(key, account, number)
        return boxes

    def opened(self, number: int) -> crypt.TemplateBox | None:
        """The key of a collection by its number, where it was opened before."""
        return self._boxes.get(number)

    def destroy(self, uid: bytes, number: int | None = None) -> None:
        """Forget a key for good: neither the file nor its log holds it when this returns."""
        if number is not None:
            with self._lock:
                self._boxes.pop(number, None)
        self._commits.run(
            lambda transaction: transaction.sql.run("DELETE FROM key WHERE uid = ?", uid),
            frees=True,
        )
        self._commits.erased = True
        self.carry()

    def carry(self) -> None:
        """Cut the log off, where a key was destroyed and a reader was in the way."""
        if self._commits.erased:
            self._commits.carry()

    def uids(self) -> set[bytes]:
        """The collections that have a key."""
        with self._database.reading() as sql:
            return {uid for (uid,) in sql.rows("SELECT uid FROM key")}

    def keep(self, uids: Iterable[bytes]) -> None:
        """Destroy every key but these: those of collections whose deletion a crash cut short.

        Raises StoreUnusable where one of these is missing: the file belongs to another database.
        """
        wanted, found = set(uids), self.uids()
        if wanted - found:
            raise StoreUnusable(
                f"{self._database.path} lacks the keys of {len(wanted - found)} collections: put "
                "back the keyring that belongs to this database"
            )
        for uid in found - wanted:
            self.destroy(uid)

    def copy(self, path: Path) -> None:
        """Write a copy of the file, encrypted as this one."""
        self._database.copy(path)

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()
