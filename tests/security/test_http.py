"""Raw sockets against a real server: what is misread, half open, too long, or too much."""

import contextlib
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from recollect.wire import connection
from recollect.wire.limits import Limits
from recollect.wire.serve import ListenError, Server
from wire_stub import (
    AWS,
    PREFIX,
    ask_raw,
    connect,
    endpoint,
    post,
    reply,
    running,
    say,
    still_open,
    until_closed,
)

REPLY = re.compile(rb"HTTP/1\.1 (\d{3}) ")
QUICK = Limits(header_deadline_s=0.4, body_deadline_s=0.4, idle_deadline_s=0.4)


@pytest.fixture(scope="module")
def app():
    made = endpoint()
    yield made
    made.close()


@pytest.fixture(scope="module")
def server(app):
    with running(app) as started:
        yield started


@pytest.fixture(scope="module")
def quick(app):
    """A server with short deadlines."""
    with running(app, QUICK) as started:
        yield started


def statuses(heard):
    return [int(status) for status in REPLY.findall(heard)]


HOST = b"POST / HTTP/1.1\r\nHost: h\r\n"
CHUNKED = HOST + b"Transfer-Encoding: chunked\r\n"
SECOND = post()

# Requests that some reader may understand in another way than we do, or that are no HTTP/1.1.
# Behind each stands a whole good request: it must never be answered.
MISREAD = {
    "no host": b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
    "two hosts": post(headers=[b"Host: other"]),
    "two lengths": post(headers=[b"Content-Length: 2"]),
    "two different lengths": post(headers=[b"Content-Length: 50"]),
    "a list of lengths": HOST + b"Content-Length: 2, 2\r\n\r\n{}",
    "length and chunked": post(headers=[b"Transfer-Encoding: chunked"]),
    "chunked and length": CHUNKED + b"Content-Length: 2\r\n\r\n0\r\n\r\n",
    "chunked twice": CHUNKED + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked, chunked": HOST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "gzip, chunked": HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "identity": HOST + b"Transfer-Encoding: identity\r\n\r\n",
    "chunked last but not": HOST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "xchunked": HOST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked in quotes": HOST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n',
    "space before the colon": HOST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "vertical tab": HOST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "folded": HOST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "folded other": HOST + b"X-A: b\r\n c\r\nContent-Length: 0\r\n\r\n",
    "null in a value": HOST + b"X-A: b\x00c\r\nContent-Length: 0\r\n\r\n",
    "null in a name": HOST + b"X\x00A: b\r\nContent-Length: 0\r\n\r\n",
    "bare CR in a value": HOST + b"X-A: b\rTransfer-Encoding: chunked\r\n\r\n",
    "no name": HOST + b": b\r\n\r\n",
    "no colon": HOST + b"X-A\r\n\r\n",
    "space in front": b"POST / HTTP/1.1\r\n Host: h\r\n\r\n",
    "bare LF": post().replace(b"\r\n", b"\n"),
    "one bare LF": HOST + b"X-A: b\nContent-Length: 0\r\n\r\n",
    "length +2": HOST + b"Content-Length: +2\r\n\r\n{}",
    "length -2": HOST + b"Content-Length: -2\r\n\r\n{}",
    "length 0x2": HOST + b"Content-Length: 0x2\r\n\r\n{}",
    "length 2 2": HOST + b"Content-Length: 2 2\r\n\r\n{}",
    "length 2_0": HOST + b"Content-Length: 2_0\r\n\r\n{}",
    "length nothing": HOST + b"Content-Length:\r\n\r\n{}",
    "length huge": HOST + b"Content-Length: 99999999999999999999999\r\n\r\n{}",
    "chunk size -1": CHUNKED + b"\r\n-1\r\nx\r\n0\r\n\r\n",
    "chunk size 0x1": CHUNKED + b"\r\n0x1\r\nx\r\n0\r\n\r\n",
    "chunk size +1": CHUNKED + b"\r\n+1\r\nx\r\n0\r\n\r\n",
    "chunk size with blank": CHUNKED + b"\r\n 1\r\nx\r\n0\r\n\r\n",
    "chunk size huge": CHUNKED + b"\r\nfffffffffffffffff\r\nx\r\n0\r\n\r\n",
    "chunk longer than told": CHUNKED + b"\r\n1\r\nxyz\r\n0\r\n\r\n",
    "chunk with bare LF": CHUNKED + b"\r\n1\nx\n0\n\n",
    "http/1.0 chunked": (CHUNKED + b"\r\n0\r\n\r\n").replace(b"HTTP/1.1", b"HTTP/1.0"),
    "http/1.2": b"POST / HTTP/1.2\r\nHost: h\r\n\r\n",
    "http/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "http/0.9": b"GET /\r\n\r\n",
    "http 1.1": b"POST / HTTP 1.1\r\nHost: h\r\n\r\n",
    "hTTP": b"POST / hTTP/1.1\r\nHost: h\r\n\r\n",
    "no version": b"POST / \r\nHost: h\r\n\r\n",
    "lower-case method": b"post / HTTP/1.1\r\nHost: h\r\n\r\n",
    "unknown method": b"FROB / HTTP/1.1\r\nHost: h\r\n\r\n",
    "connect": b"CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n",
    "upgrade": post(headers=[b"Connection: Upgrade", b"Upgrade: h2c"]),
    "websocket": post(headers=[b"Connection: Upgrade", b"Upgrade: websocket"]),
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "blank in the path": b"POST /a b HTTP/1.1\r\nHost: h\r\n\r\n",
    "path not ascii": "POST /é HTTP/1.1\r\nHost: h\r\n\r\n".encode(),
    "two targets": post(headers=[b"X-Amz-Target: RekognitionService.ListFaces"]),
    "two authorizations": post(headers=[b"Authorization: a", b"authorization: b"]),
    "two types": post(headers=[b"Content-Type: application/json"]),
    "too many headers": HOST + b"A: b\r\n" * 100 + b"\r\n",
    "a header without end": HOST + b"X-A: " + b"a" * 400_000,
    "a long path": b"POST /" + b"a" * 400_000 + b" HTTP/1.1\r\nHost: h\r\n\r\n",
}  # fmt: skip


