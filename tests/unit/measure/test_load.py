"""The generator against a server of the test's own whose slowness and faults are known."""

import asyncio
import contextlib
import json
import math
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recollect.measure import load
from recollect.measure.load import OK, RESET, TIMEOUT, UNSENT, Outcome


class Slow:
    """Answers one request at a time, each after a while, with what `answers` holds in turn."""

    def __init__(self, *answers, each_s=0.0):
        self.answers, self.each_s = list(answers), each_s
        self.requests, self.handlers, self.connections = [], [], 0
        self.turn = asyncio.Lock()

    async def __aenter__(self):
        self.server = await asyncio.start_server(self.connected, "127.0.0.1", 0)
        port = self.server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *_):
        self.server.close()
        await self.server.wait_closed()
        await asyncio.gather(*self.handlers, return_exceptions=True)

    async def connected(self, reader, writer):
        self.connections += 1
        self.handlers.append(asyncio.current_task())
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                self.requests.append(await reader.readuntil(b"\r\n\r\n"))
                async with self.turn:
                    await asyncio.sleep(self.each_s)
                    answer = self.answers.pop(0) if self.answers else (200, {})
                if answer == "hang up":
                    break
                if answer == "half":
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
                    break
                status, body = answer
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(data)}\r\n\r\n"
                writer.write(head.encode() + data)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def request(number):
    return b"POST / HTTP/1.1\r\nhost: x\r\n\r\n"


def run(coroutine_of_server, *answers, each_s=0.0):
    async def main():
        async with Slow(*answers, each_s=each_s) as server:
            return server, await coroutine_of_server(server)

    return asyncio.run(main())


def codes(outcomes):
    return [outcome.code for outcome in outcomes]


def test_calls_are_sent_when_they_are_due_however_slow_the_server():
    due = [0.02 * n for n in range(10)]
    _, outcomes = run(lambda s: load.open_loop(s.url, request, due), each_s=0.05)
    assert codes(outcomes) == [OK] * 10
    assert all(0 <= o.sent_s - o.due_s < 0.3 for o in outcomes)
    # Each waits for all before it: the tenth is done after ten times 50 ms and was due at 180 ms.
    assert outcomes[-1].latency_s >= 10 * 0.05 - 0.18 - 0.01
    latencies = [o.latency_s for o in outcomes]
    assert latencies[-1] > 3 * latencies[0]


def test_clients_in_a_closed_loop_wait_for_their_answers():
    server, outcomes = run(
        lambda s: load.closed_loop(s.url, request, clients=2, seconds=0.3), each_s=0.03
    )
    assert set(codes(outcomes)) == {OK}
    assert server.connections == 2
    assert len(outcomes) <= 0.3 / 0.03 + 2


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ((200, {"FaceMatches": []}), OK),
        ((400, {"__type": "ThrottlingException"}), "ThrottlingException"),
        ((400, {"__type": "com.amazon#AccessDeniedException"}), "AccessDeniedException"),
        ((502, b"<html>"), "HTTP 502"),
        ((500, []), "HTTP 500"),
        ("hang up", RESET),
        ("half", RESET),
    ],
)
def test_each_kind_of_answer_is_counted_under_its_name(answer, code):
    _, outcomes = run(lambda s: load.open_loop(s.url, request, [0.0]), answer)
    assert codes(outcomes) == [code]


def test_a_kept_connection_that_the_server_closed_is_opened_again():
    server, outcomes = run(
        lambda s: load.open_loop(s.url, request, [0.0, 0.1, 0.2]), (200, {}), "hang up"
    )
    assert codes(outcomes) == [OK] * 3
    assert server.connections == 2


def test_nobody_listening_is_a_reset():
    outcomes = asyncio.run(load.open_loop("http://127.0.0.1:1", request, [0.0, 0.0]))
    assert codes(outcomes) == [RESET, RESET]


def test_an_answer_that_does_not_come_is_a_timeout(monkeypatch):
    monkeypatch.setattr(load, "ANSWER_TIMEOUT_S", 0.05)
    _, outcomes = run(lambda s: load.open_loop(s.url, request, [0.0]), each_s=0.2)
    assert codes(outcomes) == [TIMEOUT]


