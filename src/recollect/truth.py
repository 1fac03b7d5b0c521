"""The truth as the server and the commands open it: master key, store, access keys."""

from __future__ import annotations

import json
import secrets
import time
import uuid
from contextlib import closing
from typing import TYPE_CHECKING

from recollect.gallery import disk, master
from recollect.gallery.sqlite import SQLiteStore
from recollect.gallery.store import AccessKey
from recollect.settings import SettingError

if TYPE_CHECKING:
    from pathlib import Path

    from recollect.gallery.store import Store
    from recollect.settings import Settings

ROOT_POLICY = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}],
    }
)


def master_key_file(settings: Settings) -> Path:
    """Where the master key lies, unless it is given or printed."""
    return settings.master_key_file or settings.data / "master.key"


def master_key(settings: Settings) -> bytes:
    """The key that everything at rest hangs on."""
    return master.obtain(
        master_key_file(settings),
        given=settings.master_key,
        command=settings.master_key_command,
    )


def open_store(settings: Settings, *, exclusive: bool = True) -> Store:
    """Open the truth; `exclusive` for the one process that serves it."""
    if not exclusive and not settings.data.exists():
        raise SettingError(f"{settings.data} does not exist: the first `recollect serve` makes it")
    settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    if settings.store:
        return _shared_store(settings)
    return SQLiteStore(
        settings.data,
        master_key(settings),
        clock=time.time,
        ids=lambda: str(uuid.uuid4()),
        exclusive=exclusive,
    )


def _shared_store(settings: Settings) -> Store:
    """Open a store that several nodes share."""
    if not settings.store.startswith(("postgresql://", "postgres://")):
        # Without what was given: it may hold a password.
        raise SettingError("store has to be a postgresql:// URL")
    # What it needs is an extra; whoever stays with the embedded store need not have it.
    from recollect.gallery.postgres import PostgresStore

    return PostgresStore(
        settings.store, master_key(settings), clock=time.time, ids=lambda: str(uuid.uuid4())
    )


def rotate_master_key(settings: Settings) -> Path:
    """Put a new master key in the place of the one in its file, while the server runs.

    At every moment the key in the file opens the store, so this may be cut short anywhere; done
    again, it is finished. Returns the file.

    Raises:
        SettingError: the key does not lie in a file of this machine alone.
    """
    if settings.master_key or settings.master_key_command or settings.store:
        raise SettingError(
            "rotate is for a master key in a file of one server. Else: `recollect key master add"
            " FILE`, let every server have the key in FILE, `recollect key master retire`"
        )
    path = master_key_file(settings)
    new = path.with_name(f"{path.name}.new")
    with closing(open_store(settings, exclusive=False)) as store, disk.turn(settings.data):
        coming = master.in_file(new)
        store.seal_under([master_key(settings), coming])
        disk.replace(new, path)
        disk.discard(new)
        store.seal_under([coming])
    return path


def add_master_key(settings: Settings, path: Path) -> None:
    """Let the key in a file open the store as well; it is made where there is no file."""
    with closing(open_store(settings, exclusive=False)) as store, disk.turn(settings.data):
        store.seal_under([master_key(settings), master.in_file(path)])


def retire_master_keys(settings: Settings) -> None:
    """Let no master key open the store but the one that the settings give."""
    with closing(open_store(settings, exclusive=False)) as store, disk.turn(settings.data):
        store.seal_under([master_key(settings)])


def make_key(
    store: Store,
    *,
    account: str,
    name: str,
    policies: tuple[str, ...],
    bearer_key: bool = False,
    expires_s: float | None = None,
) -> AccessKey:
    """Make and store an access key; its secret is in the answer and nowhere else in clear."""
    now = time.time()
    temporary = expires_s is not None
    key = AccessKey(
        key_id=("ASIA" if temporary else "AKIA") + secrets.token_hex(8).upper(),
        secret=secrets.token_urlsafe(30),
        account=account,
        name=name,
        policies=policies,
        bearer=bearer_key,
        session_token=secrets.token_urlsafe(96) if temporary and not bearer_key else None,
        expires_at=now + expires_s if expires_s is not None else None,
        created_at=now,
    )
    store.add_key(key)
    return key
