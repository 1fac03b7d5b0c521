"""A full disk: searching and deleting go on, adding is refused and comes back by itself."""

import contextlib
import itertools
import subprocess
import time

import pytest

from enrolments import collection, enrolment, face_id, faces_of, sqlite_store, template
from exact_arena import ExactArena
from failing_disk import FailingDisk
from recollect.errors import InternalServerError
from recollect.gallery import audit
from recollect.gallery.gallery import Galleries
from recollect.gallery.sqlite import commit

MIB = 1 << 20


pytestmark = pytest.mark.usefixtures("silent")


def fill(store, staff, start):
    """Enrol until the disk is full; the numbers of those that were acknowledged."""
    enrolled = []

    def enrol():
        for number in itertools.count(start):
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


def came_back_after_s(store, staff, number, deadline_s=60):
    """Try to enrol until it works; how long that took."""
    began = time.monotonic()
    while True:
        with contextlib.suppress(InternalServerError):
            store.add_faces(staff, [enrolment(number, dimension=512)])
            return time.monotonic() - began
        assert time.monotonic() - began < deadline_s, "adding did not come back"
        time.sleep(0.05)


@pytest.mark.timeout(3600)  # For the slow ones.
@pytest.mark.parametrize("fills", [2, pytest.param(50, marks=pytest.mark.slow)])
def test_deleting_works_on_a_full_disk_and_adding_comes_back(
    small_disk, monkeypatch, figure, fills
):
    # As 64 MiB are to 16 MiB: the reserve holds the log several times over.
    monkeypatch.setattr(commit, "LOG_PAGES_MAX", 32)
    folder, reserve = small_disk / "data", {"reserve_bytes": MIB}
    filler, back_s, there = small_disk / "filler", [], set()
    number = 0
    with contextlib.closing(sqlite_store(folder, **reserve)) as store:
        staff = collection(store, dimension=512)
        galleries = Galleries(store, ExactArena(), lambda _: None)
        galleries.load()
        for _ in range(fills):
            with contextlib.suppress(OSError):
                filler.write_bytes(bytes(MIB))
            enrolled = fill(store, staff, number)
            number += len(enrolled) + 1
            there |= set(enrolled)
            assert_searched(store, galleries, staff, there)

            gone = sorted(there)[:40]
            for one in gone:
                assert store.delete_faces(staff, [face_id(one)]).deleted
                store.record(b"{}")
            there -= set(gone)
            assert_searched(store, galleries, staff, there)

            filler.unlink()
            back_s.append(came_back_after_s(store, staff, number))
            there.add(number)
            number += 1
        assert number > 10 * fills
        assert audit.verify(store) == []

    with contextlib.closing(sqlite_store(folder, **reserve)) as store:
        assert store.counts(staff) == (len(there), 0)
        assert set(faces_of(store, staff, [face_id(n) for n in there])) == {
            face_id(n) for n in there
        }
        assert audit.verify(store) == []
    figure(
        "disk filled to the last byte",
        fills,
        f"0 of {number:,} faces lost, every search and deletion answered; writing again after at "
        f"most {max(back_s):.1f} s, without a restart",
    )


def assert_searched(store, galleries, staff, there):
    """Every face that is there is found by a search, and no other."""
    probe = template(0, 512)
    found = galleries.search(staff, probe, count_max=4096, score_min=-1.0)
    assert {candidate.id for candidate in found} == {face_id(n) for n in there}
    assert store.counts(staff) == (len(there), 0)


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
        assert set(faces_of(store, staff, [face_id(1), face_id(2)])) == {face_id(1)}

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
