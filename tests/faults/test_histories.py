"""A hundred clients of an engine that is killed again and again: every answer fits one order."""

import asyncio
import contextlib
import math
import random
import tempfile
import time
from collections import Counter, defaultdict

import msgspec
import pytest
import uvloop

from linear import Call, impossible
from nursery import Nursery

CLIENTS = 100
COLLECTIONS = ("staff", "visitors")
PEOPLE = 250
HOT = 10
"""The first of them, whom more calls are about."""


class Unanswered(Exception):
    """The connection broke before the answer came."""


class Client:
    """One caller with one connection, who notes down what it asked and was told."""

    def __init__(self, run, number):
        self.run = run
        self.chance = random.Random(f"{run.seed}/{number}")
        self.connection = None

    async def work(self):
        while self.run.left > 0:
            self.run.left -= 1
            await self.call(*self.choose())
        await self.leave()

    async def leave(self):
        if self.connection is not None:
            (_, writer), self.connection = self.connection, None
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def choose(self):
        """A place and what to ask there."""
        chance = self.chance
        place = (
            chance.choice(COLLECTIONS),
            chance.randrange(HOT if chance.random() < self.run.hot_share else PEOPLE),
        )
        kind = chance.choice(["search", "search", "search", "index", "index", "delete", "list"])
        face = None
        if kind in ("delete", "list"):
            known = self.run.faces[place]
            if not known:
                return place, "index", None
            # Mostly the newest, sometimes one that should be gone for long.
            face = known[-1] if chance.random() < 0.9 else chance.choice(known)
        return place, kind, face

    async def call(self, place, kind, face):
        collection, person = place
        request = {"CollectionId": collection}
        if kind in ("index", "search"):
            request["Image"] = person
        else:
            request["FaceIds"] = [face]
        if kind == "search":
            request["FaceMatchThreshold"] = 99.9
        start = time.monotonic()
        call = Call(kind, start, start, face)
        try:
            answer = await self.ask(OPERATIONS[kind], request)
        except Unanswered:
            self.run.answers["unanswered"] += 1
            self.run.forgo(place, call)
            return
        call.end = time.monotonic()
        if "error" in answer:
            self.run.answers["failed"] += 1
            self.run.forgo(place, call)
            return
        self.run.answers[kind] += 1
        match kind:
            case "index":
                call.face = answer["FaceRecords"][0]["Face"]["FaceId"]
                known = self.run.faces[place]
                if call.face not in known[-3:]:
                    known.append(call.face)
            case "search":
                found = [match["Face"]["FaceId"] for match in answer["FaceMatches"]]
                assert len(found) <= 1, f"{place} is {len(found)} faces"
                call.face = found[0] if found else None
            case "delete":
                call.there = answer["DeletedFaces"] == [face]
            case "list":
                call.there = [one["FaceId"] for one in answer["Faces"]] == [face]
        self.run.calls[place].append(call)

    async def ask(self, operation, request):
        """One request and its answer; Unanswered where the engine dies meanwhile."""
        try:
            if self.connection is None:
                await self.run.up.wait()
                self.connection = await asyncio.open_unix_connection(self.run.socket)
            reader, writer = self.connection
            writer.write(msgspec.json.encode((operation, request)) + b"\n")
            return msgspec.json.decode(await reader.readuntil(b"\n"))
        except (OSError, asyncio.IncompleteReadError):
            await self.leave()
            raise Unanswered from None


OPERATIONS = {
    "index": "IndexFaces",
    "search": "SearchFacesByImage",
    "delete": "DeleteFaces",
    "list": "ListFaces",
}


class Run:
    """A hundred clients, their calls, and a server that dies every so many of them."""

    def __init__(self, nursery, folder, calls, kill_every, *manner, hot_share=0.5, seed=0):
        self.nursery, self.folder, self.manner = nursery, folder, manner
        self.left, self.kill_every = calls, kill_every
        self.hot_share, self.seed = hot_share, seed
        self.calls, self.faces = defaultdict(list), defaultdict(list)
        self.unanswered, self.answers, self.kills = [], Counter(), 0
        # Its path may have 107 characters at most, so not in pytest's folder.
        self.socket, self.up = f"{tempfile.mkdtemp()}/socket", asyncio.Event()

    async def go(self):
        with contextlib.ExitStack() as alive:
            server = self.start(alive)
            first = Client(self, -1)
            for collection in COLLECTIONS:
                await first.ask("CreateCollection", {"CollectionId": collection})
            await first.leave()
            clients = [asyncio.create_task(Client(self, n).work()) for n in range(CLIENTS)]
            kill_at = self.left - self.kill_every
            while not all(client.done() for client in clients):
                await asyncio.sleep(0.01)
                if self.left < kill_at and self.left > 0:
                    kill_at -= self.kill_every
                    self.up.clear()
                    server.kill()
                    server.wait()
                    alive.close()
                    self.kills += 1
                    server = self.start(alive)
            await asyncio.gather(*clients)
        return self

    def start(self, alive):
        """Start the server; calls that the one before did not answer can happen no more."""
        server = alive.enter_context(self.nursery.child(self.folder, self.socket, *self.manner))
        assert server.stdout.readline() == b"ready\n"
        now = time.monotonic()
        for call in self.unanswered:
            call.end = now
        self.unanswered.clear()
        self.up.set()
        return server

    def forgo(self, place, call):
        """Note a call whose effect nobody knows; a question has none."""
        if call.kind in ("index", "delete"):
            call.known, call.end = False, math.inf
            self.calls[place].append(call)
            self.unanswered.append(call)

    def impossible(self):
        """The calls that no order explains, one of each place at most."""
        found = {place: impossible(calls) for place, calls in self.calls.items()}
        return {place: call for place, call in found.items() if call is not None}


@pytest.fixture(scope="module")
def engines():
    nursery = Nursery("toy_engine")
    yield nursery
    nursery.close()


def recorded(engines, folder, calls, kill_every, *manner, **more):
    return uvloop.run(Run(engines, folder, calls, kill_every, *manner, **more).go())


@pytest.mark.timeout(3600)  # For the slow ones.
@pytest.mark.parametrize(
    ("calls", "kill_every", "seed"),
    [
        (2_000, 700, 0),
        *(pytest.param(100_000, 10_000, seed, marks=pytest.mark.slow) for seed in range(1, 11)),
    ],
)
def test_every_history_of_a_hundred_clients_is_linearizable(
    tmp_path, engines, figure, calls, kill_every, seed
):
    run = recorded(engines, tmp_path, calls, kill_every, seed=seed)

    assert run.impossible() == {}
    answered = sum(run.answers[kind] for kind in OPERATIONS)
    assert answered > 0.8 * calls
    assert not run.answers["failed"]
    assert run.kills >= calls // kill_every - 1
    figure(
        f"recorded calls of 100 clients, seed {seed}",
        calls,
        f"0 violations; {run.kills} kills left {run.answers['unanswered']:,} without an answer",
    )


@pytest.mark.control
def test_an_index_that_follows_late_is_found(tmp_path, engines, figure):
    """A positive control: an engine that answers a moment before its index has followed."""
    run = recorded(engines, tmp_path, 1_000, 10_000, "stale", hot_share=1.0)

    found = run.impossible()
    assert found
    figure(
        "the same with a planted stale index", 1_000, f"found at {len(found)} places, as it must"
    )
