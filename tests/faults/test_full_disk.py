"""A full disk: searching and deleting go on, adding is refused and comes back by itself."""

import contextlib
import itertools
import logging
import subprocess
import time

import pytest

from enrolments import collection, enrolment, face_id, sqlite_store
from failing_disk import FailingDisk
from recollect.errors import InternalServerError
from recollect.gallery import audit
from recollect.gallery.sqlite import commit

MIB = 1 << 20


@pytest.fixture(autouse=True)
def quiet():
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def fill(store, staff):
    """Enrol until the disk is full; the numbers of those that were acknowledged."""
    enrolled = []

    def enrol():
        for number in itertools.count():
            store.add_faces(staff, [enrolment(number, dimension=512)])
            enrolled.append(number)

    with pytest.raises(InternalServerError) as refused:
        enrol()
    assert str(refused.value) == commit.FULL
    return enrolled


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 6 MiB."""
    folder = tmp_path / "mount"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_deleting_works_on_a_full_disk_and_adding_comes_back(small_disk, monkeypatch):
    # As 64 MiB are to 16 MiB: the reserve holds the log several times over.
    monkeypatch.setattr(commit, "LOG_PAGES_MAX", 32)
    folder, reserve = small_disk / "data", {"reserve_bytes": MIB}
    filler = small_disk / "filler"
    filler.write_bytes(bytes(MIB))
    with contextlib.closing(sqlite_store(folder, **reserve)) as store:
        staff = collection(store, dimension=512)
        enrolled = fill(store, staff)
        assert len(enrolled) > 50
        assert store.counts(staff) == (len(enrolled), 0)
        assert len(store.face_templates(staff, [face_id(n) for n in enrolled])) == len(enrolled)

        for number in enrolled[:40]:
            assert store.delete_faces(staff, [face_id(number)]).deleted
            store.record(b"{}")
        assert audit.verify(store) == []
        assert store.counts(staff)[0] == len(enrolled) - 40

        filler.unlink()
        deadline = time.monotonic() + 5
        while True:
            with contextlib.suppress(InternalServerError):
                store.add_faces(staff, [enrolment(0, dimension=512)])
                break
            assert time.monotonic() < deadline, "adding did not come back"
            time.sleep(0.1)
        found = store.counts(staff)

    with contextlib.closing(sqlite_store(folder, **reserve)) as store:
        assert store.counts(staff) == found == (len(enrolled) - 39, 0)
        assert audit.verify(store) == []


DISK = FailingDisk("filling")


def test_one_write_that_does_not_fit_fails_alone(tmp_path, monkeypatch):
    DISK.heal()
    monkeypatch.setattr(commit, "ROOM_EVERY_S", 0.0)
    with contextlib.closing(sqlite_store(tmp_path / "data", vfs=DISK.name)) as store:
        staff = collection(store)
        store.add_faces(staff, [enrolment(1)])
        DISK.full = True
        for _ in range(3):
            with pytest.raises(InternalServerError) as refused:
                store.add_faces(staff, [enrolment(2)])
            assert str(refused.value) == commit.FULL
        with pytest.raises(InternalServerError):
            collection(store, "visitors")
        assert set(store.faces(staff, [face_id(1), face_id(2)])) == {face_id(1)}

        DISK.full = False
        store.add_faces(staff, [enrolment(2)])
        collection(store, "visitors")
        assert store.counts(staff) == (2, 0)


def test_the_reserve_stands_beside_the_database(tmp_path):
    with contextlib.closing(sqlite_store(tmp_path, reserve_bytes=MIB)):
        assert (tmp_path / "reserve").stat().st_blocks * 512 >= MIB
        # A command beside the server leaves it alone.
        sqlite_store(tmp_path, reserve_bytes=MIB, exclusive=False).close()
        assert (tmp_path / "reserve").stat().st_size == MIB
