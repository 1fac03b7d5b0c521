"""Faces: what callers see of them, and apart from it the templates that a search sees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from recollect.gallery.ids import packed, unpacked_all
from recollect.gallery.postgres.collections import (
    COLLECTION_COLUMNS,
    COLLECTION_TABLES,
    Collections,
)
from recollect.gallery.rows import enrolled, missing, raw_id, rounded
from recollect.gallery.rows import face as face_of
from recollect.gallery.store import Collection, Deletion

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from recollect.gallery.postgres.database import Rows, Sql
    from recollect.gallery.postgres.tables import Transaction
    from recollect.gallery.store import Enrolment, Face, Template, Templates

COLUMNS: Final = (
    "SELECT face.id, image_id, external_image_id, box_left, box_top, box_width, box_height,"
    " confidence, model_version, CASE WHEN user_key IS NOT NULL THEN (SELECT user_id"
    " FROM enrolled_user WHERE enrolled_user.collection = face.collection AND key = user_key) END"
)
FACE: Final = f"{COLUMNS} FROM face WHERE collection = tally.collection"
REFERENCE: Final = (
    f"{COLUMNS}, sealed FROM face JOIN face_template USING (collection, row)"
    " WHERE collection = tally.collection AND face.id = ANY(%s)"
)
COLLECTION_WITH_FACE: Final = (
    f"{COLLECTION_COLUMNS}, (SELECT sealed FROM face JOIN face_template USING (collection, row)"  # noqa: S608
    " WHERE face.collection = collection.key AND face.id = %s)"
    f"{COLLECTION_TABLES} WHERE account = %s AND collection_id = %s"
)
TEMPLATE: Final = (
    "SELECT face.id, sealed FROM face JOIN face_template USING (collection, row)"
    " WHERE collection = tally.collection AND face.id = ANY(%s)"
)


class Faces(Collections):
    """The tables `face` and `face_template`."""

    def add_faces(self, collection: Collection, enrolments: Sequence[Enrolment]) -> list[Face]:
        """See Store."""
        if not enrolments:
            return []
        templates = enrolled(enrolments, collection.dimension)
        ids = [raw_id(enrolment.face.face_id) for enrolment in enrolments]
        images = [raw_id(enrolment.face.image_id) for enrolment in enrolments]
        sealed = self._box(collection, self._database).seal(ids, templates)
        enrolled_at = self._clock()

        def write(transaction: Transaction) -> list[Face]:
            sql = transaction.sql
            row = self._locked(sql, collection)
            known = self._known(sql, collection, images)
            faces, face_rows, template_rows, added = [], [], [], []
            for enrolment, face_id, image_id, template in zip(
                enrolments, ids, images, sealed, strict=True
            ):
                place = (image_id, rounded(enrolment.face.box))
                if place not in known:
                    row += 1
                    known[place] = face = enrolment.face
                    face_rows.append(
                        (
                            collection.key,
                            face_id,
                            row,
                            image_id,
                            face.external_image_id,
                            *face.box,
                            face.confidence,
                            face.model_version,
                            enrolment.weight,
                            enrolled_at,
                        )
                    )
                    template_rows.append((collection.key, row, face_id, template))
                    added.append((face.face_id, enrolment.template))
                faces.append(known[place])
            if added:
                sql.each(
                    "INSERT INTO face VALUES"
                    " (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, NULL)",
                    face_rows,
                )
                sql.each("INSERT INTO face_template VALUES (%s, %s, %s, %b)", template_rows)
                count = len(added)
                self._changed(transaction, collection, faces=count, rows=count, faces_added=added)
            return faces

        return self._write(write)

    def references(
        self, collection: Collection, face_ids: Sequence[str]
    ) -> tuple[list[Face], Templates]:
        """See Store. In one question, which a search asks of all that it may have found."""
        ids = _raw(face_ids)
        found = {row[0]: row for row in self._of(self._database, collection, REFERENCE, ids)}
        there = [i for i in ids if i in found]
        rows = [found[i] for i in there]
        box = self._box(collection, self._database)
        templates = box.open(there, [row[-1] for row in rows], collection.dimension)
        return [face_of(row[:-1]) for row in rows], templates

    def collection_with_face(
        self, account: str, collection_id: str, face_id: str
    ) -> tuple[Collection, Template | None] | None:
        """See Store."""
        raw = packed(face_id)
        row = self._database.row(COLLECTION_WITH_FACE, raw, account, collection_id)
        if row is None:
            return None
        *fields, sealed = row
        collection = Collection(*fields)
        if raw is None or sealed is None:
            return collection, None
        box = self._box(collection, self._database)
        return collection, box.open([raw], [sealed], collection.dimension)[0]

    def list_faces(
        self,
        collection: Collection,
        *,
        after: str,
        limit: int,
        user_id: str | None = None,
        face_ids: Sequence[str] | None = None,
    ) -> list[Face]:
        """See Store."""
        start = raw_id(after) if after else b""

        def read(sql: Sql) -> list[Face]:
            user = None if user_id is None else self._user_key(sql, collection, user_id)
            if face_ids is not None:
                wanted = sorted(face_id for face_id in set(face_ids) if face_id > after)
                found = self._faces(sql, collection, wanted).values()
                return [face for face in found if user_id in (None, face.user_id)][:limit]
            if user is not None:
                query = f"{FACE} AND user_key = %s AND id > %s ORDER BY id LIMIT %s"
                rows = self._of(sql, collection, query, user, start, limit)
            else:
                query = f"{FACE} AND id > %s ORDER BY id LIMIT %s"
                rows = self._of(sql, collection, query, start, limit)
            return [face_of(row) for row in sorted(rows)]

        return self._database.read(read)

    def delete_faces(self, collection: Collection, face_ids: Sequence[str]) -> Deletion:
        """See Store."""

        def write(transaction: Transaction) -> Deletion:
            sql = transaction.sql
            self._locked(sql, collection)
            found = self._faces(sql, collection, face_ids)
            owned = {i: face.user_id for i, face in found.items() if face.user_id is not None}
            deleted = [i for i in found if i not in owned]
            if deleted:
                rows = sql.rows(
                    "DELETE FROM face WHERE collection = %s AND id = ANY(%s) RETURNING row",
                    collection.key,
                    [raw_id(i) for i in deleted],
                )
                sql.run(
                    "DELETE FROM face_template WHERE collection = %s AND row = ANY(%s)",
                    collection.key,
                    [row for (row,) in rows],
                )
                self._changed(transaction, collection, faces=-len(deleted), faces_removed=deleted)
            return Deletion(tuple(deleted), missing(face_ids, found), owned)

        return self._write(write)

    def faces_older_than(self, collection: Collection, age_s: float, *, limit: int) -> list[str]:
        """See Store. Reads the whole collection."""
        query = (
            "SELECT id FROM face WHERE collection = tally.collection AND enrolled_at < %s LIMIT %s"
        )
        rows = self._of(self._database, collection, query, self._clock() - age_s, limit)
        return unpacked_all([face_id for (face_id,) in rows])

    def _known(
        self, sql: Sql, collection: Collection, images: Iterable[bytes]
    ) -> dict[tuple[bytes, tuple[str, ...]], Face]:
        """The faces of pictures that are enrolled already, by picture and rounded box."""
        query = f"{FACE} AND image_id = ANY(%s)"
        rows = self._of(sql, collection, query, list(dict.fromkeys(images)))
        return {(row[1], rounded(row[3:7])): face_of(row) for row in rows}

    def _faces(
        self, source: Rows, collection: Collection, face_ids: Iterable[str]
    ) -> dict[str, Face]:
        """Faces by id, in the order asked for; unknown ones are left out."""
        rows = self._of(source, collection, f"{FACE} AND id = ANY(%s)", _raw(face_ids))
        found = {face.face_id: face for face in map(face_of, rows)}
        return {i: found[i] for i in dict.fromkeys(face_ids) if i in found}

    def _templates(
        self, source: Rows, collection: Collection, face_ids: Iterable[str]
    ) -> dict[str, Template]:
        rows = self._of(source, collection, TEMPLATE, _raw(face_ids))
        found, templates = self._opened(source, collection, rows)
        return dict(zip(found, templates, strict=True))


def _raw(ids: Iterable[str]) -> list[bytes]:
    """Those that are ids, as they are stored."""
    return [raw for raw in map(packed, dict.fromkeys(ids)) if raw is not None]
