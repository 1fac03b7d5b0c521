"""PostgreSQL under several nodes: each node's index is level with what all of them wrote."""

import contextlib
import threading
import time

import numpy as np
import pytest

import postgres_server
from enrolments import (
    Ids,
    collection,
    enrolment,
    face_id,
    postgres_store,
    template,
    templates_of,
)
from nodes import nodes
from recollect.errors import (
    InternalServerError,
    ResourceAlreadyExistsException,
    ResourceNotFoundException,
)
from recollect.gallery import audit
from recollect.gallery.postgres.database import Sql
from recollect.gallery.store import AccessKey, Once, StoreUnusable
from recollect.settings import SettingError, Settings
from recollect.truth import open_store

psycopg = pytest.importorskip("psycopg")


@pytest.fixture
def url():
    with postgres_server.emptied() as url:
        yield url


@pytest.fixture
def pair(url):
    with nodes(url) as made:
        yield made


def ask(url, query, *values):
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(query, values)
        return cursor.fetchall() if cursor.description else None


def eventually(true, within_s=10.0):
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.01)


def test_what_one_node_wrote_another_finds_and_what_it_deleted_no_more(pair):
    here, there = pair
    staff = collection(here.store)
    assert there.found(staff, 1) == []

    here.store.add_faces(staff, [enrolment(1), enrolment(2)])
    assert there.found(staff, 1) == [face_id(1)]

    there.store.delete_faces(staff, [face_id(1)])
    assert here.found(staff, 1) == []
    assert here.found(staff, 2) == [face_id(2)]


def test_users_are_found_through_every_node(pair):
    here, there = pair
    staff = collection(here.store)
    here.store.add_faces(staff, [enrolment(1), enrolment(2)])
    there.store.create_user(staff, "anna", None)
    key = here.store.user(staff, "anna").key
    assert there.found(staff, 1, kind="users") == []

    here.store.associate_faces(staff, "anna", [face_id(1)], faces_max=9, once=None)
    assert there.found(staff, 1, kind="users") == [key]

    there.store.associate_faces(staff, "anna", [face_id(2)], faces_max=9, once=None)
    assert here.found(staff, 1, kind="users") == []
    here.store.disassociate_faces(staff, "anna", [face_id(2)], once=None)
    assert there.found(staff, 1, kind="users") == [key]

    there.store.delete_user(staff, "anna", None)
    assert here.found(staff, 1, kind="users") == []


def live(pair, staff, thread, rounds, wrong):
    """Write through one node and look through the other, in turns."""
    for number in range(thread * 100_000, thread * 100_000 + rounds):
        here, there = pair if number % 2 else pair[::-1]
        here.store.add_faces(staff, [enrolment(number)])
        if there.found(staff, number) != [face_id(number)]:
            wrong.append(("stale", number))
        if number % 3:
            here.store.delete_faces(staff, [face_id(number)])
            if there.found(staff, number) != []:
                wrong.append(("ghost", number))


def run_lives(pair, rounds):
    staff = collection(pair[0].store)
    wrong = []
    lives = [
        threading.Thread(target=live, args=(pair, staff, thread, rounds, wrong))
        for thread in range(4)
    ]
    for thread in lives:
        thread.start()
    for thread in lives:
        thread.join()
    assert wrong == []

    last = pair[0].store.sequence(staff)
    for node in pair:
        node.store.catch_up(staff, last)
        # Each follows from its first look at the collection on.
        first = node.seen[0].sequence
        assert [change.sequence for change in node.seen] == list(range(first, last + 1))
    everyone = {"count_max": 9999, "score_min": -1.0}
    probe = np.eye(8, dtype=np.float32)[0]
    here, there = (node.galleries.search(staff, probe, **everyone) for node in pair)
    assert here == there
    assert len(here) == pair[0].store.counts(staff)[0]


def test_nothing_is_stale_and_nothing_a_ghost_between_two_nodes(pair):
    run_lives(pair, rounds=40)


@pytest.mark.slow
def test_nothing_is_stale_and_nothing_a_ghost_in_thousands_of_calls(pair):
    run_lives(pair, rounds=400)


def test_a_node_without_a_follower_still_answers_from_the_truth(url, monkeypatch):
    """Notifications only wake; the search itself reads what it has to know."""
    monkeypatch.setattr("recollect.gallery.postgres.feed.Feed.start", lambda _: None)
    with nodes(url) as (here, there):
        staff = collection(here.store)
        assert there.found(staff, 1) == []
        for number in range(1, 130):
            here.store.add_faces(staff, [enrolment(number)])

        assert there.seen == []
        assert there.found(staff, 129) == [face_id(129)]
        assert [change.sequence for change in there.seen] == list(range(1, 130))


