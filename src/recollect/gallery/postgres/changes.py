"""The table `change`: what other nodes have to follow, and how it is read."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from recollect.gallery.crypt import Damaged
from recollect.gallery.ids import unpacked_all
from recollect.gallery.postgres.users import Users
from recollect.gallery.store import Change

if TYPE_CHECKING:
    from collections.abc import Sequence

    from recollect.gallery.postgres.database import Sql
    from recollect.gallery.store import Collection

log = logging.getLogger(__name__)

READ_TOGETHER: Final = 64
"""Changes read at a time, each with up to as many templates as a call can enrol."""
KEPT_S: Final = 600.0
"""How long changes are kept for nodes that are behind."""

AFTER: Final = (
    "SELECT tally.sequence, change.sequence, faces_added, faces_removed, users_added, users_removed"
    " FROM tally LEFT JOIN change ON change.collection = tally.collection AND change.sequence > %s"
    " WHERE tally.collection = %s ORDER BY change.sequence LIMIT %s"
)


class Changes(Users):
    """The table `change`."""

    _kept_s: float

    def catch_up(self, collection: Collection, sequence: int) -> None:
        """See Store."""
        self._feed.catch_up(collection.key, sequence)

    def unfollow(self, collection: Collection) -> None:
        """See Store."""
        self._feed.unfollow(collection.key)

    def forget_changes(self) -> None:
        """Forget the changes that every node that lives has followed."""

        def write(sql: Sql) -> None:
            sql.run("DELETE FROM change WHERE at < now() - %s * interval '1 second'", self._kept_s)

        self._database.write(write)

    def _changes(self, collection: Collection, after: int) -> list[Change]:
        """The next changes of a collection; one that says `missed` where they are not kept."""
        return self._database.read(lambda sql: self._changes_in(sql, collection, after))

    def _changes_in(self, sql: Sql, collection: Collection, after: int) -> list[Change]:
        rows = sql.rows(AFTER, after, collection.key, READ_TOGETHER)
        if not rows:
            return [Change(collection, after + 1, dropped=True)]
        last = rows[0][0]
        if last == after:
            return []
        if rows[0][1] != after + 1:
            return [Change(collection, last, missed=True)]
        try:
            return self._whole(sql, collection, [row[1:] for row in rows])
        except Damaged as error:
            # Which template it is, and what is to be done, the scan of all will tell.
            log.error("changes of collection %s cannot be read: %s", collection.key, error)
            return [Change(collection, rows[-1][1], missed=True)]

    def _whole(
        self, sql: Sql, collection: Collection, rows: Sequence[Sequence[Any]]
    ) -> list[Change]:
        """Changes with the templates as they are now: what is gone by now, a later one removes."""
        faces = self._templates(sql, collection, [i for row in rows for i in _ids(row[1])])
        keys = [key for row in rows for key in _split(row[3])]
        query = (
            "SELECT key, sealed FROM enrolled_user WHERE collection = tally.collection"
            " AND key = ANY(%s) AND sealed IS NOT NULL"
        )
        found = self._of(sql, collection, query, keys) if keys else []
        users = dict(zip(*self._opened(sql, collection, found), strict=True))
        return [
            Change(
                collection,
                sequence,
                faces_added=[(i, faces[i]) for i in _ids(faces_added) if i in faces],
                faces_removed=_ids(faces_removed),
                users_added=[(i, users[i]) for i in _ids(users_added) if i in users],
                users_removed=_ids(users_removed),
            )
            for sequence, faces_added, faces_removed, users_added, users_removed in rows
        ]


def _split(joined: bytes) -> list[bytes]:
    return [joined[start : start + 16] for start in range(0, len(joined), 16)]


def _ids(joined: bytes) -> list[str]:
    return unpacked_all(_split(joined)) if joined else []
