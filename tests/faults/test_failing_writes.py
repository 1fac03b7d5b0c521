"""The N-th write or fsync fails, for every N until nothing fails: nothing acknowledged is lost."""

import itertools
import logging
import shutil

import numpy as np
import pytest

from dict_store import DictStore
from enrolments import ACCOUNT, Clock, Ids, collection, enrolment, face_id, sqlite_store
from failing_disk import FailingDisk
from recollect.errors import InternalServerError
from recollect.gallery.store import StoreUnusable


def script(store, done):
    """Some of everything; each step is reported when it was acknowledged."""
    steps = [
        lambda: collection(store, tags={"a": "b"}),
        lambda: store.add_faces(staff(store), [enrolment(n) for n in range(3)]),
        lambda: store.create_user(staff(store), "anna", None),
        lambda: store.associate_faces(
            staff(store), "anna", [face_id(0), face_id(1)], faces_max=9, once=None
        ),
        lambda: store.record(b"{}"),
        lambda: store.delete_faces(staff(store), [face_id(2)]),
        lambda: collection(store, "visitors"),
        lambda: store.add_faces(store.collection(ACCOUNT, "visitors"), [enrolment(9)]),
        lambda: store.delete_collection(store.collection(ACCOUNT, "visitors")),
        lambda: store.delete_user(staff(store), "anna", None),
    ]
    for step in steps:
        step()
        done(store)


def staff(store):
    return store.collection(ACCOUNT, "staff")


def state(store):
    """What a restart has to find again."""
    found = {}
    for c in store.every_collection():
        _, blocks = store.scan(c)
        templates = [
            (i, row.tobytes()) for ids, block in blocks for i, row in zip(ids, block, strict=True)
        ]
        aggregates = [
            (i, np.round(row, 5).tobytes())
            for ids, block in store.scan_users(c)
            for i, row in zip(ids, block, strict=True)
        ]
        found[c.collection_id] = (
            store.counts(c),
            store.sequence(c),
            store.list_faces(c, after="", limit=99),
            [(u.user_id, u.face_count) for u in store.list_users(c, after="", limit=99)],
            store.tags(c),
            sorted(templates),
            len(aggregates),
        )
    return found


def expected_states():
    model, states = DictStore(clock=Clock(), ids=Ids()), []
    states.append(state(model))
    script(model, lambda store: states.append(state(store)))
    return states


STATES = expected_states()
DISK = FailingDisk()


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """A data folder as the first start leaves it."""
    folder = tmp_path_factory.mktemp("fresh") / "data"
    sqlite_store(folder).close()
    return folder


@pytest.fixture
def disk():
    # One for all tests: the encryption above it is set up once for each name.
    DISK.heal()
    yield DISK
    DISK.heal()


@pytest.fixture(autouse=True)
def quiet():
    """Failures are logged with their traces; here they are the point."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("step", [9, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("call", "torn", "cut_after"),
    [
        ("fail_write", False, False),
        ("fail_write", True, True),
        ("fail_sync", False, False),
        ("fail_sync", False, True),
    ],
)
def test_nothing_acknowledged_is_lost(tmp_path, fresh, disk, call, torn, cut_after, step):
    for number in itertools.count(step=1 if call == "fail_sync" else step):
        folder = shutil.copytree(fresh, tmp_path / "data")
        disk.heal()
        acknowledged = []
        store = sqlite_store(folder, vfs=disk.name)
        disk.heal()
        disk.torn, disk.cut_after = torn, cut_after
        setattr(disk, call, number)
        try:
            script(store, lambda _: acknowledged.append(1))  # noqa: B023
        except InternalServerError:
            assert disk.failed
            # What could not be written may be half there: nothing more is acknowledged.
            with pytest.raises(InternalServerError):
                store.record(b"{}")
        failed = disk.failed
        store.close()

        disk.heal()
        store = sqlite_store(folder)
        found = state(store)
        store.close()
        shutil.rmtree(folder)
        assert found in STATES[len(acknowledged) : len(acknowledged) + 2]
        if not failed:
            assert len(acknowledged) == len(STATES) - 1
            return


@pytest.mark.parametrize("step", [9, pytest.param(1, marks=pytest.mark.slow)])
def test_a_disk_that_fails_at_the_start_is_a_clear_refusal(tmp_path, disk, step):
    for number in itertools.count(step=step):
        disk.heal()
        disk.fail_write = number
        try:
            store = sqlite_store(tmp_path / str(number), vfs=disk.name)
        except StoreUnusable:
            pass
        else:
            store.close()
            assert number > 3
            return
        disk.heal()
        sqlite_store(tmp_path / str(number)).close()


def test_the_harness_catches_an_answer_before_the_commit(tmp_path, disk, monkeypatch):
    """A positive control: a store that does not commit loses what it acknowledged."""
    from recollect.gallery.sqlite.commit import GroupCommit

    def hasty(self, work, *, frees=False):
        from recollect.gallery.sqlite.commit import Transaction
        from recollect.gallery.sqlite.database import Sql

        return work(Transaction(Sql(self._database.writer)))

    store = sqlite_store(tmp_path / "data", vfs=disk.name)
    staff = collection(store)
    store._database.writer.execute("BEGIN")
    monkeypatch.setattr(GroupCommit, "run", hasty)
    store.add_faces(staff, [enrolment(1)])
    monkeypatch.undo()
    disk.dead = True
    store._database.writer.execute("ROLLBACK")
    store.close()

    disk.heal()
    store = sqlite_store(tmp_path / "data")
    assert store.counts(staff) == (0, 0)
    store.close()
