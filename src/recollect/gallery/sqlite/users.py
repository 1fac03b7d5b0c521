"""Users: who owns which faces, and one template for all of them."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import numpy as np

from recollect.errors import ConflictException
from recollect.gallery.aggregate import aggregate
from recollect.gallery.ids import packed, unpacked
from recollect.gallery.membership import (
    decoded,
    encoded,
    free,
    joined,
    left,
    must_repeat,
    strangers,
)
from recollect.gallery.rows import ONCE_S, raw_id
from recollect.gallery.rows import user as user_of
from recollect.gallery.sqlite.faces import Faces
from recollect.gallery.store import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from recollect.gallery.membership import Answer
    from recollect.gallery.sqlite.commit import Transaction
    from recollect.gallery.store import Association, Block, Collection, Once, Template, User

T = TypeVar("T")

USER: Final = "SELECT key, user_id, face_count FROM user"


class Users(Faces):
    """The tables `user` and `once`."""

    _ids: Callable[[], str]

    def create_user(self, collection: Collection, user_id: str, once: Once | None) -> None:
        """See Store."""
        key = raw_id(self._ids())

        def write(transaction: Transaction) -> None:
            sql = transaction.sql
            _, _, row = self._numbers(sql, collection)
            if sql.row(f"{USER} WHERE collection = ? AND user_id = ?", collection.key, user_id):
                raise ConflictException(f"The user id: {user_id} already exists")
            sql.run(
                "INSERT INTO user (row, collection, key, user_id) VALUES (?, ?, ?, ?)",
                row + 1,
                collection.key,
                key,
                user_id,
            )
            self._changed(transaction, collection, users=1, rows=1)

        self._add(self._once(collection, once, write))

    def delete_user(self, collection: Collection, user_id: str, once: Once | None) -> None:
        """See Store."""

        def write(transaction: Transaction) -> None:
            sql = transaction.sql
            uid, _, _ = self._numbers(sql, collection)
            row = self._user_row(sql, collection, user_id)
            sql.run("UPDATE face SET user = NULL WHERE user = ?", row)
            ((key, face_count),) = sql.rows(
                "DELETE FROM user WHERE row = ? RETURNING key, face_count", row
            )
            self._erase(sql, uid, "user", [key])
            removed = [unpacked(key)] if face_count else []
            self._changed(transaction, collection, users=-1, users_removed=removed)

        self._free(self._once(collection, once, write))

    def user(self, collection: Collection, user_id: str) -> User | None:
        """See Store."""
        with self._database.reading() as sql:
            self._numbers(sql, collection)
            row = sql.row(f"{USER} WHERE collection = ? AND user_id = ?", collection.key, user_id)
        return user_of(row) if row else None

    def users(self, collection: Collection, keys: Sequence[str]) -> dict[str, User]:
        """See Store."""
        places = [(collection.key, packed(key)) for key in keys]
        with self._database.reading() as sql:
            self._numbers(sql, collection)
            rows = sql.each(f"{USER} WHERE collection = ? AND key = ?", places)
        return {user.key: user for user in map(user_of, rows)}

    def list_users(self, collection: Collection, *, after: str, limit: int) -> list[User]:
        """See Store."""
        start = raw_id(after) if after else b""
        query = f"{USER} WHERE collection = ? AND key > ? ORDER BY key LIMIT ?"
        with self._database.reading() as sql:
            self._numbers(sql, collection)
            return [user_of(row) for row in sql.rows(query, collection.key, start, limit)]

    def user_template(self, collection: Collection, user_id: str) -> Template | None:
        """See Store."""
        with self._database.reading() as sql:
            self._numbers(sql, collection)
            rows = sql.rows(
                "SELECT key, sealed FROM user WHERE collection = ? AND user_id = ?"
                " AND sealed IS NOT NULL",
                collection.key,
                user_id,
            )
            _, templates = self._opened(sql, collection, rows)
        return templates[0] if len(templates) else None

    def associate_faces(
        self,
        collection: Collection,
        user_id: str,
        face_ids: Sequence[str],
        *,
        faces_max: int,
        once: Once | None,
        accepts: Callable[[Template, Template], bool] | None = None,
    ) -> Answer:
        """See Store."""

        def write(transaction: Transaction) -> Answer:
            sql = transaction.sql
            self._numbers(sql, collection)
            user = self._user_row(sql, collection, user_id)
            ((key, count, sealed),) = sql.rows(
                "SELECT key, face_count, sealed FROM user WHERE row = ?", user
            )
            found = self._faces(sql, collection, face_ids)
            refused: dict[str, float] = {}
            if sealed is not None and accepts is not None:
                _, (before,) = self._opened(sql, collection, [(key, sealed)])
                templates = self._templates(sql, collection, free(found))
                refused = strangers(before, found, templates, accepts)
            association = joined(user_id, count, face_ids, found, refused, faces_max)
            self._give(transaction, collection, association.done, user, user)
            return association, refused

        return self._add(self._once(collection, once, write, encoded, decoded))

    def disassociate_faces(
        self,
        collection: Collection,
        user_id: str,
        face_ids: Sequence[str],
        *,
        once: Once | None,
    ) -> Association:
        """See Store."""

        def write(transaction: Transaction) -> Answer:
            sql = transaction.sql
            self._numbers(sql, collection)
            user = self._user_row(sql, collection, user_id)
            ((count,),) = sql.rows("SELECT face_count FROM user WHERE row = ?", user)
            found = self._faces(sql, collection, face_ids)
            association = left(user_id, count, face_ids, found)
            self._give(transaction, collection, association.done, None, user)
            return association, {}

        return self._free(self._once(collection, once, write, encoded, decoded))[0]

    def scan(self, collections: Sequence[Collection]) -> tuple[list[int], Iterator[Block]]:
        """See Store. The log cannot be cut off while the moment lasts."""
        picture = self._scan(collections)
        sequences = cast("list[int]", next(picture))
        return sequences, cast("Iterator[Block]", picture)

    def _scan(self, collections: Sequence[Collection]) -> Iterator[list[int] | Block]:
        with self._database.reading() as sql:
            numbers = [self._numbers(sql, collection) for collection in collections]
            yield [sequence for _, sequence, _ in numbers]
            boxes = self._keyring.open_all(
                [
                    (uid, collection.account, collection.key)
                    for (uid, _, _), collection in zip(numbers, collections, strict=True)
                ]
            )
            by_dimension: dict[int, dict[int, Collection]] = defaultdict(dict)
            for collection in collections:
                by_dimension[collection.dimension][collection.key] = collection
            for some in by_dimension.values():
                for kind in KINDS:
                    yield from self._blocks(sql, some, boxes, kind)

    def forget_tokens(self) -> None:
        """Forget the idempotency tokens that are too old to count."""
        oldest = self._clock() - ONCE_S

        def write(transaction: Transaction) -> None:
            transaction.sql.run("DELETE FROM once WHERE at < ?", oldest)

        with self._database.reading() as sql:
            if sql.row("SELECT 1 FROM once WHERE at < ? LIMIT 1", oldest) is None:
                return
        self._free(write)

    def _give(
        self,
        transaction: Transaction,
        collection: Collection,
        face_ids: Sequence[str],
        owner: int | None,
        user: int,
    ) -> None:
        """Give faces to an owner, or to nobody, and average the user anew.

        From all of its faces each time: nothing drifts.
        """
        if not face_ids:
            return
        sql = transaction.sql
        sql.each(
            "UPDATE face SET user = ? WHERE collection = ? AND id = ?",
            [(owner, collection.key, raw_id(i)) for i in face_ids],
        )
        ((key,),) = sql.rows("SELECT key FROM user WHERE row = ?", user)
        rows = sql.rows(
            "SELECT id, sealed, weight FROM face WHERE user = ? ORDER BY id",
            user,
        )
        change: dict[str, Any]
        if rows:
            ids, templates, weights = zip(*rows, strict=True)
            box = self._box(collection, sql)
            mean = aggregate(box.open(ids, templates, collection.dimension), weights)
            (sealed,) = box.seal([key], mean[np.newaxis])
            change = {"users_added": [(unpacked(key), mean)]}
        else:
            sealed = None
            change = {"users_removed": [unpacked(key)]}
        sql.run("UPDATE user SET face_count = ?, sealed = ? WHERE row = ?", len(rows), sealed, user)
        self._changed(transaction, collection, **change)

    def _once(
        self,
        collection: Collection,
        once: Once | None,
        write: Callable[[Transaction], T],
        encode: Callable[[T], str] = json.dumps,
        decode: Callable[[str], T] = json.loads,
    ) -> Callable[[Transaction], T]:
        """Make a write happen once for each token; a repetition has the first one's answer."""
        if once is None:
            return write
        place = (collection.key, once.operation, once.token)

        def write_once(transaction: Transaction) -> T:
            sql, now = transaction.sql, self._clock()
            self._numbers(sql, collection)
            row = sql.row(
                "SELECT fingerprint, answer FROM once WHERE collection = ? AND operation = ?"
                " AND token = ? AND at >= ?",
                *place,
                now - ONCE_S,
            )
            if row is None:
                result = write(transaction)
                sql.run(
                    "INSERT OR REPLACE INTO once VALUES (?, ?, ?, ?, ?, ?)",
                    *place,
                    once.fingerprint,
                    encode(result),
                    now,
                )
                return result
            fingerprint, answer = row
            must_repeat(once, fingerprint)
            return decode(answer)

        return write_once