def test_a_node_follows_without_being_asked(pair):
    here, there = pair
    staff = collection(here.store)
    assert there.found(staff, 1) == []

    here.store.add_faces(staff, [enrolment(1)])
    eventually(lambda: [change.sequence for change in there.seen] == [1])
    ((added, found),) = there.seen[0].faces_added
    assert (added, np.array_equal(found, template(1))) == (face_id(1), True)

    here.store.delete_collection(staff)
    eventually(lambda: there.seen[-1].dropped)
    with pytest.raises(ResourceNotFoundException):
        there.found(staff, 1)


def test_a_node_that_never_searched_a_collection_does_not_hold_it(pair):
    here, there = pair
    staff = collection(here.store)
    for number in range(1, 4):
        here.store.add_faces(staff, [enrolment(number)])

    there.store.add_faces(staff, [enrolment(4)])

    assert there.galleries._open == {}
    assert there.found(staff, 1) == [face_id(1)]
    assert list(there.galleries._open) == [staff.key]


@pytest.mark.parametrize("later", [False, True])
def test_a_node_that_fell_behind_reads_the_collection_anew(url, monkeypatch, later):
    monkeypatch.setattr("recollect.gallery.postgres.feed.Feed.start", lambda _: None)
    with nodes(url, kept_s=0.0) as (here, there):
        staff = collection(here.store)
        here.store.add_faces(staff, [enrolment(1), enrolment(2)])
        assert there.found(staff, 1) == [face_id(1)]
        here.store.delete_faces(staff, [face_id(1)])
        here.store.add_faces(staff, [enrolment(3)])
        here.store.tend()
        assert ask(url, "SELECT count(*) FROM change") == [(0,)]
        if later:
            here.store.add_faces(staff, [enrolment(5)])

        assert there.found(staff, 1) == []
        assert there.found(staff, 3) == [face_id(3)]
        assert [change.missed for change in there.seen] == [True]
        here.store.add_faces(staff, [enrolment(4)])
        assert there.found(staff, 4) == [face_id(4)]
        assert [change.missed for change in there.seen] == [True, False]


def test_a_node_ahead_of_a_primary_that_lost_writes_reads_the_collection_anew(pair, url):
    """As after a failover to a standby that was behind."""
    here, there = pair
    staff = collection(here.store)
    here.store.add_faces(staff, [enrolment(1)])
    here.store.add_faces(staff, [enrolment(2)])
    assert there.found(staff, 2) == here.found(staff, 2) == [face_id(2)]

    ask(
        url,
        "WITH a AS (UPDATE tally SET sequence = 1, row_count = 1, face_count = 1),"
        " b AS (DELETE FROM change WHERE sequence = 2), c AS (DELETE FROM face WHERE row = 2)"
        " DELETE FROM face_template WHERE row = 2",
    )

    eventually(lambda: all(node.seen and node.seen[-1].missed for node in pair))
    assert there.found(staff, 2) == here.found(staff, 2) == []
    assert there.found(staff, 1) == here.found(staff, 1) == [face_id(1)]
    there.store.add_faces(staff, [enrolment(3)])
    assert there.found(staff, 3) == here.found(staff, 3) == [face_id(3)]


def test_what_changes_while_a_collection_is_read_is_not_lost(pair, monkeypatch):
    here, there = pair
    staff = collection(here.store)
    here.store.add_faces(staff, [enrolment(1), enrolment(2)])
    scan = there.store.scan

    def slow(collections):
        picture = scan(collections)
        here.store.delete_faces(staff, [face_id(1)])
        here.store.add_faces(staff, [enrolment(3)])
        eventually(lambda: len(there.seen) == 2)
        return picture

    monkeypatch.setattr(there.store, "scan", slow)

    assert there.found(staff, 1) == []
    assert there.found(staff, 2) == [face_id(2)]
    assert there.found(staff, 3) == [face_id(3)]


def test_a_damaged_template_breaks_one_collection_on_every_node(pair, url):
    here, there = pair
    staff, others = collection(here.store), collection(here.store, "others")
    for owner in (staff, others):
        here.store.add_faces(owner, [enrolment(1)])
        assert there.found(owner, 1) == [face_id(1)]
    ask(
        url,
        "UPDATE face_template SET sealed = set_byte(sealed, 20, 255 - get_byte(sealed, 20))"
        " WHERE collection = %s",
        staff.key,
    )

    with nodes(url, count=1) as (new,):
        for _ in range(2):
            with pytest.raises(InternalServerError, match="staff cannot be searched"):
                new.found(staff, 1)
        assert new.found(others, 1) == [face_id(1)]
        there.store.delete_faces(staff, [face_id(1)])
        assert new.found(staff, 1) == []


