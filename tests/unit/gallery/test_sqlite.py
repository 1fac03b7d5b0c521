"""What is SQLite's own about the store: opening, its pragmas, its queries, two processes."""

import contextlib
import gc
import json
import shutil
import subprocess
import sys

import apsw
import numpy as np
import pytest

from enrolments import (
    ACCOUNT,
    MASTER_KEY,
    Clock,
    Ids,
    collection,
    enrolment,
    face_id,
    scanned,
    sqlite_store,
    templates_of,
)
from recollect.errors import ResourceAlreadyExistsException
from recollect.gallery import audit
from recollect.gallery.sqlite import SQLiteStore, commit, tables
from recollect.gallery.sqlite import collections as collection_table
from recollect.gallery.sqlite import database as database_module
from recollect.gallery.sqlite import faces as face_tables
from recollect.gallery.sqlite import users as user_table
from recollect.gallery.store import AccessKey, StoreUnusable

KEY = AccessKey("AKIA1", "secret", ACCOUNT, "somebody", ("{}",))


def test_every_connection_is_durable_and_forgets(tmp_path):
    with contextlib.closing(sqlite_store(tmp_path)) as store:
        for database in (store._database, store._keyring._database):
            with database.reading() as sql:
                for connection in (database.writer, sql.connection):
                    assert connection.pragma("journal_mode") == "wal"
                    assert connection.pragma("synchronous") == 2
                    assert connection.pragma("secure_delete") == 1
                    assert connection.pragma("temp_store") == 2
                    assert connection.pragma("cipher") == "aegis"
                assert sql.connection.pragma("query_only") == 1


def test_a_folder_is_served_once(tmp_path):
    store = sqlite_store(tmp_path)
    with pytest.raises(StoreUnusable, match="is being served by process"):
        sqlite_store(tmp_path)
    store.close()
    sqlite_store(tmp_path).close()


def test_a_newer_schema_is_refused_in_one_line_and_left_alone(tmp_path):
    with contextlib.closing(sqlite_store(tmp_path)) as store:
        store._database.writer.pragma("user_version", 99)
    before = (tmp_path / "recollect.db").read_bytes()

    with pytest.raises(StoreUnusable, match="has schema 99, this release knows") as refused:
        sqlite_store(tmp_path)

    assert "\n" not in str(refused.value)
    assert (tmp_path / "recollect.db").read_bytes() == before


def test_a_keyring_of_another_folder_is_refused(tmp_path):
    for name in ("ours", "theirs"):
        with contextlib.closing(sqlite_store(tmp_path / name)) as store:
            collection(store)
    shutil.copy(tmp_path / "theirs" / "keyring.db", tmp_path / "ours" / "keyring.db")
    with pytest.raises(StoreUnusable, match=r"keyring\.db does not open"):
        sqlite_store(tmp_path / "ours")

    (tmp_path / "ours" / "keyring.db").unlink()
    with pytest.raises(StoreUnusable, match="lacks the keys of 1 collections"):
        sqlite_store(tmp_path / "ours")


def test_a_collection_that_was_not_made_leaves_no_key(tmp_path):
    with contextlib.closing(sqlite_store(tmp_path)) as store:
        collection(store)
        with pytest.raises(ResourceAlreadyExistsException):
            collection(store)
        assert len(store._keyring.uids()) == 1


def test_a_lost_data_key_is_not_made_again_beside_data(tmp_path):
    with contextlib.closing(sqlite_store(tmp_path)) as store:
        collection(store)
    (tmp_path / "data.key").unlink()

    with pytest.raises(StoreUnusable, match=r"data\.key is missing, and the data beside it"):
        sqlite_store(tmp_path)
    assert not (tmp_path / "data.key").exists()


def test_another_master_key_takes_the_place_of_the_first(tmp_path):
    new = MASTER_KEY[::-1]
    with contextlib.closing(sqlite_store(tmp_path)) as store:
        staff = collection(store)
        store.add_faces(staff, [enrolment(1)])
        store.add_key(KEY)
        store.record(b"{}")
        store.seal_under([new])

    with pytest.raises(StoreUnusable, match="the master key is not the one"):
        sqlite_store(tmp_path)
    with contextlib.closing(
        SQLiteStore(tmp_path, new, clock=Clock(), ids=Ids(), reserve_bytes=0)
    ) as store:
        assert templates_of(store, staff, [enrolment(1).face.face_id])
        assert store.access_key("AKIA1") == KEY
        assert audit.verify(store) == []


