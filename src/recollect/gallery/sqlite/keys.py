"""Access keys with their policies, and the audit log."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from recollect.gallery.audit import Chain, Head, Record
from recollect.gallery.rows import access_key, no_key, opened_key, sealed_secret
from recollect.gallery.sqlite.tables import Tables

if TYPE_CHECKING:
    from collections.abc import Sequence

    from recollect.gallery import crypt
    from recollect.gallery.sqlite.commit import Transaction
    from recollect.gallery.sqlite.database import Sql
    from recollect.gallery.store import AccessKey

KEY: Final = (
    "SELECT key_id, sealed, account, name, policies, bearer, expires_at, active, created_at"
    " FROM access_key"
)
FIND: Final = f"{KEY} WHERE key_id = ? UNION ALL SELECT ?, ?, ?, ?, ?, ?, ?, ?, ? LIMIT 1"
"""One row in any case: nobody's for an unknown key, whose work is then the same."""


class Keys(Tables):
    """The tables `access_key` and `audit`: what commands beside a server write."""

    _secrets: crypt.Box
    _nobody: tuple[Any, ...]
    _chain: Chain

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

        def write(transaction: Transaction) -> None:
            transaction.sql.run("INSERT INTO access_key VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", *row)

        self._commits.run(write)

    def access_key(self, key_id: str) -> AccessKey | None:
        """See Store."""
        key = self.credential(key_id)
        return key if key.key_id else None

    def credential(self, key_id: str) -> AccessKey:
        """See Store."""
        (row,) = self._commits.look(
            lambda sql: sql.rows(FIND, key_id, *self._nobody), snapshot=False
        )
        return opened_key(self._secrets, row)

    def access_keys(self, account: str | None = None) -> list[AccessKey]:
        """See Store."""
        query = f"{KEY} WHERE ?1 IS NULL OR account = ?1 ORDER BY key_id"
        with self._database.reading() as sql:
            return [access_key(row, "", None) for row in sql.rows(query, account)]

    def update_key(
        self, key_id: str, *, active: bool | None = None, policies: Sequence[str] | None = None
    ) -> None:
        """See Store."""
        self._alter_key(
            key_id,
            "UPDATE access_key SET active = coalesce(?, active), policies = coalesce(?, policies)",
            active,
            None if policies is None else json.dumps(list(policies)),
        )

    def delete_key(self, key_id: str) -> None:
        """See Store."""
        self._alter_key(key_id, "DELETE FROM access_key")

    def record(self, entry: bytes) -> None:
        """See Store."""

        def write(transaction: Transaction) -> None:
            sql = transaction.sql
            last = _head(sql)
            record, head = self._chain.next(last, entry)
            if last is not None:
                sql.run("UPDATE audit SET seal = NULL WHERE sequence = ?", last.sequence)
            sql.run(
                "INSERT INTO audit VALUES (?, ?, ?, ?)",
                record.sequence,
                entry,
                record.mac,
                head.seal,
            )

        # No call is answered without its record, so searches on a full disk need room for theirs.
        self._commits.run(write, frees=True)

    def audit_chain(self) -> Chain:
        """The audit chain's arithmetic, under this store's key."""
        return self._chain

    def audit_head(self) -> Head | None:
        """The end of the audit chain; None where nothing was recorded yet."""
        with self._database.reading() as sql:
            return _head(sql)

    def audit_records(self, *, after: int, limit: int) -> list[Record]:
        """Audit records above a sequence, ascending."""
        query = (
            "SELECT sequence, entry, mac FROM audit WHERE sequence > ? ORDER BY sequence LIMIT ?"
        )
        with self._database.reading() as sql:
            return [Record(*row) for row in sql.rows(query, after, limit)]

    def _alter_key(self, key_id: str, statement: str, *values: Any) -> None:
        def write(transaction: Transaction) -> None:
            query = f"{statement} WHERE key_id = ? RETURNING key_id"
            if transaction.sql.row(query, *values, key_id) is None:
                raise no_key(key_id)

        self._commits.run(write, frees=True)


def _head(sql: Sql) -> Head | None:
    """The end of the chain, whose seal lies with the last record."""
    row = sql.row(
        "SELECT sequence, mac, coalesce(seal, x'') FROM audit ORDER BY sequence DESC LIMIT 1"
    )
    return Head(*row) if row else None
