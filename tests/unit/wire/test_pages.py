"""Pages beside calls: who gets which request."""

import asyncio

import pytest

from recollect.wire.pages import Beside


@pytest.mark.parametrize(
    ("scope", "whose"),
    [
        ({"type": "http", "method": "POST", "path": "/"}, "calls"),
        ({"type": "http", "method": "POST", "path": "/livez"}, "calls"),
        ({"type": "http", "method": "GET", "path": "/livez"}, "pages"),
        ({"type": "http", "method": "OPTIONS", "path": "/"}, "pages"),
        ({"type": "lifespan"}, "pages"),
    ],
)
def test_every_call_is_a_post_and_no_page_is(scope, whose):
    asked = []

    def application(name):
        async def answer(*given):
            asked.append((name, given))

        return answer

    app = Beside(application("calls"), application("pages"))
    asyncio.run(app(scope, "receive", "send"))
    assert asked == [(whose, (scope, "receive", "send"))]