def test_a_template_moved_to_another_place_does_not_open(pair, url):
    here, _ = pair
    staff = collection(here.store)
    here.store.add_faces(staff, [enrolment(1), enrolment(2)])
    ask(
        url,
        "UPDATE face_template a SET sealed = b.sealed FROM face_template b"
        " WHERE a.row = 1 AND b.row = 2",
    )

    with pytest.raises(Exception, match="cannot be opened"):
        templates_of(here.store, staff, [face_id(1)])


def test_one_token_on_two_nodes_has_one_effect(pair):
    here, there = pair
    staff = collection(here.store)
    once = Once("t1", "CreateUser", b"anna")
    begin, errors = threading.Barrier(2), []

    def create(node):
        begin.wait()
        try:
            node.store.create_user(staff, "anna", once)
        except Exception as error:
            errors.append(error)

    calls = [threading.Thread(target=create, args=(node,)) for node in pair]
    for call in calls:
        call.start()
    for call in calls:
        call.join()

    assert errors == []
    assert there.store.counts(staff) == (0, 1)


def test_one_name_is_taken_once_by_two_nodes(pair):
    begin, made = threading.Barrier(2), []

    def create(node):
        begin.wait()
        try:
            made.append(collection(node.store))
        except ResourceAlreadyExistsException as error:
            made.append(str(error))

    calls = [threading.Thread(target=create, args=(node,)) for node in pair]
    for call in calls:
        call.start()
    for call in calls:
        call.join()

    assert sorted(isinstance(outcome, str) for outcome in made) == [False, True]


def test_all_nodes_write_one_audit_chain(pair, url):
    def record(node, name):
        for number in range(20):
            node.store.record(b'{"by": "%s %d"}' % (name, number))

    calls = [
        threading.Thread(target=record, args=(node, b"%d" % name))
        for name, node in enumerate([*pair, *pair])
    ]
    for call in calls:
        call.start()
    for call in calls:
        call.join()

    assert pair[0].store.audit_head().sequence == 80
    assert audit.verify(pair[1].store) == []
    ask(url, "UPDATE audit SET entry = 'x' WHERE sequence = 7")
    assert audit.verify(pair[1].store) == ["record 7 is not what was recorded there"]
    ask(url, "DELETE FROM audit WHERE sequence > 78")
    assert len(audit.verify(pair[1].store)) == 2


def test_a_record_is_one_journey_where_no_other_node_recorded_since(pair, monkeypatch):
    here, there = pair
    asked = []
    for name in ("run", "rows"):
        statement = getattr(Sql, name)
        monkeypatch.setattr(
            Sql,
            name,
            lambda sql, query, *values, statement=statement: (
                asked.append("audit" in query) or statement(sql, query, *values)
            ),
        )

    def journeys(node):
        asked.clear()
        node.store.record(b"{}")
        return sum(asked)

    assert [journeys(here), journeys(here)][1] == 1
    assert journeys(there) > 1
    # In vain once, as the chain has grown; then under its lock.
    assert journeys(here) == 3
    assert journeys(here) == 1
    assert audit.verify(here.store) == []
    assert here.store.audit_head().sequence == 5


def test_a_search_is_two_journeys(pair, monkeypatch):
    """The collection with how far it is and the face that is looked for, then what may be found."""
    here, there = pair
    staff = collection(here.store)
    here.store.add_faces(staff, [enrolment(number) for number in range(9)])
    assert there.found(staff, 1) == [face_id(1)]
    rows, asked = Sql.rows, []

    def counted(sql, query, *values):
        asked.append(threading.get_ident())
        return rows(sql, query, *values)

    monkeypatch.setattr(Sql, "rows", counted)
    read, probe = there.store.collection_with_face(staff.account, "staff", face_id(1))
    found = there.galleries.search_faces(read, probe, count_max=9, score_min=0.999)

    assert found == [(enrolment(1).face, pytest.approx(1.0))]
    assert asked.count(threading.get_ident()) == 2