def test_what_cannot_be_under_way_is_counted_and_not_sent(monkeypatch):
    monkeypatch.setattr(load, "IN_FLIGHT_MAX", 2)
    server, outcomes = run(lambda s: load.open_loop(s.url, request, [0.0] * 5), each_s=0.02)
    assert sorted(codes(outcomes)) == sorted([OK, OK, UNSENT, UNSENT, UNSENT])
    assert len(server.requests) == 2


def test_a_busy_server_is_tried_again_as_often_as_asked(monkeypatch):
    monkeypatch.setattr(load, "BACKOFF_MAX_S", 0.01)
    busy = (400, {"__type": "ThrottlingException"})
    _, outcomes = run(lambda s: load.open_loop(s.url, request, [0.0], attempts=3), busy, busy)
    assert [(o.code, o.attempts) for o in outcomes] == [(OK, 3)]
    _, outcomes = run(lambda s: load.open_loop(s.url, request, [0.0], attempts=2), busy, busy)
    assert [(o.code, o.attempts) for o in outcomes] == [("ThrottlingException", 2)]


def test_attempts_are_counted_as_the_sdks_do_it(monkeypatch):
    monkeypatch.setattr(load, "BACKOFF_MAX_S", 0.01)
    busy = (400, {"__type": "ThrottlingException"})
    server, _ = run(lambda s: load.open_loop(s.url, request, [0.0], attempts=3), busy)
    counts = [r.split(b"\r\n")[1] for r in server.requests]
    assert counts == [b"amz-sdk-request: attempt=1; max=3", b"amz-sdk-request: attempt=2; max=3"]


def test_at_the_end_of_a_closed_loop_a_call_of_every_client_is_under_way():
    told = []

    async def loop(server):
        return await load.closed_loop(
            server.url, request, clients=5, seconds=0.2, at_end=lambda: told.append(server.requests)
        )

    server, outcomes = run(loop, each_s=0.01)
    assert len(told) == 1
    assert all(outcome.done_s > 0.2 for outcome in outcomes[-5:])
    assert all(outcome.done_s <= 0.21 for outcome in outcomes[:-5])
    assert len(outcomes) == len(server.requests)


def test_arrivals_of_one_seed_are_the_same_and_as_many_as_the_rate():
    due = load.poisson(200, 10, seed=1)
    assert due == load.poisson(200, 10, seed=1) != load.poisson(200, 10, seed=2)
    assert due == sorted(due)
    assert due[0] >= 0
    assert due[-1] < 10
    assert len(due) == pytest.approx(2000, abs=5 * math.sqrt(2000))
    # Gaps of independent callers: their spread is their mean.
    gaps = np.diff(due)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.15)


@given(st.lists(st.integers(1, 100), min_size=1, max_size=40))
def test_a_summary_is_counting_and_sorting(milliseconds):
    outcomes = [Outcome(0.0, ms / 2000, ms / 1000, OK) for ms in milliseconds]
    outcomes += [Outcome(0.0, 0.001, 0.004, "ThrottlingException"), Outcome(0, 0, 0, UNSENT)]
    got = load.summary(outcomes, 0.05)
    ordered = sorted(milliseconds)
    for percent in (50, 95, 99):
        place = math.ceil(percent / 100 * len(ordered)) - 1
        assert got[f"p{percent}_ms"] == pytest.approx(ordered[place])
    assert got["goodput_per_s"] == pytest.approx(sum(ms <= 50 for ms in milliseconds) / 0.05)
    assert got["offered_per_s"] == pytest.approx(len(outcomes) / 0.05)
    assert got["refused_p99_ms"] == pytest.approx(3.0)
    assert got["codes"][OK] == len(milliseconds)


def test_only_plain_http_is_loaded():
    with pytest.raises(ValueError, match="http://"):
        load.Wire("https://example.org")


def test_no_thread_is_left_behind():
    before = threading.active_count()
    run(lambda s: load.open_loop(s.url, request, [0.0]))
    assert threading.active_count() == before
