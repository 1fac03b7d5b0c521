"""The audit chain: 10,000 of 10,000 tamperings are found."""

import contextlib
import io
import json
import random

import pytest

from enrolments import sqlite_store
from recollect.gallery import audit
from recollect.gallery.audit import Chain, Head, Record

KEY = bytes(range(32))
SEED = 17


class Tape:
    """A log of plain lists, to tamper with."""

    def __init__(self, count, key=KEY):
        self.chain, self.records, self.head = Chain(key), [], None
        for number in range(count):
            record, self.head = self.chain.next(self.head, json.dumps({"n": number}).encode())
            self.records.append(record)

    def audit_chain(self):
        return self.chain

    def audit_head(self):
        return self.head

    def audit_records(self, *, after, limit):
        found = sorted((r for r in self.records if r.sequence > after), key=lambda r: r.sequence)
        return found[:limit]


def altered(tape, chance):
    """Change one bit of an entry or a mac."""
    at = chance.randrange(len(tape.records))
    record = tape.records[at]
    part = chance.choice(["entry", "mac"])
    data = bytearray(getattr(record, part))
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    fields = {"entry": record.entry, "mac": record.mac, part: bytes(data)}
    tape.records[at] = Record(record.sequence, **fields)


def dropped(tape, chance):
    """Take one out, and close the gap or not."""
    at = chance.randrange(len(tape.records))
    del tape.records[at]
    if chance.random() < 0.5:
        tape.records = [Record(n, r.entry, r.mac) for n, r in enumerate(tape.records, 1)]


def swapped(tape, chance):
    """Exchange two entries, with their macs or without."""
    one, other = sorted(chance.sample(range(len(tape.records)), 2))
    a, b = tape.records[one], tape.records[other]
    whole = chance.random() < 0.5
    tape.records[one] = Record(a.sequence, b.entry, b.mac if whole else a.mac)
    tape.records[other] = Record(b.sequence, a.entry, a.mac if whole else b.mac)


def cut(tape, chance):
    """Take some off the end, and make a head for what is left as far as one can."""
    tape.records = tape.records[: chance.randrange(len(tape.records))]
    kind = chance.choice(["as it was", "shortened", "removed"])
    if kind == "removed" and tape.records:
        tape.head = None
    elif kind == "shortened" and tape.records:
        last = tape.records[-1]
        tape.head = Head(last.sequence, last.mac, tape.head.seal)


def put_in(tape, chance):
    """Write one more, under a key of one's own."""
    forger = Chain(bytes(32))
    last = tape.records[-1]
    record, head = forger.next(Head(last.sequence, last.mac, b""), b'{"n": "forged"}')
    tape.records.append(record)
    if chance.random() < 0.5:
        tape.head = head


@pytest.mark.parametrize("count", [500, pytest.param(10_000, marks=pytest.mark.slow)])
def test_every_tampering_is_found(figure, count):
    chance = random.Random(SEED)
    missed = []
    for number in range(count):
        tape = Tape(30)
        tamper = (altered, dropped, swapped, cut, put_in)[number % 5]
        tamper(tape, chance)
        if not audit.verify(tape):
            missed.append((number, tamper.__name__))
    assert missed == []
    figure("audit log tampered with", count, f"all found (seed {SEED})")


def test_an_honest_chain_has_nothing_wrong():
    assert audit.verify(Tape(0)) == []
    assert audit.verify(Tape(1)) == []
    assert audit.verify(Tape(2500)) == []


def test_what_is_wrong_is_said_with_its_place():
    tape = Tape(5)
    tape.records[2] = Record(3, b"{}", tape.records[2].mac)
    del tape.records[0]

    assert audit.verify(tape) == [
        "record 1 is missing: 2 follows",
        "record 3 is not what was recorded there",
    ]


def test_a_chain_is_whole_under_its_own_key_only():
    tape = Tape(3)
    tape.chain = Chain(bytes(32))

    assert len(audit.verify(tape)) >= 3


def test_a_record_of_another_history_does_not_fit():
    """As from a copy of the folder that went its own way: same key, same place."""
    ours, theirs = Tape(10), Tape(0)
    for number in range(10):
        entry = json.dumps({"n": number if number != 3 else "other"}).encode()
        record, theirs.head = theirs.chain.next(theirs.head, entry)
        theirs.records.append(record)
    assert audit.verify(theirs) == []

    ours.records[6] = theirs.records[6]

    assert ours.records[6].entry == Tape(10).records[6].entry
    assert audit.verify(ours) != []


def test_an_entry_cannot_pass_for_a_head():
    chain = Chain(KEY)
    record, head = chain.next(None, b"{}")
    assert head.seal != record.mac
    assert chain.seal(1, record.mac) == head.seal


def test_the_store_keeps_a_chain_across_restarts(tmp_path):
    for start in range(3):
        with contextlib.closing(sqlite_store(tmp_path)) as store:
            for number in range(4):
                store.record(json.dumps({"n": start * 4 + number}).encode())
            assert audit.verify(store) == []

    with contextlib.closing(sqlite_store(tmp_path)) as store:
        assert [json.loads(r.entry)["n"] for r in audit.tail(store, 5)] == [7, 8, 9, 10, 11]
        assert len(audit.tail(store, 99)) == 12
        file = io.BytesIO()
        assert audit.export(store, file) == 12
        assert [json.loads(line)["n"] for line in file.getvalue().splitlines()] == list(range(12))

        store._database.writer.execute("DELETE FROM audit WHERE sequence = 12")
        assert audit.verify(store) == ["what was recorded behind record 11 is missing"]
        for forged in (None, bytes(32)):
            store._database.writer.execute(
                "UPDATE audit SET seal = ? WHERE sequence = 11", (forged,)
            )
            assert len(audit.verify(store)) == 1

        # What comes after does not cover it up.
        for _ in range(3):
            store.record(b"{}")
        assert audit.verify(store) == ["record 12 is missing: 13 follows"]


def test_a_log_of_the_schema_before_is_brought_up_to_date(tmp_path):
    """Its end was sealed in a table of its own."""
    with contextlib.closing(sqlite_store(tmp_path)) as store:
        store.record(b"{}")
        store.record(b"[]")
        end = store.audit_head()
        write = store._database.writer.execute
        write("ALTER TABLE audit DROP COLUMN seal")
        write(
            "CREATE TABLE audit_head (one INTEGER PRIMARY KEY CHECK (one = 1), sequence INTEGER NOT"
            " NULL, mac BLOB NOT NULL, seal BLOB NOT NULL) STRICT"
        )
        write("INSERT INTO audit_head VALUES (1, ?, ?, ?)", (end.sequence, end.mac, end.seal))
        store._database.writer.pragma("user_version", 1)

    with contextlib.closing(sqlite_store(tmp_path)) as store:
        assert store.audit_head() == end
        store.record(b"{}")
        assert audit.verify(store) == []
        assert [record.sequence for record in audit.tail(store, 9)] == [1, 2, 3]


def test_an_empty_log_is_whole(tmp_path):
    with contextlib.closing(sqlite_store(tmp_path)) as store:
        assert audit.verify(store) == []
        assert audit.tail(store, 5) == []
