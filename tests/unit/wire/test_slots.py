"""Slots: bounded work, a queue bounded by time, refusals at once."""

import asyncio
import random
import time

import pytest

from recollect.errors import ThrottlingException
from recollect.wire.limits import Limits
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
    slots = learned(Slots(2, 1000, 10.0, clock=clock), seconds=0.5)
    assert refused_after(slots) > 30

    # The refusal shows that the burst lasts: waits of one call's length are accepted still.
    assert refused_after(slots) == 2 + 2

    clock.now += CALM_S
    assert refused_after(slots) > 30


def test_who_comes_for_the_last_time_may_wait_when_others_may_not():
    slots = learned(Slots(1, 1000, 0.5, 20.0), seconds=1.0)

    async def crowd():
        tasks = [asyncio.ensure_future(slots.take("k"))]
        await asyncio.sleep(0)
        tasks += [asyncio.ensure_future(slots.take("k")) for _ in range(9)]
        await asyncio.sleep(0)
        assert (slots.working, slots.waiting) == (1, 1)
        tasks += [asyncio.ensure_future(slots.take("k", last=True)) for _ in range(99)]
        await asyncio.sleep(0)
        # Half a call in work, and one turn is the newcomer's: the nineteenth waits for 19.5 s.
        assert (slots.working, slots.waiting) == (1, 1 + 19)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(crowd())


def test_what_a_burst_leaves_finds_a_place_by_default():
    # 5 s at four times 50 calls a second leave 15 s of work, here for a server that has become
    # slower meanwhile, and while newcomers wait too.
    count, seconds, left = 2, 0.07, 15 * 50
    limits = Limits()
    slots = learned(
        Slots(
            count,
            limits.call_queue_max,
            limits.call_wait_max_s,
            limits.call_last_wait_max_s,
        ),
        seconds=seconds,
    )

    async def burst():
        newcomers = [asyncio.ensure_future(slots.take("k")) for _ in range(count + 1)]
        tasks = [asyncio.ensure_future(slots.take("k", last=True)) for _ in range(left)]
        await asyncio.sleep(0)
        assert slots.waiting == left + 1
        for task in newcomers + tasks:
            task.cancel()
        await asyncio.gather(*newcomers, *tasks, return_exceptions=True)

    asyncio.run(burst())
    assert limits.connections_max >= limits.call_queue_max


def test_a_newcomer_does_not_wait_behind_all_last_attempts():
    slots = learned(Slots(1, 100, 0.8, 50.0))

    async def come():
        await slots.take("k")
        last = [asyncio.ensure_future(slots.take("k", last=True)) for _ in range(40)]
        await asyncio.sleep(0)
        # Turns are taken: the first of its queue is the next but one at the latest.
        newcomer = asyncio.ensure_future(slots.take("k"))
        await asyncio.sleep(0)
        assert not newcomer.done()
        for task in (newcomer, *last):
            task.cancel()
        await asyncio.gather(newcomer, *last, return_exceptions=True)

    asyncio.run(come())


def test_newcomers_and_last_attempts_take_turns():
    slots, order = Slots(1, 100, 50.0, 50.0), []

    async def call(name, last):
        await slots.take("k", last=last)
        order.append(name)
        slots.give("k", 0.001)

    async def everybody():
        await slots.take("k")
        names = ["last 0", "last 1", "last 2", "new 0", "new 1"]
        calls = [asyncio.ensure_future(call(name, name.startswith("last"))) for name in names]
        await asyncio.sleep(0)
        slots.give("k", 0.001)
        await asyncio.gather(*calls)

    asyncio.run(everybody())
    assert order == ["last 0", "new 0", "last 1", "new 1", "last 2"]


def test_a_drain_keeps_whom_it_will_reach_and_refuses_the_others_at_once():
    clock = Clock()
    slots = learned(Slots(2, 1000, 1e9, clock=clock), seconds=1.0)

    async def stop():
        tasks = [asyncio.ensure_future(slots.take("k")) for _ in range(20)]
        await asyncio.sleep(0)
        slots.drain(5.0)
        await asyncio.sleep(0)
        # Two in work, half done, free both slots after half a second: 4.5 s for pairs of 1 s.
        refused = [t for t in tasks if t.done() and isinstance(t.exception(), ThrottlingException)]
        assert refused == tasks[-len(refused) :]
        assert (slots.working, slots.waiting, len(refused)) == (2, 8, 10)
        with pytest.raises(ThrottlingException, match="Service Unavailable"):
            slots.check("k")

        # What takes longer than expected costs those their turn who would not be done any more.
        clock.now += 3.0
        slots.give("k", 3.0)
        await asyncio.sleep(0)
        assert (slots.working, slots.waiting) == (2, 0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(stop())


def test_a_free_slot_takes_nobody_whom_the_drain_would_cut():
    slots = learned(Slots(1, 10, 10.0), seconds=2.0)
    slots.drain(3.0)
    slots.check("k")
    slots.drain(1.0)
    with pytest.raises(ThrottlingException, match="Service Unavailable"):
        slots.check("k")


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
