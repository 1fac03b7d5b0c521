"""kill -9 before every single write system call of a script, from the first start to the end."""

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from enrolments import sqlite_store
from nursery import Nursery
from recollect.gallery import audit
from thirty_calls import CALLS, state, states

STATES = states()

WRITING = (
    *("write", "writev", "pwrite64", "pwritev", "pwritev2", "fsync", "fdatasync"),
    *("sync_file_range", "ftruncate", "truncate", "fallocate", "rename", "renameat", "renameat2"),
    *("link", "linkat", "unlink", "unlinkat", "mkdir", "mkdirat", "openat"),
)
"""Every system call by which a file comes to be, changes or goes."""


@pytest.fixture(scope="module")
def scripts():
    if not shutil.which("strace"):
        pytest.skip("stopping a process before a system call needs strace")
    nursery = Nursery("thirty_calls")
    yield nursery
    nursery.close()


@contextlib.contextmanager
def traced(pid, *options):
    """Attach strace to a process that has stopped itself, and let it go on."""
    wait_until(pid, "State:\tT")
    command = ["strace", "-qq", "-p", str(pid), *options]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as strace:
        wait_until(pid, f"TracerPid:\t{strace.pid}")
        os.kill(pid, signal.SIGCONT)
        yield


def wait_until(pid, line):
    status, deadline = Path(f"/proc/{pid}/status"), time.monotonic() + 60
    while line not in status.read_text():
        assert time.monotonic() < deadline, f"process {pid} did not come to {line}"
        time.sleep(0.001)


def killed_before(scripts, folder, call, number, *manner):
    """Run the script; the calls that were acknowledged, and whether it was killed."""
    inject = f"inject={call}:signal=KILL:when={number}"
    with scripts.child(folder, *manner) as child:
        with traced(child.pid, "-o", "/dev/null", "-e", f"trace={call}", "-e", inject):
            acknowledged = len(child.stdout.read())
        return acknowledged, child.wait() == -signal.SIGKILL


def left_behind(folder):
    """The state that a start finds."""
    with contextlib.closing(sqlite_store(folder)) as store:
        assert audit.verify(store) == []
        return state(store)


@pytest.mark.timeout(3600)  # For the slow ones.
@pytest.mark.parametrize(
    ("calls", "step"),
    [
        (("pwrite64", "fdatasync", "ftruncate"), 61),
        pytest.param(WRITING, 1, marks=pytest.mark.slow),
    ],
)
def test_nothing_acknowledged_is_lost_before_any_write(tmp_path, scripts, figure, calls, step):
    kills = {}
    for call in calls:
        for number in itertools.count(1, step):
            folder = tmp_path / f"{call}-{number}"
            acknowledged, killed = killed_before(scripts, folder, call, number)
            assert left_behind(folder) in STATES[acknowledged : acknowledged + 2], (call, number)
            shutil.rmtree(folder)
            if not killed:
                assert acknowledged == len(CALLS)
                break
            kills[call] = kills.get(call, 0) + 1
    assert kills.keys() >= {"pwrite64", "fdatasync", "ftruncate"}
    parts = ", ".join(f"{count} {call}" for call, count in kills.items())
    share = "every" if step == 1 else f"every {step}th"
    figure(
        f"kill -9 before {share} write system call of 30 calls",
        sum(kills.values()),
        f"0 bad ({parts})",
    )


@pytest.mark.control
def test_the_harness_catches_an_answer_before_the_commit(tmp_path, scripts, figure):
    """A positive control: what was acknowledged before it was written is missed."""
    for number in itertools.count(20, 20):
        folder = tmp_path / str(number)
        acknowledged, killed = killed_before(scripts, folder, "pwrite64", number, "hasty")
        assert killed, "nothing was lost by a store that answers too soon"
        if left_behind(folder) not in STATES[acknowledged : acknowledged + 2]:
            figure("the same with an answer before the write", number // 20, "lost, as it must be")
            return