def test_a_file_that_is_no_database_is_refused(tmp_path):
    (tmp_path / "recollect.db").write_bytes(b"x" * 10_000)
    sqlite_store(tmp_path / "other").close()

    shutil.copy(tmp_path / "other" / "data.key", tmp_path)

    with pytest.raises(StoreUnusable, match=r"recollect\.db does not open: it is damaged, or"):
        sqlite_store(tmp_path)
    assert (tmp_path / "recollect.db").read_bytes() == b"x" * 10_000


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path):
    sqlite_store(tmp_path).close()
    (tmp_path / "recollect.db").unlink()
    (tmp_path / "recollect.db").mkdir()

    with pytest.raises(StoreUnusable, match="cannot be opened"):
        sqlite_store(tmp_path)


def test_too_old_an_sqlite_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: "3.51.2")

    with pytest.raises(StoreUnusable, match=r"3\.51\.3 or later is needed"):
        sqlite_store(tmp_path)


@pytest.mark.parametrize("lost", ["keyring.db-wal", "recollect.db-shm", "reserve", "lock"])
def test_what_can_be_made_again_is(tmp_path, lost):
    with contextlib.closing(sqlite_store(tmp_path)) as store:
        staff = collection(store)
        store.add_faces(staff, [enrolment(1)])
    (tmp_path / lost).unlink(missing_ok=True)

    with contextlib.closing(sqlite_store(tmp_path)) as store:
        assert store.counts(staff) == (1, 0)


def test_no_query_of_an_operation_reads_a_whole_table(tmp_path):
    queries = [
        face_tables.FACE_OF_IMAGE,
        face_tables.TEMPLATE,
        f"{face_tables.FACE} WHERE collection = ? AND id = ?",
        f"{face_tables.FACE} WHERE collection = ? AND id > ? ORDER BY id LIMIT ?",
        f"{face_tables.FACE} WHERE user = ? AND id > ? ORDER BY id LIMIT ?",
        f"{user_table.USER} WHERE collection = ? AND user_id = ?",
        f"{user_table.USER} WHERE collection = ? AND key > ? ORDER BY key LIMIT ?",
        f"{collection_table.COLLECTION} WHERE account = ? AND collection_id > ?"
        " ORDER BY collection_id LIMIT ?",
        "UPDATE face SET user = NULL WHERE user = ?",
        "DELETE FROM once WHERE at < ?",
        *collection_table.ERASE,
    ]
    with contextlib.closing(sqlite_store(tmp_path)) as store:
        for query in queries:
            named = {"first": 1, "last": 1, "key": 1, "rows": 1}
            values = named if ":" in query else (1,) * query.count("?")
            plan = store._database.writer.execute(f"EXPLAIN QUERY PLAN {query}", values)
            steps = [step for *_, step in plan]
            assert steps, query
            assert not [s for s in steps if "SCAN" in s or "TEMP B-TREE" in s], (query, steps)
            if query == face_tables.FACE_OF_IMAGE:
                assert "face_image (collection=? AND image_id=?)" in steps[0]


def test_a_command_beside_the_server_adds_keys_that_are_known_at_once(tmp_path):
    with contextlib.closing(sqlite_store(tmp_path)) as server:
        assert server.access_key("AKIA1") is None
        with contextlib.closing(sqlite_store(tmp_path, exclusive=False)) as command:
            command.add_key(KEY)
            assert server.access_key("AKIA1") == KEY
            server.update_key("AKIA1", active=False)
            assert command.access_key("AKIA1").active is False
            command.record(b"{}")
            server.record(b"{}")
            command.record(b"{}")
        assert [r.sequence for r in server.audit_records(after=0, limit=9)] == [1, 2, 3]


