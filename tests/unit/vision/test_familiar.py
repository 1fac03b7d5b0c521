"""Free places: a thread gets what it had last, and nobody gets what another holds."""

import queue
from concurrent.futures import ThreadPoolExecutor

import pytest

from recollect.vision.familiar import Familiar


def full(*places):
    free = Familiar()
    for place in places:
        free.put(place)
    return free


def test_a_thread_gets_what_it_had_last_whatever_came_back_later():
    free = full("a", "b", "c")
    with ThreadPoolExecutor(1) as other:
        mine, theirs = free.get_nowait(), other.submit(free.get_nowait).result()
        for _ in range(3):
            free.put(mine)
            free.put(theirs)
            assert free.get_nowait() == mine
            assert other.submit(free.get_nowait).result() == theirs
    assert (mine, theirs) == ("c", "b")


def test_a_thread_whose_last_one_is_taken_gets_the_one_that_came_back_last():
    free = full("a", "b")
    free.put(free.get_nowait())
    with ThreadPoolExecutor(1) as other:
        assert other.submit(free.get_nowait).result() == "b"
    assert free.get_nowait() == "a"
    with pytest.raises(queue.Empty):
        free.get_nowait()


def test_everything_is_given_out_once():
    free = full(*range(8))
    with ThreadPoolExecutor(4) as pool:
        for _ in range(20):
            taken = list(pool.map(lambda _: free.get_nowait(), range(8)))
            assert sorted(taken) == list(range(8))
            list(pool.map(free.put, taken))
