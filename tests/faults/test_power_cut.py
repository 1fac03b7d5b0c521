"""The power goes, for real: a file system that is shut down without its log being written."""

import contextlib
import fcntl
import os
import random
import shutil
import signal
import struct
import subprocess

import pytest

from enrolments import ACCOUNT, sqlite_store
from recollect.gallery.store import StoreUnusable
from told import Said, all_faces, assert_whole, run_and_end

SEED = 3
EXT4_IOC_SHUTDOWN = 0x8004587D
WITHOUT_LOG = struct.pack("I", 2)


@pytest.fixture
def disk(tmp_path):
    """A small ext4 of its own, and how to mount it."""
    if os.geteuid() or not shutil.which("mkfs.ext4"):
        pytest.skip("mounting a file system of one's own needs root and mkfs.ext4")
    image, folder = tmp_path / "image", tmp_path / "mount"
    with image.open("wb") as file:
        file.truncate(256 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True)
    folder.mkdir()
    mount = ["mount", "-o", "loop", str(image), str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a file system of one's own is not allowed here")
    try:
        yield folder, mount
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def run_and_cut(folder, mount, data, number, after_s, *manner):
    """Let a process write, and cut the power: the disk first, then the process.

    Some of its fsyncs that are under way return without an error, which no power cut would let
    them do; so what it says from then on counts as asked, not as acknowledged.
    """

    def end(child):
        root = os.open(folder, os.O_RDONLY)
        fcntl.ioctl(root, EXT4_IOC_SHUTDOWN, WITHOUT_LOG)
        os.close(root)
        child.send_signal(signal.SIGKILL)
        child.wait()
        subprocess.run(["umount", str(folder)], check=True)
        subprocess.run(mount, check=True)

    return run_and_end(end, folder / data, number, after_s, *manner, late_answers=False)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_power_cut_loses_nothing_acknowledged(disk):
    folder, mount = disk
    chance, said = random.Random(SEED), Said()
    for number in range(100):
        said.take(run_and_cut(folder, mount, "data", number, chance.uniform(0.05, 0.4)))
        with contextlib.closing(sqlite_store(folder / "data")) as store:
            staff = store.collection(ACCOUNT, "staff")
            found = all_faces(store, staff)
            assert said.lost(found) == set(), f"seed {SEED}, round {number}"
            assert said.ghosts(found) == set(), f"seed {SEED}, round {number}"
            assert_whole(store, staff, found)
    assert len(said.done["add"]) > 1000


@pytest.mark.slow
def test_the_harness_catches_a_store_that_does_not_wait_for_the_disk(disk):
    """A positive control: with synchronous=OFF a power cut loses what was acknowledged."""
    folder, mount = disk
    caught = 0
    for number in range(10):
        said = Said()
        data = f"data-{number}"
        said.take(run_and_cut(folder, mount, data, number, 0.3, "careless"))
        try:
            with contextlib.closing(sqlite_store(folder / data)) as store:
                staff = store.collection(ACCOUNT, "staff")
                caught += staff is None or bool(said.lost(all_faces(store, staff)))
        except StoreUnusable:
            caught += 1
    assert caught >= 9
