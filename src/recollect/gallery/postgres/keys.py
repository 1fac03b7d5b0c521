"""Access keys with their policies, and the audit log."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any, Final

from recollect.errors import InternalServerError, ThrottlingException
from recollect.gallery.audit import START, Chain, Head, Record
from recollect.gallery.postgres.tables import Tables
from recollect.gallery.rows import access_key, no_key, opened_key, sealed_secret

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from recollect.gallery import crypt
    from recollect.gallery.postgres.database import Rows, Sql
    from recollect.gallery.store import AccessKey

KEY: Final = (
    "SELECT key_id, sealed, account, name, policies, bearer, expires_at, active, created_at"
    " FROM access_key"
)
HEAD: Final = "SELECT sequence, mac, seal FROM audit_head WHERE one = 1"
LENGTHEN: Final = (
    "WITH moved AS (UPDATE audit_head SET sequence = %s, mac = %s, seal = %s"
    " WHERE one = 1 AND sequence = %s AND mac = %s AND seal = %s RETURNING 1)"
    " INSERT INTO audit SELECT entry.*"
    " FROM moved, unnest(%s::bigint[], %s::bytea[], %s::bytea[]) entry RETURNING 1"
)
"""Nothing where the head is another one; who waits for another's lock looks again after it."""

WAITING_MAX: Final = 1024
"""Audit entries that may wait for their turn; one more is refused."""
WAIT_S_MAX: Final = 20.0
"""Longest wait for a turn."""


class _Entry:
    def __init__(self, entry: bytes) -> None:
        self.entry = entry
        self.error: BaseException | None = None
        self.done = False


class Keys(Tables):
    """The tables `access_key`, `audit` and `audit_head`."""

    _secrets: crypt.Box
    _nobody: tuple[Any, ...]
    _chain: Chain
    _head: Head | None
    """Where this node left the chain, as far as it knows. Where others went on since, or a commit
    of its own did not come about, `LENGTHEN` finds nothing."""
    _gate: threading.Lock
    _turn: threading.Lock
    _waiting: list[_Entry]

    def add_key(self, key: AccessKey) -> None:
        """See Store."""
        row = (
            key.key_id,
            sealed_secret(self._secrets, key),
            key.account,
            key.name,
            json.dumps(key.policies),
            key.bearer,
            key.expires_at,
            key.active,
            key.created_at,
        )
        query = "INSERT INTO access_key VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)"
        self._database.write(lambda sql: sql.run(query, *row))

    def access_key(self, key_id: str) -> AccessKey | None:
        """See Store."""
        key = self.credential(key_id)
        return key if key.key_id else None

    def credential(self, key_id: str) -> AccessKey:
        """See Store."""
        # PostgreSQL would not even look for a zero character; no key id has one.
        row = self._database.row(f"{KEY} WHERE key_id = %s", key_id.replace("\0", "?"))
        return opened_key(self._secrets, row or self._nobody)

    def access_keys(self, account: str | None = None) -> list[AccessKey]:
        """See Store."""
        query = f"{KEY} WHERE %s::text IS NULL OR account = %s ORDER BY key_id"
        rows = self._database.rows(query, account, account)
        return [access_key(row, "", None) for row in rows]

    def update_key(
        self, key_id: str, *, active: bool | None = None, policies: Sequence[str] | None = None
    ) -> None:
        """See Store."""
        self._alter_key(
            key_id,
            "UPDATE access_key SET active = coalesce(%s, active),"
            " policies = coalesce(%s, policies)",
            active,
            None if policies is None else json.dumps(list(policies)),
        )

    def delete_key(self, key_id: str) -> None:
        """See Store."""
        self._alter_key(key_id, "DELETE FROM access_key")

    def record(self, entry: bytes) -> None:
        """See Store. There is one chain for all nodes, so entries that wait are written together:
        one of the waiting threads does it for all of them.
        """
        mine = _Entry(entry)
        with self._gate:
            if len(self._waiting) >= WAITING_MAX:
                raise ThrottlingException
            self._waiting.append(mine)
        if not self._turn.acquire(timeout=WAIT_S_MAX):
            with self._gate:
                if mine in self._waiting:
                    self._waiting.remove(mine)
                    raise ThrottlingException
            raise InternalServerError("The audit log takes too long")
        try:
            if not mine.done:
                self._record_waiting()
        finally:
            self._turn.release()
        if mine.error is not None:
            raise mine.error

    def audit_chain(self) -> Chain:
        """The audit chain's arithmetic, under this store's key."""
        return self._chain

    def audit_head(self) -> Head | None:
        """The end of the audit chain; None where nothing was recorded yet."""
        return _head(self._database)

    def audit_records(self, *, after: int, limit: int) -> list[Record]:
        """Audit records above a sequence, ascending."""
        query = (
            "SELECT sequence, entry, mac FROM audit WHERE sequence > %s ORDER BY sequence LIMIT %s"
        )
        return [Record(*row) for row in self._database.rows(query, after, limit)]

    def _record_waiting(self) -> None:
        with self._gate:
            batch, self._waiting = self._waiting, []
        try:
            # In one journey, as every call costs it, unless another node has recorded since.
            rows, head = self._database.write_alone, self._head
            if head is None or not self._lengthen(rows, head, batch):
                self._database.write(lambda sql: self._record_locked(sql, batch))
        except BaseException as error:
            for waiting in batch:
                waiting.error = error
            raise
        finally:
            for waiting in batch:
                waiting.done = True

    def _record_locked(self, sql: Sql, batch: Sequence[_Entry]) -> None:
        query = f"{HEAD} FOR UPDATE"
        row = sql.row(query)
        if row is None:
            # Before the first entry of all nodes. Who comes second waits here for who was first.
            sql.run(
                "INSERT INTO audit_head VALUES (1, 0, %s, %s) ON CONFLICT DO NOTHING",
                START,
                self._chain.seal(0, START),
            )
            row = sql.row(query)
            assert row is not None
        lengthened = self._lengthen(sql.rows, Head(*row), batch)
        assert lengthened

    def _lengthen(
        self, rows: Callable[..., list[Any]], head: Head, batch: Sequence[_Entry]
    ) -> bool:
        """Put entries behind a head, if the chain still ends there; whether it did."""
        records, end = [], head
        for waiting in batch:
            record, end = self._chain.next(end, waiting.entry)
            records.append(record)
        found = rows(
            LENGTHEN,
            end.sequence,
            end.mac,
            end.seal,
            head.sequence,
            head.mac,
            head.seal,
            [record.sequence for record in records],
            [record.entry for record in records],
            [record.mac for record in records],
        )
        if found:
            self._head = end
        return bool(found)

    def _alter_key(self, key_id: str, statement: str, *values: Any) -> None:
        def write(sql: Sql) -> None:
            query = f"{statement} WHERE key_id = %s RETURNING key_id"
            if sql.row(query, *values, key_id) is None:
                raise no_key(key_id)

        self._database.write(write)


def _head(source: Rows) -> Head | None:
    rows = source.rows(HEAD)
    return Head(*rows[0]) if rows else None
