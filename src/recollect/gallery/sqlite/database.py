"""One encrypted SQLite file: how it is opened, read, checkpointed and brought up to date."""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

import apsw

from recollect.errors import InternalServerError
from recollect.gallery import disk
from recollect.gallery.crypt import Damaged
from recollect.gallery.store import StoreUnusable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

log = logging.getLogger(__name__)

SQLITE_MIN: Final = (3, 51, 3)
"""Before it, two connections that write and checkpoint one file can damage it."""

PAGE_BYTES: Final = 8192
LOG_PAGE_BYTES: Final = PAGE_BYTES + 24
"""A page in the write-ahead log, with what stands before it."""
CACHE_KIB: Final = 8192
"""Decrypted pages that one connection keeps in memory. The writer's fills with records of the audit
log, which nobody reads again; a page that it needs back costs microseconds beside a commit."""
COPY_PAGES: Final = 4096
"""Pages copied between two reports of progress."""
BUSY_MS_MAX: Final = 5000
"""Longest wait for another process, such as a key command, to finish its write."""

SETTINGS: Final = {
    "journal_mode": "wal",
    "synchronous": 2,  # FULL: every commit reaches the disk before it returns
    "secure_delete": 1,  # deleted rows are overwritten with zeros
    "temp_store": 2,  # in memory: nothing of a gallery ever lies in a temporary file
    "cell_size_check": 1,
    "trusted_schema": 0,
    # Checkpoints are ours: on the writer when the log is long, soon after deletions, at close.
    "wal_autocheckpoint": 0,
}

SHORT = "The server is short of memory or of file descriptors; try again"
DISK_FAILED = "A disk of the server failed; its log names the file"

CARRY_MS_MAX: Final = 100
"""Longest wait for readers when the log is cut off."""


class Sql:
    """A connection, for SQL with question marks."""

    def __init__(self, connection: apsw.Connection) -> None:
        self.connection = connection

    def run(self, query: str, *values: Any) -> None:
        """Run a statement whose rows are of no interest."""
        self.connection.execute(query, values).fetchall()

    def rows(self, query: str, *values: Any) -> list[Any]:
        """All rows of a statement."""
        return self.connection.execute(query, values).fetchall()

    def row(self, query: str, *values: Any) -> Any | None:
        """The first row of a statement, or None."""
        rows = self.connection.execute(query, values).fetchall()
        return rows[0] if rows else None

    def each(self, query: str, many: Iterable[Sequence[Any]]) -> list[Any]:
        """Run a statement once for each set of values; the rows of all of them."""
        return list(self.connection.executemany(query, many))


