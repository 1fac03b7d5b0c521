"""Collections and their tags: made with a key, deleted by destroying it."""

from __future__ import annotations

import os
from sys import intern
from typing import TYPE_CHECKING, Final

from recollect.errors import ResourceAlreadyExistsException, ServiceQuotaExceededException
from recollect.gallery.rows import ERASED_ROWS_MAX, SWAPPED, no_collection
from recollect.gallery.sqlite.tables import Tables, rows_of
from recollect.gallery.store import Change, Collection

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from recollect.gallery.sqlite.commit import Transaction
    from recollect.gallery.sqlite.database import Sql

COLLECTION: Final = (
    "SELECT key, account, collection_id, pack, model_version, dimension, created_at, sequence"
    " FROM collection"
)
ERASE: Final = (
    "DELETE FROM face WHERE row IN"
    " (SELECT row FROM face WHERE row BETWEEN :first AND :last LIMIT :rows) RETURNING 1",
    "DELETE FROM user WHERE row IN"
    " (SELECT row FROM user WHERE row BETWEEN :first AND :last LIMIT :rows) RETURNING 1",
    "DELETE FROM tag WHERE collection = :key RETURNING 1",
    "DELETE FROM once WHERE collection = :key RETURNING 1",
)


class Collections(Tables):
    """The tables `collection`, `tag` and `doomed`."""

    def create_collection(
        self,
        account: str,
        collection_id: str,
        *,
        pack: str,
        model_version: str,
        dimension: int,
        tags: Mapping[str, str],
    ) -> Collection:
        """See Store."""
        uid = os.urandom(16)
        fields = (account, collection_id, pack, model_version, dimension, round(self._clock(), 3))

        def write(transaction: Transaction) -> int:
            sql = transaction.sql
            if find_collection(sql, account, collection_id):
                raise ResourceAlreadyExistsException(
                    f"The collection id: {collection_id} already exists"
                )
            ((key,),) = sql.rows(
                "INSERT INTO collection (uid, account, collection_id, pack, model_version,"
                " dimension, created_at) VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING key",
                uid,
                *fields,
            )
            sql.each("INSERT INTO tag VALUES (?, ?, ?)", [(key, *tag) for tag in tags.items()])
            return int(key)

        # The key first: a collection without one could never be written to. A key without a
        # collection is destroyed at the next start.
        self._keyring.make(uid, fields[-1])
        try:
            key = self._add(write)
        except Exception:
            self._keyring.destroy(uid)
            raise
        return Collection(key, *fields)

    def collection(self, account: str, collection_id: str) -> Collection | None:
        """See Store."""
        return self._commits.look(
            lambda sql: find_collection(sql, account, collection_id), snapshot=False
        )

    def collections(self, account: str, *, after: str, limit: int) -> list[Collection]:
        """See Store."""
        query = (
            f"{COLLECTION} WHERE account = ? AND collection_id > ? ORDER BY collection_id LIMIT ?"
        )
        with self._database.reading() as sql:
            return [Collection(*row) for row in sql.rows(query, account, after, limit)]

    def every_collection(self) -> list[Collection]:
        """See Store."""
        with self._database.reading() as sql:
            rows = sql.rows(f"{COLLECTION} ORDER BY key")
        # There may be tens of thousands, of one account and of one pack.
        return [
            Collection(key, intern(account), name, intern(pack), intern(version), *more)
            for key, account, name, pack, version, *more in rows
        ]

    def delete_collection(self, collection: Collection) -> None:
        """See Store. When this returns its templates are unreadable; they are erased soon after."""

        def write(transaction: Transaction) -> bytes:
            sql = transaction.sql
            row = sql.row(
                "DELETE FROM collection WHERE key = ? RETURNING uid, sequence", collection.key
            )
            if row is None:
                raise no_collection(collection)
            uid, sequence = row
            sql.run("INSERT INTO doomed VALUES (?, ?)", collection.key, uid)
            self._erase(sql, uid, "collection", [b""])
            transaction.changes.append(Change(collection, sequence + 1, dropped=True))
            return bytes(uid)

        self._keyring.destroy(self._free(write), collection.key)

    def swap_collections(self, first: Collection, second: Collection) -> None:
        """See Store."""

        def write(transaction: Transaction) -> None:
            # A name is unique at every moment, so one of the two waits under one nobody can have.
            for collection, name in (
                (first, SWAPPED),
                (second, first.collection_id),
                (first, second.collection_id),
            ):
                query = "UPDATE collection SET collection_id = ? WHERE key = ? RETURNING 1"
                if transaction.sql.row(query, name, collection.key) is None:
                    raise no_collection(collection)

        self._add(write)

    def counts(self, collection: Collection) -> tuple[int, int]:
        """See Store."""
        with self._database.reading() as sql:
            row = sql.row(
                "SELECT face_count, user_count FROM collection WHERE key = ?", collection.key
            )
        if row is None:
            raise no_collection(collection)
        return row[0], row[1]

    def sequence(self, collection: Collection) -> int:
        """See Store."""
        with self._database.reading() as sql:
            return self._numbers(sql, collection)[1]

    def unfollow(self, collection: Collection) -> None:
        """See Store. There are no other nodes."""

    def catch_up(self, collection: Collection, sequence: int) -> None:
        """See Store. There are no other nodes, and whoever commits here delivers."""

    def tags(self, collection: Collection) -> dict[str, str]:
        """See Store."""
        with self._database.reading() as sql:
            self._numbers(sql, collection)
            query = "SELECT name, value FROM tag WHERE collection = ? ORDER BY name"
            return dict(sql.rows(query, collection.key))

    def tags_of(self, account: str, collection_id: str) -> dict[str, str]:
        """See Store."""
        query = (
            "SELECT name, value FROM tag WHERE collection = coalesce("
            "(SELECT key FROM collection WHERE account = ? AND collection_id = ?), 0)"
        )
        return self._commits.look(
            lambda sql: dict(sql.rows(query, account, collection_id)), snapshot=False
        )

    def tag(self, collection: Collection, tags: Mapping[str, str], *, tags_max: int) -> None:
        """See Store."""

        def write(transaction: Transaction) -> None:
            sql = transaction.sql
            self._numbers(sql, collection)
            sql.each(
                "INSERT OR REPLACE INTO tag VALUES (?, ?, ?)",
                [(collection.key, *tag) for tag in tags.items()],
            )
            ((count,),) = sql.rows("SELECT count(*) FROM tag WHERE collection = ?", collection.key)
            if count > tags_max:
                raise ServiceQuotaExceededException(
                    f"The collection id: {collection.collection_id} can have at most "
                    f"{tags_max} tags"
                )

        self._add(write)

    def untag(self, collection: Collection, keys: Sequence[str]) -> None:
        """See Store."""

        def write(transaction: Transaction) -> None:
            self._numbers(transaction.sql, collection)
            transaction.sql.each(
                "DELETE FROM tag WHERE collection = ? AND name = ?",
                [(collection.key, key) for key in keys],
            )

        self._free(write)

    def erase_doomed(self) -> bool:
        """Erase some of what a deleted collection left; whether there may be more."""

        def write(transaction: Transaction) -> bool:
            sql = transaction.sql
            row = sql.row("SELECT collection, uid FROM doomed LIMIT 1")
            if row is None:
                return False
            key, uid = row
            self._keyring.destroy(uid)  # Again, where its deletion was cut short.
            first, last = rows_of(key)
            place = {"key": key, "first": first, "last": last, "rows": ERASED_ROWS_MAX}
            self._commits.erased = True
            if not any(sql.connection.execute(query, place).fetchall() for query in ERASE):
                sql.run("DELETE FROM doomed WHERE collection = ?", key)
            return True

        with self._database.reading() as sql:
            if sql.row("SELECT 1 FROM doomed LIMIT 1") is None:
                return False
        return self._free(write)


def find_collection(sql: Sql, account: str, collection_id: str) -> Collection | None:
    """A collection by its name."""
    row = sql.row(f"{COLLECTION} WHERE account = ? AND collection_id = ?", account, collection_id)
    return Collection(*row) if row else None
