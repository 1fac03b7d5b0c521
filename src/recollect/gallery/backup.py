"""Backup and restore: hot, encrypted as the source, and what was deleted stays deleted."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from recollect.gallery import crypt, disk, master
from recollect.gallery.sqlite.commit import Volume
from recollect.gallery.sqlite.erasures import Erasure, drop_keyless, erasures
from recollect.gallery.sqlite.keyring import Keyring
from recollect.gallery.sqlite.store import (
    DATA_KEY,
    DATABASE,
    KEYRING,
    SQLiteStore,
    open_database,
)
from recollect.gallery.store import StoreUnusable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path


NAME: Final = "recollect-%Y%m%dT%H%M%S.%fZ.db"
"""Of a copy, by the time it was made, in UTC."""


class Restored(NamedTuple):
    """What a restored data folder holds."""

    collections: int
    faces: int
    forgotten: int
    """Collections, faces and users of the backup that had been deleted since."""


def backup(
    store: SQLiteStore,
    target: Path,
    *,
    clock: Callable[[], float],
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Copy one moment of a store that may be in use.

    The target folder gets a new `recollect-<time>.db` and, in place of those before, `keyring.db`
    with the keys of the collections that exist now, and the sealed `data.key`. So deleting a
    collection makes its templates unreadable in every earlier copy from the next backup on. All
    of it needs the master key, which is not there.

    Args:
        store: opened for serving, or beside a server (`exclusive=False`).
        target: a folder; made where there is none.
        clock: epoch seconds.
        progress: called with the pages copied so far and those there are.

    Returns:
        The new file.
    """
    target.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = target / _name(clock(), copies(target))
    unfinished = target / ".unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    store.copy(unfinished, progress)
    for name in (DATA_KEY, KEYRING):
        disk.replace(unfinished / name, target / name)
    disk.replace(unfinished / DATABASE, path)
    unfinished.rmdir()
    return path


def copies(target: Path) -> list[Path]:
    """The copies in a backup folder, oldest first."""
    return sorted(target.glob("recollect-[0-9]*T[0-9]*.[0-9]*Z.db"))


def prune(target: Path, *, keep: int) -> list[Path]:
    """Delete all but the newest copies; the deleted ones."""
    assert keep >= 1
    surplus = copies(target)[:-keep]
    for path in surplus:
        path.unlink()
    disk.sync_folder(target)
    return surplus


def restore(
    copy: Path,
    folder: Path,
    master_key: bytes,
    *,
    clock: Callable[[], float],
    ids: Callable[[], str],
    replace: bool = False,
) -> Restored:
    """Make a data folder out of a copy, without what was deleted after it.

    Deletions are taken from the newest copy beside it and, where one is replaced, from the folder
    itself. A collection whose key the keyring no longer has was deleted too.

    Args:
        copy: a file that `backup` wrote; the keyring lies beside it.
        folder: the data folder to make. It must not be served.
        master_key: 32 bytes, of the store that the copy is of.
        clock: epoch seconds.
        ids: as of SQLiteStore.
        replace: allows a folder that holds data; what was deleted there stays deleted.

    Raises:
        StoreUnusable: the folder is in use or holds data, or a file cannot be opened.
    """
    sources = {DATABASE: copy} | {name: copy.parent / name for name in (KEYRING, DATA_KEY)}
    for source in sources.values():
        if not source.is_file():
            raise StoreUnusable(f"{source} does not exist")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = disk.FolderLock(folder)
    try:
        if (folder / DATABASE).exists() and not replace:
            raise StoreUnusable(f"{folder} holds data already: name another folder")
        staging = folder / "restoring"
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(mode=0o700)
        # Whatever an earlier copy has deleted, the newest one has too.
        databases = {copies(copy.parent)[-1], folder / DATABASE} - {copy}
        deletions = _deletions(databases, staging, master_key)
        for name, source in sources.items():
            shutil.copyfile(source, staging / name)
        restored = _without(deletions, staging, master_key, clock, ids)
        for name in (DATA_KEY, KEYRING, DATABASE):
            # A log left behind would be read into the new file.
            for leftover in (f"{name}-wal", f"{name}-shm"):
                (folder / leftover).unlink(missing_ok=True)
            disk.replace(staging / name, folder / name)
        shutil.rmtree(staging)
    finally:
        lock.release()
    return restored


def _name(now: float, made: Sequence[Path]) -> str:
    """A name behind those of all copies made before, even where the clock was put back since."""
    moment = datetime.fromtimestamp(now, UTC)
    if made:
        newest = datetime.strptime(made[-1].name, NAME).replace(tzinfo=UTC)
        moment = max(moment, newest + timedelta(microseconds=1))
    return moment.strftime(NAME)


def _without(
    deletions: set[Erasure],
    folder: Path,
    master_key: bytes,
    clock: Callable[[], float],
    ids: Callable[[], str],
) -> Restored:
    """Take out of a folder what was deleted elsewhere."""
    key = master.data_key(folder / DATA_KEY, master_key)
    database = open_database(folder, key)
    keyring = Keyring(folder / KEYRING, key, Volume(disk.Reserve(folder / "reserve", 0)))
    keyless = drop_keyless(database, keyring)
    keyring.close()
    database.close()
    store = SQLiteStore(folder, master_key, clock=clock, ids=ids, reserve_bytes=0)
    try:
        forgotten = store.forget(deletions)
        store.tend()
        store.carry()
        collections = store.every_collection()
        faces = sum(store.counts(collection)[0] for collection in collections)
    finally:
        store.close()
    return Restored(len(collections), faces, keyless + forgotten)


def _deletions(databases: Iterable[Path], staging: Path, master_key: bytes) -> set[Erasure]:
    """What these databases have deleted; read from copies, since opening one may write to it."""
    found: set[Erasure] = set()
    journal = staging / "journal"
    for path in databases:
        if not path.exists():
            continue
        journal.mkdir(mode=0o700)
        try:
            key = master.data_key(path.parent / DATA_KEY, master_key)
            for suffix in ("", "-wal"):
                source = path.with_name(path.name + suffix)
                if source.exists():
                    shutil.copyfile(source, journal / f"{DATABASE}{suffix}")
            database = open_database(journal, key)
            found.update(erasures(database))
            database.close()
        except (crypt.Damaged, StoreUnusable) as error:
            raise StoreUnusable(
                f"what was deleted in {path} cannot be read ({error}): move it away to restore "
                "without it"
            ) from error
        shutil.rmtree(journal)
    return found
