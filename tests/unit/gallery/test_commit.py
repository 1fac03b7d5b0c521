"""Group commit: many writers, few fsyncs, each failure its own."""

import contextlib
import threading
import time

import pytest

from enrolments import collection, enrolment, face_id, faces_of, sqlite_store
from failing_disk import FailingDisk
from recollect.errors import InternalServerError, ResourceNotFoundException, ThrottlingException
from recollect.gallery.sqlite import commit

DISK = FailingDisk("counting")


@pytest.fixture
def store(tmp_path):
    DISK.heal()
    with contextlib.closing(sqlite_store(tmp_path, vfs=DISK.name)) as store:
        yield store


class Gate:
    """Holds the writer until it is opened, so that writes pile up behind it."""

    def __init__(self, store):
        self.entered, self.open = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=store._commits.run, args=(self.wait,))
        self.thread.start()
        self.entered.wait()

    def wait(self, _):
        self.entered.set()
        assert self.open.wait(10)


def piled_up(store, works):
    """Let writes wait for one commit; what became of each."""
    gate, outcomes = Gate(store), {}

    def run(number, work):
        try:
            outcomes[number] = work()
        except Exception as error:
            outcomes[number] = error

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(works)]
    for thread in threads:
        thread.start()
    while len(store._commits._waiting) + len(outcomes) < len(works):
        time.sleep(0.001)
    DISK.syncs = 0
    gate.open.set()
    for thread in (gate.thread, *threads):
        thread.join()
    return [outcomes[number] for number in range(len(works))]


def test_waiting_writes_cost_one_fsync_together(store):
    staff = collection(store)
    works = [lambda n=n: store.add_faces(staff, [enrolment(n)]) for n in range(20)]

    outcomes = piled_up(store, works)

    assert [faces[0].face_id for faces in outcomes] == [face_id(n) for n in range(20)]
    assert DISK.syncs <= 2  # Of the gate's own commit and of the other twenty.
    assert store.counts(staff) == (20, 0)
    assert store.sequence(staff) == 20


def test_a_write_that_fails_fails_alone(store):
    staff = collection(store)

    def faulty(transaction):
        transaction.sql.run("INSERT INTO tag VALUES (?, 'half', 'done')", staff.key)
        raise ValueError("a bug")

    works = [
        lambda: store.add_faces(staff, [enrolment(1)]),
        lambda: store._commits.run(faulty),
        lambda: store.delete_user(staff, "nobody", None),
        lambda: store.add_faces(staff, [enrolment(2)]),
    ]

    one, bug, refusal, two = piled_up(store, works)

    assert [faces[0].face_id for faces in (one, two)] == [face_id(1), face_id(2)]
    assert str(bug) == "a bug"
    assert isinstance(refusal, ResourceNotFoundException)
    assert store.counts(staff) == (2, 0)
    assert store.tags(staff) == {}


def test_changes_are_published_in_the_order_of_their_commit_before_any_answer(store):
    staff = collection(store)
    published, answered = [], []
    store.subscribe(lambda change: published.append((change.sequence, len(answered))))

    def add(number):
        store.add_faces(staff, [enrolment(number)])
        answered.append(number)

    piled_up(store, [lambda n=n: add(n) for n in range(10)])

    assert published == [(n, 0) for n in range(1, 11)]


def test_too_many_waiting_writes_are_refused_at_once(store, monkeypatch):
    monkeypatch.setattr(commit, "WAITING_MAX", 3)
    staff = collection(store)
    works = [lambda n=n: store.add_faces(staff, [enrolment(n)]) for n in range(8)]

    outcomes = piled_up(store, works)

    refused = [n for n, outcome in enumerate(outcomes) if isinstance(outcome, ThrottlingException)]
    assert len(refused) == 5
    assert store.counts(staff) == (3, 0)
    assert not faces_of(store, staff, [face_id(n) for n in refused])


def test_a_write_that_waited_too_long_has_no_effect(store, monkeypatch):
    monkeypatch.setattr(commit, "WAIT_S_MAX", 0.05)
    staff = collection(store)
    gate = Gate(store)

    with pytest.raises(ThrottlingException):
        store.add_faces(staff, [enrolment(1)])

    gate.open.set()
    gate.thread.join()
    store.add_faces(staff, [enrolment(2)])
    assert store.counts(staff) == (1, 0)


def test_a_subscriber_that_fails_is_heard_of_by_its_caller_only(store):
    staff = collection(store)

    def refuse(change):
        if change.sequence == 2:
            raise RuntimeError("the index could not follow")

    store.subscribe(refuse)
    store.add_faces(staff, [enrolment(1)])
    with pytest.raises(RuntimeError, match="could not follow"):
        store.add_faces(staff, [enrolment(2)])
    store.add_faces(staff, [enrolment(3)])

    assert store.counts(staff) == (3, 0)


def test_an_interrupted_write_leaves_nothing_and_nobody_waiting(store):
    staff = collection(store)

    def interrupted(transaction):
        transaction.sql.run("INSERT INTO tag VALUES (?, 'half', 'done')", staff.key)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store._commits.run(interrupted)

    store.add_faces(staff, [enrolment(1)])
    assert store.tags(staff) == {}


def test_a_closed_store_takes_no_more_writes(tmp_path):
    store = sqlite_store(tmp_path)
    store.close()

    with pytest.raises(InternalServerError, match="closed"):
        store.record(b"{}")
