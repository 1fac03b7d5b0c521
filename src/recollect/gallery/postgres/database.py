"""One PostgreSQL: how it is reached, asked, asked again, and brought up to date.

Connections are kept by ourselves and not by psycopg_pool, whose callers cannot tell a pool that
is busy from a server that is down and wait for both, and which comes back from an outage after
its own growing pauses. Here a call fails at once while PostgreSQL is down and the first call
after that succeeds.
"""

from __future__ import annotations

import logging
import os
import random
import re
import socket
import threading
import time
from contextlib import closing, contextmanager, suppress
from importlib import resources
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import psycopg
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict

from recollect.errors import InternalServerError, ThrottlingException
from recollect.gallery.postgres.statement import Statement
from recollect.gallery.store import StoreUnusable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

log = logging.getLogger(__name__)

T = TypeVar("T")
Connection = psycopg.Connection[tuple[Any, ...]]

CONNECTIONS_MAX: Final = 16
"""Most connections of a node for calls, and so most calls that ask at once."""
CONNECT_S_MAX: Final = 5
"""Longest wait for a connection to be made, and for one to become free."""
STATEMENT_S_MAX: Final = 20.0
"""Longest wait for a statement; after it the connection is cut."""
TRIES_MAX: Final = 5
"""How often a transaction is begun that others or a lost connection interrupt."""
CHECK_EVERY_S: Final = 0.5
"""How often connections are looked at that may have to be cut."""

SET: Final = """
SELECT
  -- Bounds that the server keeps, below ours, so that we mostly hear of them from it.
  set_config('statement_timeout', '15s', false),
  set_config('lock_timeout', '10s', false),
  -- Every statement finds its rows by an index, whatever its values and however much there is: one
  -- plan, made once, which a table that was small when it was made must not turn into a scan.
  set_config('plan_cache_mode', 'force_generic_plan', false),
  set_config('enable_seqscan', 'off', false),
  set_config('jit', 'off', false),
  set_config('idle_in_transaction_session_timeout', '60s', false),
  -- Every commit reaches the disk before it returns; what is stricter is kept.
  CASE current_setting('synchronous_commit')
    WHEN 'off' THEN set_config('synchronous_commit', 'on', false)
  END
"""
"""What is set on every connection."""
DURABLE: Final = {"fsync": {"on"}, "full_page_writes": {"on"}}
"""What the server has to be set to, or it can lose what was acknowledged."""

WORKS_FROM: Final = re.compile(r"-- Releases that know schema (\d+) work with this one\.\n")
"""How the file of a migration begins."""
MIGRATION_LOCK: Final = 0x7265_636F_6C6C
"""Of the one node that brings the schema up to date."""

SNAPSHOT: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"

UNREACHABLE = "The database cannot be reached; try again"
UNKNOWN = "The connection to the database broke during the commit; the write may have happened"
SLOW = "The database takes too long"
FULL = "The database's disk is full"
CLOSED = "The store is closed"

# What says that this connection is of no further use and another one may be.
GONE: Final = (
    errors.AdminShutdown,
    errors.CrashShutdown,
    errors.CannotConnectNow,
    errors.IdleInTransactionSessionTimeout,
    errors.ReadOnlySqlTransaction,  # A primary that has become a standby.
)
INTERRUPTED: Final = (errors.SerializationFailure, errors.DeadlockDetected)
BUSY: Final = (
    errors.LockNotAvailable,
    errors.TooManyConnections,
    errors.OutOfMemory,
    errors.ConfigurationLimitExceeded,
)


class Rows(Protocol):
    """Whatever answers a query: one connection in a transaction, or the database at large."""

    def rows(self, query: str, *values: Any) -> list[Any]:
        """All rows of a statement."""
        ...


