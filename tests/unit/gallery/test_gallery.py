"""Galleries: the index is level with the truth, or it says so."""

import contextlib
import threading
import time

import numpy as np
import pytest

from dict_store import DictStore
from enrolments import Clock, Ids, collection, enrolment, face_id, sqlite_store, template
from exact_arena import ExactArena
from recollect.errors import InternalServerError, ResourceNotFoundException
from recollect.gallery.arena import Arena
from recollect.gallery.gallery import Galleries
from recollect.gallery.store import Change


@pytest.fixture
def store():
    return DictStore(clock=Clock(), ids=Ids())


@pytest.fixture
def galleries(store):
    made = Galleries(store, ExactArena(), lambda _: None, wait_s_max=0.2)
    made.load()
    return made


def found(galleries, c, number, *, kind="faces", **more):
    best = galleries.search(
        c, template(number), **{"count_max": 9, "score_min": 0.999, "kind": kind} | more
    )
    return [candidate.id for candidate in best]


def test_what_was_enrolled_is_found_and_what_was_deleted_is_not(store, galleries):
    staff = collection(store)
    assert found(galleries, staff, 1) == []

    store.add_faces(staff, [enrolment(1), enrolment(2)])
    assert found(galleries, staff, 1) == [face_id(1)]
    assert found(galleries, staff, 1, exclude=face_id(1)) == []

    store.delete_faces(staff, [face_id(1)])
    assert found(galleries, staff, 1) == []
    assert found(galleries, staff, 2) == [face_id(2)]


def test_users_are_found_by_what_their_faces_have_in_common(store, galleries):
    staff = collection(store)
    store.add_faces(staff, [enrolment(1), enrolment(2)])
    store.create_user(staff, "anna", None)
    assert found(galleries, staff, 1, kind="users") == []

    store.associate_faces(staff, "anna", [face_id(1)], faces_max=9, once=None)
    key = store.user(staff, "anna").key
    assert found(galleries, staff, 1, kind="users") == [key]

    store.associate_faces(staff, "anna", [face_id(2)], faces_max=9, once=None)
    assert found(galleries, staff, 1, kind="users") == []
    probe = store.user_template(staff, "anna")
    (best,) = galleries.search(staff, probe, count_max=1, score_min=0.0, kind="users")
    assert (best.id, best.score) == (key, pytest.approx(1.0))

    store.delete_user(staff, "anna", None)
    assert galleries.search(staff, probe, count_max=1, score_min=-1.0, kind="users") == []


def test_the_index_is_built_again_from_the_truth(store, galleries):
    staff = collection(store)
    store.add_faces(staff, [enrolment(n) for n in range(5)])
    store.create_user(staff, "anna", None)
    store.associate_faces(staff, "anna", [face_id(1)], faces_max=9, once=None)

    rebuilt = Galleries(store, ExactArena(), lambda _: None)
    assert not rebuilt.ready()
    rebuilt.load()

    assert rebuilt.ready()
    for kind in ("faces", "users"):
        assert found(rebuilt, staff, 1, kind=kind) == found(galleries, staff, 1, kind=kind) != []
    store.delete_faces(staff, [face_id(2)])
    assert found(rebuilt, staff, 2) == []


def test_one_that_goes_while_all_are_read_keeps_the_others_from_nothing(store, monkeypatch):
    a, b, c = (collection(store, name) for name in "abc")
    for one in (a, b, c):
        store.add_faces(one, [enrolment(1)])
    every = store.every_collection()
    store.delete_collection(b)
    monkeypatch.setattr(store, "every_collection", lambda: every)

    rebuilt = Galleries(store, ExactArena(), lambda _: None)
    rebuilt.load()

    assert rebuilt.ready()
    assert found(rebuilt, a, 1) == found(rebuilt, c, 1) == [face_id(1)]
    with pytest.raises(ResourceNotFoundException):
        found(rebuilt, b, 1)


def test_the_packs_centre_is_given_to_the_index(store):
    seen = []

    class Watching(ExactArena):
        def open(self, space, dimension, centre, **more):
            seen.append((space[1], dimension, centre))
            super().open(space, dimension, centre, **more)

    staff = collection(store)
    galleries = Galleries(store, Watching(), {"toy": "the centre"}.get)
    galleries.load()

    assert seen == [("faces", 8, "the centre")]
    assert found(galleries, staff, 1) == found(galleries, staff, 1, kind="users") == []
    store.add_faces(staff, [enrolment(1)])
    store.create_user(staff, "anna", None)
    store.associate_faces(staff, "anna", [face_id(1)], faces_max=9, once=None)
    assert seen[1:] == [("users", 8, "the centre")]
    assert len(found(galleries, staff, 1, kind="users")) == 1


