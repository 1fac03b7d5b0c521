"""PostgreSQL goes and comes back: calls are answered in time, and heal without a restart."""

import itertools
import threading
import time
from contextlib import closing

import psycopg
import pytest

import postgres_server
from enrolments import collection, enrolment, face_id, faces_of, postgres_store, templates_of
from nodes import nodes
from recollect.errors import AnswerError, InternalServerError, ThrottlingException
from recollect.gallery import audit
from recollect.gallery.postgres import database
from recollect.gallery.postgres.database import SLOW, UNKNOWN, UNREACHABLE, Sql, cut


@pytest.fixture
def url():
    with postgres_server.emptied() as url:
        yield url


@pytest.fixture
def pair(url):
    with nodes(url) as made:
        yield made


def cut_idle(node):
    """Break every connection that waits for use, as a restart of the server does."""
    for sql in node.store._database._idle:
        cut(sql.connection)


def test_a_broken_connection_is_not_noticed_by_readers_and_writers(pair):
    here, there = pair
    staff = collection(here.store)

    for number in range(1, 4):
        cut_idle(here)
        here.store.add_faces(staff, [enrolment(number)])
        cut_idle(there)
        assert there.found(staff, number) == [face_id(number)]
        cut_idle(here)
        assert here.store.counts(staff) == (number, 0)
    assert [change.sequence for change in here.seen] == [1, 2, 3]


class BreakingAt:
    """Breaks the connection before its N-th statement, among connections that are there now."""

    def __init__(self, monkeypatch, node, n):
        self.left = n
        self.watched = list(node.store._database._idle)
        for name in ("run", "rows", "each"):
            monkeypatch.setattr(Sql, name, self.breaking(getattr(Sql, name)))

    def breaking(self, statement):
        def then(sql, *given, **more):
            if sql in self.watched:
                if self.left == 0:
                    cut(sql.connection)
                self.left -= 1
            return statement(sql, *given, **more)

        return then


def test_a_write_that_breaks_at_any_statement_happens_once_or_not_at_all(url, monkeypatch):
    """N = 0, 1, 2 …, until nothing breaks any more."""
    # The nodes' own threads would ask through the same connections.
    monkeypatch.setattr("recollect.gallery.postgres.feed.Feed.start", lambda _: None)
    with nodes(url) as (here, there):
        staff = collection(here.store)
        for n in itertools.count():
            # Warm, so that the statements counted are those of the write alone.
            templates_of(here.store, staff, [face_id(0)])
            told = None
            with monkeypatch.context() as patched:
                breaking = BreakingAt(patched, here, n)
                try:
                    here.store.add_faces(staff, [enrolment(n)])
                except InternalServerError as error:
                    told = str(error)

            assert told in (None, UNKNOWN)
            stored = faces_of(here.store, staff, [face_id(n)])
            assert len(stored) == 1 or told == UNKNOWN
            for node in (here, there):
                assert node.found(staff, n) == list(stored)
            if breaking.left >= 0:
                assert n > 6
                return


def test_a_commit_whose_answer_is_lost_is_found_by_searches(pair, monkeypatch):
    here, there = pair
    staff = collection(here.store)
    run, losses = Sql.run, iter([True])

    def lost(sql, query, *values):
        run(sql, query, *values)
        if query == "COMMIT" and next(losses, False):
            cut(sql.connection)
            sql.connection.close()
            raise psycopg.OperationalError("the answer is lost")

    monkeypatch.setattr(Sql, "run", lost)
    with pytest.raises(InternalServerError) as told:
        here.store.add_faces(staff, [enrolment(1)])

    # It is not tried again: a deletion would then answer that there was nothing to delete.
    assert str(told.value) == UNKNOWN
    assert here.found(staff, 1) == there.found(staff, 1) == [face_id(1)]


def test_a_record_whose_answer_is_lost_is_said_and_the_chain_goes_on(pair, monkeypatch):
    here, there = pair
    here.store.record(b"first")
    rows, losses = Sql.rows, iter([True])

    def lost(sql, query, *values):
        found = rows(sql, query, *values)
        if "INTO audit" in query and next(losses, False):
            cut(sql.connection)
            sql.connection.close()
            raise psycopg.OperationalError("the answer is lost")
        return found

    monkeypatch.setattr(Sql, "rows", lost)
    with pytest.raises(InternalServerError) as told:
        here.store.record(b"perhaps")
    for node in (here, there, here):
        node.store.record(b"after")

    assert str(told.value) == UNKNOWN
    entries = [record.entry for record in there.store.audit_records(after=0, limit=9)]
    assert entries == [b"first", b"perhaps", b"after", b"after", b"after"]
    assert audit.verify(there.store) == []


