"""The power goes, for real: a file system that is shut down without its log being written."""

import contextlib
import fcntl
import os
import random
import shutil
import struct
import subprocess

import pytest

from enrolments import ACCOUNT, sqlite_store
from recollect.gallery.store import StoreUnusable
from told import Said, all_faces, assert_kept, run_and_end

SEED = 3
LIFE = 25
"""Rounds of one data folder."""
SHUTDOWN = 0x8004587D
"""The ioctl that ends a file system; ext4 and xfs share it."""
WITHOUT_LOG = struct.pack("I", 2)
MIB = 1 << 20
QUIET = {"capture_output": True, "text": True}


class Disk:
    """A file system of one's own, in a file of this one."""

    def __init__(self, kind, folder):
        self.kind, self.folder, self._image = kind, folder / "mount", folder / "image"
        self.folder.mkdir()
        with self._image.open("wb") as file:
            file.truncate(320 * MIB)
        forced = {"ext4": "-F", "xfs": "-f"}[kind]
        subprocess.run([f"mkfs.{kind}", "-q", forced, str(self._image)], check=True)

    def mount(self):
        # Another namespace of mounts may still hold the one that was cut off, and write what it
        # has in memory to its image long after: it keeps that, and a copy of it is mounted here.
        held = subprocess.run(["losetup", "--associated", str(self._image)], **QUIET)
        if held.stdout:
            copy = self._image.with_name("copy")
            subprocess.run(["cp", "--sparse=always", str(self._image), str(copy)], check=True)
            copy.replace(self._image)
        # A device of its own each time: the same would be the same dead file system.
        made = subprocess.run(["losetup", "--find", "--show", str(self._image)], **QUIET)
        self._device = made.stdout.strip()
        options = {"ext4": "rw", "xfs": "nouuid"}[self.kind]
        mount = ["mount", "-t", self.kind, "-o", options, self._device, str(self.folder)]
        return not made.returncode and subprocess.run(mount, **QUIET).returncode == 0

    def unmount(self):
        subprocess.run(["umount", str(self.folder)], check=True)
        subprocess.run(["losetup", "--detach", self._device], check=True)

    def cut(self):
        """From now on nothing reaches it, as without power."""
        root = os.open(self.folder, os.O_RDONLY)
        fcntl.ioctl(root, SHUTDOWN, WITHOUT_LOG)
        os.close(root)


@pytest.fixture(params=["ext4", "xfs"])
def disk(request, tmp_path):
    kind = request.param
    if os.geteuid() or not shutil.which(f"mkfs.{kind}"):
        pytest.skip(f"mounting a file system of one's own needs root and mkfs.{kind}")
    disk = Disk(kind, tmp_path)
    if not disk.mount():
        pytest.skip(f"mounting {kind} is not allowed here, or unknown to this kernel")
    yield disk
    disk.unmount()


def run_and_cut(writers, disk, data, number, chance, *manner):
    """Let a process write, and cut the power: it is stopped, then its disk, whatever that does.

    While a file system is being shut down some fsyncs return without an error. Without power
    nobody would go on after them; here a process would, and write to another file what has to come
    after the first.
    """

    def end(child):
        child.stop()
        disk.cut()
        child.kill()

    said = run_and_end(writers, end, disk.folder / data, number, chance, *manner)
    disk.unmount()
    assert disk.mount()
    return said


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("rounds", [300])
def test_a_power_cut_loses_nothing_acknowledged(disk, writers, figure, request, rounds):
    chance, added, deleted = random.Random(SEED), 0, 0
    for life in range(0, rounds, LIFE):
        folder, said = disk.folder / str(life), Said()
        for number in range(life, min(life + LIFE, rounds)):
            said.take(run_and_cut(writers, disk, folder, number, chance))
            with contextlib.closing(sqlite_store(folder)) as store:
                assert_kept(store, said, f"seed {SEED}, round {number}")
        shutil.rmtree(folder)
        added += len(said.done["add"])
        deleted += len(said.done["delete"])
    assert added > 10 * rounds
    figure(
        f"power cut, {request.node.callspec.params['disk']}",
        rounds,
        f"0 of {added:,} acknowledged faces lost, 0 of {deleted:,} deleted ones back, 0 torn "
        f"(seed {SEED})",
    )


@pytest.mark.slow
def test_the_harness_catches_a_store_that_does_not_wait_for_the_disk(
    disk, writers, figure, request
):
    """A positive control: with synchronous=OFF a power cut loses what was acknowledged."""
    chance, caught = random.Random(SEED), 0
    for number in range(10):
        said = Said()
        folder = disk.folder / f"careless-{number}"
        said.take(run_and_cut(writers, disk, folder, number, chance, "careless"))
        try:
            with contextlib.closing(sqlite_store(folder)) as store:
                staff = store.collection(ACCOUNT, "staff")
                caught += staff is None or bool(said.lost(all_faces(store, staff)))
        except StoreUnusable:
            caught += 1
    assert caught >= 9
    figure(
        f"the same with synchronous=OFF, {request.node.callspec.params['disk']}",
        10,
        f"{caught} rounds lose, as they must",
    )
