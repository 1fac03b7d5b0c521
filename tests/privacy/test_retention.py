"""Faces do not outstay their time."""

import pytest

from enrolments import Clock, Ids, collection, enrolment, face_id, opened
from recollect.gallery import retention

DAY_S = 24 * 3600


@pytest.mark.parametrize("together", [1, 3, 1000])
@pytest.mark.parametrize("kind", ["dict", "sqlite", "postgres"])
def test_what_is_too_old_is_deleted_and_nothing_else(tmp_path, monkeypatch, kind, together):
    monkeypatch.setattr(retention, "DELETED_TOGETHER", together)
    clock = Clock()
    with opened(kind, tmp_path, clock, Ids()) as store:
        staff, visitors = collection(store), collection(store, "visitors")
        for c in (staff, visitors):
            store.add_faces(c, [enrolment(n) for n in range(4)])
        store.create_user(staff, "anna", None)
        store.associate_faces(staff, "anna", [face_id(1)], faces_max=9, once=None)
        clock.now += DAY_S
        store.add_faces(staff, [enrolment(n) for n in range(10, 13)])
        store.associate_faces(staff, "anna", [face_id(10)], faces_max=9, once=None)

        assert retention.expire(store, staff, age_s=DAY_S + 1) == 0
        clock.now += 2
        assert retention.expire(store, staff, age_s=DAY_S + 1) == 4

        left = {face.face_id for face in store.list_faces(staff, after="", limit=99)}
        assert left == {face_id(n) for n in range(10, 13)}
        assert store.counts(visitors) == (4, 0)
        assert store.user(staff, "anna").face_count == 1
        assert retention.expire(store, staff, age_s=DAY_S + 1) == 0