def test_a_command_beside_the_server_may_not_touch_a_gallery(tmp_path):
    with contextlib.closing(sqlite_store(tmp_path)) as server:
        staff = collection(server)
        with contextlib.closing(sqlite_store(tmp_path, exclusive=False)) as command:
            for write in (
                lambda: collection(command, "visitors"),
                lambda: command.add_faces(staff, [enrolment(1)]),
                lambda: command.delete_collection(staff),
            ):
                with pytest.raises(AssertionError, match="only the serving process"):
                    write()
            assert command.counts(staff) == (0, 0)


def test_another_process_adds_a_key_while_the_server_writes(tmp_path):
    script = (
        "import sys, time, uuid; from pathlib import Path\n"
        "from recollect.gallery.sqlite import SQLiteStore\n"
        "from recollect.gallery.store import AccessKey\n"
        f"store = SQLiteStore(Path(sys.argv[1]), {MASTER_KEY!r}, clock=time.time,"
        " ids=lambda: str(uuid.uuid4()), exclusive=False)\n"
        f"store.add_key(AccessKey('AKIA1', 'secret', '{ACCOUNT}', 'somebody', ('{{}}',)))\n"
        "store.close()\n"
    )
    with contextlib.closing(sqlite_store(tmp_path)) as server:
        staff = collection(server)
        child = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)])
        number = 0
        while child.poll() is None:
            server.add_faces(staff, [enrolment(number)])
            number += 1
        assert child.returncode == 0
        assert server.access_key("AKIA1") == KEY
        assert server.counts(staff) == (number, 0)


def test_the_first_command_may_come_before_the_first_start(tmp_path):
    with contextlib.closing(sqlite_store(tmp_path, exclusive=False)) as command:
        command.add_key(KEY)
    with contextlib.closing(sqlite_store(tmp_path)) as server:
        assert server.access_key("AKIA1") == KEY


def test_the_log_does_not_grow_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(commit, "LOG_PAGES_MAX", 20)
    with contextlib.closing(sqlite_store(tmp_path)) as store:
        staff = collection(store)
        sizes = []
        for number in range(60):
            store.add_faces(staff, [enrolment(number)])
            sizes.append((tmp_path / "recollect.db-wal").stat().st_size)
    assert max(sizes) < 30 * database_module.PAGE_BYTES
    assert sizes[-1] == max(sizes)  # It is written over, not cut off and grown again.


def test_a_log_is_laid_out_before_it_is_needed_and_read_as_far_as_it_was_written(tmp_path):
    log = tmp_path / "data" / "recollect.db-wal"
    full_bytes = commit.LOG_PAGES_MAX * database_module.LOG_PAGE_BYTES
    with contextlib.closing(sqlite_store(tmp_path / "data")) as store:
        staff = collection(store)
        store.add_faces(staff, [enrolment(0)])
        while log.stat().st_size < full_bytes:
            before = log.stat().st_size
            store.tend()
            assert 0 < log.stat().st_size - before <= commit.LENGTHENED_BYTES
        for number in range(1, 9):
            store.add_faces(staff, [enrolment(number)])
            store.record(b"{}")
            store.tend()
        assert log.stat().st_size == full_bytes

        # As a kill leaves it: what follows the last commit are zeros.
        shutil.copytree(tmp_path / "data", tmp_path / "killed")
        # And cut off, for what was deleted must not stay in it.
        store.delete_faces(staff, [face_id(0)])
        store.carry()
        assert log.stat().st_size == 0
        store.tend()
        store.add_faces(staff, [enrolment(9)])
        shutil.copytree(tmp_path / "data", tmp_path / "killed-again")
    for name, count in (("killed", 9), ("killed-again", 9), ("data", 9)):
        with contextlib.closing(sqlite_store(tmp_path / name)) as store:
            assert store.counts(staff) == (count, 0)
            assert audit.verify(store) == []


def test_a_write_that_fails_alone_leaves_nothing_and_holds_nobody_up(tmp_path):
    with contextlib.closing(sqlite_store(tmp_path)) as store:

        def half(transaction):
            transaction.sql.run("INSERT INTO doomed VALUES (7, x'07')")
            raise ResourceAlreadyExistsException("half of it was done")

        with pytest.raises(ResourceAlreadyExistsException):
            store._commits.run(half)
        assert store._database.writer.in_transaction is False
        assert store._database.writer.execute("SELECT * FROM doomed").fetchall() == []
        store.record(b"{}")


