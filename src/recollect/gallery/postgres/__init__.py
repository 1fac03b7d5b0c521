"""The truth of several nodes: one PostgreSQL, read and followed by all of them."""

from recollect.gallery.store import StoreUnusable

try:
    import psycopg as _psycopg  # noqa: F401 - asked for here, so that its lack is said once
except ImportError as error:
    raise StoreUnusable(
        "a store in PostgreSQL needs psycopg: install it with `pip install 'recollect[postgres]'`"
    ) from error

from recollect.gallery.postgres.store import PostgresStore as PostgresStore
