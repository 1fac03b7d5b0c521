"""What was deleted is remembered, so that a restored backup forgets it again."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Final, NamedTuple

from recollect.gallery.ids import unpacked
from recollect.gallery.sqlite.collections import COLLECTION, Collections
from recollect.gallery.sqlite.users import Users
from recollect.gallery.store import Collection

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from recollect.gallery.sqlite.commit import Transaction
    from recollect.gallery.sqlite.database import Database
    from recollect.gallery.sqlite.keyring import Keyring

FORGOTTEN_TOGETHER: Final = 1000
"""Faces deleted in one transaction when a backup is restored."""


class Erasure(NamedTuple):
    """One deletion."""

    uid: bytes
    """Of the collection, 16 bytes."""
    kind: str
    """collection, face or user."""
    id: bytes
    """FaceId or user key, 16 bytes; empty for a whole collection."""
    at: float
    """Epoch seconds."""


def erasures(database: Database) -> list[Erasure]:
    """Every deletion that a database remembers, by collection."""
    with database.reading() as sql:
        return [Erasure(*row) for row in sql.rows("SELECT uid, kind, id, at FROM erasure")]


def drop_keyless(database: Database, keyring: Keyring) -> int:
    """Forget the collections whose key is gone: they were deleted. How many there were."""
    keys = keyring.uids()
    with database.reading() as sql:
        found = sql.rows("SELECT key, uid FROM collection")
    keyless = [(key, uid) for key, uid in found if uid not in keys]
    with database.writer:
        database.writer.executemany("INSERT INTO doomed VALUES (?, ?)", keyless)
        database.writer.executemany(
            "DELETE FROM collection WHERE key = ?", [(key,) for key, _ in keyless]
        )
    return len(keyless)


class Erasures(Collections, Users):
    """The table `erasure`, and how to follow it."""

    def forget(self, deletions: Iterable[Erasure]) -> int:
        """Delete again what another moment of this store deleted.

        Returns:
            How many collections, faces and users were still here.
        """
        ordered = sorted(deletions)
        count = 0
        for uid, group in groupby(ordered, key=lambda erasure: erasure.uid):
            with self._database.reading() as sql:
                row = sql.row(f"{COLLECTION} WHERE uid = ?", uid)
            if row is not None:
                count += self._forget_in(Collection(*row), list(group))

        def write(transaction: Transaction) -> None:
            # At the moments of the first deletion, and those that met nothing here too.
            transaction.sql.each("INSERT OR REPLACE INTO erasure VALUES (?, ?, ?, ?)", ordered)

        self._free(write)
        return count

    def _forget_in(self, collection: Collection, deletions: Sequence[Erasure]) -> int:
        if any(erasure.kind == "collection" for erasure in deletions):
            self.delete_collection(collection)
            return 1
        users = [unpacked(erasure.id) for erasure in deletions if erasure.kind == "user"]
        found = self.users(collection, users).values()
        for user in found:
            self.delete_user(collection, user.user_id, None)
        count = len(found)
        faces = [unpacked(erasure.id) for erasure in deletions if erasure.kind == "face"]
        for start in range(0, len(faces), FORGOTTEN_TOGETHER):
            some = faces[start : start + FORGOTTEN_TOGETHER]
            first = self.delete_faces(collection, some)
            for face_id, user_id in first.owned_by.items():
                self.disassociate_faces(collection, user_id, [face_id], once=None)
            second = self.delete_faces(collection, list(first.owned_by))
            count += len(first.deleted) + len(second.deleted)
        return count
