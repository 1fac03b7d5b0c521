"""Faces and their templates, as every Store keeps them."""

import dataclasses
import uuid

import numpy as np
import pytest

from enrolments import collection, enrolment, face_id, faces_of, scanned, template, templates_of
from recollect.errors import ResourceNotFoundException
from recollect.gallery.postgres import tables as postgres_tables
from recollect.gallery.sqlite import tables as sqlite_tables
from recollect.gallery.store import KINDS

NOBODY = "ffffffff-ffff-4fff-bfff-ffffffffffff"


def test_an_enrolled_face_comes_back_as_it_was_given(store):
    staff = collection(store)
    given = enrolment(1, box=(-0.01, 0.2, 1.05, 1 / 3))

    assert store.add_faces(staff, [given]) == [given.face]
    assert faces_of(store, staff, [NOBODY, face_id(1)]) == {face_id(1): given.face}
    assert store.counts(staff) == (1, 0)
    found = templates_of(store, staff, [face_id(1), NOBODY])
    assert list(found) == [face_id(1)]
    assert found[face_id(1)].dtype == np.float32
    assert np.array_equal(found[face_id(1)], given.template)


def test_references_come_in_the_order_asked_for_each_beside_its_template(store):
    staff = collection(store)
    store.add_faces(staff, [enrolment(n) for n in range(5)])
    store.create_user(staff, "anna", None)
    store.associate_faces(staff, "anna", [face_id(3)], faces_max=9, once=None)

    asked = [face_id(3), NOBODY, face_id(0), face_id(4)]
    found, rows = store.references(staff, asked)

    assert [face.face_id for face in found] == [face_id(3), face_id(0), face_id(4)]
    assert [face.user_id for face in found] == ["anna", None, None]
    assert rows.dtype == np.float32
    assert np.array_equal(rows, [template(3), template(0), template(4)])
    assert store.references(staff, [])[0] == store.references(staff, [NOBODY])[0] == []
    assert store.references(staff, [NOBODY])[1].shape == (0, 8)


def test_a_collection_is_read_with_one_of_its_faces(store):
    staff, others = collection(store), collection(store, "others")
    store.add_faces(staff, [enrolment(1)])

    def read(name, face):
        found, probe = store.collection_with_face(staff.account, name, face)
        assert found == store.collection(staff.account, name)
        assert found.sequence == store.sequence(found)
        return probe

    assert np.array_equal(read("staff", face_id(1)), template(1))
    for name, face in (("staff", face_id(2)), ("staff", "odd"), (others.collection_id, face_id(1))):
        assert read(name, face) is None
    assert store.collection_with_face(staff.account, "nowhere", face_id(1)) is None
    store.delete_faces(staff, [face_id(1)])
    assert read("staff", face_id(1)) is None


def test_a_collection_is_read_with_the_number_of_its_last_change(store):
    made = collection(store)
    for number in range(3):
        read = [
            store.collection(made.account, "staff"),
            *store.collections(made.account, after="", limit=9),
            *store.every_collection(),
        ]
        assert [each.sequence for each in read] == [number] * 3
        store.add_faces(made, [enrolment(number)])


def test_a_face_without_external_id_stays_without(store):
    staff = collection(store)
    face = dataclasses.replace(enrolment(1).face, external_image_id=None)

    store.add_faces(staff, [dataclasses.replace(enrolment(1), face=face)])

    assert faces_of(store, staff, [face_id(1)]) == {face_id(1): face}


def test_the_same_face_of_the_same_picture_is_enrolled_once(store):
    staff = collection(store)
    box = (0.1, 0.2, 0.3, 0.4)
    first = enrolment(1, image=7, box=box)
    store.add_faces(staff, [first])

    again = [
        enrolment(2, image=7, box=(0.5, 0.2, 0.3, 0.4)),
        enrolment(3, image=7, box=(0.1 + 1e-9, 0.2, 0.3, 0.4)),
        enrolment(4, image=8, box=box),
        enrolment(5, image=8, box=box),
    ]
    answer = store.add_faces(staff, again)

    assert [face.face_id for face in answer] == [face_id(n) for n in (2, 1, 4, 4)]
    assert store.counts(staff) == (3, 0)


def test_boxes_that_differ_in_the_sixth_digit_are_two_faces(store):
    staff = collection(store)
    edges = (0.123456, 0.123457, 0.1234571, 0.1234569)

    answer = store.add_faces(
        staff, [enrolment(n, image=7, box=(edge, 0.2, 0.3, 0.4)) for n, edge in enumerate(edges)]
    )

    assert [face.face_id for face in answer] == [face_id(n) for n in (0, 1, 1, 1)]


def test_nothing_new_is_no_change(store):
    staff = collection(store)
    store.add_faces(staff, [enrolment(1)])
    seen = []
    store.subscribe(seen.append)

    store.add_faces(staff, [enrolment(1)])
    store.add_faces(staff, [])
    store.delete_faces(staff, [NOBODY])

    assert store.sequence(staff) == 1
    assert seen == []


def test_faces_are_listed_by_id_in_pages(store):
    staff = collection(store)
    store.add_faces(staff, [enrolment(n) for n in range(7)])
    expected = sorted(face_id(n) for n in range(7))

    pages, after = [], ""
    while page := store.list_faces(staff, after=after, limit=3):
        pages.append([face.face_id for face in page])
        after = page[-1].face_id

    assert pages == [expected[:3], expected[3:6], expected[6:]]


