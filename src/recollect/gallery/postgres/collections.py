"""Collections and their tags: made with a key, deleted by destroying it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from recollect.errors import ResourceAlreadyExistsException, ServiceQuotaExceededException
from recollect.gallery.postgres.tables import Tables
from recollect.gallery.rows import ERASED_ROWS_MAX, SWAPPED, no_collection
from recollect.gallery.store import Change, Collection

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from recollect.gallery.postgres.database import Sql
    from recollect.gallery.postgres.tables import Transaction

COLLECTION_COLUMNS: Final = (
    "SELECT key, account, collection_id, pack, model_version, dimension, created_at, sequence"
)
COLLECTION_TABLES: Final = " FROM collection JOIN tally ON tally.collection = collection.key"
COLLECTION: Final = COLLECTION_COLUMNS + COLLECTION_TABLES
ERASED: Final = ("face_template", "face", "enrolled_user", "tag", "once", "change")
"""Tables that hold rows of a collection."""


class Collections(Tables):
    """The tables `collection`, `collection_key`, `tally`, `tag` and `doomed`."""

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
        fields = (account, collection_id, pack, model_version, dimension, round(self._clock(), 3))

        def write(transaction: Transaction) -> Collection:
            sql = transaction.sql
            # Waits for another node that is making it, and gets no row where that one did.
            row = sql.row(
                "INSERT INTO collection"
                " (account, collection_id, pack, model_version, dimension, created_at)"
                " VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING RETURNING key",
                *fields,
            )
            if row is None:
                raise ResourceAlreadyExistsException(
                    f"The collection id: {collection_id} already exists"
                )
            made = Collection(row[0], *fields)
            self._new_key(sql, made)
            sql.run("INSERT INTO tally (collection) VALUES (%s)", made.key)
            sql.each("INSERT INTO tag VALUES (%s, %s, %s)", [(made.key, *t) for t in tags.items()])
            return made

        return self._write(write)

    def collection(self, account: str, collection_id: str) -> Collection | None:
        """See Store."""
        row = self._database.row(
            f"{COLLECTION} WHERE account = %s AND collection_id = %s", account, collection_id
        )
        return Collection(*row) if row else None

    def collections(self, account: str, *, after: str, limit: int) -> list[Collection]:
        """See Store."""
        query = (
            f"{COLLECTION} WHERE account = %s AND collection_id > %s ORDER BY collection_id"
            " LIMIT %s"
        )
        return [Collection(*row) for row in self._database.rows(query, account, after, limit)]

    def every_collection(self) -> list[Collection]:
        """See Store."""
        return [Collection(*row) for row in self._database.rows(f"{COLLECTION} ORDER BY key")]

    def delete_collection(self, collection: Collection) -> None:
        """See Store. When this returns its templates are unreadable; they are erased soon after."""

        def write(transaction: Transaction) -> None:
            sql, key = transaction.sql, collection.key
            self._locked(sql, collection)
            ((sequence,),) = sql.rows(
                "DELETE FROM tally WHERE collection = %s RETURNING sequence", key
            )
            sql.run("DELETE FROM collection_key WHERE collection = %s", key)
            sql.run("DELETE FROM collection WHERE key = %s", key)
            sql.run("INSERT INTO doomed VALUES (%s)", key)
            transaction.change = Change(collection, sequence + 1, dropped=True)

        self._write(write)

    def swap_collections(self, first: Collection, second: Collection) -> None:
        """See Store."""

        def write(transaction: Transaction) -> None:
            sql = transaction.sql
            # Always in the same order: two swaps at once must not wait for each other.
            for collection in sorted((first, second), key=lambda c: c.key):
                self._locked(sql, collection)
            # A name is unique at every moment, so one of the two waits under one nobody can have.
            for collection, name in (
                (first, SWAPPED),
                (second, first.collection_id),
                (first, second.collection_id),
            ):
                sql.run(
                    "UPDATE collection SET collection_id = %s WHERE key = %s", name, collection.key
                )

        self._write(write)

    def counts(self, collection: Collection) -> tuple[int, int]:
        """See Store."""
        row = self._database.row(
            "SELECT face_count, user_count FROM tally WHERE collection = %s", collection.key
        )
        if row is None:
            raise no_collection(collection)
        return row[0], row[1]

    def sequence(self, collection: Collection) -> int:
        """See Store."""
        row = self._database.row("SELECT sequence FROM tally WHERE collection = %s", collection.key)
        if row is None:
            raise no_collection(collection)
        return int(row[0])

    def tags(self, collection: Collection) -> dict[str, str]:
        """See Store."""
        query = "SELECT name, value FROM tag WHERE collection = tally.collection"
        return dict(sorted(self._of(self._database, collection, query)))

    def tags_of(self, account: str, collection_id: str) -> dict[str, str]:
        """See Store."""
        query = (
            "SELECT name, value FROM tag WHERE collection = coalesce("
            "(SELECT key FROM collection WHERE account = %s AND collection_id = %s), 0)"
        )
        return dict(self._database.rows(query, account, collection_id))

    def tag(self, collection: Collection, tags: Mapping[str, str], *, tags_max: int) -> None:
        """See Store."""

        def write(transaction: Transaction) -> None:
            sql = transaction.sql
            self._locked(sql, collection)
            sql.each(
                "INSERT INTO tag VALUES (%s, %s, %s)"
                " ON CONFLICT (collection, name) DO UPDATE SET value = excluded.value",
                [(collection.key, *tag) for tag in tags.items()],
            )
            ((count,),) = sql.rows("SELECT count(*) FROM tag WHERE collection = %s", collection.key)
            if count > tags_max:
                raise ServiceQuotaExceededException(
                    f"The collection id: {collection.collection_id} can have at most "
                    f"{tags_max} tags"
                )

        self._write(write)

    def untag(self, collection: Collection, keys: Sequence[str]) -> None:
        """See Store."""

        def write(transaction: Transaction) -> None:
            self._locked(transaction.sql, collection)
            transaction.sql.run(
                "DELETE FROM tag WHERE collection = %s AND name = ANY(%s)",
                collection.key,
                list(keys),
            )

        self._write(write)

    def erase_doomed(self) -> bool:
        """Erase some of what a deleted collection left; whether there may be more."""

        def write(sql: Sql) -> bool:
            # One that another node is erasing is left to it.
            row = sql.row("SELECT collection FROM doomed LIMIT 1 FOR UPDATE SKIP LOCKED")
            if row is None:
                return False
            for table in ERASED:
                erased = sql.rows(
                    f"DELETE FROM {table} WHERE ctid IN (SELECT ctid FROM {table}"  # noqa: S608
                    " WHERE collection = %s LIMIT %s) AND collection = %s RETURNING 1",
                    row[0],
                    ERASED_ROWS_MAX,
                    row[0],
                )
                if erased:
                    return True
            sql.run("DELETE FROM doomed WHERE collection = %s", row[0])
            return True

        if self._database.row("SELECT 1 FROM doomed LIMIT 1") is None:
            return False
        return self._database.write(write)
