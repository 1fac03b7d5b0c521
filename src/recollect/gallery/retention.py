"""Storage limitation: faces that were enrolled too long ago are deleted, whoever they belong to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from recollect.gallery.store import Collection, Store

DELETED_TOGETHER: Final = 1000
"""Faces deleted in one transaction, so that other writes get their turn."""


def expire(store: Store, collection: Collection, *, age_s: float) -> int:
    """Delete a collection's faces that were enrolled longer ago than an age.

    When this returns no search finds them; their bytes leave the disk as after any deletion.

    Returns:
        The number deleted.
    """
    count = 0
    while expired := store.faces_older_than(collection, age_s, limit=DELETED_TOGETHER):
        for face_id, user_id in store.delete_faces(collection, expired).owned_by.items():
            store.disassociate_faces(collection, user_id, [face_id], once=None)
            store.delete_faces(collection, [face_id])
        count += len(expired)
    return count
