"""The N-th write or fsync fails, for every N until nothing fails: nothing acknowledged is lost."""

import contextlib
import itertools
import logging
import shutil
import time

import pytest

from enrolments import collection, enrolment, sqlite_store
from failing_disk import FailingDisk
from recollect.errors import InternalServerError
from recollect.gallery.store import StoreUnusable
from thirty_calls import CALLS, run, state, states

STATES = states()
DISK = FailingDisk()
NEVER = float("inf")
KINDS = {
    "fail_write": "each write fails in turn",
    "fail_sync": "each fsync fails in turn",
    "fill_at": "the disk is full from each write on",
}


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


@pytest.mark.timeout(3600)  # For the slow ones.
@pytest.mark.parametrize(
    ("step", "hang_s_max"), [(41, NEVER), pytest.param(1, 5.0, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(
    ("call", "torn", "cut_after"),
    [
        ("fail_write", False, False),
        ("fail_write", True, True),
        ("fail_sync", False, False),
        ("fail_sync", False, True),
        ("fill_at", False, False),
    ],
)
def test_nothing_acknowledged_is_lost(
    tmp_path, fresh, disk, figure, call, torn, cut_after, step, hang_s_max
):
    rounds, waited_s = 0, []
    for number in itertools.count(step=-(-step // 8) if call == "fail_sync" else step):
        folder = shutil.copytree(fresh, tmp_path / "data")
        disk.heal()
        answered_at = []
        store = sqlite_store(folder, vfs=disk.name)
        disk.heal()
        disk.torn, disk.cut_after = torn, cut_after
        setattr(disk, call, number)
        began = time.monotonic()
        try:
            run(store, lambda _: answered_at.append(time.monotonic()))  # noqa: B023
        except InternalServerError:
            assert disk.failed
            # What could not be written may be half there: nothing more is acknowledged.
            with pytest.raises(InternalServerError):
                store.record(b"{}")
        failed, acknowledged = disk.failed, len(answered_at)
        moments = [began, *answered_at, time.monotonic()]
        waited_s += [after - before for before, after in itertools.pairwise(moments)]
        store.close()

        disk.heal()
        store = sqlite_store(folder)
        found = state(store)
        store.close()
        shutil.rmtree(folder)
        assert found in STATES[acknowledged : acknowledged + 2]
        if not failed:
            assert acknowledged == len(CALLS)
            break
        rounds += 1
    assert max(waited_s) < hang_s_max
    then = (", half written" if torn else "") + (", and all after it" if cut_after else "")
    figure(
        f"{KINDS[call]}{then}",
        rounds,
        f"0 acknowledged after it, 0 lost; longest wait {max(waited_s):.2f} s",
    )


@pytest.mark.parametrize("step", [41, pytest.param(1, marks=pytest.mark.slow)])
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


def test_a_disk_that_cannot_be_read_is_a_typed_error_until_it_can(tmp_path, disk):
    with contextlib.closing(sqlite_store(tmp_path / "data", vfs=disk.name)) as store:
        staff = collection(store)
        store.add_faces(staff, [enrolment(n) for n in range(2000)])
    with contextlib.closing(sqlite_store(tmp_path / "data", vfs=disk.name)) as store:
        disk.unreadable = True
        with pytest.raises(InternalServerError, match="disk"):
            store.list_faces(staff, after="", limit=4000)
        disk.heal()

        assert len(store.list_faces(staff, after="", limit=4000)) == 2000


@pytest.mark.control
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
