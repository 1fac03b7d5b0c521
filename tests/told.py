"""What a process that writes was told, and what a store may hold after its sudden end."""

import signal
import time

from enrolments import ACCOUNT, face_id, scanned, template
from exact_arena import ExactArena
from recollect.gallery import audit
from recollect.gallery.gallery import Galleries

LINES_MAX = 200
KINDS = ("add", "delete", "record", "make", "drop")


def run_and_end(nursery, end, folder, number, chance, *manner):
    """Let a process write for a while and end it; what it said, line by line.

    Args:
        nursery: of `busy_store`.
        end: ends the process it is given, suddenly.
        folder: data folder.
        number: of the round.
        chance: says how many lines later, and how long behind the last of them.
        manner: "hasty" or "careless" for a store that must be caught.
    """
    lines, pause_s = chance.randrange(LINES_MAX), chance.uniform(0, 0.01)
    with nursery.child(folder, number, *manner) as child:
        assert child.stdout.readline() == b"ready\n"
        before = b""
        while before.count(b"\n") < lines:
            heard = child.stdout.read(1 << 16)
            assert heard, "the process ended by itself"
            before += heard
        time.sleep(pause_s)
        end(child)
        assert child.wait() == -signal.SIGKILL
        after = child.stdout.read()
    # The last line may be cut short.
    return [line.split() for line in (before + after).decode().split("\n")[:-1]]


class Said:
    """What all processes so far have said they would do, and were told was done."""

    def __init__(self):
        self.asked = {kind: set() for kind in KINDS}
        self.done = {kind: set() for kind in KINDS}

    def take(self, lines):
        for word, number in lines:
            kind, mark = word[:-1], word[-1]
            (self.asked if mark == "?" else self.done)[kind].add(int(number))

    def lost(self, found):
        """Acknowledged faces that are not there and that nobody asked to delete."""
        return {n for n in self.done["add"] - self.asked["delete"] if face_id(n) not in found}

    def ghosts(self, found):
        """Faces whose deletion was acknowledged, or that nobody ever asked for."""
        possible = {face_id(n) for n in self.asked["add"] - self.done["delete"]}
        return found - possible

    def lost_collections(self, found):
        """As `lost`, of the numbered collections."""
        return self.done["make"] - self.asked["drop"] - found

    def ghost_collections(self, found):
        """As `ghosts`, of the numbered collections."""
        return found - (self.asked["make"] - self.done["drop"])


def assert_kept(store, said, where):
    """Everything acknowledged is in a store, nothing else is, and it is whole."""
    staff = store.collection(ACCOUNT, "staff")
    found = all_faces(store, staff)
    assert said.lost(found) == set(), where
    assert said.ghosts(found) == set(), where
    numbered = {
        int(c.collection_id) for c in store.every_collection() if c.collection_id.isdecimal()
    }
    assert said.lost_collections(numbered) == set(), where
    assert said.ghost_collections(numbered) == set(), where
    records = {int(record.entry) for record in store.audit_records(after=0, limit=10**6)}
    assert said.done["record"] <= records, where
    assert audit.verify(store) == [], where
    assert_whole(store, staff, found)


def all_faces(store, staff):
    return {face.face_id for face in store.list_faces(staff, after="", limit=10**6)}


def assert_whole(store, staff, found):
    """The tables agree with each other, and the index with them."""
    assert store.counts(staff)[0] == len(found)
    assert {i for i, _ in scanned(store, staff)} == found
    with store._database.reading() as sql:
        assert sql.row("PRAGMA integrity_check") == ("ok",)
    for user in store.list_users(staff, after="", limit=99):
        owned = store.list_faces(staff, after="", limit=10**6, user_id=user.user_id)
        assert len(owned) == user.face_count
    galleries = Galleries(store, ExactArena(), lambda _: None)
    galleries.load()
    best = galleries.search(staff, template(0), count_max=10**6, score_min=-1.0)
    assert {candidate.id for candidate in best} == found