class Sql:
    """A connection, for SQL with `%s`; cut off where a statement takes too long.

    Statements stay prepared, so their texts are constants.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.overdue_at: float | None = None
        """When the statement that runs will have taken too long; monotonic seconds."""
        self.was_cut = False
        """For that, since it was lent."""
        self._statements: dict[str, Statement] = {}

    def run(self, query: str, *values: Any) -> None:
        """Run a statement whose rows are of no interest."""
        self._asked(query, values)

    def rows(self, query: str, *values: Any) -> list[Any]:
        """All rows of a statement."""
        return self._asked(query, values)

    def row(self, query: str, *values: Any) -> Any | None:
        """The first row of a statement, or None."""
        rows = self.rows(query, *values)
        return rows[0] if rows else None

    def each(self, query: str, many: Iterable[Sequence[Any]]) -> None:
        """Run a statement once for each set of values, in one journey."""
        self.overdue_at = time.monotonic() + STATEMENT_S_MAX
        try:
            with self.connection.cursor() as cursor:
                cursor.executemany(query, many)
        finally:
            self.overdue_at = None

    def _asked(self, query: str, values: Sequence[Any]) -> list[Any]:
        self.overdue_at = time.monotonic() + STATEMENT_S_MAX
        try:
            statement = self._statements.get(query)
            if statement is None:
                name = f"recollect_{len(self._statements)}"
                statement = self._statements[query] = Statement(self.connection, name, query)
            return statement.rows(values)
        finally:
            self.overdue_at = None


class Database:
    """A PostgreSQL server and the connections to it.

    Args:
        url: a postgresql:// URL, or what else libpq takes; several hosts are tried in turn and
            the one that takes writes is used.

    Raises:
        StoreUnusable: it cannot be reached, is set to lose acknowledged writes, or has a schema
            of a newer release.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = threading.Lock()
        self._free = threading.BoundedSemaphore(CONNECTIONS_MAX)
        self._idle: list[Sql] = []
        self._lent: set[Sql] = set()
        self._closed = threading.Event()
        try:
            given = conninfo_to_dict(url)
            self._more: dict[str, Any] = {
                "application_name": "recollect",
                "connect_timeout": CONNECT_S_MAX,
                "target_session_attrs": "read-write",
                "keepalives_idle": 10,
                "keepalives_interval": 5,
                "keepalives_count": 3,
            }
            self._more = {name: v for name, v in self._more.items() if name not in given}
            with closing(self.connect()) as connection:
                _check(connection)
                _migrate(connection)
        except psycopg.Error as error:
            raise StoreUnusable(f"PostgreSQL cannot be used: {_one_line(error)}") from error
        self._watch = threading.Thread(target=self._cut_overdue, name="overdue", daemon=True)
        self._watch.start()

    def connect(self) -> Connection:
        """Make a connection of one's own, in autocommit mode; psycopg.Error where it cannot be."""
        connection = psycopg.connect(
            self._url, autocommit=True, client_encoding="UTF8", **self._more
        )
        try:
            connection.execute(SET)
        except BaseException:
            connection.close()
            raise
        return connection

    def rows(self, query: str, *values: Any) -> list[Any]:
        """All rows of one statement that only reads, which sees one moment by itself."""
        return self._attempt(lambda sql: sql.rows(query, *values))

    def row(self, query: str, *values: Any) -> Any | None:
        """The first row of one statement that only reads, or None."""
        rows = self.rows(query, *values)
        return rows[0] if rows else None

    def read(self, work: Callable[[Sql], T]) -> T:
        """Read several things of one moment."""

        def whole(sql: Sql) -> T:
            with _transaction(sql, SNAPSHOT):
                return work(sql)

        return self._attempt(whole)

    @contextmanager
    def reading(self) -> Iterator[Sql]:
        """Lend a connection that sees one moment, for as long as it is kept.

        Raises:
            InternalServerError: the connection broke; what was read so far is of no use.
        """
        with self._typed(), self._lend() as sql, _transaction(sql, SNAPSHOT):
            yield sql

    def write(self, work: Callable[[Sql], T]) -> T:
        """Do one write, durably.

        Args:
            work: may be called again where others or a lost connection interrupted it, so it
                changes nothing but the database.

        Raises:
            ThrottlingException: others were always in the way; this had no effect.
            InternalServerError: the database cannot be reached, or broke off during the commit.
        """

        def whole(sql: Sql) -> T:
            with _transaction(sql, "BEGIN"):
                return work(sql)

        return self._attempt(whole)

    def write_alone(self, query: str, *values: Any) -> list[Any]:
        """Do one statement that is a write by itself, durably, in one journey; its rows.

        Raises:
            As `write`; InternalServerError also where the connection broke at any moment.
        """

        def whole(sql: Sql) -> list[Any]:
            with _commits(sql):
                return sql.rows(query, *values)

        return self._attempt(whole)

    def close(self) -> None:
        """Let go of all connections."""
        self._closed.set()
        self._watch.join()
        self._drop_idle()

    def _attempt(self, work: Callable[[Sql], T]) -> T:
        """Do something that has no effect where it fails, again where that may help."""
        with self._typed():
            for tries_left in reversed(range(TRIES_MAX)):
                try:
                    with self._lend() as sql:
                        return work(sql)
                except (psycopg.Error, _Lost) as error:
                    hopeless = isinstance(error, (_LostCommit, _Silent)) or not tries_left
                    if hopeless or not isinstance(error, (_Lost, *INTERRUPTED)):
                        raise
                # So that two that met do not meet again.
                time.sleep(random.uniform(0, 0.02))  # noqa: S311
        raise AssertionError

    @contextmanager
    def _typed(self) -> Iterator[None]:
        """Errors of PostgreSQL, as callers are told of them."""
        try:
            yield
        except _LostCommit as error:
            raise InternalServerError(UNKNOWN) from error
        except _Silent as error:
            raise InternalServerError(SLOW) from error
        except _Lost as error:
            raise InternalServerError(UNREACHABLE) from error
        except (*INTERRUPTED, *BUSY) as error:
            raise ThrottlingException from error
        except errors.QueryCanceled as error:
            raise InternalServerError(SLOW) from error
        except errors.DiskFull as error:
            raise InternalServerError(FULL) from error

    @contextmanager
    def _lend(self) -> Iterator[Sql]:
        """Lend a connection; one that breaks meanwhile is not lent again, nor those beside it."""
        if not self._free.acquire(timeout=CONNECT_S_MAX):
            raise ThrottlingException
        try:
            sql = self._take()
            try:
                yield sql
            except psycopg.Error as error:
                if _is_lost(error, sql.connection):
                    sql.connection.close()
                    self._drop_idle()
                    raise (_Silent if sql.was_cut else _Lost) from error
                raise
            finally:
                self._give(sql)
        finally:
            self._free.release()

    def _take(self) -> Sql:
        if self._closed.is_set():
            raise InternalServerError(CLOSED)
        with self._lock:
            if self._idle:
                sql = self._idle.pop()
                sql.was_cut = False
                self._lent.add(sql)
                return sql
        try:
            sql = Sql(self.connect())
        except psycopg.OperationalError as error:
            log.warning("PostgreSQL cannot be reached: %s", _one_line(error))
            raise InternalServerError(UNREACHABLE) from error
        with self._lock:
            self._lent.add(sql)
        return sql

    def _give(self, sql: Sql) -> None:
        idle = psycopg.pq.TransactionStatus.IDLE
        with self._lock:
            self._lent.discard(sql)
            if not self._closed.is_set() and sql.connection.info.transaction_status == idle:
                self._idle.append(sql)
                return
        sql.connection.close()

    def _drop_idle(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for sql in idle:
            sql.connection.close()

    def _cut_overdue(self) -> None:
        """Cut connections whose server has fallen silent, so that their callers get an answer."""
        while not self._closed.wait(CHECK_EVERY_S):
            now = time.monotonic()
            with self._lock:
                for sql in self._lent:
                    if sql.overdue_at is not None and sql.overdue_at < now:
                        sql.was_cut = True
                        cut(sql.connection)


class _Lost(Exception):
    """The connection broke; what ran on it had no effect."""


class _Silent(_Lost):
    """The server did not answer in time, and would hardly do so when asked again."""


class _LostCommit(_Lost):
    """The connection broke during a commit, which may have had its effect."""


@contextmanager
def _transaction(sql: Sql, begin: str) -> Iterator[None]:
    sql.run(begin)
    try:
        yield
    except BaseException:
        # Where even this fails the connection is broken, which whoever lent it finds.
        with suppress(psycopg.Error):
            sql.run("ROLLBACK")
        raise
    with _commits(sql):
        sql.run("COMMIT")


@contextmanager
def _commits(sql: Sql) -> Iterator[None]:
    """What runs in this commits: where the connection breaks, nobody knows whether it did."""
    try:
        yield
    except psycopg.Error as error:
        if _is_lost(error, sql.connection):
            sql.connection.close()
            raise _LostCommit from error
        raise


def cut(connection: Connection) -> None:
    """Break a connection from another thread; whoever waits on it gets an OperationalError."""
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as end:
        end.shutdown(socket.SHUT_RDWR)


def _is_lost(error: psycopg.Error, connection: Connection) -> bool:
    return connection.closed or isinstance(error, GONE)


def _check(connection: Connection) -> None:
    """Refuse a server that can lose what was acknowledged."""
    for name, good in DURABLE.items():
        row = connection.execute("SELECT current_setting(%s)", [name]).fetchone()
        assert row is not None
        if row[0] not in good:
            raise StoreUnusable(f"PostgreSQL runs with {name} = {row[0]} and can lose writes")


def _migrate(connection: Connection) -> None:
    """Bring the schema up to date, one node at a time.

    Each step says in its first line which release still works beside it: what a step of a rolling
    upgrade may do is add, and what it takes away the release before must not have used.
    """
    folder = resources.files("recollect.gallery") / "migrations" / "postgres"
    steps = sorted(folder.iterdir(), key=lambda file: file.name)
    assert [int(file.name[:4]) for file in steps] == list(range(1, len(steps) + 1))
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [MIGRATION_LOCK])
        connection.execute(
            "CREATE TABLE IF NOT EXISTS migration"
            " (number integer PRIMARY KEY, works_from integer NOT NULL)"
        )
        row = connection.execute(
            "SELECT number, works_from FROM migration ORDER BY number DESC LIMIT 1"
        ).fetchone()
        found, works_from = row or (0, 0)
        if works_from > len(steps):
            raise StoreUnusable(
                f"the database has schema {found}, this release knows {len(steps)}: it was "
                "written by a newer one, which has to be used again"
            )
        if found > len(steps):
            log.warning("the database has schema %s of a newer release, which allows this", found)
        for number, step in enumerate(steps[found:], found + 1):
            text = step.read_text(encoding="utf-8")
            said = WORKS_FROM.match(text)
            assert said is not None, f"{step.name} does not say from which schema on it works"
            connection.execute(text)
            connection.execute("INSERT INTO migration VALUES (%s, %s)", [number, int(said[1])])


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
