"""A node with less memory than there are collections: answers stay right, memory stays bounded."""

import contextlib
import random
import threading
import time

import pytest

import postgres_server
from dict_store import DictStore
from enrolments import Clock, Ids, collection, enrolment, face_id, opened, template
from exact_arena import ExactArena
from nodes import nodes
from recollect.errors import ThrottlingException
from recollect.gallery.arena import Arena
from recollect.gallery.gallery import Galleries

ROW = 32
"""Bytes of a template of eight dimensions in the exact arena."""


@pytest.fixture(params=["dict", "sqlite", "postgres"])
def store(request, tmp_path):
    with opened(request.param, tmp_path / "data", Clock(), Ids()) as store:
        yield store


def bounded(store, rows, arena=None, **more):
    made = Galleries(
        store, arena or ExactArena(), lambda _: None, first=(), bytes_max=rows * ROW, **more
    )
    made.load()
    return made


def filled(store, name, *numbers):
    made = collection(store, name)
    store.add_faces(made, [enrolment(number) for number in numbers])
    return made


def found(galleries, c, number):
    best = galleries.search(c, template(number), count_max=9, score_min=0.999)
    return [candidate.id for candidate in best]


def held(galleries):
    return [index.collection.collection_id for index in galleries._recent.values()]


def test_the_collection_that_was_not_searched_for_longest_is_put_away(store):
    a, b, c = (filled(store, name, 1, 2) for name in "abc")
    galleries = bounded(store, rows=4)

    assert found(galleries, a, 1) == found(galleries, b, 1) == [face_id(1)]
    assert found(galleries, a, 2) == [face_id(2)]
    assert held(galleries) == ["b", "a"]
    assert found(galleries, c, 1) == [face_id(1)]
    assert held(galleries) == ["a", "c"]
    assert found(galleries, b, 9) == []
    assert held(galleries) == ["c", "b"]
    assert len(galleries._arena.spaces) == 2


def test_what_changed_while_it_was_put_away_is_seen(store):
    a, b = filled(store, "a", 1), filled(store, "b", 1)
    galleries = bounded(store, rows=1)

    assert found(galleries, a, 1) == [face_id(1)]
    assert found(galleries, b, 1) == [face_id(1)]
    store.delete_faces(a, [face_id(1)])
    store.add_faces(a, [enrolment(2)])
    assert found(galleries, a, 1) == []
    assert found(galleries, a, 2) == [face_id(2)]


def test_one_that_grows_pushes_others_out(store):
    a, b = filled(store, "a", 1), filled(store, "b", 1)
    galleries = bounded(store, rows=4)
    assert found(galleries, a, 1) == found(galleries, b, 1) == [face_id(1)]

    store.add_faces(b, [enrolment(number) for number in range(2, 6)])

    assert held(galleries) in ([], ["b"])
    assert found(galleries, b, 5) == [face_id(5)]
    assert found(galleries, a, 1) == [face_id(1)]


def test_one_that_is_larger_than_all_memory_is_held_alone(store):
    a, b = filled(store, "a", 1, 2, 3), filled(store, "b", 1)
    galleries = bounded(store, rows=2)

    assert found(galleries, b, 1) == [face_id(1)]
    assert found(galleries, a, 3) == [face_id(3)]
    assert held(galleries) == ["a"]
    assert found(galleries, b, 1) == [face_id(1)]
    assert held(galleries) == ["b"]


def test_what_is_dropped_gives_its_memory_back(store):
    a, b = filled(store, "a", 1), filled(store, "b", 1)
    galleries = bounded(store, rows=2)
    assert found(galleries, a, 1) == found(galleries, b, 1) == [face_id(1)]

    store.delete_collection(a)

    assert galleries._bytes == ROW
    store.delete_collection(b)
    assert galleries._bytes == 0
    assert galleries._arena.spaces == {}


def test_a_search_keeps_its_collection_and_the_next_one_waits_or_is_told_to(store):
    a, b = filled(store, "a", 1), filled(store, "b", 1)
    galleries = bounded(store, rows=1, wait_s_max=0.1)
    search, inside, go_on = galleries._arena.search, threading.Event(), threading.Event()

    def slow(*given, **more):
        inside.set()
        assert go_on.wait(10)
        return search(*given, **more)

    galleries._arena.search = slow
    answers = []
    first = threading.Thread(target=lambda: answers.append(found(galleries, a, 1)))
    first.start()
    inside.wait()
    with pytest.raises(ThrottlingException):
        found(galleries, b, 1)
    galleries._wait_s_max = 10.0
    second = threading.Thread(target=lambda: answers.append(found(galleries, b, 1)))
    second.start()
    time.sleep(0.05)
    assert answers == []
    go_on.set()
    for thread in (first, second):
        thread.join()

    assert answers == [[face_id(1)], [face_id(1)]]
    assert held(galleries) == ["b"]


def test_what_is_to_be_read_first_is_there_before_the_first_search(store):
    a, _, c = (filled(store, name, 1, 2) for name in "abc")

    some = Galleries(store, ExactArena(), lambda _: None, first=["c", "unknown"])
    some.load()
    every = Galleries(store, ExactArena(), lambda _: None, first=["*"], bytes_max=5 * ROW)
    every.load()

    assert held(some) == ["c"]
    assert held(every) == ["a", "b"]
    assert found(every, c, 1) == found(some, a, 1) == [face_id(1)]


@pytest.mark.parametrize("store", ["sqlite", "postgres"], indirect=True)
def test_many_searches_of_many_collections_are_right_in_the_memory_of_two(store):
    """With the real arena, under changes, from several threads."""
    made = [filled(store, f"c{number}", number) for number in range(6)]
    arena = Arena()
    galleries = bounded(store, 0, arena)
    galleries._bytes_max = 2 * 64 * arena.need_bytes(8, 1, keeps_templates=False)
    wrong, most = [], []
    # The store of dictionaries leaves it to its callers that changes come one after the other.
    turn = threading.Lock() if isinstance(store, DictStore) else contextlib.nullcontext()

    def work(thread):
        chance = random.Random(thread)
        for step in range(40):
            number = chance.randrange(len(made))
            if found(galleries, made[number], number) != [face_id(number)]:
                wrong.append((thread, step))
            own = 1000 * thread + step
            with turn:
                store.add_faces(made[number], [enrolment(own)])
            if found(galleries, made[number], own) != [face_id(own)]:
                wrong.append((thread, step, "own"))
            most.append(galleries._bytes)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    arena.close()

    assert wrong == []
    assert max(most) <= 2 * galleries._bytes_max


def test_a_node_follows_only_what_it_holds():
    with postgres_server.emptied() as url, contextlib.ExitStack() as stack:
        here, there = stack.enter_context(nodes(url, bytes_max=1))
        a, b = filled(here.store, "a", 1), filled(here.store, "b", 1)
        assert there.found(a, 1) == there.found(b, 1) == [face_id(1)]

        assert list(there.store._feed._positions) == [b.key]
        here.store.delete_faces(a, [face_id(1)])
        assert there.found(a, 1) == []
