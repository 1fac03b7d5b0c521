"""Backups are whole while others write, and what was deleted stays deleted."""

import contextlib
import shutil
import threading
import time

import numpy as np
import pytest

from enrolments import (
    ACCOUNT,
    MASTER_KEY,
    Clock,
    Ids,
    collection,
    enrolment,
    face_id,
    sqlite_store,
    templates_of,
)
from recollect.gallery.backup import backup, copies, prune, restore
from recollect.gallery.sqlite import SQLiteStore
from recollect.gallery.store import StoreUnusable
from told import Said, all_faces, assert_kept

CLOCK = Clock()
LIFE = 10
"""Backups of one data folder under load."""


def back_up(store, target):
    CLOCK.now += 60
    return backup(store, target, clock=CLOCK)


def bring_back(copy, folder, **more):
    return restore(copy, folder, MASTER_KEY, clock=CLOCK, ids=Ids(), **more)


@pytest.fixture
def store(tmp_path):
    with contextlib.closing(sqlite_store(tmp_path / "data", clock=CLOCK)) as store:
        yield store


def test_a_restored_copy_is_the_store_of_its_moment(store, tmp_path):
    staff = collection(store, tags={"a": "b"})
    store.add_faces(staff, [enrolment(n) for n in range(20)])
    store.create_user(staff, "anna", None)
    store.associate_faces(staff, "anna", [face_id(1), face_id(2)], faces_max=9, once=None)
    store.record(b"{}")
    templates = templates_of(store, staff, [face_id(n) for n in range(20)])
    progress = []

    copy = backup(
        store, tmp_path / "backups", clock=CLOCK, progress=lambda *at: progress.append(at)
    )
    store.add_faces(staff, [enrolment(50)])
    restored = bring_back(copy, tmp_path / "restored")

    assert restored == (1, 20, 0)
    assert progress[-1][0] == progress[-1][1] > 0
    with contextlib.closing(sqlite_store(tmp_path / "restored")) as again:
        assert again.every_collection() == [staff]
        found = templates_of(again, staff, [face_id(n) for n in range(51)])
        assert found.keys() == templates.keys()
        assert all(np.array_equal(found[i], templates[i]) for i in templates)
        assert again.user(staff, "anna").face_count == 2
        assert again.tags(staff) == {"a": "b"}
        assert len(again.audit_records(after=0, limit=9)) == 1


class Listener(threading.Thread):
    """Hears what a process says while others do something else."""

    def __init__(self, stdout):
        super().__init__()
        self._stdout, self._heard = stdout, b""
        self.start()

    def run(self):
        while heard := self._stdout.read(1 << 16):
            self._heard += heard

    def so_far(self):
        """What was said, line by line."""
        return [line.split() for line in self._heard.decode().split("\n")[:-1]]


@pytest.mark.timeout(3600)  # For the slow ones.
@pytest.mark.parametrize("backups", [3, pytest.param(100, marks=pytest.mark.slow)])
def test_a_copy_made_under_load_is_whole(tmp_path, writers, figure, backups):
    """It holds what was acknowledged before it began, and nothing that was not asked for yet."""
    faces = 0
    for life in range(0, backups, LIFE):
        folder, made = tmp_path / f"data-{life}", []
        with writers.child(folder, life) as child:
            assert child.stdout.readline() == b"ready\n"
            listener = Listener(child.stdout)
            for number in range(life, min(life + LIFE, backups)):
                time.sleep(0.1)
                before = listener.so_far()
                # As the command does it: a second store beside the server's.
                with contextlib.closing(sqlite_store(folder, exclusive=False)) as beside:
                    copy = back_up(beside, tmp_path / f"backup-{number}")
                made.append((copy, before, listener.so_far()))
            child.kill()
            child.wait()
            listener.join()
        for number, (copy, before, after) in enumerate(made, life):
            said = Said()
            said.take(words for words in before if words[0].endswith("!"))
            said.take(words for words in after if words[0].endswith("?"))
            restored = bring_back(copy, tmp_path / "restored")
            with contextlib.closing(sqlite_store(tmp_path / "restored")) as again:
                assert_kept(again, said, f"backup {number}")
            faces += restored.faces
            shutil.rmtree(tmp_path / "restored")
        shutil.rmtree(folder)
    assert faces > 20 * backups
    figure("hot backups, restored", backups, f"all whole; {faces:,} faces in them")


def test_deletions_after_the_copy_are_deleted_again(store, tmp_path):
    staff, visitors = collection(store), collection(store, "visitors")
    for c in (staff, visitors):
        store.add_faces(c, [enrolment(n) for n in range(10)])
    for name, numbers in {"anna": (1, 2), "ben": (3, 4)}.items():
        store.create_user(staff, name, None)
        ids = [face_id(n) for n in numbers]
        store.associate_faces(staff, name, ids, faces_max=9, once=None)
    copy = back_up(store, tmp_path / "backups")

    store.delete_faces(staff, [face_id(0), face_id(9)])
    store.disassociate_faces(staff, "anna", [face_id(1)], once=None)
    store.delete_faces(staff, [face_id(1)])
    store.delete_user(staff, "ben", None)
    store.delete_collection(visitors)
    back_up(store, tmp_path / "backups")
    restored = bring_back(copy, tmp_path / "restored")

    assert restored == (1, 7, 5)
    with contextlib.closing(sqlite_store(tmp_path / "restored")) as again:
        assert [c.collection_id for c in again.every_collection()] == ["staff"]
        assert all_faces(again, staff) == {face_id(n) for n in range(2, 9)}
        assert again.user(staff, "ben") is None
        assert again.user(staff, "anna").face_count == 1
        copy = back_up(again, tmp_path / "backups-of-it")
        again.add_faces(staff, [enrolment(77)])
    # And what was forgotten stays so in copies of the copy.
    assert bring_back(copy, tmp_path / "third") == (1, 7, 0)


