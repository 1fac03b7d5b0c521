"""A process that writes to a store from several threads until it is killed.

Before each write it says what it is about to do, after each answer that it was done, one line on
stdout each. Run as: busy_store.py FOLDER ROUND [hasty | careless]
"""

import random
import sys
import threading
import time
import uuid
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from enrolments import ACCOUNT, MASTER_KEY, collection, enrolment, face_id
from recollect.gallery.sqlite import SQLiteStore, database
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


def work(store, staff, thread, seed):
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


def main():
    folder, seed, manner = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    if manner == ["careless"]:
        # What must not be: an answer before the disk has it.
        database.SETTINGS["synchronous"] = 0
    store = SQLiteStore(
        folder, MASTER_KEY, clock=time.time, ids=lambda: str(uuid.uuid4()), reserve_bytes=4096
    )
    staff = store.collection(ACCOUNT, "staff") or collection(store)
    if manner == ["hasty"]:
        GroupCommit.run = hasty
    say("ready")
    for thread in range(THREADS):
        threading.Thread(target=work, args=(store, staff, thread, seed)).start()


if __name__ == "__main__":
    main()