@pytest.mark.parametrize("name", MISREAD)
@pytest.mark.parametrize("behind", [b"", SECOND])
def test_what_may_be_misread_is_refused_once_and_closed(server, name, behind):
    with connect(server.port) as sock:
        sock.sendall(MISREAD[name] + behind)
        heard, closed = until_closed(sock, 3)

    assert closed
    assert len(statuses(heard)) == 1, heard
    assert statuses(heard)[0] in {400, 404, 413, 431}, heard
    assert b"connection: close" in heard
    assert b"x-amzn-requestid: " in heard.lower()


# gunicorn, llhttp and we agree: these are requests.
UNUSUAL = {
    "an empty host": post().replace(b"Host: h", b"Host:"),
    "blank lines in front": b"\r\n\r\n" + post(),
    "chunks": post().partition(b"Content-Length")[0]
    + b"Transfer-Encoding: chunked\r\n\r\n1;ext=x\r\n{\r\n1\r\n}\r\n0\r\nTrailer: x\r\n\r\n",
    "Chunked": post().partition(b"Content-Length")[0]
    + b"Transfer-Encoding: Chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "tabs around a value": post().replace(b"Host: h", b"Host:\th\t"),
    "no blank after the colon": post().replace(b"Host: h", b"Host:h"),
    "the whole URL": post().replace(b"POST /", b"POST http://h/"),
    "latin-1 in a value": post(headers=["User-Agent: ü".encode("latin-1")]),
}


@pytest.mark.parametrize("name", UNUSUAL)
def test_what_is_unusual_but_right_is_answered(server, name):
    with connect(server.port) as sock:
        sock.sendall(UNUSUAL[name])
        heard = reply(sock)

        assert statuses(heard) == [200], heard
        assert heard.endswith(b"{}")
        assert still_open(sock)


def test_nothing_that_may_be_misread_ever_reaches_the_application_whole():
    reached = []

    async def app(scope, receive, send):
        while scope["type"] == "http":
            message = await receive()
            if message["type"] == "http.disconnect":
                break
            if not message["more_body"]:
                reached.append((name, scope))
                break

    with running(app) as server:
        for name in MISREAD:
            say(server.port, MISREAD[name], 0.05)
    assert reached == []


def test_one_connection_carries_many_calls(server):
    with connect(server.port) as sock:
        for _ in range(20):
            sock.sendall(post())
            heard = sock.recv(65536)
            assert statuses(heard) == [200]
            assert re.search(rb"date: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", heard)