def test_a_search_waits_for_a_change_that_is_committed(tmp_path):
    """Between commit and publication the truth is ahead; a search then waits."""
    with contextlib.closing(sqlite_store(tmp_path)) as store:
        holding, go_on = threading.Event(), threading.Event()

        def hold(change):
            holding.set()
            assert go_on.wait(10)

        staff = collection(store)
        store.subscribe(hold)
        galleries = Galleries(store, ExactArena(), lambda _: None)
        galleries.load()
        writer = threading.Thread(target=store.add_faces, args=(staff, [enrolment(1)]))
        writer.start()
        holding.wait()
        assert store.sequence(staff) == 1

        answers = []
        read = store.collection(staff.account, "staff")
        searcher = threading.Thread(target=lambda: answers.append(found(galleries, read, 1)))
        searcher.start()
        time.sleep(0.05)
        assert answers == []
        go_on.set()
        for thread in (writer, searcher):
            thread.join()
        assert answers == [[face_id(1)]]


def test_a_search_does_not_wait_for_ever(store, galleries):
    staff = collection(store)
    assert found(galleries, staff, 1) == []
    store.entries[staff.key].sequence = 7

    with pytest.raises(InternalServerError, match="behind the truth"):
        found(galleries, store.collection(staff.account, "staff"), 1)


def test_an_index_that_missed_a_change_answers_nothing_any_more(store, galleries):
    staff, others = collection(store), collection(store, "others")
    store.add_faces(staff, [enrolment(1)])
    store.add_faces(others, [enrolment(1)])

    with pytest.raises(AssertionError, match="change 3 came where 2 was due"):
        galleries._apply(Change(staff, 3, faces_added=[(face_id(2), template(2))]))

    with pytest.raises(InternalServerError, match="staff cannot be searched"):
        found(galleries, staff, 1)
    assert found(galleries, others, 1) == [face_id(1)]


def test_a_change_that_was_seen_already_changes_nothing(store, galleries):
    staff = collection(store)
    store.add_faces(staff, [enrolment(1)])

    galleries._apply(Change(staff, 1, faces_removed=[face_id(1)]))

    assert found(galleries, staff, 1) == [face_id(1)]


def test_a_deleted_collection_is_not_found(store, galleries):
    staff = collection(store)
    store.add_faces(staff, [enrolment(1)])
    store.delete_collection(staff)

    with pytest.raises(ResourceNotFoundException) as refused:
        found(galleries, staff, 1)
    assert str(refused.value) == "The collection id: staff does not exist"
    assert galleries._arena.spaces == {}


def test_a_collection_that_goes_while_a_search_waits_is_not_found(store, galleries):
    staff = collection(store)
    store.add_faces(staff, [enrolment(1)])
    search = galleries._arena.search

    def deleted_first(*given, **more):
        store.delete_collection(staff)
        return search(*given, **more)

    galleries._arena.search = deleted_first
    with pytest.raises(ResourceNotFoundException):
        found(galleries, staff, 1)


def test_a_face_that_goes_while_a_search_runs_is_not_in_its_answer(store):
    staff = collection(store)
    store.add_faces(staff, [enrolment(number) for number in range(5)])
    galleries = Galleries(store, Arena(), lambda _: None)
    galleries.load()
    references = store.references

    def deleted_first(c, face_ids):
        store.references = references
        store.delete_faces(c, [face_id(2)])
        return references(c, face_ids)

    store.references = deleted_first
    found = galleries.search_faces(staff, template(3), count_max=9, score_min=-1.0)

    scores = {number: float(template(number) @ template(3)) for number in (0, 1, 3, 4)}
    best = sorted(scores, key=scores.__getitem__, reverse=True)
    assert found == [(enrolment(n).face, pytest.approx(scores[n], abs=1e-6)) for n in best]


def test_many_at_once_always_find_what_they_were_told_is_there(tmp_path):
    """Each thread finds its own acknowledged faces, and never what it deleted."""
    with contextlib.closing(sqlite_store(tmp_path)) as store:
        staff = collection(store)
        galleries = Galleries(store, LockedArena(), lambda _: None)
        galleries.load()
        wrong = []

        def live(thread):
            for number in range(thread * 100, thread * 100 + 25):
                store.add_faces(staff, [enrolment(number)])
                if found(galleries, staff, number) != [face_id(number)]:
                    wrong.append(("missing", number))
                if number % 2:
                    store.delete_faces(staff, [face_id(number)])
                    if found(galleries, staff, number):
                        wrong.append(("ghost", number))

        threads = [threading.Thread(target=live, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert wrong == []
        again = Galleries(store, ExactArena(), lambda _: None)
        again.load()
        everyone = {"count_max": 999, "score_min": -1.0}
        probe = np.eye(8, dtype=np.float32)[0]
        assert galleries.search(staff, probe, **everyone) == again.search(staff, probe, **everyone)


class LockedArena(ExactArena):
    """A dictionary does not like to be read while it changes."""

    def __init__(self):
        super().__init__()
        self.lock = threading.Lock()

    def publish(self, *given):
        with self.lock:
            super().publish(*given)

    def search(self, *given, **more):
        with self.lock:
            return super().search(*given, **more)
