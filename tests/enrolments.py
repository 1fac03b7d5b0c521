"""Faces, templates and stores for tests: everything numbered, nothing random."""

import uuid
from contextlib import ExitStack, contextmanager

import numpy as np

import postgres_server
from dict_store import DictStore
from recollect.gallery.ids import unpacked_all
from recollect.gallery.sqlite import SQLiteStore
from recollect.gallery.store import Enrolment, Face

ACCOUNT = "123456789012"
MASTER_KEY = bytes(range(32))


class Clock:
    """Stands still until it is told to move."""

    def __init__(self, now=1_790_000_000.1234):
        self.now = now

    def __call__(self):
        return self.now


class Ids:
    """UUIDs in an order of their own, the same in every run."""

    def __init__(self):
        self.count = 0

    def __call__(self):
        self.count += 1
        return str(uuid.uuid5(uuid.NAMESPACE_OID, f"id {self.count}"))


def face_id(number):
    """The FaceId of a numbered face."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"face {number}"))


def image_id(number):
    """The ImageId of a numbered picture."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"image {number}"))


def template(number, dimension=8):
    """A unit vector of one's own for every number."""
    vector = np.random.default_rng(number).standard_normal(dimension).astype(np.float32)
    return vector / np.linalg.norm(vector)


def enrolment(number, *, image=None, box=(0.1, 0.2, 0.3, 0.4), dimension=8, **more):
    """A numbered face, by itself on a picture of its own unless said otherwise."""
    face = Face(
        face_id=face_id(number),
        image_id=image_id(number if image is None else image),
        external_image_id=f"person-{number}.jpg",
        box=box,
        confidence=99.5,
        model_version="4.0",
    )
    return Enrolment(face, template(number, dimension), **more)


def collection(store, name="staff", account=ACCOUNT, dimension=8, tags=None):
    """A new collection."""
    return store.create_collection(
        account, name, pack="toy", model_version="4.0", dimension=dimension, tags=tags or {}
    )


def faces_of(store, collection, face_ids):
    """Those of some faces that a store knows, by id."""
    found, _ = store.references(collection, face_ids)
    return {face.face_id: face for face in found}


def templates_of(store, collection, face_ids):
    """Their templates."""
    found, rows = store.references(collection, face_ids)
    return {face.face_id: row for face, row in zip(found, rows, strict=True)}


def scanned(store, collection, kind="faces"):
    """All that a scan finds of a kind, in its order: ids and templates."""
    _, blocks = store.scan([collection])
    return [
        (i, row)
        for block in blocks
        if block.kind == kind
        for i, row in zip(unpacked_all([block.ids.tobytes()]), block.templates, strict=True)
    ]


def sqlite_store(folder, *, clock=None, ids=None, **more):
    """A store as a server has it, with little in reserve."""
    return SQLiteStore(
        folder,
        MASTER_KEY,
        clock=clock or Clock(),
        ids=ids or Ids(),
        **{"reserve_bytes": 4096} | more,
    )


def postgres_store(url, *, clock=None, ids=None, **more):
    """A store as a node has it."""
    from recollect.gallery.postgres import PostgresStore

    return PostgresStore(url, MASTER_KEY, clock=clock or Clock(), ids=ids or Ids(), **more)


@contextmanager
def opened(kind, folder, clock, ids):
    """A store of a kind."""
    with ExitStack() as stack:
        if kind == "dict":
            store = DictStore(clock=clock, ids=ids)
        elif kind == "sqlite":
            store = sqlite_store(folder, clock=clock, ids=ids)
        else:
            url = stack.enter_context(postgres_server.emptied())
            store = postgres_store(url, clock=clock, ids=ids)
        stack.callback(store.close)
        yield store
