"""Files, memory, time and patience run short: typed errors, no hang, and all is well afterwards."""

import contextlib
import itertools
import os
import resource
import threading
from pathlib import Path

import apsw
import pytest

from enrolments import (
    ACCOUNT,
    MASTER_KEY,
    Clock,
    Ids,
    collection,
    enrolment,
    face_id,
    faces_of,
    sqlite_store,
    template,
)
from exact_arena import ExactArena
from failing_disk import FailingDisk
from recollect.errors import AnswerError, InternalServerError, ThrottlingException
from recollect.gallery import audit
from recollect.gallery.backup import backup, copies, prune, restore
from recollect.gallery.gallery import Galleries
from recollect.gallery.sqlite import commit
from recollect.gallery.sqlite.database import SHORT
from recollect.gallery.store import Once, StoreUnusable
from thirty_calls import CALLS, run, state, states

DAY_S = 86_400.0
KIB = 1 << 10
STATES = states()


pytestmark = pytest.mark.usefixtures("silent")


@contextlib.contextmanager
def few_files(count):
    """Let this process open so many files more, and not one beyond."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(path.name) for path in Path("/proc/self/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 64, before[1]))
    taken = []
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.dup(0))
        for _ in range(count):
            os.close(taken.pop())
        yield
    finally:
        for file in taken:
            os.close(file)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture
def store(tmp_path):
    with contextlib.closing(sqlite_store(tmp_path / "data")) as store:
        yield store


def collections(store):
    return store.collections(ACCOUNT, after="", limit=10)


def test_without_another_file_readers_are_told_and_writers_go_on(store):
    staff = collection(store)
    store.add_faces(staff, [enrolment(1)])
    with contextlib.ExitStack() as lent:
        # Every connection is in use; the next one needs files.
        while store._database._idle:
            lent.enter_context(store._database.reading())
        with few_files(0):
            with pytest.raises(InternalServerError) as told:
                collections(store)
            assert str(told.value) == SHORT
            store.record(b"{}")
            # Short reads have the connection that writes.
            assert set(faces_of(store, staff, [face_id(1)])) == {face_id(1)}
        with few_files(1), pytest.raises(InternalServerError):
            collections(store)
        assert collections(store) == [staff]
    # With a connection at hand, none is needed.
    with few_files(0):
        assert collections(store) == [staff]
        store.add_faces(staff, [enrolment(2)])


def test_without_files_a_start_is_a_clear_refusal(tmp_path):
    sqlite_store(tmp_path).close()
    for count in itertools.count():
        with few_files(count):
            try:
                store = sqlite_store(tmp_path)
            except StoreUnusable:
                continue
        store.close()
        assert count > 3
        return


def test_without_memory_a_call_fails_alone(tmp_path):
    """SQLite has so much and no more, for every amount until it is enough."""
    told, room_bytes = set(), 0
    while True:
        with contextlib.closing(sqlite_store(tmp_path / str(room_bytes))) as store:
            acknowledged = []
            limit = apsw.memory_used() + room_bytes
            apsw.hard_heap_limit(limit)
            try:
                run(store, lambda _: acknowledged.append(1))  # noqa: B023
            except (AnswerError, MemoryError) as error:
                told.add(str(error))
            finally:
                apsw.hard_heap_limit(0)
            # Not started again, and yet writing.
            store.record(b"{}")
            assert state(store) in STATES[len(acknowledged) : len(acknowledged) + 2]
            assert audit.verify(store) == []
            if len(acknowledged) == len(CALLS):
                assert room_bytes
                assert SHORT in told
                return
        room_bytes += 16 * KIB


def test_the_clock_may_jump(tmp_path):
    """Nothing waits by it, and what is ordered is not ordered by it."""
    clock, ids = Clock(), Ids()
    start = clock.now
    jumps = itertools.cycle([DAY_S, 0.0, -DAY_S, -DAY_S, 5.0])
    with contextlib.closing(sqlite_store(tmp_path / "data", clock=clock, ids=ids)) as store:

        def jump(_):
            clock.now = start + next(jumps)

        run(store, jump)
        assert state(store) == STATES[-1]
        assert audit.verify(store) == []


def test_a_token_is_good_for_its_day_whatever_the_clock_did_before(store, monkeypatch):
    staff = collection(store)
    once = Once("token", "CreateUser", b"")
    start = store._clock.now
    store.create_user(staff, "anna", once)
    for jump in (-DAY_S, 0.0, DAY_S - 1.0):
        store._clock.now = start + jump
        store.tend()
        store.create_user(staff, "anna", once)


def test_faces_do_not_expire_because_the_clock_was_put_back(store):
    staff = collection(store)
    store.add_faces(staff, [enrolment(1)])
    store._clock.now -= DAY_S
    store.add_faces(staff, [enrolment(2)])
    assert store.faces_older_than(staff, 60.0, limit=9) == []


def test_the_newest_copy_is_the_newest_where_the_clock_was_put_back(store, tmp_path):
    staff, clock, target = collection(store), Clock(), tmp_path / "backups"
    made = []
    for number in range(3):
        store.add_faces(staff, [enrolment(number)])
        made.append(backup(store, target, clock=clock))
        clock.now -= DAY_S

    assert copies(target) == made
    assert prune(target, keep=1) == made[:2]
    restored = restore(made[2], tmp_path / "again", MASTER_KEY, clock=clock, ids=Ids())
    assert restored.faces == 3


class Stalling(FailingDisk):
    """A disk whose fsyncs take as long as somebody holds them."""

    def heal(self):
        super().heal()
        self.held, self.go = threading.Event(), threading.Event()
        self.go.set()

    def waits(self):
        self.held.set()
        assert self.go.wait(60)


DISK = Stalling("stalling")


def test_a_disk_that_stalls_holds_up_writers_only(tmp_path, monkeypatch):
    DISK.heal()
    with contextlib.closing(sqlite_store(tmp_path / "data", vfs=DISK.name)) as store:
        staff = collection(store)
        store.add_faces(staff, [enrolment(1)])
        galleries = Galleries(store, ExactArena(), lambda _: None)
        galleries.load()
        DISK.held.clear()
        DISK.go.clear()
        writer = threading.Thread(target=store.add_faces, args=(staff, [enrolment(2)]))
        writer.start()
        assert DISK.held.wait(60)

        (best,) = galleries.search(staff, template(1), count_max=9, score_min=0.999)
        assert best.id == face_id(1)
        assert set(faces_of(store, staff, [face_id(1), face_id(2)])) == {face_id(1)}
        monkeypatch.setattr(commit, "WAIT_S_MAX", 0.05)
        with pytest.raises(ThrottlingException):
            store.add_faces(staff, [enrolment(3)])

        DISK.go.set()
        writer.join()
        assert store.counts(staff) == (2, 0)
        assert set(faces_of(store, staff, [face_id(2), face_id(3)])) == {face_id(2)}