class Database:
    """A file of SQL, encrypted and authenticated page by page (AEGIS-256).

    Args:
        path: the file; made where there is none, of mode 0600.
        key: 32 bytes.
        schema: name of its list of migrations, a folder under `migrations`.
        vfs: name of the file layer under the encryption; tests put a failing one there.

    Raises:
        StoreUnusable: wrong key or damaged first page, newer schema, or too old a SQLite.
    """

    def __init__(self, path: Path, key: bytes, schema: str, *, vfs: str = "unix") -> None:
        version = tuple(int(part) for part in apsw.sqlite_lib_version().split("."))
        if version < SQLITE_MIN:
            raise StoreUnusable(
                f"SQLite {apsw.sqlite_lib_version()} can damage its files; 3.51.3 or later is "
                "needed: install apsw-sqlite3mc again"
            )
        self.path = path
        self.log_path = path.with_name(f"{path.name}-wal")
        self._key = key
        self._vfs = f"multipleciphers-{vfs}"
        self._idle: list[apsw.Connection] = []
        self._lock = threading.Lock()
        try:
            path.touch(mode=0o600)
            self.writer = self._connect()
            self._migrate(schema)
        except (apsw.Error, OSError) as error:
            raise StoreUnusable(f"{path} cannot be opened: {error}") from error

    @contextmanager
    def reading(self, *, snapshot: bool = True) -> Iterator[Sql]:
        """Lend a connection that sees one moment of the database, beside any writer.

        Args:
            snapshot: the same moment for every statement; one statement alone needs no more.

        Raises:
            Damaged: a page does not carry what was written to it.
            InternalServerError: memory or file descriptors have run out, and it may do later; or
                the disk failed.
        """
        connection = self._lent()
        try:
            if snapshot:
                connection.execute("BEGIN")
            try:
                yield Sql(connection)
            finally:
                if connection.in_transaction:
                    connection.execute("COMMIT")
        except (apsw.CorruptError, apsw.NotADBError) as error:
            self._let_go(connection)
            raise Damaged(f"{self.path.name} holds a damaged page: {error}") from error
        except apsw.NoMemError as error:
            self._let_go(connection)
            raise InternalServerError(SHORT) from error
        except apsw.IOError as error:
            log.error("%s could not be read: %s", self.path, error)
            self._let_go(connection)
            raise InternalServerError(DISK_FAILED) from error
        except BaseException:
            self._take_back(connection)
            raise
        self._take_back(connection)

    def renew_writer(self) -> None:
        """Put a new connection in the place of a writer that met a damaged page."""
        self._let_go(self.writer)
        self.writer = self._connect()

    def checkpoint(self, mode: int = apsw.SQLITE_CHECKPOINT_PASSIVE) -> bool:
        """Carry the log into the file; true where all of it was, and the log is empty after
        TRUNCATE. Only for whoever holds the writer.
        """
        # Writers wait meanwhile: a reader in the way is given little time, and another try later.
        self.writer.set_busy_timeout(CARRY_MS_MAX)
        try:
            frames, carried = self.writer.wal_checkpoint(None, mode)
        except apsw.BusyError:
            return False
        finally:
            self.writer.set_busy_timeout(BUSY_MS_MAX)
        return bool(frames == carried)

    def copy(self, path: Path, progress: Callable[[int, int], None] | None = None) -> None:
        """Write one moment of the database to a new file, encrypted as this one, durably.

        Args:
            path: the file; must not exist.
            progress: called with the pages copied so far and those there are.
        """
        path.touch(mode=0o600, exist_ok=False)
        target = self._open(path)
        try:
            # The source stays in one read transaction, so the copy is never begun again.
            with self.reading() as sql:
                sql.row("SELECT 1 FROM sqlite_schema")
                with target.backup("main", sql.connection, "main") as copying:
                    while not copying.done:
                        copying.step(COPY_PAGES)
                        if progress is not None:
                            progress(copying.page_count - copying.remaining, copying.page_count)
        finally:
            target.close()
        disk.sync(path)

    def close(self) -> None:
        """Checkpoint and let go of the file."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in (*idle, self.writer):
            self._let_go(connection)

    def _let_go(self, connection: apsw.Connection) -> None:
        try:
            connection.close()
        except apsw.Error:
            # Nothing is lost: what the log holds is carried over at the next start.
            log.exception("%s was not closed well", self.path.name)

    def _lent(self) -> apsw.Connection:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        try:
            connection = self._connect()
            connection.pragma("query_only", 1)
        except (apsw.CantOpenError, apsw.NoMemError) as error:
            log.error("%s could not be opened once more: %s", self.path.name, error)
            raise InternalServerError(SHORT) from error
        return connection

    def _take_back(self, connection: apsw.Connection) -> None:
        if connection.in_transaction:
            self._let_go(connection)
            return
        with self._lock:
            self._idle.append(connection)

    def _open(self, path: Path) -> apsw.Connection:
        connection = apsw.Connection(
            str(path), apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE, self._vfs
        )
        connection.pragma("cipher", "aegis")
        # A raw key: it is random already and needs no stretching.
        connection.pragma("key", f"raw:{self._key.hex()}")
        connection.pragma("page_size", PAGE_BYTES)
        return connection

    def _connect(self) -> apsw.Connection:
        connection = self._open(self.path)
        try:
            connection.set_busy_timeout(BUSY_MS_MAX)
            # Reads the first page, so a wrong key is found before anything is written.
            connection.pragma("schema_version")
            connection.pragma("cache_size", -CACHE_KIB)
            for name, value in SETTINGS.items():
                connection.pragma(name, value)
                assert connection.pragma(name) == value, f"{name} did not become {value}"
        except BaseException as error:
            connection.close()
            if isinstance(error, apsw.NotADBError):
                raise StoreUnusable(
                    f"{self.path} does not open: it is damaged, or belongs to another data folder "
                    "(nothing was changed)"
                ) from None
            raise
        return connection

    def _migrate(self, schema: str) -> None:
        folder = resources.files("recollect.gallery") / "migrations" / schema
        steps = sorted(folder.iterdir(), key=lambda file: file.name)
        assert [int(file.name[:4]) for file in steps] == list(range(1, len(steps) + 1))
        found = self.writer.pragma("user_version")
        if found > len(steps):
            raise StoreUnusable(
                f"{self.path} has schema {found}, this release knows {len(steps)}: it was "
                "written by a newer one, which has to be used again"
            )
        for number, step in enumerate(steps[found:], found + 1):
            self.writer.execute("BEGIN IMMEDIATE")
            # Another process may have taken this step while we waited.
            if self.writer.pragma("user_version") < number:
                self.writer.execute(step.read_text(encoding="utf-8"))
                self.writer.pragma("user_version", number)
            self.writer.execute("COMMIT")
