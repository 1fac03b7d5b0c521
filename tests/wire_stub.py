"""A server of stub operations, for tests of the wire alone: in process, or on a real port."""

import asyncio
import contextlib
import json
import socket
import threading
import time
from dataclasses import dataclass

from recollect.wire import model
from recollect.wire.caller import Caller
from recollect.wire.serve import Server
from recollect.wire.server import Endpoint

AWS = "application/x-amz-json-1.1"
PREFIX = "RekognitionService."


def caller(request):
    """Recognise everybody."""
    return Caller(
        account="111122223333",
        name="root",
        region="us-east-1",
        key_id=request.header("x-key") or "AKIATEST",
        policies=(),
        source_ip=request.source_ip,
        secure=request.secure,
    )


def nothing(caller, params):
    """The operation that does nothing."""
    return {}


def endpoint(**changes):
    """An endpoint that serves all operations with `nothing`, unless told otherwise."""
    operations = dict.fromkeys(model.every_operation(), nothing) | changes.pop("operations", {})
    hooks = {
        "identify": caller,
        "authorise": lambda caller, operation, params: None,
        "record": lambda outcome: None,
    }
    return Endpoint(operations, **hooks | changes)


@dataclass
class Reply:
    """What an endpoint answered."""

    status: int
    headers: dict
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def code(self):
        """The error's name in either dialect, or None."""
        if "error" in self.json:
            return self.json["error"]["code"]
        return self.json.get("__type")


def ask(app, body, *, operation=None, method="POST", path="/", query="", headers=None, chunks=None):
    """Ask an endpoint in this process; the AWS dialect where an operation is named."""
    sent = {k.lower(): v for k, v in (headers or {}).items()}
    if operation is not None:
        sent = {"content-type": AWS, "x-amz-target": PREFIX + operation} | sent
    if isinstance(body, (dict, list)):
        body = json.dumps(body).encode()
    return asyncio.run(_ask(app, chunks or [body], method, path, query, sent))


async def _ask(app, chunks, method, path, query, headers):
    parts = [
        {"type": "http.request", "body": chunk, "more_body": at < len(chunks) - 1}
        for at, chunk in enumerate(chunks)
    ]
    answered = asyncio.Event()
    sent = []

    async def receive():
        if parts:
            return parts.pop(0)
        await answered.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode("latin-1"),
        "query_string": query.encode("latin-1"),
        "headers": [(k.encode("latin-1"), v.encode("latin-1")) for k, v in headers.items()],
        "client": ("192.0.2.7", 4321),
    }
    await app(scope, receive, send)
    answered.set()
    found = {k.decode(): v.decode("latin-1") for k, v in sent[0]["headers"]}
    return Reply(sent[0]["status"], found, sent[1]["body"])


@contextlib.contextmanager
def running(app, limits=None, **options):
    """A real server on a free port of 127.0.0.1, in a thread of this process."""
    started = threading.Event()
    options = {"on_started": lambda host, port: started.set()} | options
    server = Server(app, host="127.0.0.1", port=0, limits=limits, **options)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert started.wait(10), "the server did not start"
        yield server
    finally:
        server.stop()
        thread.join(15)
        assert not thread.is_alive(), "the server did not stop"


def post(body=b"{}", *, operation="ListCollections", headers=()):
    """The bytes of a well-formed request."""
    lines = [
        b"POST / HTTP/1.1",
        b"Host: h",
        b"Content-Type: " + AWS.encode(),
        b"X-Amz-Target: " + (PREFIX + operation).encode(),
        b"Content-Length: " + str(len(body)).encode(),
        *headers,
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def connect(port):
    """A socket to the server."""
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def until_closed(sock, seconds=5.0):
    """Everything the server says until it closes, and whether it closed in time."""
    heard, end = b"", time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        sock.settimeout(left)
        try:
            part = sock.recv(65536)
        except TimeoutError:
            return heard, False
        if not part:
            return heard, True
        heard += part
    return heard, False


def reply(sock):
    """One whole answer on a connection that stays."""
    heard = b""
    while b"\r\n\r\n" not in heard:
        part = sock.recv(65536)
        if not part:
            return heard
        heard += part
    head, _, body = heard.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    while len(body) < length:
        body += sock.recv(65536)
    return head + b"\r\n\r\n" + body


def ask_raw(port, data):
    """Send bytes on a connection of their own; one answer, not waiting for more."""
    with connect(port) as sock:
        sock.sendall(data)
        return reply(sock)


def still_open(sock):
    """Whether the server neither says more nor closes."""
    sock.settimeout(0.05)
    try:
        return sock.recv(1) is None
    except TimeoutError:
        return True
    finally:
        sock.settimeout(10)


def say(port, data, seconds=0.4):
    """Send bytes on a connection of their own; what came back, and whether it was closed."""
    with connect(port) as sock:
        sock.sendall(data)
        return until_closed(sock, seconds)