def test_faces_are_listed_by_user_and_by_id(store):
    staff = collection(store)
    store.add_faces(staff, [enrolment(n) for n in range(6)])
    store.create_user(staff, "anna", None)
    hers = [face_id(n) for n in (1, 3, 5)]
    store.associate_faces(staff, "anna", hers, faces_max=9, once=None)

    def listed(**asked):
        page = store.list_faces(staff, **{"after": "", "limit": 9} | asked)
        return [face.face_id for face in page]

    some = [face_id(n) for n in (0, 1, 2, 3)]
    assert listed(user_id="anna") == sorted(hers)
    assert listed(user_id="anna", after=min(hers), limit=1) == sorted(hers)[1:2]
    assert listed(face_ids=[*some, NOBODY]) == sorted(some)
    assert listed(face_ids=some, after=min(some), limit=2) == sorted(some)[1:3]
    assert listed(user_id="anna", face_ids=some) == sorted([face_id(1), face_id(3)])
    with pytest.raises(ResourceNotFoundException) as refused:
        listed(user_id="ben")
    assert str(refused.value) == "The user id: ben does not exist"


def test_deleted_faces_are_gone_and_others_named(store):
    staff = collection(store)
    store.add_faces(staff, [enrolment(n) for n in range(4)])
    store.create_user(staff, "anna", None)
    store.associate_faces(staff, "anna", [face_id(2)], faces_max=9, once=None)

    answer = store.delete_faces(staff, [face_id(1), NOBODY, face_id(2), face_id(0)])

    assert answer.deleted == (face_id(1), face_id(0))
    assert answer.not_found == (NOBODY,)
    assert answer.owned_by == {face_id(2): "anna"}
    assert store.counts(staff) == (2, 1)
    assert set(faces_of(store, staff, [face_id(n) for n in range(4)])) == {face_id(2), face_id(3)}
    assert templates_of(store, staff, [face_id(1)]) == {}


def test_a_deleted_face_can_be_enrolled_again(store):
    staff = collection(store)
    store.add_faces(staff, [enrolment(1)])
    store.delete_faces(staff, [face_id(1)])

    assert store.add_faces(staff, [enrolment(1)]) == [enrolment(1).face]
    assert store.counts(staff) == (1, 0)


def test_an_id_that_is_none_is_unknown(store):
    staff = collection(store)
    store.add_faces(staff, [enrolment(1)])
    odd = ["", "nobody", face_id(1).upper(), face_id(1).replace("-", "")]

    assert faces_of(store, staff, odd) == {}
    assert store.delete_faces(staff, odd).not_found == tuple(odd)


def test_a_scan_shows_every_template_with_its_sequence(store):
    staff = collection(store)
    assert scanned(store, staff) == []
    for n in range(5):
        store.add_faces(staff, [enrolment(n)])
    store.delete_faces(staff, [face_id(2)])

    (sequence,), blocks = store.scan([staff])
    blocks.close()
    found = dict(scanned(store, staff))

    assert sequence == store.sequence(staff) == 6
    assert set(found) == {face_id(n) for n in (0, 1, 3, 4)}
    assert all(np.array_equal(found[face_id(n)], template(n)) for n in (0, 1, 3, 4))


def test_every_change_is_published_in_order_before_its_answer(store):
    staff = collection(store)
    seen = []
    store.subscribe(seen.append)

    store.add_faces(staff, [enrolment(1), enrolment(2)])
    assert seen[-1].sequence == store.sequence(staff) == 1
    store.delete_faces(staff, [face_id(1), NOBODY])
    assert seen[-1].sequence == store.sequence(staff) == 2
    store.delete_collection(staff)

    added, removed, dropped = seen
    assert [i for i, _ in added.faces_added] == [face_id(1), face_id(2)]
    assert np.array_equal(added.faces_added[1][1], template(2))
    assert list(removed.faces_removed) == [face_id(1)]
    assert (dropped.dropped, dropped.sequence) == (True, 3)
    assert {change.collection for change in seen} == {staff}


@pytest.mark.parametrize("rows", [1, 2, 3, 1000])
def test_a_scan_of_many_collections_is_of_each_what_a_scan_of_it_alone_is(store, monkeypatch, rows):
    for module in (sqlite_tables, postgres_tables):
        monkeypatch.setattr(module, "SCAN_ROWS", rows)
    made = [collection(store, f"c{n}", dimension=4 if n == 2 else 8) for n in range(6)]
    for n, c in enumerate(made):
        enrolled = [enrolment(10 * n + i, dimension=c.dimension) for i in range(n)]
        store.add_faces(c, enrolled)
    for c in made[3:]:
        store.create_user(c, "anna", None)
        some = [face.face_id for face in store.list_faces(c, after="", limit=2)]
        store.associate_faces(c, "anna", some, faces_max=9, once=None)
    # Its rows stay for a while, between those of the others.
    store.delete_collection(made[4])
    # Not in the order in which they were made, and not all there are.
    wanted = [made[n] for n in (5, 0, 2, 3)]

    sequences, blocks = store.scan(wanted)
    found = {(c.key, kind): [] for c in wanted for kind in KINDS}
    for block in blocks:
        assert block.ids.shape == (len(block.templates), 16)
        ids = [str(uuid.UUID(bytes=row.tobytes())) for row in block.ids]
        found[block.collection.key, block.kind] += zip(ids, block.templates.tolist(), strict=True)

    assert sequences == [store.sequence(c) for c in wanted]
    for c in wanted:
        for kind in KINDS:
            alone = [(i, row.tolist()) for i, row in scanned(store, c, kind)]
            assert found[c.key, kind] == alone
        assert len(found[c.key, "faces"]) == store.counts(c)[0]
    assert len(found[made[5].key, "users"]) == 1


def test_a_scan_of_many_collections_needs_all_of_them(store):
    a, b = collection(store, "a"), collection(store, "b")
    store.delete_collection(a)

    with pytest.raises(ResourceNotFoundException, match="collection id: a does"):
        store.scan([b, a])
