"""Slots: bounded work, a queue bounded by time, refusals at once."""

import asyncio
import random
import time

import pytest

from recollect.errors import ThrottlingException
from recollect.wire.slots import CALM_S, Slots


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def learned(slots, kind="k", seconds=0.1):
    """Let the slots see one call of a kind."""

    async def once():
        await slots.take(kind)
        slots.give(kind, seconds)

    asyncio.run(once())
    return slots


def refused_after(slots, kind="k", most=100):
    """How many calls fit at once before one is refused."""

    async def fill():
        tasks = []
        while len(tasks) < most:
            try:
                slots.check(kind)
            except ThrottlingException:
                break
            tasks.append(asyncio.ensure_future(slots.take(kind)))
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for task in tasks:
            if not task.cancelled():
                slots.give(kind, slots._mean_s[kind])
        return len(tasks)

    return asyncio.run(fill())


def test_the_queue_is_bounded_by_count():
    assert refused_after(learned(Slots(2, 5, 100.0))) == 2 + 5


def test_the_queue_is_bounded_by_the_expected_wait():
    # Two calls of a second in work, half done: half a second; each one queued adds half a second.
    slots = learned(Slots(2, 1000, 2.0), seconds=1.0)

    assert refused_after(slots) == 2 + 4


def test_a_queue_of_short_calls_may_be_long():
    assert refused_after(learned(Slots(2, 1000, 2.0), seconds=0.01), most=300) == 300


def test_a_burst_may_queue_but_a_lasting_crowd_may_not():
    clock = Clock()
    slots = learned(Slots(2, 1000, 10.0, clock), seconds=0.5)
    assert refused_after(slots) > 30

    # The refusal shows that the burst lasts: waits of 1.5 calls' length are accepted still.
    assert refused_after(slots) == 2 + 3

    clock.now += CALM_S
    assert refused_after(slots) > 30


def test_a_call_of_another_kind_is_judged_by_what_is_before_it():
    slots = learned(learned(Slots(1, 1000, 1.0), "long", 4.0), "short", 0.001)

    async def behind():
        await slots.take("long")
        with pytest.raises(ThrottlingException):
            slots.check("short")
        slots.give("long", 4.0)
        await slots.take("short")
        slots.check("short")

    asyncio.run(behind())


def test_who_waits_too_long_is_refused_and_leaves_no_trace():
    slots = Slots(1, 10, 0.05)

    async def wait():
        await slots.take("k")
        with pytest.raises(ThrottlingException):
            await slots.take("k")
        assert (slots.waiting, slots.working) == (0, 1)
        slots.give("k", 0.01)
        assert (slots.waiting, slots.working) == (0, 0)

    asyncio.run(wait())


def test_turns_come_in_the_order_of_arrival():
    slots, order = Slots(1, 10, 5.0), []

    async def call(name):
        await slots.take("k")
        order.append(name)
        await asyncio.sleep(0)
        slots.give("k", 0.001)

    async def everybody():
        await asyncio.gather(*(call(name) for name in range(8)))

    asyncio.run(everybody())
    assert order == list(range(8))


@pytest.mark.parametrize("seed", range(5))
def test_no_slot_is_lost_or_made_by_callers_who_leave(seed):
    """Cancelled, refused, timed out or served: afterwards as many slots are free as before."""
    print("seed", seed)
    chance, slots, working, most = random.Random(seed), Slots(3, 20, 0.02), 0, 0

    async def call():
        nonlocal working, most
        await slots.take("k")
        working += 1
        most = max(most, working)
        try:
            await asyncio.sleep(chance.random() * 0.005)
        finally:
            working -= 1
            slots.give("k", 0.003)

    async def crowd():
        tasks = []
        for _ in range(300):
            tasks.append(asyncio.ensure_future(call()))
            await asyncio.sleep(chance.choice([0, 0, 0.001]))
            if chance.random() < 0.3:
                chance.choice(tasks).cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(r) for r in results} <= {
            type(None), ThrottlingException, asyncio.CancelledError
        }  # fmt: skip

    asyncio.run(crowd())
    assert most == 3
    assert (slots.waiting, slots.working) == (0, 0)
    assert slots._working == []


def test_a_refusal_takes_no_time():
    slots = learned(Slots(2, 500, 1e9), seconds=1.0)

    async def full():
        tasks = [asyncio.ensure_future(slots.take("k")) for _ in range(502)]
        await asyncio.sleep(0)
        began = time.perf_counter()
        for _ in range(1000):
            with pytest.raises(ThrottlingException):
                slots.check("k")
        spent = time.perf_counter() - began
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return spent / 1000

    assert asyncio.run(full()) < 0.001
