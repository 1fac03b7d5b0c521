"""Bodies on their way in: what is hashed beside their arrival is what arrived."""

import asyncio
import hashlib

from hypothesis import given
from hypothesis import strategies as st

from recollect.wire.body import Bodies, Body


def received(body, pieces):
    messages = iter(
        {"type": "http.request", "body": piece, "more_body": at + 1 < len(pieces)}
        for at, piece in enumerate(pieces)
    )

    async def receive():
        return next(messages)

    return asyncio.run(body.received(receive))


@given(st.lists(st.binary(max_size=5), min_size=1, max_size=5))
def test_the_digest_is_that_of_the_whole_however_a_body_arrives(pieces):
    body = Body(Bodies(100), 100, signed=True)

    whole = received(body, pieces)
    assert not body.sha256.done()
    body.finish()

    assert whole == b"".join(pieces)
    assert body.sha256.result() == hashlib.sha256(whole).hexdigest()


def test_a_body_that_is_not_signed_is_not_hashed():
    body = Body(Bodies(100), 100, signed=False)

    assert received(body, [b"a", b"b"]) == b"ab"
    body.finish()

    assert body.sha256 is None