def test_a_look_sees_what_is_committed_and_waits_for_no_write(tmp_path):
    with contextlib.closing(sqlite_store(tmp_path)) as store:
        store.add_key(KEY)

        def write(transaction):
            transaction.sql.run("UPDATE access_key SET name = 'renamed'")
            return store.credential(KEY.key_id).name

        assert store._commits.run(write) == "somebody"
        assert store.credential(KEY.key_id).name == "renamed"


@pytest.mark.parametrize("count", [1, commit.LOOK_ROWS_MAX, commit.LOOK_ROWS_MAX + 1])
def test_references_are_alike_however_many(tmp_path, count):
    with contextlib.closing(sqlite_store(tmp_path)) as store:
        staff = collection(store)
        store.add_faces(staff, [enrolment(n) for n in range(count)])
        ids = [face_id(n) for n in range(count)]

        found, templates = store.references(staff, [*ids, face_id(999)])

        assert [face.face_id for face in found] == ids
        known = templates_of(store, staff, ids)
        assert np.array_equal(templates, [known[i] for i in ids])


def test_policies_survive_as_they_were_written(tmp_path):
    document = json.dumps({"Statement": [{"Sid": "ü", "Effect": "Allow"}]}, ensure_ascii=False)
    with contextlib.closing(sqlite_store(tmp_path)) as store:
        store.add_key(AccessKey("AKIA2", "s", ACCOUNT, "n", (document, document)))
        assert store.access_key("AKIA2").policies == (document, document)


def test_the_store_needs_no_clock_to_open(tmp_path):
    SQLiteStore(tmp_path, MASTER_KEY, clock=Clock(), ids=Ids(), reserve_bytes=0).close()
    assert not (tmp_path / "reserve").exists()


def test_a_log_that_grows_for_ever_takes_no_more_memory(tmp_path):
    bound_bytes = 1024 * database_module.CACHE_KIB
    entry = json.dumps("x" * 40_000).encode()
    with contextlib.closing(sqlite_store(tmp_path)) as store:
        recorded_bytes = 0
        while recorded_bytes < 2 * bound_bytes:
            store.record(entry)
            recorded_bytes += len(entry)
        with store._database.reading() as sql:
            held = [
                connection.status(apsw.SQLITE_DBSTATUS_CACHE_USED)[0]
                for connection in (store._database.writer, sql.connection)
            ]
    # A page has its own few hundred bytes of head beside it.
    assert max(held) <= 1.1 * bound_bytes
    assert 2 * bound_bytes <= 16 << 20, "a server of 300 MiB may not grow by a twentieth of that"


def test_no_cursor_stays_behind_a_scan(tmp_path):
    def cursors():
        gc.collect()
        return sum(isinstance(thing, apsw.Cursor) for thing in gc.get_objects())

    with contextlib.closing(sqlite_store(tmp_path)) as store:
        staff = collection(store)
        store.add_faces(staff, [enrolment(1), enrolment(2)])
        before = cursors()
        for _ in range(5):
            assert len(scanned(store, staff)) == 2

        # Each one that stays slows every later statement down.
        assert cursors() == before


@pytest.mark.parametrize("block", [1, 2, 3, 4])
def test_a_scan_has_every_face_once_whatever_its_blocks(tmp_path, monkeypatch, block):
    monkeypatch.setattr(tables, "SCAN_ROWS", block)
    with contextlib.closing(sqlite_store(tmp_path)) as store:
        staff = collection(store)
        enrolled = [enrolment(number) for number in range(6)]
        for one in enrolled:
            store.add_faces(staff, [one])
        store.delete_faces(staff, [enrolled[2].face.face_id])

        found = scanned(store, staff)
        assert max(len(some.ids) for some in store.scan([staff])[1]) <= block

    there = enrolled[:2] + enrolled[3:]
    assert [i for i, _ in found] == [one.face.face_id for one in there]
    assert np.array_equal([row for _, row in found], [one.template for one in there])
