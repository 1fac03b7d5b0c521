"""What machines ask: alive, ready, counters."""

import json
import threading

import pytest
from prometheus_client import CollectorRegistry, Counter
from starlette.applications import Starlette
from starlette.routing import Route

from recollect.errors import MissingAuthenticationTokenException
from recollect.wire import probes
from wire_stub import ask


def served(path, handler):
    return Starlette(routes=[Route(path, handler)])


def test_the_living_answer():
    reply = ask(served("/livez", probes.livez), b"", method="GET", path="/livez")

    assert (reply.status, reply.json) == (200, {"alive": True})


@pytest.mark.parametrize(("index", "status"), [(True, 200), (False, 503)])
def test_ready_is_who_passes_every_check(index, status):
    handler = probes.readyz({"models": lambda: True, "index": lambda: index}, {"kernel": "numpy"})

    reply = ask(served("/readyz", handler), b"", method="GET", path="/readyz")

    assert reply.status == status
    assert reply.json == {
        "ready": index,
        "checks": [
            {"name": "models", "state": "ok"},
            {"name": "index", "state": "ok" if index else "failing"},
        ],
        "kernel": "numpy",
    }


def test_a_check_that_raises_or_hangs_does_not_hold(monkeypatch):
    monkeypatch.setattr(probes, "CHECK_DEADLINE_S", 0.05)
    released = threading.Event()

    def raises():
        raise OSError("disk is gone")

    handler = probes.readyz({"store": raises, "index": released.wait}, {})
    threading.Timer(0.3, released.set).start()
    reply = ask(served("/readyz", handler), b"", method="GET", path="/readyz")

    assert reply.status == 503
    assert [check["state"] for check in reply.json["checks"]] == ["failing", "failing"]
    assert b"disk" not in reply.body


def test_counters_are_in_openmetrics_form():
    registry = CollectorRegistry()
    Counter("recollect_requests", "Calls", ["operation"], registry=registry).labels("X").inc()
    app = served("/metrics", probes.metrics(registry=registry))

    reply = ask(app, b"", method="GET", path="/metrics")

    assert reply.status == 200
    assert reply.headers["content-type"].startswith("application/openmetrics-text")
    assert b'recollect_requests_total{operation="X"} 1.0' in reply.body
    assert reply.body.endswith(b"# EOF\n")


def test_counters_may_ask_who_wants_to_know():
    def identify(request):
        if request.header("authorization") != "Bearer good":
            raise MissingAuthenticationTokenException

    app = served("/metrics", probes.metrics(identify, CollectorRegistry()))

    stranger = ask(app, b"", method="GET", path="/metrics")
    friend = ask(app, b"", method="GET", path="/metrics", headers={"authorization": "Bearer good"})

    assert (stranger.status, stranger.code) == (401, "MISSING_AUTHENTICATION_TOKEN")
    assert stranger.headers["www-authenticate"] == "Bearer"
    assert json.loads(stranger.body)["success"] is False
    assert friend.status == 200
