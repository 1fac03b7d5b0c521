"""What the tables share: the files under them, a collection's numbers, its changes, its key."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np

from recollect.gallery import crypt
from recollect.gallery.crypt import ID_BYTES
from recollect.gallery.ids import split_ids, unpacked_all
from recollect.gallery.rows import SCAN_ROWS, no_collection, no_user
from recollect.gallery.store import Block, Change, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from recollect.gallery.sqlite.commit import GroupCommit, Transaction
    from recollect.gallery.sqlite.database import Database, Sql
    from recollect.gallery.sqlite.keyring import Keyring
    from recollect.gallery.store import Collection, Templates

T = TypeVar("T")

ROW_BITS: Final = 36
"""A row of a template or user is its collection's number and, in this many bits, its own."""


def _sealed(table: str, key: str) -> str:
    """A query for what is sealed in a table, between two rows, of collections given as JSON."""
    return (
        "SELECT count(*), max(row), group_concat(collection),"  # noqa: S608 - names of our own
        " CAST(group_concat(id, '') AS BLOB), CAST(group_concat(sealed, '') AS BLOB)"
        f" FROM (SELECT row, collection, {key} AS id, sealed FROM {table}"
        # The plus keeps it from using an index on the collection, whose order is another.
        " WHERE row BETWEEN ? AND ? AND +collection IN (SELECT value FROM json_each(?))"
        " AND sealed IS NOT NULL ORDER BY row LIMIT ?)"
    )


SEALED: Final[Mapping[Kind, str]] = {
    "faces": _sealed("face", "id"),
    "users": _sealed("user", "key"),
}


class Tables:
    """The files of a store and what every table needs of them."""

    _database: Database
    _keyring: Keyring
    _commits: GroupCommit
    _clock: Callable[[], float]
    _exclusive: bool

    def _add(self, work: Callable[[Transaction], T]) -> T:
        assert self._exclusive, "only the serving process may write to a gallery"
        return self._commits.run(work)

    def _free(self, work: Callable[[Transaction], T]) -> T:
        """Write what must be possible on a full disk."""
        assert self._exclusive, "only the serving process may write to a gallery"
        return self._commits.run(work, frees=True)

    def _numbers(self, sql: Sql, collection: Collection) -> tuple[bytes, int, int]:
        """A collection's uid, the sequence of its last change and its last row.

        Raises ResourceNotFoundException where it was deleted.
        """
        numbers = sql.row(
            "SELECT uid, sequence, row_count FROM collection WHERE key = ?", collection.key
        )
        if numbers is None:
            raise no_collection(collection)
        uid, sequence, row_count = numbers
        return uid, sequence, (collection.key << ROW_BITS) + row_count

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
        """Move a collection's counts, and where the index has to follow, its sequence.

        Args:
            transaction: of the write.
            collection: whose.
            faces: enrolled, or negative.
            users: made, or negative.
            rows: made.
            **index: the fields of a Change that are not empty.
        """
        seen = any(index.values())
        ((sequence,),) = transaction.sql.rows(
            "UPDATE collection SET face_count = face_count + ?, user_count = user_count + ?,"
            " row_count = row_count + ?, sequence = sequence + ? WHERE key = ? RETURNING sequence",
            faces,
            users,
            rows,
            seen,
            collection.key,
        )
        if seen:
            transaction.changes.append(Change(collection, sequence, **index))

    def _erase(self, sql: Sql, uid: bytes, kind: str, ids: Sequence[bytes]) -> None:
        """Note what is deleted, so that a restored backup forgets it again."""
        now = self._clock()
        sql.each(
            "INSERT OR IGNORE INTO erasure VALUES (?, ?, ?, ?)", [(uid, kind, i, now) for i in ids]
        )
        self._commits.erased = True

    def _user_row(self, sql: Sql, collection: Collection, user_id: str) -> int:
        """The row of a user, or ResourceNotFoundException."""
        row = sql.row(
            "SELECT row FROM user WHERE collection = ? AND user_id = ?", collection.key, user_id
        )
        if row is None:
            raise no_user(user_id)
        return int(row[0])

    def _box(self, collection: Collection, sql: Sql | None = None) -> crypt.TemplateBox:
        """What seals a collection's templates; `sql` where a connection is at hand."""
        box = self._keyring.opened(collection.key)
        if box is not None:
            return box
        if sql is None:
            with self._database.reading() as lent:
                return self._box(collection, lent)
        uid, _, _ = self._numbers(sql, collection)
        return self._keyring.open(uid, collection.account, collection.key)

    def _blocks(
        self,
        sql: Sql,
        collections: Mapping[int, Collection],
        boxes: Mapping[int, crypt.TemplateBox],
        kind: Kind,
    ) -> Iterator[Block]:
        """Everything that a search sees of some collections of one dimension, by their numbers."""
        dimension = next(iter(collections.values())).dimension
        for owners, ids, sealed in _joined(sql, SEALED[kind], sorted(collections)):
            keys = np.fromstring(owners, np.int64, sep=",")
            size, odd = divmod(len(sealed), len(keys))
            if odd or len(ids) != ID_BYTES * len(keys):
                raise crypt.Damaged("templates of one dimension are not of one length")
            for first, end in pairwise([0, *(np.flatnonzero(np.diff(keys)) + 1), len(keys)]):
                key = int(keys[first])
                some = ids[ID_BYTES * first : ID_BYTES * end]
                templates = boxes[key].open_joined(
                    some, sealed[size * first : size * end], dimension
                )
                yield Block(collections[key], kind, split_ids(some), templates)

    def _opened(
        self, sql: Sql, collection: Collection, rows: Sequence[tuple[bytes, bytes]]
    ) -> tuple[list[str], Templates]:
        """Ids and sealed templates, as they are outside."""
        if not rows:
            return [], np.empty((0, collection.dimension), np.float32)
        ids, sealed = zip(*rows, strict=True)
        box = self._box(collection, sql)
        return unpacked_all(ids), box.open(ids, sealed, collection.dimension)


def _joined(sql: Sql, query: str, keys: Sequence[int]) -> Iterator[tuple[str, bytes, bytes]]:
    """All that a query finds for collections, by their numbers, in blocks: the collection of each
    row, the ids, and what is sealed, each in one value.

    Nothing of Python runs while thousands of rows are put into three values, so that the next block
    is read while one is opened. Each block is a statement of its own: APSW never frees a cursor
    that was still in use when another one of its connection was let go, and each of them makes all
    later ones slower.
    """
    wanted, (first, _), (_, last) = json.dumps(keys), rows_of(keys[0]), rows_of(keys[-1])
    with ThreadPoolExecutor(1, "scan") as ahead:
        ((count, row, *joined),) = sql.rows(query, first, last, wanted, SCAN_ROWS)
        long = count == SCAN_ROWS
        while count == SCAN_ROWS:
            later = ahead.submit(sql.rows, query, row + 1, last, wanted, SCAN_ROWS)
            yield joined
            ((count, row, *joined),) = later.result()
        if count:
            yield joined
    if long:
        # Its pages would stay in memory, and are not asked for again soon.
        sql.connection.release_memory()


def rows_of(collection_key: int) -> tuple[int, int]:
    """The first and the last row that a collection's templates and users may have."""
    return collection_key << ROW_BITS, ((collection_key + 1) << ROW_BITS) - 1