def test_an_answer_leaves_in_one_piece(app, monkeypatch):
    """Who is killed in the middle must not leave a head behind, which botocore takes for all."""
    written, made = [], connection.Connection.connection_made

    class Noted:
        def __init__(self, transport):
            self.transport = transport

        def __getattr__(self, name):
            return getattr(self.transport, name)

        def write(self, data):
            written.append(data)
            self.transport.write(data)

    monkeypatch.setattr(
        connection.Connection, "connection_made", lambda self, there: made(self, Noted(there))
    )
    asking = post(b"", headers=[b"Expect: 100-continue"]).replace(b"Length: 0", b"Length: 2")
    with running(app) as server, connect(server.port) as sock:
        for _ in range(3):
            sock.sendall(post())
            assert reply(sock) == written.pop()
        sock.sendall(asking)
        assert sock.recv(65536) == written.pop() == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(b"{}")
        assert reply(sock) == written.pop()
        assert written == []
        # Its answer has no body to wait for.
        heard, closed = say(
            server.port, b"HEAD / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", 3
        )
        assert (statuses(heard), closed) == ([405], True)
        assert heard == written.pop()
        assert heard.endswith(b"\r\n\r\n")


def test_a_second_request_before_the_first_answer_is_not_answered(server):
    heard, closed = say(server.port, post() + post(), 3)

    assert statuses(heard) == [200]
    assert closed
    assert b"connection: close" in heard


def test_a_request_in_many_pieces_is_one_request(server):
    with connect(server.port) as sock:
        for byte in post():
            sock.sendall(bytes([byte]))
        assert statuses(sock.recv(65536)) == [200]


def test_the_client_that_asks_first_is_told_to_go_on_or_not(server):
    with connect(server.port) as sock:
        sock.sendall(
            post(b"", headers=[b"Expect: 100-continue"]).replace(b"Length: 0", b"Length: 2")
        )
        assert sock.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(b"{}")
        assert statuses(sock.recv(65536)) == [200]
    long = post(b"", headers=[b"Expect: 100-continue"]).replace(b"Length: 0", b"Length: 9999999")
    heard = ask_raw(server.port, long)
    assert statuses(heard) == [413]


@pytest.mark.parametrize("close", [[], [b"Connection: close"]])
@pytest.mark.parametrize("chunked", [False, True])
def test_who_sends_too_much_gets_to_read_why(server, close, chunked):
    """boto3 sends its whole body before it reads: a reset would take the answer away."""
    body = b"x" * (9 * 1024 * 1024)
    if chunked:
        head = post(headers=[*close, b"Transfer-Encoding: chunked"]).partition(b"Content-Length")[0]
        head += b"".join(line + b"\r\n" for line in close) + b"Transfer-Encoding: chunked\r\n\r\n"
        request = head + b"900000\r\n" + body + b"\r\n0\r\n\r\n"
    else:
        request = post(body, headers=close)
    with connect(server.port) as sock:
        sock.sendall(request)
        heard = reply(sock)
        assert statuses(heard) == [413]
        assert b"RequestEntityTooLargeException" in heard
        if not close:
            assert still_open(sock)
            sock.sendall(post())
            assert statuses(sock.recv(65536)) == [200]


@pytest.mark.parametrize("name", ["two hosts", "two lengths", "too many headers"])
def test_who_is_misread_in_front_of_a_long_body_gets_to_read_why(server, name):
    for _ in range(3):
        with connect(server.port) as sock:
            sock.sendall(MISREAD[name] + b"x" * 6_000_000)
            assert statuses(reply(sock)) in [[400], [431]]


def test_an_endless_body_is_cut_off(app, monkeypatch):
    monkeypatch.setattr(connection, "LINGER_S", 0.5)
    limits = Limits(body_bytes_max=1 << 16, body_deadline_s=0.5, body_rate_min_bytes_s=1 << 30)
    with running(app, limits) as server, connect(server.port) as sock:
        sock.sendall(post().partition(b"Content-Length")[0] + b"Transfer-Encoding: chunked\r\n\r\n")
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - began < 20:
                sock.sendall(b"1000\r\n" + b"x" * 4096 + b"\r\n")
                time.sleep(0.001)
        assert time.monotonic() - began < 3


# Half-open connections.

HALVES = {
    "nothing": (b"", None),
    "blank lines": (b"\r\n\r\n", 408),
    "half a line": (b"POST / HT", 408),
    "half a header": (b"POST / HTTP/1.1\r\nHost: h\r\nX-A", 408),
    "half a body": (post()[:-1], 408),
    "half a chunk": (CHUNKED + b"Content-Type: application/json\r\n\r\nff\r\nx", None),
}


