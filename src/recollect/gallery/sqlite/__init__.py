"""The truth embedded: SQLite with one writer at a time, group commit and many readers."""

from recollect.gallery.sqlite.store import SQLiteStore as SQLiteStore
