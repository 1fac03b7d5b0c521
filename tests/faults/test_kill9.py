"""kill -9 at random moments of a real process: what was acknowledged is there, and nothing else."""

import contextlib
import random
import signal
import time

import pytest

from enrolments import ACCOUNT, sqlite_store
from recollect.gallery import audit
from told import Said, all_faces, assert_whole, run_and_end

SEED = 9
REOPEN_S_MAX = 2.0


def kill(child):
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL


@pytest.mark.timeout(900)  # For the slow ones.
@pytest.mark.parametrize("rounds", [4, pytest.param(300, marks=pytest.mark.slow)])
def test_nothing_acknowledged_is_lost_and_nothing_deleted_comes_back(tmp_path, rounds):
    chance, said = random.Random(SEED), Said()
    for number in range(rounds):
        said.take(run_and_end(kill, tmp_path, number, chance.uniform(0.02, 0.3)))

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


def test_the_harness_catches_an_answer_before_the_commit(tmp_path):
    """A positive control: a store that commits later loses acknowledged faces."""
    said = Said()
    for number in range(5):
        said.take(run_and_end(kill, tmp_path, number, 0.2, "hasty"))
        with contextlib.closing(sqlite_store(tmp_path)) as store:
            if said.lost(all_faces(store, store.collection(ACCOUNT, "staff"))):
                return
    pytest.fail("nothing was lost by a store that does not commit")