@pytest.mark.parametrize("name", HALVES)
def test_a_half_open_connection_is_closed_within_its_deadline(quick, name):
    data, status = HALVES[name]
    began = time.monotonic()

    heard, closed = say(quick.port, data, 5)

    assert closed
    assert 0.3 < time.monotonic() - began < 1.6
    if status is not None:
        assert statuses(heard) == [status]


@pytest.mark.parametrize("before", [b"", post()])
def test_a_trickle_does_not_put_off_the_deadline(quick, before):
    for head, rest in ((b"", b"POST / HTTP/1.1\r\n" + b"A: b\r\n" * 50),
                       (post(b"x" * 100)[:-100], b"x" * 99)):  # fmt: skip
        with connect(quick.port) as sock:
            if before:
                sock.sendall(before)
                sock.recv(65536)
            sock.sendall(head)
            began = time.monotonic()
            with contextlib.suppress(ConnectionError):
                for byte in rest:
                    sock.sendall(bytes([byte]))
                    sock.settimeout(0.02)
                    with contextlib.suppress(TimeoutError):
                        if sock.recv(65536):
                            break
            assert time.monotonic() - began < 1.5


def test_a_slow_honest_body_is_given_time(app):
    limits = Limits(body_deadline_s=0.3, body_rate_min_bytes_s=1000)
    with running(app, limits) as server, connect(server.port) as sock:
        request = post(b'{"x":"' + b"a" * 3992 + b'"}')
        head, body = request[:-4000], request[-4000:]
        sock.sendall(head)
        for start in range(0, 4000, 1000):
            sock.sendall(body[start : start + 1000])
            time.sleep(0.2)
        assert statuses(sock.recv(65536)) == [200]


def test_a_silent_kept_connection_is_closed(quick):
    with connect(quick.port) as sock:
        sock.sendall(post())
        began = time.monotonic()
        heard, closed = until_closed(sock, 5)
        assert statuses(heard) == [200]
        assert closed
        assert 0.3 < time.monotonic() - began < 1.5


def half_open(server, count):
    """Opens so many half-open connections; returns how long until all were closed."""
    halves = list(HALVES.values())
    with contextlib.ExitStack() as opened:
        socks = []
        for number in range(count):
            sock = opened.enter_context(connect(server.port))
            sock.sendall(halves[number % len(halves)][0])
            socks.append(sock)
        began, lengths = time.monotonic(), []
        for _ in range(5):
            call = time.monotonic()
            assert statuses(ask_raw(server.port, post())) == [200]
            lengths.append(time.monotonic() - call)
        for sock in socks:
            assert until_closed(sock, 30)[1]
        return time.monotonic() - began


def test_many_half_open_connections_are_closed_while_others_are_served(quick):
    assert half_open(quick, 200) < 3


@pytest.mark.slow
def test_a_thousand_half_open_connections_are_closed_within_thirty_seconds(app):
    with running(app, Limits()) as server:
        assert half_open(server, 1000) <= 30
    assert not server.server_state.connections


def test_connections_beyond_the_bound_are_told_to_come_again(app):
    with running(app, Limits(connections_max=4)) as server:
        with contextlib.ExitStack() as opened:
            for _ in range(4):
                opened.enter_context(connect(server.port))
            time.sleep(0.1)
            heard, closed = say(server.port, post(), 3)
            assert statuses(heard) == [400]
            assert b"ThrottlingException" in heard
            assert closed
            time.sleep(0.1)
            two = [opened.enter_context(connect(server.port)) for _ in range(2)]
            time.sleep(0.1)
            # Even to be told there are too many by now.
            heard, closed = until_closed(two[1], 1)
            assert (heard, closed) == (b"", True)
        time.sleep(0.2)
        assert statuses(ask_raw(server.port, post())) == [200]


def test_a_client_that_takes_nothing_of_its_answer_is_cut(monkeypatch):
    monkeypatch.setattr(connection, "STUCK_S", 0.5)
    monkeypatch.setattr(connection, "LINGER_S", 0.5)
    faces = {"CollectionIds": ["c" * 200] * 100_000}
    app = endpoint(operations={"ListCollections": lambda *_: faces})
    with running(app) as server, connect(server.port) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.sendall(post())
        deadline = time.monotonic() + 5
        time.sleep(0.3)
        while server.server_state.connections and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not server.server_state.connections
    app.close()


# Too much work.


