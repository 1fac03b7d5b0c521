"""Users: who owns which faces, and one template for all of them."""

from __future__ import annotations

import json
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
from recollect.gallery.postgres.faces import Faces
from recollect.gallery.rows import ONCE_S, no_collection, raw_id
from recollect.gallery.rows import user as user_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from recollect.gallery.membership import Answer
    from recollect.gallery.postgres.database import Sql
    from recollect.gallery.postgres.tables import Transaction
    from recollect.gallery.store import Association, Block, Collection, Once, Template, User

T = TypeVar("T")

USER: Final = (
    "SELECT key, user_id, face_count FROM enrolled_user WHERE collection = tally.collection"
)
FACE_BLOCK: Final = (
    "SELECT row AS place, id, sealed FROM face_template WHERE collection = %s AND row > %s"
    " ORDER BY row LIMIT %s"
)
USER_BLOCK: Final = (
    "SELECT key AS place, key AS id, sealed FROM enrolled_user WHERE collection = %s AND key > %s"
    " AND sealed IS NOT NULL ORDER BY key LIMIT %s"
)


class Users(Faces):
    """The tables `enrolled_user` and `once`."""

    _ids: Callable[[], str]

    def create_user(self, collection: Collection, user_id: str, once: Once | None) -> None:
        """See Store."""
        key = raw_id(self._ids())

        def write(transaction: Transaction) -> None:
            sql = transaction.sql
            self._locked(sql, collection)
            if self._of(sql, collection, f"{USER} AND user_id = %s", user_id):
                raise ConflictException(f"The user id: {user_id} already exists")
            sql.run(
                "INSERT INTO enrolled_user (collection, key, user_id) VALUES (%s, %s, %s)",
                collection.key,
                key,
                user_id,
            )
            self._changed(transaction, collection, users=1)

        self._write(self._once(collection, once, write))

    def delete_user(self, collection: Collection, user_id: str, once: Once | None) -> None:
        """See Store."""

        def write(transaction: Transaction) -> None:
            sql = transaction.sql
            self._locked(sql, collection)
            key = self._user_key(sql, collection, user_id)
            place = (collection.key, key)
            sql.run(
                "UPDATE face SET user_key = NULL WHERE collection = %s AND user_key = %s", *place
            )
            ((face_count,),) = sql.rows(
                "DELETE FROM enrolled_user WHERE collection = %s AND key = %s RETURNING face_count",
                *place,
            )
            removed = [unpacked(key)] if face_count else []
            self._changed(transaction, collection, users=-1, users_removed=removed)

        self._write(self._once(collection, once, write))

    def user(self, collection: Collection, user_id: str) -> User | None:
        """See Store."""
        rows = self._of(self._database, collection, f"{USER} AND user_id = %s", user_id)
        return user_of(rows[0]) if rows else None

    def users(self, collection: Collection, keys: Sequence[str]) -> dict[str, User]:
        """See Store."""
        raw = [key for key in map(packed, keys) if key is not None]
        rows = self._of(self._database, collection, f"{USER} AND key = ANY(%s)", raw)
        return {user.key: user for user in map(user_of, rows)}

    def list_users(self, collection: Collection, *, after: str, limit: int) -> list[User]:
        """See Store."""
        start = raw_id(after) if after else b""
        query = f"{USER} AND key > %s ORDER BY key LIMIT %s"
        rows = self._of(self._database, collection, query, start, limit)
        return [user_of(row) for row in sorted(rows)]

    def user_template(self, collection: Collection, user_id: str) -> Template | None:
        """See Store."""
        query = (
            "SELECT key, sealed FROM enrolled_user WHERE collection = tally.collection"
            " AND user_id = %s AND sealed IS NOT NULL"
        )
        rows = self._of(self._database, collection, query, user_id)
        _, templates = self._opened(self._database, collection, rows)
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
            self._locked(sql, collection)
            key, count, sealed = self._owner(sql, collection, user_id)
            found = self._faces(sql, collection, face_ids)
            refused: dict[str, float] = {}
            if sealed is not None and accepts is not None:
                _, (before,) = self._opened(sql, collection, [(key, sealed)])
                templates = self._templates(sql, collection, free(found))
                refused = strangers(before, found, templates, accepts)
            association = joined(user_id, count, face_ids, found, refused, faces_max)
            self._give(transaction, collection, association.done, key, key)
            return association, refused

        return self._write(self._once(collection, once, write, encoded, decoded))

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
            self._locked(sql, collection)
            key, count, _ = self._owner(sql, collection, user_id)
            found = self._faces(sql, collection, face_ids)
            association = left(user_id, count, face_ids, found)
            self._give(transaction, collection, association.done, None, key)
            return association, {}

        return self._write(self._once(collection, once, write, encoded, decoded))[0]

    def scan(self, collections: Sequence[Collection]) -> tuple[list[int], Iterator[Block]]:
        """See Store. From here on this node follows the collections."""
        for collection in collections:
            # Before the picture is taken: what others commit in between is then delivered, too.
            self._feed.follow(collection, self.sequence(collection))
        picture = self._scan(collections)
        sequences = cast("list[int]", next(picture))
        return sequences, cast("Iterator[Block]", picture)

    def _scan(self, collections: Sequence[Collection]) -> Iterator[list[int] | Block]:
        with self._database.reading() as sql:
            keys = [collection.key for collection in collections]
            query = "SELECT collection, sequence FROM tally WHERE collection = ANY(%s)"
            sequences = dict(sql.rows(query, keys))
            for collection in collections:
                if collection.key not in sequences:
                    raise no_collection(collection)
            yield [sequences[key] for key in keys]
            for collection in collections:
                yield from self._blocks(sql, collection, "faces", FACE_BLOCK, 0)
                yield from self._blocks(sql, collection, "users", USER_BLOCK, b"")

    def forget_tokens(self) -> None:
        """Forget the idempotency tokens that are too old to count."""
        oldest = self._clock() - ONCE_S

        def write(sql: Sql) -> None:
            sql.run("DELETE FROM once WHERE at < %s", oldest)

        if self._database.row("SELECT 1 FROM once WHERE at < %s LIMIT 1", oldest) is not None:
            self._database.write(write)

    def _owner(
        self, sql: Sql, collection: Collection, user_id: str
    ) -> tuple[bytes, int, bytes | None]:
        """A user's key, number of faces and sealed aggregate."""
        key = self._user_key(sql, collection, user_id)
        ((count, sealed),) = sql.rows(
            "SELECT face_count, sealed FROM enrolled_user WHERE collection = %s AND key = %s",
            collection.key,
            key,
        )
        return key, count, sealed

    def _give(
        self,
        transaction: Transaction,
        collection: Collection,
        face_ids: Sequence[str],
        owner: bytes | None,
        user: bytes,
    ) -> None:
        """Give faces to an owner, or to nobody, and average the user anew.

        From all of its faces each time: nothing drifts.
        """
        if not face_ids:
            return
        sql = transaction.sql
        sql.run(
            "UPDATE face SET user_key = %s WHERE collection = %s AND id = ANY(%s)",
            owner,
            collection.key,
            [raw_id(i) for i in face_ids],
        )
        rows = sql.rows(
            "SELECT face.id, sealed, weight FROM face JOIN face_template USING (collection, row)"
            " WHERE collection = %s AND user_key = %s ORDER BY face.id",
            collection.key,
            user,
        )
        change: dict[str, Any]
        if rows:
            ids, templates, weights = zip(*rows, strict=True)
            box = self._box(collection, sql)
            mean = aggregate(box.open(ids, templates, collection.dimension), weights)
            (sealed,) = box.seal([user], mean[np.newaxis])
            change = {"users_added": [(unpacked(user), mean)]}
        else:
            sealed = None
            change = {"users_removed": [unpacked(user)]}
        sql.run(
            "UPDATE enrolled_user SET face_count = %s, sealed = %s"
            " WHERE collection = %s AND key = %s",
            len(rows),
            sealed,
            collection.key,
            user,
        )
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
            # The lock makes a repetition wait, on whichever node it arrives, for the first one.
            self._locked(sql, collection)
            row = sql.row(
                "SELECT fingerprint, answer FROM once WHERE collection = %s AND operation = %s"
                " AND token = %s AND at >= %s",
                *place,
                now - ONCE_S,
            )
            if row is None:
                result = write(transaction)
                sql.run(
                    "INSERT INTO once VALUES (%s, %s, %s, %s, %s, %s)"
                    " ON CONFLICT (collection, operation, token) DO UPDATE SET"
                    " fingerprint = excluded.fingerprint, answer = excluded.answer,"
                    " at = excluded.at",
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
