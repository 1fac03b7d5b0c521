"""Bodies made to cost: each is answered with a typed error, in little time and memory."""

import resource
import time

import pytest

from wire_stub import ask, endpoint

SIZE = 8 * 1024 * 1024 - 100


def filled(start, unit, end):
    """A body of nearly 8 MiB."""
    return start + unit * ((SIZE - len(start) - len(end)) // len(unit)) + end


BOMBS = {
    "100,000 lists deep": b"[" * 100_000,
    "lists to the end": filled(b"", b"[", b""),
    "objects to the end": filled(b"", b'{"a":', b""),
    "closed and deep": b"[" * 40_000 + b"]" * 40_000,
    "empty lists": filled(b'{"x":[', b"[],", b"0]}"),
    "empty objects": filled(b'{"x":[', b"{},", b"0]}"),
    "numbers": filled(b'{"x":[', b"1.5,", b"0]}"),
    "short texts": filled(b'{"x":[', b'"ab",', b"0]}"),
    "many members": filled(b"{", b'"ab":1,', b'"z":1}'),
    "digits": filled(b'{"MaxFaces":', b"9", b"}"),
    "fraction": filled(b'{"MaxFaces":0.', b"9", b"}"),
    "exponent": filled(b'{"MaxFaces":1e', b"9", b"}"),
    "escapes": filled(b'{"CollectionId":"', b"\\u0041", b'"}'),
    "emoji": filled(b'{"CollectionId":"', b"\\ud83d\\ude42", b'"}'),
    "backslashes": filled(b'{"CollectionId":"', b"\\\\", b'"}'),
    "an open text": filled(b'{"CollectionId":"', b"a", b""),
    "blanks": filled(b"{", b" ", b"}"),
    "a long name": filled(b'{"', b"a", b'":1}'),
    "bad base64": filled(b'{"Image":{"Bytes":"', b"A", b'!"}}'),
    "a long id": filled(b'{"CollectionId":"', b"a", b'"}'),
    "a long bad id": filled(b'{"CollectionId":"', b"a", b'!"}'),
    "many bad ids": b'{"CollectionId":"c","FaceIds":["'
    + b'","'.join([b"!" * 80] * 90_000)
    + b'"]}',
    "a long tag": filled(b'{"Tags":{"k":"', "é".encode(), b'"}}'),
    "many tags": b'{"Tags":{' + b",".join(b'"aws:%d":"!"' % n for n in range(90_000)) + b"}}",
    "gzip": b"\x1f\x8b\x08\x00" + bytes(1000),
}


@pytest.fixture(scope="module")
def app():
    made = endpoint()
    yield made
    made.close()


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_costs_little(app, name):
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for operation in ("IndexFaces", "DeleteFaces", "TagResource"):
        began = time.process_time()

        reply = ask(app, BOMBS[name], operation=operation)

        assert (reply.status, reply.code) in {
            (400, "SerializationException"),
            (400, "ValidationException"),
        }
        assert time.process_time() - began < 2
        assert len(reply.body) < 100_000
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib
    assert grown_kib < 256 * 1024