def test_refusals_come_at_once_and_nobody_is_reset():
    """Twenty callers for two threads: some are served, the rest are told within 50 ms."""
    release = threading.Event()
    limits = Limits(call_threads=2, call_queue_max=3)
    app = endpoint(operations={"ListCollections": lambda *_: release.wait(5) and {}}, limits=limits)

    with running(app, limits) as server, ThreadPoolExecutor(5) as pool:
        accepted = [pool.submit(ask_raw, server.port, post()) for _ in range(5)]
        time.sleep(0.2)
        for _ in range(15):
            with connect(server.port) as sock:
                sock.sendall(post(b"x" * 6_000_000))
                began = time.monotonic()
                heard = sock.recv(65536)
                assert time.monotonic() - began < 0.05
                assert statuses(heard) == [400]
                assert b'"Message":"Slow down; sudden increase in rate of requests"' in heard
        release.set()
        assert all(statuses(call.result()) == [200] for call in accepted)
    app.close()


def test_who_left_while_waiting_is_not_worked_for():
    release, worked = threading.Event(), []

    def work(caller, params):
        worked.append(params.get("MaxResults"))
        release.wait(5)
        return {}

    limits = Limits(call_threads=1)
    app = endpoint(operations={"ListCollections": work}, limits=limits)
    with running(app, limits) as server:
        with connect(server.port) as first:
            first.sendall(post(b'{"MaxResults":1}'))
            time.sleep(0.1)
            with connect(server.port) as second:
                second.sendall(post(b'{"MaxResults":2}'))
                time.sleep(0.1)
            time.sleep(0.1)
            release.set()
            assert statuses(first.recv(65536)) == [200]
        assert statuses(ask_raw(server.port, post(b'{"MaxResults":3}'))) == [200]
    app.close()
    assert worked == [1, 3]


def test_no_threads_or_connections_are_left_behind(app):
    with running(app) as server:
        ask_raw(server.port, post())
        before = threading.active_count()
        for _ in range(100):
            with connect(server.port) as sock:
                sock.sendall(post()[:20])
        for _ in range(20):
            ask_raw(server.port, post())
        time.sleep(0.2)
        assert threading.active_count() <= before
        assert not server.server_state.connections
        assert not server.server_state.tasks


# The end.

PROGRAM = """
import sys, time
sys.path.insert(0, {tests!r})
from wire_stub import endpoint
from recollect.wire.limits import Limits
from recollect.wire.serve import Server
def slow(caller, params):
    time.sleep({work_s})
    return {{}}
limits = Limits(call_threads=20, call_wait_max_s=60, drain_deadline_s={drain_s})
app = endpoint(operations={{"ListCollections": slow}}, limits=limits)
def started(host, port):
    print(port, flush=True)
Server(
    app, host="127.0.0.1", port=0, limits=limits, on_started=started, on_stopping=app.drain
).run()
app.close()
print("closed", flush=True)
"""


@contextlib.contextmanager
def process(work_s, drain_s=9.0):
    """A server in a process of its own; yields the process and its port."""
    code = PROGRAM.format(tests=str(Path(__file__).parents[1]), work_s=work_s, drain_s=drain_s)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as run:
        try:
            yield run, int(run.stdout.readline())
        finally:
            run.kill()


def test_sigterm_answers_what_is_in_work_and_does_not_wait_for_the_half_open():
    with process(work_s=0.5) as (run, port), contextlib.ExitStack() as opened:
        halves = [opened.enter_context(connect(port)) for _ in range(100)]
        for number, sock in enumerate(halves):
            sock.sendall(list(HALVES.values())[number % len(HALVES)][0])
        calls = [opened.enter_context(connect(port)) for _ in range(60)]
        for sock in calls:
            sock.sendall(post())
        time.sleep(0.3)

        began = time.monotonic()
        run.send_signal(signal.SIGTERM)
        heard = [until_closed(sock, 10) for sock in calls]
        code = run.wait(10)

        assert time.monotonic() - began < 6
        assert [statuses(data) for data, _ in heard] == [[200]] * 60
        assert all(closed for _, closed in heard)
        assert code == 0
        assert run.stdout.read() == "closed\n"


