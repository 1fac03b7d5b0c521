"""What the tables share: the database, a collection's counters, its changes, its key."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np

from recollect.gallery import crypt
from recollect.gallery.ids import split_ids, unpacked_all
from recollect.gallery.rows import SCAN_ROWS, no_collection, no_user, raw_id
from recollect.gallery.store import Block, Change

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from recollect.gallery.postgres.database import Database, Rows, Sql
    from recollect.gallery.postgres.feed import Feed
    from recollect.gallery.store import Collection, Kind, Templates

T = TypeVar("T")

BOXES_MAX: Final = 4096
"""Unsealed keys held in memory."""


class Transaction:
    """What one write works on: the connection, and the change to deliver after the commit."""

    def __init__(self, sql: Sql) -> None:
        self.sql = sql
        self.change: Change | None = None


class Tables:
    """The database of a store and what every table needs of it."""

    _database: Database
    _feed: Feed
    _wrapping: crypt.Box
    _boxes: dict[int, crypt.TemplateBox]
    _boxes_lock: threading.Lock
    _clock: Callable[[], float]

    def _write(self, work: Callable[[Transaction], T]) -> T:
        """Do one write; it returns after this node's index has followed."""
        transaction = None

        def whole(sql: Sql) -> T:
            nonlocal transaction
            transaction = Transaction(sql)
            return work(transaction)

        result = self._database.write(whole)
        assert transaction is not None
        if transaction.change is not None:
            self._feed.deliver(transaction.change)
        return result

    def _of(self, source: Rows, collection: Collection, query: str, *values: Any) -> list[Any]:
        """The rows of a query about a collection, in the moment in which it is found to exist.

        Args:
            source: the database, or a connection in a transaction.
            collection: whose; ResourceNotFoundException where it is deleted.
            query: names its collection as `tally.collection`; its first column is never null.
            values: of the query.
        """
        rows = source.rows(
            f"SELECT found.* FROM tally LEFT JOIN LATERAL ({query}) found ON true"  # noqa: S608
            " WHERE tally.collection = %s",
            *values,
            collection.key,
        )
        if not rows:
            raise no_collection(collection)
        return [row for row in rows if row[0] is not None]

    def _locked(self, sql: Sql, collection: Collection) -> int:
        """Lock a collection for the rest of the transaction; its last row in face_template.

        Raises ResourceNotFoundException where it was deleted.
        """
        row = sql.row(
            "SELECT sequence, row_count FROM tally WHERE collection = %s FOR UPDATE",
            collection.key,
        )
        if row is None:
            raise no_collection(collection)
        # From here on: the change of this very transaction has to be delivered too.
        self._feed.follow(collection, row[0])
        return int(row[1])

    def _changed(
        self,
        transaction: Transaction,
        collection: Collection,
        *,
        faces: int = 0,
        users: int = 0,
        rows: int = 0,
        **index: Any,
    ) -> None:
        """Move a collection's counts, and where indexes have to follow, its sequence.

        Args:
            transaction: of the write, which has locked the collection.
            collection: whose.
            faces: enrolled, or negative.
            users: made, or negative.
            rows: made in face_template.
            **index: the fields of a Change that are not empty.
        """
        seen = any(index.values())
        ((sequence,),) = transaction.sql.rows(
            "UPDATE tally SET face_count = face_count + %s, user_count = user_count + %s,"
            " row_count = row_count + %s, sequence = sequence + %s WHERE collection = %s"
            " RETURNING sequence",
            faces,
            users,
            rows,
            int(seen),
            collection.key,
        )
        if seen:
            change = transaction.change = Change(collection, sequence, **index)
            transaction.sql.run(
                "INSERT INTO change VALUES (%s, %s, %s, %s, %s, %s)",
                collection.key,
                sequence,
                b"".join(raw_id(i) for i, _ in change.faces_added),
                b"".join(map(raw_id, change.faces_removed)),
                b"".join(raw_id(i) for i, _ in change.users_added),
                b"".join(map(raw_id, change.users_removed)),
            )

    def _user_key(self, source: Rows, collection: Collection, user_id: str) -> bytes:
        """The key of a user, or ResourceNotFoundException."""
        query = "SELECT key FROM enrolled_user WHERE collection = tally.collection AND user_id = %s"
        rows = self._of(source, collection, query, user_id)
        if not rows:
            raise no_user(user_id)
        return bytes(rows[0][0])

    def _new_key(self, sql: Sql, collection: Collection) -> None:
        """Make a collection's key."""
        place = _place(collection)
        sealed = self._wrapping.seal(os.urandom(crypt.KEY_BYTES), place)
        sql.run("INSERT INTO collection_key VALUES (%s, %s)", collection.key, sealed)

    def _box(self, collection: Collection, source: Rows) -> crypt.TemplateBox:
        """What seals a collection's templates.

        Raises:
            ResourceNotFoundException: its key is destroyed, as the collection is.
            Damaged: its key cannot be opened.
        """
        box = self._boxes.get(collection.key)
        if box is not None:
            return box
        rows = source.rows(
            "SELECT sealed FROM collection_key WHERE collection = %s", collection.key
        )
        if not rows:
            raise no_collection(collection)
        key = self._wrapping.open(rows[0][0], _place(collection))
        box = crypt.TemplateBox(key, collection.account, collection.key)
        with self._boxes_lock:
            if len(self._boxes) >= BOXES_MAX:
                self._boxes.pop(next(iter(self._boxes)))
            self._boxes[collection.key] = box
        return box

    def _blocks(
        self, sql: Sql, collection: Collection, kind: Kind, query: str, place: Any
    ) -> Iterator[Block]:
        """Ids and templates of everything a query finds, in blocks.

        A block is two values, in which PostgreSQL has put thousands of rows one behind the other:
        as rows they would take twice as long to receive as to decrypt. No statement takes long.

        Args:
            sql: a connection that sees one moment.
            collection: whose.
            kind: what the query finds.
            query: finds `place`, `id` and `sealed` of so many rows of a collection after a place.
            place: where to begin.
        """
        joined = (
            "SELECT (array_agg(place))[count(*)], string_agg(id, ''), string_agg(sealed, '')"  # noqa: S608
            f" FROM ({query}) block"
        )
        while True:
            ((place, ids, sealed),) = sql.rows(joined, collection.key, place, SCAN_ROWS)
            if ids is None:
                return
            templates = self._box(collection, sql).open_joined(ids, sealed, collection.dimension)
            yield Block(collection, kind, split_ids(ids), templates)

    def _opened(
        self, source: Rows, collection: Collection, rows: Sequence[tuple[bytes, bytes]]
    ) -> tuple[list[str], Templates]:
        """Ids and sealed templates, as they are outside."""
        if not rows:
            return [], np.empty((0, collection.dimension), np.float32)
        ids, sealed = zip(*rows, strict=True)
        box = self._box(collection, source)
        return unpacked_all(ids), box.open(ids, sealed, collection.dimension)


def _place(collection: Collection) -> bytes:
    return f"collection key {collection.account}/{collection.key}".encode()
