"""Prepared statements: what is sent arrives, what is wrong is refused, nobody else waits."""

import contextlib
import struct
import threading
import time

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import postgres_server
from recollect.gallery.postgres.statement import Statement

TYPES = {
    "bool": st.booleans(),
    "bytea": st.binary(max_size=9),
    "bigint": st.integers(-(2**63), 2**63 - 1),
    "integer": st.integers(-(2**31), 2**31 - 1),
    "text": st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=9),
    "double precision": st.floats(allow_nan=False),
    "bytea[]": st.lists(st.binary(max_size=9), max_size=4),
    "text[]": st.lists(st.text("aä\U0001f600", max_size=3), max_size=4),
    "bigint[]": st.lists(st.integers(-(2**63), 2**63 - 1), max_size=4),
}


@pytest.fixture(scope="module")
def connection():
    with contextlib.closing(
        psycopg.connect(postgres_server.local().url, autocommit=True, client_encoding="UTF8")
    ) as made:
        yield made


@pytest.fixture(scope="module")
def echo(connection):
    return Statement(connection, "echo", "SELECT " + ", ".join(f"%s::{name}" for name in TYPES))


@settings(deadline=None)
@given(st.tuples(*(st.none() | values for values in TYPES.values())))
def test_every_value_comes_back_as_it_was_sent(echo, values):
    assert echo.rows(values) == [values]


def test_rows_come_in_their_order_and_a_statement_without_rows_has_none(connection):
    numbers = Statement(connection, "numbers", "SELECT generate_series(1, %s)")
    assert numbers.rows([3]) == [(1,), (2,), (3,)]
    assert numbers.rows([0]) == []
    assert Statement(connection, "nothing", "SET jit = off").rows([]) == []


@pytest.mark.parametrize(
    ("type_", "value"), [("bytea", 16), ("text", b"a"), ("bigint", "1"), ("bigint", 2**63)]
)
def test_a_value_of_another_type_is_refused_and_not_bent(connection, type_, value):
    one = Statement(connection, f"one {type_} {value}", f"SELECT %s::{type_}")

    with pytest.raises((TypeError, struct.error)):
        one.rows([value])

    assert connection.execute("SELECT 1").fetchone() == (1,)


def test_what_postgresql_refuses_is_raised_as_psycopg_raises_it(connection):
    half = Statement(connection, "half", "SELECT 1 / %s::integer")

    with pytest.raises(psycopg.errors.DivisionByZero, match="division by zero"):
        half.rows([0])
    with pytest.raises(psycopg.errors.UndefinedTable):
        Statement(connection, "unknown", "SELECT * FROM unknown")
    assert half.rows([1]) == [(1,)]


def test_other_threads_run_while_an_answer_is_waited_for(connection):
    slow = Statement(connection, "slow", "SELECT pg_sleep(%s)")
    asking = threading.Thread(target=slow.rows, args=([0.3],))
    asking.start()
    turns = 0
    while asking.is_alive():
        turns += 1
        time.sleep(0.005)
    assert turns > 10


def test_a_lost_connection_is_an_operational_error():
    with contextlib.closing(psycopg.connect(postgres_server.local().url, autocommit=True)) as own:
        statement = Statement(own, "last words", "SELECT pg_terminate_backend(pg_backend_pid())")

        with pytest.raises(psycopg.OperationalError):
            statement.rows([])
        assert own.closed
        with pytest.raises(psycopg.OperationalError):
            statement.rows([])