def test_calls_that_the_drain_does_not_reach_are_refused_so_that_clients_try_again():
    with process(work_s=1.5, drain_s=3.8) as (run, port), contextlib.ExitStack() as opened:
        calls = [opened.enter_context(connect(port)) for _ in range(60)]
        for sock in calls:
            sock.sendall(post())
        time.sleep(1.7)

        run.send_signal(signal.SIGTERM)
        # Refused at the beginning, not at the end: the last of them would not be reached.
        began = time.monotonic()
        heard = [until_closed(calls.pop(), 10)[0]]
        assert time.monotonic() - began < 1.4
        heard += [until_closed(sock, 10)[0] for sock in calls]
        assert run.wait(10) == 0

        answered = [data for data in heard if statuses(data) == [200]]
        refused = [data for data in heard if statuses(data) == [400]]
        assert len(answered) + len(refused) == 60
        assert answered
        assert refused
        assert all(b"ThrottlingException" in data for data in refused)


def test_a_request_on_its_way_at_sigterm_is_answered():
    with process(work_s=0) as (run, port), connect(port) as used, connect(port) as fresh:
        used.sendall(post())
        assert statuses(used.recv(65536)) == [200]

        run.send_signal(signal.SIGTERM)
        time.sleep(0.2)  # The drain has begun; both connections hold no request yet.
        for sock in (used, fresh):
            sock.sendall(post())
        assert [statuses(until_closed(sock, 5)[0]) for sock in (used, fresh)] == [[200], [200]]
        assert run.wait(5) == 0


def test_sigterm_ends_the_process_even_if_a_call_hangs():
    with process(work_s=60, drain_s=2.0) as (run, port), connect(port) as sock:
        sock.sendall(post())
        time.sleep(0.2)
        began = time.monotonic()
        run.send_signal(signal.SIGTERM)
        assert run.wait(10) == 1
        assert time.monotonic() - began < 4


def test_a_taken_port_is_told(app, server):
    with pytest.raises(ListenError, match=f"cannot listen on 127.0.0.1:{server.port}"):
        Server(app, host="127.0.0.1", port=server.port).run()


# TLS.


@pytest.fixture(scope="module")
def pem(tmp_path_factory):
    """A certificate of localhost and its key."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return {"certificate": folder / "cert.pem", "key": folder / "key.pem"}


def test_tls_is_served_from_version_1_2(pem):
    seen = []
    app = endpoint(identify=lambda request: seen.append(request.secure) or caller_like(request))
    with running(app, QUICK, **pem) as server:
        context = ssl.create_default_context(cafile=pem["certificate"])
        with (
            connect(server.port) as raw,
            context.wrap_socket(raw, server_hostname="localhost") as s,
        ):
            assert s.version() == "TLSv1.3"
            s.sendall(post())
            assert statuses(s.recv(65536)) == [200]
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
        with connect(server.port) as raw, pytest.raises((ssl.SSLError, ConnectionError)):
            old.wrap_socket(raw, server_hostname="localhost")
        # Half a handshake is a half-open connection too.
        began = time.monotonic()
        assert say(server.port, b"\x16\x03\x01\x02\x00", 5)[1]
        assert time.monotonic() - began < 2
    app.close()
    assert seen == [True]


def caller_like(request):
    from wire_stub import caller

    return caller(request)


def test_a_certificate_without_its_key_is_told(app, pem):
    with pytest.raises(ListenError, match="both"):
        Server(app, host="127.0.0.1", port=0, certificate=pem["certificate"])
    with pytest.raises(ListenError, match="TLS with"):
        Server(app, host="127.0.0.1", port=0, certificate=pem["key"], key=pem["key"])


def test_strangers_cannot_say_where_they_come_from():
    seen = []
    app = endpoint(identify=lambda request: seen.append(request) or caller_like(request))
    forged = post(headers=[b"X-Forwarded-For: 203.0.113.9", b"X-Forwarded-Proto: https"])
    for trusted in ((), ("127.0.0.1",)):
        with running(app, trusted_proxies=trusted) as server:
            ask_raw(server.port, forged)
    app.close()

    assert [(r.source_ip, r.secure) for r in seen] == [("127.0.0.1", False), ("203.0.113.9", True)]


def test_an_answer_of_the_parser_is_in_the_dialect_of_the_request(server):
    aws, _ = say(server.port, post(headers=[b"Host: b"]), 2)
    plain, _ = say(server.port, HOST + b"Host: b\r\nContent-Type: application/json\r\n\r\n", 2)

    assert b'{"__type":"SerializationException","message":"host stands twice"}' in aws
    assert b'"success":false,"error":{"code":"VALIDATION_ERROR"' in plain
    assert AWS.encode() in aws
    assert PREFIX.encode() not in aws
