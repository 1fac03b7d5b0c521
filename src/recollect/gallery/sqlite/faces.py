"""Faces: what callers see of them, and the templates that a search sees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from recollect.gallery.ids import packed, unpacked
from recollect.gallery.rows import enrolled, missing, raw_id, rounded
from recollect.gallery.rows import face as face_of
from recollect.gallery.sqlite.collections import find_collection
from recollect.gallery.sqlite.commit import LOOK_ROWS_MAX
from recollect.gallery.sqlite.tables import Tables, rows_of
from recollect.gallery.store import Deletion

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from recollect.gallery.crypt import TemplateBox
    from recollect.gallery.sqlite.commit import Transaction
    from recollect.gallery.sqlite.database import Sql
    from recollect.gallery.store import Collection, Enrolment, Face, Template, Templates

COLUMNS: Final = (
    "SELECT id, image_id, external_image_id, box_left, box_top, box_width, box_height, confidence,"
    " model_version, (SELECT user_id FROM user WHERE user.row = face.user)"
)
FACE: Final = f"{COLUMNS} FROM face"
FACE_OF_IMAGE: Final = f"{FACE} WHERE collection = ? AND image_id = ?"
TEMPLATE: Final = "SELECT id, sealed FROM face WHERE collection = ? AND id = ?"
REFERENCE: Final = f"{COLUMNS}, sealed FROM face WHERE collection = ? AND id = ?"


class Faces(Tables):
    """The table `face`."""

    def add_faces(self, collection: Collection, enrolments: Sequence[Enrolment]) -> list[Face]:
        """See Store."""
        if not enrolments:
            return []
        templates = enrolled(enrolments, collection.dimension)
        ids = [raw_id(enrolment.face.face_id) for enrolment in enrolments]
        images = [raw_id(enrolment.face.image_id) for enrolment in enrolments]
        sealed = self._box(collection).seal(ids, templates)
        enrolled_at = int(self._clock())

        def write(transaction: Transaction) -> list[Face]:
            sql = transaction.sql
            _, _, row = self._numbers(sql, collection)
            known = self._known(sql, collection, images)
            faces, rows, added = [], [], []
            for enrolment, face_id, image_id, template in zip(
                enrolments, ids, images, sealed, strict=True
            ):
                place = (image_id, rounded(enrolment.face.box))
                if place not in known:
                    row += 1
                    known[place] = face = enrolment.face
                    rows.append(
                        (
                            row,
                            collection.key,
                            face_id,
                            image_id,
                            face.external_image_id,
                            *face.box,
                            face.confidence,
                            face.model_version,
                            enrolment.weight,
                            enrolled_at,
                            template,
                        )
                    )
                    added.append((face.face_id, enrolment.template))
                faces.append(known[place])
            if added:
                sql.each(
                    "INSERT INTO face VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, ?)", rows
                )
                count = len(added)
                self._changed(transaction, collection, faces=count, rows=count, faces_added=added)
            return faces

        return self._add(write)

    def references(
        self, collection: Collection, face_ids: Sequence[str]
    ) -> tuple[list[Face], Templates]:
        """See Store."""
        keys = [(collection.key, packed(face_id)) for face_id in face_ids]

        def read(sql: Sql) -> tuple[list[Any], TemplateBox]:
            self._numbers(sql, collection)
            return sql.each(REFERENCE, keys), self._box(collection, sql)

        if len(keys) <= LOOK_ROWS_MAX:
            rows, box = self._commits.look(read)
        else:
            with self._database.reading() as lent:
                rows, box = read(lent)
        ids, sealed = [row[0] for row in rows], [row[-1] for row in rows]
        templates = box.open(ids, sealed, collection.dimension)
        return [face_of(row[:-1]) for row in rows], templates

    def collection_with_face(
        self, account: str, collection_id: str, face_id: str
    ) -> tuple[Collection, Template | None] | None:
        """See Store."""

        def read(sql: Sql) -> tuple[Collection, Template | None] | None:
            collection = find_collection(sql, account, collection_id)
            if collection is None:
                return None
            return collection, self._templates(sql, collection, [face_id]).get(face_id)

        return self._commits.look(read)

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
        with self._database.reading() as sql:
            self._numbers(sql, collection)
            user = None if user_id is None else self._user_row(sql, collection, user_id)
            if face_ids is not None:
                wanted = sorted(face_id for face_id in set(face_ids) if face_id > after)
                found = self._faces(sql, collection, wanted).values()
                return [face for face in found if user_id in (None, face.user_id)][:limit]
            if user is not None:
                query = f"{FACE} WHERE user = ? AND id > ? ORDER BY id LIMIT ?"
                rows = sql.rows(query, user, start, limit)
            else:
                query = f"{FACE} WHERE collection = ? AND id > ? ORDER BY id LIMIT ?"
                rows = sql.rows(query, collection.key, start, limit)
            return [face_of(row) for row in rows]

    def delete_faces(self, collection: Collection, face_ids: Sequence[str]) -> Deletion:
        """See Store."""

        def write(transaction: Transaction) -> Deletion:
            sql = transaction.sql
            uid, _, _ = self._numbers(sql, collection)
            found = self._faces(sql, collection, face_ids)
            owned = {i: face.user_id for i, face in found.items() if face.user_id is not None}
            deleted = [i for i in found if i not in owned]
            if deleted:
                raw = [raw_id(i) for i in deleted]
                sql.each(
                    "DELETE FROM face WHERE collection = ? AND id = ?",
                    [(collection.key, i) for i in raw],
                )
                self._erase(sql, uid, "face", raw)
                self._changed(transaction, collection, faces=-len(deleted), faces_removed=deleted)
            return Deletion(tuple(deleted), missing(face_ids, found), owned)

        return self._free(write)

    def faces_older_than(self, collection: Collection, age_s: float, *, limit: int) -> list[str]:
        """See Store. Reads the whole collection."""
        query = "SELECT id FROM face WHERE row BETWEEN ? AND ? AND enrolled_at < ? LIMIT ?"
        with self._database.reading() as sql:
            self._numbers(sql, collection)
            rows = sql.rows(query, *rows_of(collection.key), self._clock() - age_s, limit)
        return [unpacked(face_id) for (face_id,) in rows]

    def _known(
        self, sql: Sql, collection: Collection, images: Iterable[bytes]
    ) -> dict[tuple[bytes, tuple[str, ...]], Face]:
        """The faces of pictures that are enrolled already, by picture and rounded box."""
        keys = [(collection.key, image_id) for image_id in dict.fromkeys(images)]
        rows = sql.each(FACE_OF_IMAGE, keys)
        return {(row[1], rounded(row[3:7])): face_of(row) for row in rows}

    def _faces(self, sql: Sql, collection: Collection, face_ids: Iterable[str]) -> dict[str, Face]:
        """Faces by id, in the order asked for; unknown ones are left out."""
        keys = [(collection.key, packed(face_id)) for face_id in dict.fromkeys(face_ids)]
        rows = sql.each(f"{FACE} WHERE collection = ? AND id = ?", keys)
        return {face.face_id: face for face in map(face_of, rows)}

    def _templates(
        self, sql: Sql, collection: Collection, face_ids: Iterable[str]
    ) -> dict[str, Template]:
        keys = [(collection.key, packed(face_id)) for face_id in dict.fromkeys(face_ids)]
        found, templates = self._opened(sql, collection, sql.each(TEMPLATE, keys))
        return dict(zip(found, templates, strict=True))
