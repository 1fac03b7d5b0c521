"""Deleted means gone from the disk too: from pages, free pages and the log."""

import contextlib
import time

import pytest

from enrolments import ACCOUNT, collection, enrolment, face_id, sqlite_store
from recollect.gallery.crypt import Damaged
from recollect.gallery.sqlite import store as sqlite_store_module

DIMENSIONS = [8, 128, 512, 2048]


def sealed(store):
    """The sealed templates that the database holds, by face."""
    with store._database.reading() as sql:
        return {bytes(i): bytes(blob) for i, blob in sql.rows("SELECT id, sealed FROM face")}


def pages(store):
    """Every page of the database, free ones too, decrypted."""
    return store._database.writer.serialize("main")


def log_bytes(folder):
    return (folder / "recollect.db-wal").stat().st_size


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_a_deleted_template_is_on_no_page_once_the_log_is_cut_off(tmp_path, dimension):
    folder = tmp_path / "data"
    with contextlib.closing(sqlite_store(folder)) as store:
        staff = collection(store, dimension=dimension)
        store.add_faces(staff, [enrolment(n, dimension=dimension) for n in range(50)])
        store.carry()
        before = sealed(store)
        gone = [face_id(n) for n in range(0, 50, 3)]
        store.delete_faces(staff, gone)
        assert log_bytes(folder) > 0

        store.carry()

        assert log_bytes(folder) == 0
        content = pages(store)
        raw_gone = {bytes.fromhex(i.replace("-", "")) for i in gone}
        for raw, blob in before.items():
            # The middle of it: what lies at a page's edge is of no matter.
            present = blob[8:-8][:64] in content
            assert present == (raw not in raw_gone)


def test_the_search_finds_a_template_that_was_not_overwritten(tmp_path):
    """A positive control: with secure_delete off the bytes are still there."""
    folder = tmp_path / "data"
    with contextlib.closing(sqlite_store(folder)) as store:
        staff = collection(store, dimension=128)
        store.add_faces(staff, [enrolment(n, dimension=128) for n in range(50)])
        store._database.writer.pragma("secure_delete", 0)
        before = sealed(store)
        store.delete_faces(staff, [face_id(n) for n in range(50)])
        store.carry()
        content = pages(store)
    assert any(blob[8:72] in content for blob in before.values())


def test_the_log_is_cut_off_by_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite_store_module, "TEND_EVERY_S", 0.02)
    monkeypatch.setattr(sqlite_store_module, "CARRY_EVERY_S", 0.0)
    folder = tmp_path / "data"
    with contextlib.closing(sqlite_store(folder)) as store:
        staff = collection(store)
        store.add_faces(staff, [enrolment(1)])
        store.delete_faces(staff, [face_id(1)])
        deadline = time.monotonic() + 10
        while log_bytes(folder):
            assert time.monotonic() < deadline, "the log was not cut off"
            time.sleep(0.01)


def test_a_reader_in_the_way_only_delays_it(tmp_path):
    folder = tmp_path / "data"
    with contextlib.closing(sqlite_store(folder)) as store:
        staff = collection(store)
        store.add_faces(staff, [enrolment(n) for n in range(10)])
        _, blocks = store.scan([staff])
        store.delete_faces(staff, [face_id(1)])

        began = time.monotonic()
        store.carry()
        assert time.monotonic() - began < 2  # Writers wait meanwhile.
        assert log_bytes(folder) > 0

        blocks.close()
        store.carry()
        assert log_bytes(folder) == 0


def test_a_deleted_collection_leaves_no_row_and_no_key(tmp_path):
    folder = tmp_path / "data"
    with contextlib.closing(sqlite_store(folder)) as store:
        staff, kept = collection(store, tags={"a": "b"}), collection(store, "kept")
        for c in (staff, kept):
            store.add_faces(c, [enrolment(n) for n in range(5000)])
            store.create_user(c, "anna", None)
            store.associate_faces(c, "anna", [face_id(0)], faces_max=9, once=None)
        before = sealed(store)
        store.delete_collection(staff)

        store.tend()
        store.carry()

        left = sealed(store)
        assert len(left) == 5000
        assert store.counts(kept) == (5000, 1)
        with store._database.reading() as sql:
            for table in ("face", "user", "tag"):
                rows = sql.row(f"SELECT count(*) FROM {table} WHERE collection = ?", staff.key)
                assert rows == (0,)
            assert sql.row("SELECT count(*) FROM doomed") == (0,)
        with store._keyring._database.reading() as sql:
            assert sql.row("SELECT count(*) FROM key") == (1,)
        assert (folder / "keyring.db-wal").stat().st_size == 0
        content = pages(store)
        blobs = set(before.values()) - set(left.values())
        assert not any(blob[8:-8] in content for blob in list(blobs)[:500])


def test_what_is_left_of_a_deleted_collection_cannot_be_opened(tmp_path):
    folder = tmp_path / "data"
    with contextlib.closing(sqlite_store(folder)) as store:
        staff = collection(store)
        store.add_faces(staff, [enrolment(1)])
        with store._database.reading() as sql:
            uid, number = sql.row("SELECT uid, key FROM collection")
        store.delete_collection(staff)

        # Whoever has the old database and the master key has not got the collection's key.
        with pytest.raises(Damaged, match="is gone"):
            store._keyring.open(uid, ACCOUNT, number)


def test_a_deletion_that_a_crash_cut_short_is_finished_at_the_next_start(tmp_path, monkeypatch):
    folder = tmp_path / "data"
    store = sqlite_store(folder)
    staff = collection(store)
    store.add_faces(staff, [enrolment(n) for n in range(10)])
    # Between the deletion and the destruction of the key.
    monkeypatch.setattr(store._keyring, "destroy", lambda *_: None)
    monkeypatch.setattr(store, "erase_doomed", lambda: False)
    store.delete_collection(staff)
    store.close()
    monkeypatch.undo()

    with contextlib.closing(sqlite_store(folder)) as store:
        with store._keyring._database.reading() as sql:
            assert sql.row("SELECT count(*) FROM key") == (0,)
        store.tend()
        assert sealed(store) == {}
