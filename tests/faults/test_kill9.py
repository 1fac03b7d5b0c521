"""kill -9 at random moments of a real process: what was acknowledged is there, and nothing else."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from enrolments import ACCOUNT, face_id, sqlite_store, template
from exact_arena import ExactArena
from recollect.gallery import audit
from recollect.gallery.gallery import Galleries

CHILD = Path(__file__).with_name("busy_store.py")
SEED = 9
REOPEN_S_MAX = 2.0


def run_and_kill(folder, seed, after_s, *more):
    """Let a process write, kill it without warning, and return what it said."""
    child = subprocess.Popen(
        [sys.executable, str(CHILD), str(folder), str(seed), *more],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    first = child.stdout.readline()
    assert first == b"ready\n"
    time.sleep(after_s)
    child.send_signal(signal.SIGKILL)
    said, _ = child.communicate()
    assert child.returncode == -signal.SIGKILL
    # The last line may be cut short.
    return [line.split() for line in said.decode().split("\n")[:-1]]


class Said:
    """What all processes so far have said they would do, and were told was done."""

    def __init__(self):
        self.asked = {"add": set(), "delete": set()}
        self.done = {"add": set(), "delete": set(), "record": set()}

    def take(self, lines):
        for word, number in lines:
            kind, mark = word[:-1], word[-1]
            (self.asked if mark == "?" else self.done)[kind].add(int(number))

    def lost(self, found):
        """Acknowledged faces that are not there and that nobody asked to delete."""
        return {n for n in self.done["add"] - self.asked["delete"] if face_id(n) not in found}

    def ghosts(self, found):
        """Faces whose deletion was acknowledged, or that nobody ever asked for."""
        possible = {face_id(n) for n in self.asked["add"] - self.done["delete"]}
        return found - possible


def all_faces(store, staff):
    return {face.face_id for face in store.list_faces(staff, after="", limit=10**6)}


@pytest.mark.parametrize("rounds", [4, pytest.param(300, marks=pytest.mark.slow)])
def test_nothing_acknowledged_is_lost_and_nothing_deleted_comes_back(tmp_path, rounds):
    chance, said = random.Random(SEED), Said()
    for number in range(rounds):
        said.take(run_and_kill(tmp_path, number, chance.uniform(0.02, 0.3)))

        began = time.monotonic()
        with contextlib.closing(sqlite_store(tmp_path)) as store:
            assert time.monotonic() - began < REOPEN_S_MAX
            staff = store.collection(ACCOUNT, "staff")
            found = all_faces(store, staff)
            assert said.lost(found) == set(), f"seed {SEED}, round {number}"
            assert said.ghosts(found) == set(), f"seed {SEED}, round {number}"
            assert_whole(store, staff, found)
            records = {int(r.entry) for r in store.audit_records(after=0, limit=10**6)}
            assert said.done["record"] <= records
            assert audit.verify(store) == []
    assert len(said.done["add"]) > 10 * rounds
    assert said.done["delete"]


def assert_whole(store, staff, found):
    """The tables agree with each other, and the index with them."""
    assert store.counts(staff)[0] == len(found)
    scanned = {i for ids, _ in store.scan(staff)[1] for i in ids}
    assert scanned == found
    with store._database.reading() as sql:
        assert sql.row("PRAGMA integrity_check") == ("ok",)
    for user in store.list_users(staff, after="", limit=99):
        owned = store.list_faces(staff, after="", limit=10**6, user_id=user.user_id)
        assert len(owned) == user.face_count
    galleries = Galleries(store, ExactArena(), lambda _: None)
    galleries.load()
    best = galleries.search(staff, template(0), count_max=10**6, score_min=-1.0)
    assert {candidate.id for candidate in best} == found


def test_the_harness_catches_an_answer_before_the_commit(tmp_path):
    """A positive control: a store that commits later loses acknowledged faces."""
    said = Said()
    for number in range(5):
        said.take(run_and_kill(tmp_path, number, 0.2, "hasty"))
        with contextlib.closing(sqlite_store(tmp_path)) as store:
            if said.lost(all_faces(store, store.collection(ACCOUNT, "staff"))):
                return
    pytest.fail("nothing was lost by a store that does not commit")
