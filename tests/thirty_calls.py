"""A script of 30 calls, some of everything, and every state that it passes through."""

import os
import signal
import threading
import time
import uuid
from pathlib import Path

import numpy as np

from dict_store import DictStore
from enrolments import ACCOUNT, MASTER_KEY, Clock, Ids, collection, enrolment, face_id, scanned
from recollect.gallery.sqlite import SQLiteStore, store
from recollect.gallery.store import AccessKey, Once

KEY = AccessKey("AKIATHIRTY", "secret", ACCOUNT, "thirty", ())
TEND_AFTER = (9, 23)
"""Calls behind which a store carries its log into the file and erases what is left over."""


def found(store, name):
    return store.collection(ACCOUNT, name)


def add(name, *numbers):
    return lambda store: store.add_faces(found(store, name), [enrolment(n) for n in numbers])


def delete(*numbers):
    ids = [face_id(n) for n in numbers]
    return lambda store: store.delete_faces(found(store, "staff"), ids)


def associate(user, *numbers):
    ids = [face_id(n) for n in numbers]
    return lambda store: store.associate_faces(
        found(store, "staff"), user, ids, faces_max=9, once=None
    )


def disassociate(user, *numbers):
    ids = [face_id(n) for n in numbers]
    return lambda store: store.disassociate_faces(found(store, "staff"), user, ids, once=None)


def drop(name):
    return lambda store: store.delete_collection(found(store, name))


def record(store):
    store.record(b"{}")


CALLS = (
    lambda store: collection(store, tags={"a": "b"}),
    add("staff", 0, 1, 2),
    lambda store: store.create_user(found(store, "staff"), "anna", None),
    associate("anna", 0, 1),
    record,
    delete(2),
    lambda store: collection(store, "visitors"),
    add("visitors", 9),
    lambda store: store.tag(found(store, "staff"), {"c": "d"}, tags_max=9),
    add("staff", *range(10, 30)),
    lambda store: store.create_user(found(store, "staff"), "ben", Once("t", "CreateUser", b"")),
    associate("ben", 10, 11, 12),
    disassociate("anna", 1),
    delete(1),
    lambda store: store.add_key(KEY),
    lambda store: store.untag(found(store, "staff"), ["a"]),
    record,
    delete(13, 14, 15),
    disassociate("ben", 10, 11, 12),
    lambda store: collection(store, "guests"),
    add("guests", *range(40, 50)),
    lambda store: store.delete_user(found(store, "staff"), "ben", None),
    drop("visitors"),
    lambda store: store.update_key(KEY.key_id, active=False),
    add("staff", 60),
    associate("anna", 60),
    drop("guests"),
    lambda store: store.delete_key(KEY.key_id),
    add("staff", 61, 62),
    record,
)
assert len(CALLS) == 30


def run(store, done, *, hasty=False):
    """Make the calls; each is reported when it was acknowledged, or before it is made."""
    for number, call in enumerate(CALLS):
        if hasty:
            done(store)
        call(store)
        if not hasty:
            done(store)
        if number in TEND_AFTER and isinstance(store, SQLiteStore):
            store.tend()
            store.carry()


def state(store):
    """What a restart has to find again."""
    everything = {}
    for c in store.every_collection():
        templates = [(i, row.tobytes()) for i, row in scanned(store, c)]
        aggregates = [(i, np.round(row, 5).tobytes()) for i, row in scanned(store, c, "users")]
        everything[c.collection_id] = (
            store.counts(c),
            store.sequence(c),
            store.list_faces(c, after="", limit=99),
            sorted((u.user_id, u.face_count) for u in store.list_users(c, after="", limit=99)),
            store.tags(c),
            sorted(templates),
            len(aggregates),
        )
    return everything, [(key.key_id, key.active) for key in store.access_keys()]


def states():
    """The state before the first call and after each."""
    model = DictStore(clock=Clock(), ids=Ids())
    passed = [state(model)]
    run(model, lambda _: passed.append(state(model)))
    return passed


def main(folder, *manner):
    """Run the script on a new folder, with a dot on stdout for each call; waits to be continued.

    "hasty" is for a store that must be caught: it answers before it has done anything.
    """
    # All writing in one thread, so that the N-th call of a kind is the same in every run.
    store.TEND_EVERY_S = threading.TIMEOUT_MAX
    os.kill(os.getpid(), signal.SIGSTOP)
    opened = SQLiteStore(
        Path(folder), MASTER_KEY, clock=time.time, ids=lambda: str(uuid.uuid4()), reserve_bytes=4096
    )
    run(opened, lambda _: os.write(1, b"."), hasty=manner == ("hasty",))
    opened.close()