def test_deletions_that_met_nothing_are_remembered_too(store, tmp_path):
    """They may be in the next copy that is restored over this one."""
    staff = collection(store)
    oldest = back_up(store, tmp_path / "backups")
    store.add_faces(staff, [enrolment(1), enrolment(2)])
    older = back_up(store, tmp_path / "apart")
    store.delete_faces(staff, [face_id(1)])
    back_up(store, tmp_path / "backups")

    assert bring_back(oldest, tmp_path / "restored") == (1, 0, 0)
    assert bring_back(older, tmp_path / "restored", replace=True) == (1, 1, 1)


def test_deletions_that_only_the_replaced_folder_knows_are_deleted_again(tmp_path):
    folder = tmp_path / "data"
    with contextlib.closing(sqlite_store(folder, clock=CLOCK)) as store:
        staff = collection(store)
        store.add_faces(staff, [enrolment(n) for n in range(5)])
        copy = back_up(store, tmp_path / "backups")
        store.delete_faces(staff, [face_id(3)])
        with pytest.raises(StoreUnusable, match="is being served"):
            bring_back(copy, folder, replace=True)
    with pytest.raises(StoreUnusable, match="holds data already"):
        bring_back(copy, folder)

    assert bring_back(copy, folder, replace=True) == (1, 4, 1)

    with contextlib.closing(sqlite_store(folder)) as again:
        assert all_faces(again, staff) == {face_id(n) for n in (0, 1, 2, 4)}
        assert again.add_faces(staff, [enrolment(8)])
    assert not (folder / "restoring").exists()


def test_a_folder_that_crashed_is_replaced_with_its_log(tmp_path):
    """What the log alone holds counts as well, and is not read into the new file."""
    folder = tmp_path / "data"
    with contextlib.closing(sqlite_store(folder, clock=CLOCK)) as store:
        staff = collection(store)
        store.add_faces(staff, [enrolment(n) for n in range(5)])
        copy = back_up(store, tmp_path / "backups")
        store.carry()
        store.delete_faces(staff, [face_id(3)])
        store.add_faces(staff, [enrolment(n) for n in range(100, 140)])
        crashed = shutil.copytree(folder, tmp_path / "crashed")

    assert (crashed / "recollect.db-wal").stat().st_size > 0
    assert bring_back(copy, crashed, replace=True) == (1, 4, 1)
    with contextlib.closing(sqlite_store(crashed)) as again:
        assert all_faces(again, staff) == {face_id(n) for n in (0, 1, 2, 4)}


def test_a_damaged_folder_has_to_be_moved_away(tmp_path):
    folder = tmp_path / "data"
    with contextlib.closing(sqlite_store(folder, clock=CLOCK)) as store:
        collection(store)
        copy = back_up(store, tmp_path / "backups")
    (folder / "recollect.db").write_bytes(b"?" * 20_000)

    with pytest.raises(StoreUnusable, match="move it away to restore without it"):
        bring_back(copy, folder, replace=True)

    (folder / "recollect.db").unlink()
    assert bring_back(copy, folder) == (1, 0, 0)


def test_a_collection_deleted_since_cannot_be_read_from_an_older_copy(store, tmp_path):
    """Even where nobody remembers the deletion: its key is gone."""
    staff, visitors = collection(store), collection(store, "visitors")
    for c in (staff, visitors):
        store.add_faces(c, [enrolment(1)])
    old = back_up(store, tmp_path / "backups")
    store.delete_collection(visitors)
    back_up(store, tmp_path / "backups").unlink()

    assert bring_back(old, tmp_path / "restored") == (1, 1, 1)
    with contextlib.closing(sqlite_store(tmp_path / "restored")) as again:
        assert again.collection(ACCOUNT, "visitors") is None
        again.tend()
        with again._database.reading() as sql:
            assert sql.row("SELECT count(*) FROM face") == (1,)


def test_a_copy_needs_the_master_key_and_its_keyring(store, tmp_path):
    collection(store)
    copy = back_up(store, tmp_path / "backups")
    content = b"".join(path.read_bytes() for path in copy.parent.iterdir())
    assert b"staff" not in content

    with pytest.raises(StoreUnusable, match="the master key is not the one"):
        restore(copy, tmp_path / "other", MASTER_KEY[::-1], clock=CLOCK, ids=Ids())
    (copy.parent / "keyring.db").unlink()
    with pytest.raises(StoreUnusable, match=r"keyring\.db does not exist"):
        bring_back(copy, tmp_path / "restored")
    assert not (tmp_path / "restored" / "recollect.db").exists()


def test_a_failed_restore_is_repeated(store, tmp_path, monkeypatch):
    staff = collection(store)
    store.add_faces(staff, [enrolment(1)])
    copy = back_up(store, tmp_path / "backups")
    monkeypatch.setattr(SQLiteStore, "forget", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        bring_back(copy, tmp_path / "restored")
    monkeypatch.undo()

    assert bring_back(copy, tmp_path / "restored") == (1, 1, 0)


def test_only_the_newest_copies_are_kept(store, tmp_path):
    target = tmp_path / "backups"
    made = [back_up(store, target) for _ in range(4)]

    assert copies(target) == made
    assert prune(target, keep=2) == made[:2]
    assert copies(target) == made[2:]
    assert prune(target, keep=2) == []
    names = {path.name for path in target.iterdir()}
    assert names == {"data.key", "keyring.db", *(path.name for path in made[2:])}
    assert {path.stat().st_mode & 0o777 for path in target.iterdir()} == {0o600}