def test_no_statement_of_a_call_reads_a_whole_table(url, monkeypatch):
    """Its plan is made once, on whichever connection and however little there was then."""
    store, plans = postgres_store(url), {}

    def explained(statement):
        def run(sql, query, *values):
            if query.startswith(("SELECT", "WITH", "UPDATE", "DELETE")):
                found = sql.connection.execute("EXPLAIN " + query, values).fetchall()
                plans[query] = "\n".join(line for (line,) in found)
            return statement(sql, query, *values)

        return run

    with contextlib.closing(store):
        staff = collection(store, tags={"a": "b"})
        ask(url, "ANALYZE")
        for name in ("run", "rows"):
            monkeypatch.setattr(Sql, name, explained(getattr(Sql, name)))
        ids = [face_id(number) for number in range(9)]
        store.add_faces(staff, [enrolment(number) for number in range(9)])
        store.create_user(staff, "anna", None)
        store.associate_faces(staff, "anna", ids[:3], faces_max=100, once=None)
        store.disassociate_faces(staff, "anna", ids[:1], once=None)
        store.list_faces(staff, after="", limit=5)
        store.list_faces(staff, after="", limit=5, user_id="anna")
        store.list_users(staff, after="", limit=5)
        store.collections(staff.account, after="", limit=5)
        assert store.collection(staff.account, staff.collection_id) == staff
        assert store.collection_with_face(staff.account, staff.collection_id, ids[0])[0] == staff
        store.references(staff, ids)
        store.user_template(staff, "anna")
        store.counts(staff)
        store.sequence(staff)
        store.tags(staff)
        store.credential("AKIA1")
        for _ in range(2):
            store.record(b"{}")
        store.delete_faces(staff, ids[5:])
        list(store.scan([staff])[1])
        store._changes(staff, 1)
        store.delete_user(staff, "anna", None)
        store.delete_collection(staff)
        monkeypatch.undo()

    assert len(plans) > 30
    assert [query for query, plan in plans.items() if "Seq Scan" in plan] == []


def test_a_key_works_on_every_node_at_once(pair):
    here, there = pair
    key = AccessKey("AKIA1", "s3cr3t", "123456789012", "anna", ())
    here.store.add_key(key)
    assert there.store.access_key("AKIA1") == key

    there.store.update_key("AKIA1", active=False)
    assert not here.store.access_key("AKIA1").active
    assert here.store.access_key("AKIA1\0") is None


def test_a_deleted_collections_key_and_rows_are_gone(pair, url):
    here, _ = pair
    staff = collection(here.store, tags={"a": "b"})
    here.store.add_faces(staff, [enrolment(1), enrolment(2)])
    here.store.create_user(staff, "anna", None)

    here.store.delete_collection(staff)
    assert ask(url, "SELECT count(*) FROM collection_key") == [(0,)]
    here.store.tend()

    for table in ("face", "face_template", "enrolled_user", "tag", "once", "change", "doomed"):
        assert ask(url, f"SELECT count(*) FROM {table}") == [(0,)], table


def test_nothing_readable_lies_in_the_database(pair, url):
    here, _ = pair
    staff = collection(here.store)
    here.store.add_faces(staff, [enrolment(1)])
    here.store.create_user(staff, "anna", None)
    here.store.associate_faces(staff, "anna", [face_id(1)], faces_max=9, once=None)
    here.store.add_key(AccessKey("AKIA1", "s3cr3t", "1", "a", ()))

    tables = ask(url, "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")
    rows = b"".join(
        bytes(value)
        for (table,) in tables
        for row in ask(url, f"SELECT * FROM {table}")
        for value in row
        if isinstance(value, bytes)
    )
    mean = here.store.user_template(staff, "anna")
    for secret in (template(1).tobytes()[:8], mean.tobytes()[:8], b"s3cr3t"):
        assert secret not in rows


def test_another_master_key_is_refused(url):
    postgres_store(url).close()
    from recollect.gallery.postgres import PostgresStore

    with pytest.raises(StoreUnusable, match="the master key is not the one"):
        PostgresStore(url, bytes(32), clock=time.time, ids=Ids())


def test_a_master_key_is_replaced_while_nodes_run_one_after_the_other():
    """As `key master add`, a restart of each node, and `key master retire`."""
    from recollect.gallery.postgres import PostgresStore

    old, new = bytes(range(32)), bytes(range(32))[::-1]
    # A schema of its own: others are used again under the key they were made with.
    with postgres_server.schema() as url:

        def under_new():
            return contextlib.closing(PostgresStore(url, new, clock=time.time, ids=Ids()))

        with contextlib.closing(postgres_store(url)) as here:
            staff = collection(here)
            here.add_faces(staff, [enrolment(1)])
            tokens = here.key_for("paging tokens")
            here.seal_under([old, new])
            with under_new() as there:
                assert templates_of(there, staff, [face_id(1)])
                assert there.key_for("paging tokens") == tokens
                postgres_store(url).close()
                there.seal_under([new])
            here.add_faces(staff, [enrolment(2)])
        with pytest.raises(StoreUnusable, match="the master key is not the one"):
            postgres_store(url)
        with under_new() as again:
            assert again.counts(staff) == (2, 0)


