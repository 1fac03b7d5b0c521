"""Pages while others insert and delete: what was there throughout is listed exactly once."""

import itertools
import threading
import time
import uuid
from contextlib import contextmanager

import numpy as np
import pytest

from recollect.gallery.store import Enrolment, Face
from toys import DIMENSION

SEED = 7
RANDOM = np.random.default_rng(SEED)


def face(number, dimension):
    """A numbered face with a random id and a box of its own, so that none is a duplicate."""
    template = RANDOM.standard_normal(dimension).astype(np.float32)
    return Enrolment(
        Face(
            face_id=str(uuid.UUID(bytes=RANDOM.bytes(16), version=4)),
            image_id=str(uuid.UUID(int=number)),
            external_image_id=None,
            box=(0.1, 0.2, 0.3, 0.4),
            confidence=99.0,
            model_version="4.0",
        ),
        template / np.linalg.norm(template),
    )


class Faces:
    """The faces of one collection, in batches, beneath the API."""

    batch = 25

    def __init__(self, server, client):
        client.create_collection(CollectionId="paged-faces")
        self.store = server.server.store
        self.collection = self.store.collection("123456789012", "paged-faces")
        self.numbers = itertools.count()

    def add(self, count):
        dimension = self.collection.dimension
        made = self.store.add_faces(
            self.collection, [face(next(self.numbers), dimension) for _ in range(count)]
        )
        return [stored.face_id for stored in made]

    def remove(self, names):
        assert len(self.store.delete_faces(self.collection, names).deleted) == len(names)

    def page(self, client, token):
        more = {"NextToken": token} if token else {}
        page = client.list_faces(CollectionId="paged-faces", MaxResults=97, **more)
        return [found["FaceId"] for found in page["Faces"]], page.get("NextToken")


class Users:
    """The users of one collection."""

    batch = 2

    def __init__(self, server, client):
        client.create_collection(CollectionId="paged-users")
        self.store = server.server.store
        self.collection = self.store.collection("123456789012", "paged-users")
        self.numbers = itertools.count()

    def add(self, count):
        names = [f"u{next(self.numbers)}" for _ in range(count)]
        for name in names:
            self.store.create_user(self.collection, name, None)
        return names

    def remove(self, names):
        for name in names:
            self.store.delete_user(self.collection, name, None)

    def page(self, client, token):
        more = {"NextToken": token} if token else {}
        page = client.list_users(CollectionId="paged-users", MaxResults=23, **more)
        return [found["UserId"] for found in page["Users"]], page.get("NextToken")


class Collections:
    """The collections of the account, some of whose names do not fit a token."""

    batch = 2

    def __init__(self, server, client):
        self.store = server.server.store

    def add(self, count):
        names = [RANDOM.bytes(8).hex() + "-" * int(RANDOM.choice([1, 230])) for _ in range(count)]
        for name in names:
            self.store.create_collection(
                "123456789012",
                name,
                pack="toy",
                model_version="4.0",
                dimension=DIMENSION,
                tags={},
            )
        return names

    def remove(self, names):
        for name in names:
            self.store.delete_collection(self.store.collection("123456789012", name))

    def page(self, client, token):
        more = {"NextToken": token} if token else {}
        page = client.list_collections(MaxResults=11, **more)
        return page["CollectionIds"], page.get("NextToken")


@contextmanager
def churn(things, going):
    """Insert and delete in a thread of its own until the end; give a count of the rounds."""
    over, rounds, failure = threading.Event(), [0], []

    def work():
        try:
            passing = list(going)
            while not over.is_set():
                passing += things.add(things.batch)
                things.remove(
                    [passing.pop(int(RANDOM.integers(len(passing)))) for _ in range(things.batch)]
                )
                rounds[0] += 1
        except BaseException as error:
            failure.append(error)
            raise

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield rounds, failure
    finally:
        over.set()
        thread.join()
    assert not failure


def listed(page, rounds, failure):
    """Names of every page; between two pages something was inserted and deleted."""
    names, token = page(None)
    while token:
        seen = rounds[0]
        while rounds[0] == seen and not failure:
            time.sleep(0.001)
        found, token = page(token)
        names += found
    return names


def wrong(names, stay):
    """How many of those that stayed are missing, and how many names are listed twice."""
    return len(set(stay) - set(names)), len(names) - len(set(names))


@pytest.mark.parametrize(("kind", "stay"), [(Faces, 10_000), (Users, 500), (Collections, 150)])
def test_what_was_there_throughout_is_listed_exactly_once(serve, kind, stay):
    server = serve()
    client = server.client()
    things = kind(server, client)
    going = things.add(stay // 10)
    stayed = things.add(stay)

    with churn(things, going) as (rounds, failure):
        names = listed(lambda token: things.page(client, token), rounds, failure)

    assert wrong(names, stayed) == (0, 0)
    assert len(names) > stay, "nothing that came or went was seen"


def test_pages_that_count_would_be_found_wrong(serve):
    """The harness sees the usual mistake: a token that says how many were listed."""
    server = serve()
    things = Faces(server, server.client())
    going = things.add(500)
    stayed = things.add(500)

    def page(token):
        every = things.store.list_faces(things.collection, after="", limit=10_000)
        ids = [found.face_id for found in every]
        start = token or 0
        return ids[start : start + 50], (start + 50 if start + 50 < len(ids) else None)

    with churn(things, going) as (rounds, failure):
        names = listed(page, rounds, failure)

    assert wrong(names, stayed) != (0, 0)
