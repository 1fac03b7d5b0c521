"""Each key may make so many calls a second."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recollect.errors import ProvisionedThroughputExceededException
from recollect.wire.rate import KeyRate


def passed(rate, key):
    try:
        rate.spend(key)
    except ProvisionedThroughputExceededException:
        return False
    return True


def test_no_bound_by_default():
    rate = KeyRate(0)

    assert all(passed(rate, "a") for _ in range(1000))


def test_one_key_does_not_use_up_anothers_rate():
    rate = KeyRate(2, clock=lambda: 0.0)

    assert [passed(rate, "a") for _ in range(3)] == [True, True, False]
    assert passed(rate, "b")


def test_a_rate_below_one_lets_single_calls_through():
    now = [0.0]
    rate = KeyRate(0.5, clock=lambda: now[0])

    assert passed(rate, "a")
    assert not passed(rate, "a")
    now[0] = 2.0
    assert passed(rate, "a")


@given(st.lists(st.sampled_from([0.0, 0.125, 0.5, 3.0]), max_size=40), st.sampled_from([1, 4]))
def test_no_window_holds_more_than_its_rate_and_one_burst(pauses, per_s):
    now = [0.0]
    rate = KeyRate(per_s, clock=lambda: now[0])
    times = []
    for pause in pauses:
        now[0] += pause
        if passed(rate, "a"):
            times.append(now[0])

    for first in range(len(times)):
        for last in range(first, len(times)):
            span = times[last] - times[first]
            assert last - first + 1 <= per_s * span + max(1, per_s)


def test_the_rate_itself_is_always_granted():
    now = [0.0]
    rate = KeyRate(4, clock=lambda: now[0])
    for number in range(100):
        now[0] = number / 4
        assert passed(rate, "a"), pytest.approx(now[0])
