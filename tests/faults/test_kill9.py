"""kill -9 at random moments of a real process: what was acknowledged is there, and nothing else."""

import contextlib
import random
import time

import pytest

from enrolments import ACCOUNT, sqlite_store
from nursery import Child
from told import Said, all_faces, assert_kept, run_and_end

SEED = 9
LIFE = 25
"""Rounds of one data folder; looking at all of it after each of a thousand would take hours."""


@pytest.mark.timeout(3600)  # For the slow ones.
@pytest.mark.parametrize("rounds", [4, pytest.param(1000, marks=pytest.mark.slow)])
def test_nothing_acknowledged_is_lost_and_nothing_deleted_comes_back(
    tmp_path, writers, figure, rounds
):
    chance, reopened_s, added, deleted, dropped = random.Random(SEED), [], 0, 0, 0
    for life in range(0, rounds, LIFE):
        folder, said = tmp_path / str(life), Said()
        for number in range(life, min(life + LIFE, rounds)):
            said.take(run_and_end(writers, Child.kill, folder, number, chance))

            began = time.monotonic()
            with contextlib.closing(sqlite_store(folder)) as store:
                reopened_s.append(time.monotonic() - began)
                assert_kept(store, said, f"seed {SEED}, round {number}")
        added += len(said.done["add"])
        deleted += len(said.done["delete"])
        dropped += len(said.done["drop"])
    assert added > 10 * rounds
    assert deleted > rounds
    assert dropped > rounds // 10
    figure(
        "kill -9 at a random moment",
        rounds,
        f"0 of {added:,} acknowledged faces lost, 0 of {deleted:,} deleted ones and {dropped:,} "
        f"collections back; reopened in at most {max(reopened_s):.2f} s (seed {SEED})",
    )


@pytest.mark.control
def test_the_harness_catches_an_answer_before_the_commit(tmp_path, writers, figure):
    """A positive control: a store that commits later loses acknowledged faces."""
    chance, said = random.Random(SEED), Said()
    for number in range(5):
        said.take(run_and_end(writers, Child.kill, tmp_path, number, chance, "hasty"))
        with contextlib.closing(sqlite_store(tmp_path)) as store:
            if said.lost(all_faces(store, store.collection(ACCOUNT, "staff"))):
                figure(
                    "the same with an answer before the commit", number + 1, "lost, as it must be"
                )
                return
    pytest.fail("nothing was lost by a store that does not commit")
