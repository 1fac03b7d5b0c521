"""A process that writes to a store from several threads until it is killed.

Before each write it says what it is about to do, after each answer that it was done, one line on
stdout each.
"""

import os
import random
import signal
import sys
import threading
import time
import traceback
import uuid
from pathlib import Path

from enrolments import ACCOUNT, MASTER_KEY, collection, enrolment, face_id
from recollect.errors import InternalServerError
from recollect.gallery.crypt import Damaged
from recollect.gallery.sqlite import SQLiteStore, database
from recollect.gallery.sqlite import store as store_module
from recollect.gallery.sqlite.commit import GroupCommit, Transaction
from recollect.gallery.sqlite.database import Sql

THREADS = 3
SPAN = 10_000_000
ROUND = 10_000
"""Numbers of a round: a face that was deleted once is never enrolled again."""


def say(*words):
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


LOCK = threading.Lock()


def hasty(self, work, *, frees=False):
    """What must not be: an answer before the commit."""
    with LOCK:
        sql = self._database.writer
        if not sql.in_transaction:
            sql.execute("BEGIN IMMEDIATE")
        result = work(Transaction(Sql(sql)))
        self.count = getattr(self, "count", 0) + 1
        if self.count % 64 == 0:
            sql.execute("COMMIT")
        return result


def work(store, staff, thread, seed, drops):
    """Enrol, give, take and delete, each face in one thread only."""
    user = f"user-{thread}"
    if store.user(staff, user) is None:
        store.create_user(staff, user, None)
    chance = random.Random(seed * THREADS + thread)
    start = thread * SPAN + seed * ROUND
    free, given = [], []
    for number in range(start, start + ROUND):
        say("add?", number)
        store.add_faces(staff, [enrolment(number)])
        say("add!", number)
        free.append(number)
        if chance.random() < 0.4:
            gone = free.pop(chance.randrange(len(free)))
            say("delete?", gone)
            store.delete_faces(staff, [face_id(gone)])
            say("delete!", gone)
        if free and chance.random() < 0.2:
            store.associate_faces(staff, user, [face_id(free[0])], faces_max=10**6, once=None)
            given.append(free.pop(0))
        if len(given) > 3:
            store.disassociate_faces(staff, user, [face_id(given[0])], once=None)
            free.append(given.pop(0))
        if chance.random() < 0.1:
            store.record(str(number).encode())
            say("record!", number)
        if drops and chance.random() < 0.05:
            come_and_go(store, number)


def until_the_disk_fails(*place):
    """Work; whatever else goes wrong ends the process, which is noticed."""
    try:
        work(*place)
    except (InternalServerError, Damaged):
        return  # It is gone, or what is read from it is not what was written.
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def come_and_go(store, number):
    """Make a collection with a face and, of every two, delete one."""
    say("make?", number)
    made = collection(store, str(number))
    say("make!", number)
    store.add_faces(made, [enrolment(number)])
    if number % 2:
        say("drop?", number)
        store.delete_collection(made)
        say("drop!", number)


def main(folder, seed, *manner):
    """Write until killed; "hasty" and "careless" are for stores that must be caught."""
    if manner == ("careless",):
        # What must not be: an answer before the disk has it.
        database.SETTINGS["synchronous"] = 0
    if not manner:
        # In a life of a fraction of a second: the log is lengthened, carried over and cut off.
        store_module.TEND_EVERY_S, store_module.CARRY_EVERY_S = 0.02, 0.1
    store = SQLiteStore(
        Path(folder), MASTER_KEY, clock=time.time, ids=lambda: str(uuid.uuid4()), reserve_bytes=4096
    )
    staff = store.collection(ACCOUNT, "staff") or collection(store)
    if manner == ("hasty",):
        GroupCommit.run = hasty
    # What is not committed no reader sees, so nothing could be put into a new collection.
    drops = manner != ("hasty",)
    say("ready")
    for thread in range(THREADS):
        threading.Thread(
            target=until_the_disk_fails, args=(store, staff, thread, int(seed), drops)
        ).start()
    signal.pause()