def test_nodes_that_start_at_once_make_one_schema():
    with postgres_server.schema() as url, contextlib.ExitStack() as stack:
        begin, made = threading.Barrier(3), []

        def start():
            begin.wait()
            made.append(postgres_store(url))

        starts = [threading.Thread(target=start) for _ in range(3)]
        for thread in starts:
            thread.start()
        for thread in starts:
            thread.join()
        for store in made:
            stack.callback(store.close)

        made[0].add_key(AccessKey("AKIA1", "s3cr3t", "1", "a", ()))
        assert [store.access_key("AKIA1").secret for store in made] == ["s3cr3t"] * 3
        assert ask(url, "SELECT count(*) FROM migration") == [(1,)]


def test_two_releases_serve_at_once_where_the_newer_schema_allows_it():
    """A rolling upgrade: the new node migrates under the old one, which goes on and may restart."""
    with postgres_server.schema() as url, nodes(url) as (old, new):
        staff = collection(old.store)
        old.store.add_faces(staff, [enrolment(1)])
        # What the step of a later release may do: add.
        ask(url, "ALTER TABLE face ADD COLUMN later text NOT NULL DEFAULT 'x'")
        ask(url, "ALTER TABLE tally ADD COLUMN later bigint NOT NULL DEFAULT 0")
        ask(url, "CREATE TABLE later (collection bigint PRIMARY KEY)")
        ask(url, "INSERT INTO migration VALUES (2, 1)")

        old.store.add_faces(staff, [enrolment(2)])
        new.store.delete_faces(staff, [face_id(1)])
        with contextlib.ExitStack() as stack:
            (again,) = stack.enter_context(nodes(url, 1))
            for node in (old, new, again):
                assert node.found(staff, 1) == []
                assert node.found(staff, 2) == [face_id(2)]
        assert ask(url, "SELECT max(number) FROM migration") == [(2,)]


def test_a_schema_of_a_newer_release_is_refused_where_it_does_not_allow_this_one():
    with postgres_server.schema() as url:
        postgres_store(url).close()
        ask(url, "INSERT INTO migration VALUES (99, 98)")
        with pytest.raises(StoreUnusable, match="written by a newer one"):
            postgres_store(url)


def test_a_server_that_cannot_be_reached_is_said_in_one_line():
    with pytest.raises(StoreUnusable, match="PostgreSQL cannot be used: ") as refused:
        postgres_store("postgresql://nobody:s3cr3t@127.0.0.1:1/none")
    assert "s3cr3t" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_server_set_to_lose_writes_is_refused(url, monkeypatch):
    lossy = psycopg.conninfo.make_conninfo(url, application_name="lossy")
    monkeypatch.setattr("recollect.gallery.postgres.database.DURABLE", {"fsync": {"never"}})
    with pytest.raises(StoreUnusable, match="runs with fsync = on and can lose writes"):
        postgres_store(lossy)


def test_every_commit_reaches_the_disk_whatever_the_server_says(url):
    options = psycopg.conninfo.conninfo_to_dict(url)["options"]
    for said, kept in (("off", "on"), ("remote_apply", "remote_apply")):
        asked = psycopg.conninfo.make_conninfo(
            url, options=f"{options} -csynchronous_commit={said}"
        )
        store = postgres_store(asked)
        try:
            assert store._database.row("SHOW synchronous_commit") == (kept,)
        finally:
            store.close()


def test_the_setting_opens_it(url, tmp_path):
    fields = psycopg.conninfo.conninfo_to_dict(url)
    asked = f"postgresql:///{fields['dbname']}?" + "&".join(
        f"{name}={value.replace('=', '%3D')}" for name, value in fields.items() if name != "dbname"
    )
    settings = Settings(data=tmp_path / "data", store=asked, master_key=bytes(range(32)).hex())
    store = open_store(settings)
    try:
        assert store.every_collection() == []
    finally:
        store.close()

    with pytest.raises(SettingError, match="postgresql:// URL") as refused:
        open_store(Settings(data=tmp_path / "data", store="mysql://a:s3cr3t@b/c"))
    assert "s3cr3t" not in str(refused.value)