def test_two_transactions_in_each_others_way_both_happen(url):
    store = postgres_store(url)
    first, second = collection(store, "first"), collection(store, "second")
    begin = threading.Barrier(2)
    tries = []

    def write(one, other):
        def work(sql):
            tries.append(1)
            store._locked(sql, one)
            if len(tries) <= 2:
                begin.wait()
            store._locked(sql, other)

        store._database.write(work)

    try:
        calls = [
            threading.Thread(target=write, args=pair) for pair in ((first, second), (second, first))
        ]
        for call in calls:
            call.start()
        for call in calls:
            call.join()
        assert len(tries) == 3
    finally:
        store.close()


def test_a_write_that_waits_too_long_for_others_is_told_to_slow_down(pair, url):
    here, there = pair
    staff = collection(here.store)
    with psycopg.connect(url) as other:
        other.execute("SELECT 1 FROM tally FOR UPDATE")
        here.store._database.write(lambda sql: None)
        for sql in here.store._database._idle:
            sql.connection.execute("SET lock_timeout = '100ms'")
        with pytest.raises(ThrottlingException):
            here.store.add_faces(staff, [enrolment(1)])
        # Readers and other collections do not wait.
        assert there.found(staff, 1) == []
        there.store.add_faces(collection(there.store, "others"), [enrolment(1)])

    here.store.add_faces(staff, [enrolment(1)])
    assert there.found(staff, 1) == [face_id(1)]


def test_a_server_that_falls_silent_is_not_waited_for(monkeypatch):
    """Its processes are stopped, so that the kernel still takes what is sent to them."""
    monkeypatch.setattr(database, "STATEMENT_S_MAX", 0.5)
    monkeypatch.setattr(database, "CONNECT_S_MAX", 2)
    monkeypatch.setattr(database, "CHECK_EVERY_S", 0.1)
    local = postgres_server.local()
    with postgres_server.schema(local.url) as url, closing(postgres_store(url)) as store:
        staff = collection(store)
        stopped = local.processes()
        for process in stopped:
            process.suspend()
        try:
            began = time.monotonic()
            for message, call in (
                (SLOW, lambda: store.counts(staff)),
                (UNREACHABLE, lambda: store.add_faces(staff, [enrolment(1)])),
            ):
                with pytest.raises(InternalServerError) as told:
                    call()
                assert str(told.value) == message
            assert time.monotonic() - began < 8
        finally:
            for process in stopped:
                process.resume()

        store.add_faces(staff, [enrolment(1)])
        assert store.counts(staff) == (1, 0)


def test_killed_and_started_again_it_heals_and_has_lost_nothing():
    """Calls meanwhile are refused with a modelled error, at once."""
    local = postgres_server.local()
    with postgres_server.schema(local.url) as url, nodes(url) as (here, there):
        staff = collection(here.store)
        acknowledged, answers, slowest = [], [], [0.0]
        stop = threading.Event()

        def write():
            for number in itertools.count():
                if stop.is_set():
                    return
                began = time.monotonic()
                try:
                    here.store.add_faces(staff, [enrolment(number)])
                    found = there.found(staff, number)
                    acknowledged.append(number)
                    answers.append(found == [face_id(number)])
                except AnswerError as error:
                    answers.append(error)
                    time.sleep(0.02)
                slowest[0] = max(slowest[0], time.monotonic() - began)

        writer = threading.Thread(target=write)
        writer.start()
        try:
            while len(acknowledged) < 20:
                time.sleep(0.01)
            local.kill()
            while not any(isinstance(answer, AnswerError) for answer in answers):
                time.sleep(0.01)
            local.start()
            before = len(acknowledged)
            deadline = time.monotonic() + 20
            while len(acknowledged) < before + 20:
                assert time.monotonic() < deadline, answers[-1]
                time.sleep(0.01)
        finally:
            stop.set()
            writer.join()

        assert False not in answers
        refused = [answer for answer in answers if answer is not True]
        assert {type(answer) for answer in refused} <= {InternalServerError, ThrottlingException}
        assert slowest[0] < 10
        for number in acknowledged:
            assert here.found(staff, number) == there.found(staff, number) == [face_id(number)]
        for node in (here, there):
            sequences = [change.sequence for change in node.seen]
            assert sequences == list(range(sequences[0], sequences[0] + len(sequences)))
