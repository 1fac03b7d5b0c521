"""Another master key, beside a running server and killed anywhere: nothing lost, nothing left."""

import contextlib
import signal
import subprocess
import sys

import pytest

from enrolments import collection, enrolment, face_id, template, templates_of
from recollect import truth
from recollect.gallery import audit
from recollect.gallery.store import StoreUnusable
from recollect.settings import SettingError, Settings

# The process kills itself before its N-th operation on a file, as kill -9 would.
KILLED_AT = """
import os, signal, sys
from pathlib import Path
from recollect import truth
from recollect.settings import Settings
data, left = Path(sys.argv[1]), [int(sys.argv[2])]
def step(event, what):
    if event in ("open", "os.rename", "os.link", "os.remove") and sys.argv[1] in str(what):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(step)
truth.rotate_master_key(Settings(data=data))
"""


@pytest.fixture
def folder(tmp_path):
    """A data folder with something of everything in it, under a master key of its own."""
    data = tmp_path / "data"
    with contextlib.closing(truth.open_store(Settings(data=data))) as store:
        use(store)
    return data


def use(store):
    staff = collection(store)
    store.add_faces(staff, [enrolment(n) for n in range(3)])
    store.record(b"{}")


def assert_whole(settings):
    """The store opens with the key that the settings give, and all of it can be read."""
    with contextlib.closing(truth.open_store(settings)) as store:
        (staff,) = store.every_collection()
        read = templates_of(store, staff, [face_id(1)])[face_id(1)]
        assert (read == template(1)).all()
        assert audit.verify(store) == []


def refused(settings, key):
    """Whether a master key opens nothing here."""
    given = Settings(data=settings.data, master_key=key.hex())
    with pytest.raises(StoreUnusable, match="the master key is not the one"):
        truth.open_store(given)


def test_a_new_key_in_the_file_and_the_old_one_opens_nothing(folder):
    settings = Settings(data=folder)
    old = truth.master_key(settings)

    assert truth.rotate_master_key(settings) == folder / "master.key"

    assert truth.master_key(settings) != old
    assert (folder / "master.key").stat().st_mode & 0o777 == 0o600
    assert (folder / "data.key").stat().st_size == 60
    assert not list(folder.glob("*.new*"))
    refused(settings, old)
    assert_whole(settings)


def test_a_running_server_notices_nothing(folder, tmp_path):
    settings = Settings(data=folder)
    with contextlib.closing(truth.open_store(settings)) as served:
        (staff,) = served.every_collection()
        tokens = served.key_for("paging tokens")

        truth.rotate_master_key(settings)

        served.add_faces(staff, [enrolment(9)])
        key = truth.make_key(served, account="1" * 12, name="a", policies=())
        assert served.access_key(key.key_id) == key
    with contextlib.closing(truth.open_store(settings)) as again:
        assert again.counts(staff) == (4, 0)
        assert again.access_key(key.key_id) == key
        assert again.key_for("paging tokens") == tokens


@pytest.mark.parametrize(
    "steps", [range(2, 100, 7), pytest.param(range(1, 100), marks=pytest.mark.slow)]
)
def test_killed_before_a_step_the_key_in_the_file_opens_and_the_next_try_finishes(folder, steps):
    settings = Settings(data=folder)
    seen, killed = {truth.master_key(settings)}, 0
    for step in steps:
        done = subprocess.run(
            [sys.executable, "-c", KILLED_AT, str(folder), str(step)],
            check=False,
            capture_output=True,
            timeout=60,
        )
        assert_whole(settings)
        seen.add(truth.master_key(settings))
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        killed += 1

    assert killed >= 20 // steps.step, "the steps were not met"
    print(f"killed before each of {killed} steps: the data opened every time")
    assert not list(folder.glob("*.new*"))
    for key in seen - {truth.master_key(settings)}:
        refused(settings, key)


def test_two_keys_open_the_data_until_one_is_retired(folder, tmp_path):
    old = Settings(data=folder)
    file = tmp_path / "next.key"

    truth.add_master_key(old, file)
    new = Settings(data=folder, master_key_command=f"cat {file}")
    assert_whole(old)
    assert_whole(new)
    truth.retire_master_keys(new)

    assert_whole(new)
    refused(new, truth.master_key(old))
    with pytest.raises(SettingError, match="recollect key master add FILE"):
        truth.rotate_master_key(new)


def test_a_copy_from_before_opens_with_the_new_key_after_the_next_backup(folder, tmp_path):
    from recollect.gallery.backup import backup, restore

    settings, copies = Settings(data=folder), tmp_path / "copies"

    def back_up():
        with contextlib.closing(truth.open_store(settings, exclusive=False)) as store:
            return backup(store, copies, clock=lambda: float(len(list(copies.glob("*.db")))))

    def restored(name):
        key = truth.master_key(settings)
        into = tmp_path / name
        return restore(first, into, key, clock=lambda: 0.0, ids=lambda: "")

    first = back_up()
    truth.rotate_master_key(settings)

    with pytest.raises(StoreUnusable, match="the master key is not the one"):
        restored("too early")
    back_up()
    assert restored("new").faces == 3
