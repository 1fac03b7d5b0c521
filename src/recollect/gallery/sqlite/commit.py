"""Group commit: writes that wait form one transaction, which costs one write to the disk."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Final, Generic, TypeVar, cast

import apsw

from recollect.errors import InternalServerError, ThrottlingException
from recollect.gallery import disk
from recollect.gallery.crypt import Damaged
from recollect.gallery.sqlite.database import LOG_PAGE_BYTES, SHORT, Sql

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from recollect.gallery.disk import Reserve
    from recollect.gallery.sqlite.database import Database
    from recollect.gallery.store import Change

log = logging.getLogger(__name__)

T = TypeVar("T")

WAITING_MAX: Final = 1024
"""Writes that may wait for their turn; one more is refused."""
WAIT_S_MAX: Final = 30.0
"""Longest wait for a turn."""
LOOK_ROWS_MAX: Final = 64
"""Rows that a short read may read: a fraction of what a commit takes."""
LOG_PAGES_MAX: Final = 2048
"""Length of the write-ahead log at which a commit carries it into the file; 16 MiB."""
LENGTHENED_BYTES: Final = 1 << 20
"""Zeros laid behind a short log at a time: a commit that comes meanwhile waits for milliseconds."""
ROOM_EVERY_S: Final = 1.0
"""How often a full disk is asked for room again."""

FULL = "The server's disk is full: deleting works, adding does not until there is room again"
STOPPED = "The server could not write to its disk and has to be started again"
CLOSED = "The store is closed"


class Transaction:
    """What one write works on: the connection, and the changes to publish after the commit."""

    def __init__(self, sql: Sql) -> None:
        self.sql = sql
        self.changes: list[Change] = []


class _Write(Generic[T]):
    def __init__(self, work: Callable[[Transaction], T], frees: bool) -> None:
        self.work = work
        self.frees = frees
        self.changes: Sequence[Change] = ()
        self.result: T | None = None
        self.error: BaseException | None = None
        self.done = False


class _MetDamage(Exception):
    """A write met a page that does not carry what was written to it."""

    def __init__(self, write: _Write[object]) -> None:
        super().__init__()
        self.write = write


class Volume:
    """The disk under a store's files: well, full, or broken for good.

    Args:
        reserve: room kept for writes that free.
    """

    def __init__(self, reserve: Reserve) -> None:
        self._reserve = reserve
        self._full = not reserve.hold()
        self._asked_at = time.monotonic()
        self.stopped: str | None = None
        """Why nothing more is written."""

    def has_room(self) -> bool:
        """Whether writes that only add may be tried; asks a full disk again now and then."""
        now = time.monotonic()
        if self._full and now - self._asked_at >= ROOM_EVERY_S:
            self._asked_at = now
            self._full = not self._reserve.hold()
        return not self._full

    def fill(self) -> None:
        """The disk is full: give the reserve to the writes that free."""
        log.error("the disk is full")
        self._full, self._asked_at = True, time.monotonic()
        self._reserve.release()


class GroupCommit:
    """Takes writes from any thread; one of the waiting threads commits for all of them.

    Each of several writes runs inside a savepoint of its own, so one that fails fails alone. A
    write returns after commit, publication and in commit order.

    * The disk is full: writes that only add are refused until there is room; those that free
      use the reserve.
    * A write or fsync fails: what the kernel still holds is unknown, so nothing more is written
      until the store is opened anew.

    Args:
        database: whose writer this alone uses.
        volume: the disk it lies on.
        publish: called with each change, after its commit and before its write returns.
    """

    def __init__(
        self,
        database: Database,
        volume: Volume,
        publish: Callable[[Change], None] = lambda _: None,
    ) -> None:
        self._database = database
        self._volume = volume
        self._publish = publish
        self._gate = threading.Lock()
        self._waiting: list[_Write[object]] = []
        self._turn = threading.Lock()
        self._log_pages, self._log_pages_max = 0, LOG_PAGES_MAX
        self._attach()
        self.erased = False
        """Whether something was deleted whose bytes may still lie in the log."""

    def run(self, work: Callable[[Transaction], T], *, frees: bool = False) -> T:
        """Do one write, durably.

        Args:
            work: may be called again where the first try met a full disk or, beside it, a damaged
                page, so it changes nothing but the database and its transaction.
            frees: it deletes, or must be possible on a full disk.

        Raises:
            ThrottlingException: too many writes wait; this one had no effect.
            InternalServerError: the disk is full or broken.
        """
        write = _Write(work, frees)
        with self._gate:
            if len(self._waiting) >= WAITING_MAX:
                raise ThrottlingException
            self._waiting.append(cast("_Write[object]", write))
        if not self._turn.acquire(timeout=WAIT_S_MAX):
            with self._gate:
                if write in self._waiting:
                    self._waiting.remove(cast("_Write[object]", write))
                    raise ThrottlingException
            raise InternalServerError("The write takes too long; it may still happen")
        try:
            if not write.done:
                self._commit_waiting()
        finally:
            self._turn.release()
        if write.error is not None:
            raise write.error
        return cast("T", write.result)

    def look(self, work: Callable[[Sql], T], *, snapshot: bool = True) -> T:
        """Do a short read that sees everything committed.

        By the connection that writes, where nobody writes at the moment: it has at hand what it
        wrote and read before. Every other one reads and decrypts all it needs anew after a commit,
        and each call commits its record.

        Args:
            work: reads at most `LOOK_ROWS_MAX` rows, since writes wait meanwhile; may be called
                again.
            snapshot: as of `Database.reading`, whose errors it raises.
        """
        if self._volume.stopped is None and self._turn.acquire(blocking=False):
            try:
                return work(Sql(self._database.writer))
            except apsw.Error as error:
                if isinstance(error, apsw.CorruptError | apsw.NotADBError):
                    self._renew_writer()
                # Whatever it was, another connection meets it too, or does without.
            finally:
                self._turn.release()
        with self._database.reading(snapshot=snapshot) as sql:
            return work(sql)

    def carry(self) -> None:
        """Carry the log into the file, and cut it off where something was deleted."""
        with self._turn:
            self._carry(truncate=self.erased)

    def lengthen_log(self) -> None:
        """Lay zeros behind a log that is new or was cut off, until it has its full length.

        A commit then writes over what is there. One that makes the file longer has the file system
        write its own journal too before the fsync returns: a third more.
        """
        path, size_bytes = self._database.log_path, LOG_PAGES_MAX * LOG_PAGE_BYTES
        with self._turn:
            if self._volume.stopped is not None or not self._volume.has_room():
                return
            sql = self._database.writer
            # As the one writer: behind the end of the file nobody has written anything.
            sql.execute("BEGIN IMMEDIATE")
            try:
                longer = disk.lengthen(path, size_bytes, LENGTHENED_BYTES)
            finally:
                sql.execute("ROLLBACK")
        if longer:
            disk.sync(path)

    def close(self) -> None:
        """Carry the log into the file and refuse every further write."""
        with self._turn:
            self._carry(truncate=True)
            self._volume.stopped = CLOSED

    def _commit_waiting(self) -> None:
        with self._gate:
            batch, self._waiting = self._waiting, []
        try:
            self._commit(batch)
        finally:
            # Whatever goes wrong, nobody is left without an answer.
            for write in batch:
                if not write.done:
                    write.error = InternalServerError(STOPPED)
                    write.done = True

    def _commit(self, batch: Sequence[_Write[object]]) -> None:
        if not self._volume.has_room():
            batch = _freeing(batch)
        error = self._transaction(batch)
        if isinstance(error, apsw.FullError):
            self._volume.fill()
            batch = _freeing(batch)
            error = self._transaction(batch)
            # The log is the largest thing that can be given back.
            self._carry(truncate=True)
        for write in batch:
            if error is not None:
                full = isinstance(error, apsw.FullError)
                write.error = InternalServerError(FULL) if full else error
                write.changes = ()
            for change in write.changes:
                try:
                    self._publish(change)
                except Exception as unpublished:
                    # It is committed. Its caller hears that the index could not follow.
                    write.error = unpublished
            write.done = True
        if self._log_pages > self._log_pages_max:
            self._carry(truncate=self.erased)
            # Where a reader holds the log back, the next try is not before it has grown again.
            self._log_pages_max = self._log_pages + LOG_PAGES_MAX

    def _transaction(self, batch: Sequence[_Write[object]]) -> Exception | None:
        """Try a batch; the error that befell all of it, or None."""
        sql = self._database.writer
        if self._volume.stopped is not None:
            return InternalServerError(self._volume.stopped)
        if not batch:
            return None
        try:
            sql.execute("BEGIN IMMEDIATE")
            alone = len(batch) == 1
            for write in batch:
                self._attempt(write, alone=alone)
            sql.execute("ROLLBACK" if alone and batch[0].error is not None else "COMMIT")
        except apsw.FullError as error:
            self._roll_back()
            return error
        except apsw.BusyError:
            self._roll_back()
            return ThrottlingException()
        except apsw.NoMemError:
            log.exception("there was no memory for a commit")
            self._roll_back()
            return InternalServerError(SHORT)
        except _MetDamage as damage:
            self._renew_writer()
            # The others try again.
            return self._transaction([write for write in batch if write is not damage.write])
        except Exception:
            log.exception("a commit failed: nothing more is written")
            self._volume.stopped = STOPPED
            self._roll_back()
            return InternalServerError(STOPPED)
        except BaseException:
            self._roll_back()
            raise
        return None

    def _attempt(self, write: _Write[object], *, alone: bool) -> None:
        """Do one write of a batch; where it fails, the others stay. Alone it is the transaction."""
        sql = self._database.writer
        transaction = Transaction(Sql(sql))
        write.error, write.changes = None, ()
        if not alone:
            sql.execute("SAVEPOINT write")
        try:
            write.result = write.work(transaction)
        except (apsw.FullError, apsw.IOError, apsw.NoMemError):
            raise
        except (apsw.CorruptError, apsw.NotADBError) as error:
            write.error = Damaged(f"{self._database.path.name} holds a damaged page: {error}")
            raise _MetDamage(write) from error
        except Exception as error:
            if not sql.in_transaction:
                raise
            if not alone:
                sql.execute("ROLLBACK TO write")
            write.error = error
        else:
            write.changes = transaction.changes
        if not alone:
            sql.execute("RELEASE write")

    def _renew_writer(self) -> None:
        """After a damaged page a connection is of no further use."""
        try:
            self._database.renew_writer()
        except Exception:
            log.exception("there is no writer any more: nothing more is written")
            self._volume.stopped = STOPPED
        else:
            self._attach()

    def _roll_back(self) -> None:
        sql = self._database.writer
        if sql.in_transaction:
            try:
                sql.execute("ROLLBACK")
            except apsw.Error:
                log.exception("a rollback failed")
                self._volume.stopped = STOPPED

    def _carry(self, *, truncate: bool) -> None:
        if self._volume.stopped is not None:
            return
        mode = apsw.SQLITE_CHECKPOINT_TRUNCATE if truncate else apsw.SQLITE_CHECKPOINT_PASSIVE
        try:
            carried = self._database.checkpoint(mode)
        except apsw.Error:
            # Nothing is lost: the log holds what was committed.
            log.exception("a checkpoint failed")
            return
        if carried:
            self._log_pages, self._log_pages_max = 0, LOG_PAGES_MAX
            if truncate:
                self.erased = False

    def _attach(self) -> None:
        self._database.writer.set_wal_hook(self._measure_log)

    def _measure_log(self, _: apsw.Connection, __: str, pages: int) -> int:
        self._log_pages = pages
        return apsw.SQLITE_OK


def _freeing(batch: Sequence[_Write[object]]) -> list[_Write[object]]:
    """Refuse the writes of a batch that only add; the others."""
    for write in batch:
        if not write.frees:
            write.error = InternalServerError(FULL)
            write.done = True
    return [write for write in batch if write.frees]
