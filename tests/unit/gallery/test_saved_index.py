"""The index over a clean restart: taken up as it was, or read from the truth, never wrong."""

import contextlib

import pytest

from enrolments import collection, enrolment, face_id, sqlite_store, template
from recollect import app
from recollect.gallery.arena import Arena
from recollect.gallery.gallery import Galleries
from recollect.settings import Settings
from toys import ToyPack


@pytest.fixture
def store(tmp_path):
    with contextlib.closing(sqlite_store(tmp_path / "data")) as store:
        yield store


@pytest.fixture
def path(tmp_path):
    return tmp_path / "index.sealed"


def galleries(store, path):
    made = Galleries(store, Arena(), lambda _: None)
    made.restore(path, store.index_key())
    made.load()
    return made


def found(made, staff, number, kind="faces"):
    best = made.search(staff, template(number), count_max=9, score_min=0.99, kind=kind)
    return [candidate.id for candidate in best]


@pytest.fixture
def staff(store, path):
    """Three faces, one of them a user's, and the index saved."""
    staff = collection(store)
    made = galleries(store, path)
    store.add_faces(staff, [enrolment(1), enrolment(2), enrolment(3)])
    store.create_user(staff, "anna", None)
    store.associate_faces(staff, "anna", [face_id(1)], faces_max=9, once=None)
    made.save(path, store.index_key())
    assert path.exists()
    return staff


def test_a_saved_index_is_taken_up_without_reading_a_template(store, path, staff, monkeypatch):
    def scan(collections):
        raise AssertionError("read again")

    monkeypatch.setattr(store, "scan", scan)

    made = galleries(store, path)

    assert not path.exists()
    assert found(made, staff, 2) == [face_id(2)]
    assert found(made, staff, 1, "users") == [store.user(staff, "anna").key]
    store.delete_faces(staff, [face_id(2)])
    store.add_faces(staff, [enrolment(4)])
    assert found(made, staff, 2) == []
    assert found(made, staff, 4) == [face_id(4)]


def test_a_truth_that_went_on_is_read(store, path, staff):
    store.delete_faces(staff, [face_id(2)])

    made = galleries(store, path)

    assert not path.exists()
    assert found(made, staff, 2) == []
    assert found(made, staff, 3) == [face_id(3)]


def test_a_file_of_another_truth_is_of_no_use(store, path, staff, caplog):
    store.record(b"{}")

    made = galleries(store, path)

    assert "the truth is read" in caplog.text
    assert found(made, staff, 2) == [face_id(2)]


def test_a_damaged_file_costs_time_only(store, path, staff, caplog):
    raw = bytearray(path.read_bytes())
    raw[-7] ^= 1
    path.write_bytes(raw)

    made = galleries(store, path)

    assert "the truth is read" in caplog.text
    assert found(made, staff, 2) == [face_id(2)]


def test_where_it_cannot_be_written_the_stop_goes_on(store, path, staff, caplog):
    galleries(store, path).save(path.parent / "none" / "index.sealed", store.index_key())

    assert "not saved" in caplog.text


def test_codes_are_held_and_templates_of_faces_are_read(store, path, staff):
    made = galleries(store, path)

    held = {space: region.shelf.layout for space, region in made._arena._spaces.items()}

    assert {kind: layout.keeps_templates for (_, kind), layout in held.items()} == {
        "faces": False,
        "users": True,
    }


def test_a_server_that_is_stopped_keeps_its_index_for_the_next_one(tmp_path):
    settings = Settings(data=tmp_path / "data", decode_children=1, call_threads=1)
    file = settings.data / app.INDEX
    first = app.build(settings, {"another": ToyPack()})
    staff = collection(first.store)
    first.store.add_faces(staff, [enrolment(1), enrolment(2)])
    first.close()
    assert file.exists()
    assert file.stat().st_mode & 0o077 == 0

    second = app.build(settings, {"another": ToyPack()})

    assert not file.exists()
    assert found(second.galleries, staff, 2) == [face_id(2)]
    second.close()


def test_a_collection_whose_users_were_left_out_is_read(store, path, staff, monkeypatch):
    def without_users(arena, *given):
        opened, left_out = restore(arena, *given)
        users = {space for space in opened if space[1] == "users"}
        for space in users:
            arena.drop(space)
        return opened - users, left_out | users

    restore = Arena.restore
    monkeypatch.setattr(Arena, "restore", without_users)

    made = galleries(store, path)

    assert found(made, staff, 1, "users") == [store.user(staff, "anna").key]
    assert found(made, staff, 2) == [face_id(2)]
