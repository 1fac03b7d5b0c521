"""The master key, where it comes from, and the data key that lies sealed under it.

Everything at rest is derived from the data key, which never changes; so another master key takes
the place of the old one by sealing 32 bytes anew, while servers run. The data key may be sealed
under two master keys for a while: whichever of them a server is started with opens it.
"""

from __future__ import annotations

import logging
import os
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from recollect.gallery import disk
from recollect.gallery.crypt import KEY_BYTES, NONCE_BYTES, TAG_BYTES, Box, Damaged
from recollect.gallery.store import StoreUnusable

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

log = logging.getLogger(__name__)

PLACE: Final = b"data key"
SEALED_BYTES: Final = NONCE_BYTES + KEY_BYTES + TAG_BYTES
COMMAND_S_MAX: Final = 30.0
"""Longest wait for a command that prints the master key."""


def obtain(path: Path, *, given: str = "", command: str = "") -> bytes:
    """Get the master key, 32 bytes.

    Args:
        path: its file, mode 0600; made at the first start of a new data folder, and only where
            neither of the others is used.
        given: the key itself, 64 hexadecimal digits.
        command: prints the key; run without a shell of ours knowing what it says. For a KMS.

    Raises:
        StoreUnusable: the key cannot be had; the text says what to do.
    """
    if given and command:
        raise StoreUnusable("give the master key or a command that prints it, not both")
    if given:
        return _parsed(given, "the master key that was given")
    if command:
        return _printed(command)
    # A new key beside an old database would look like a fresh start and open nothing.
    if not path.exists() and (path.parent / "recollect.db").exists():
        raise StoreUnusable(f"{path} is missing, and the data in {path.parent} needs it")
    return in_file(path)


def in_file(path: Path) -> bytes:
    """Read the key of a file of mode 0600; where there is no file, make one with a new key."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with suppress(FileExistsError):  # Another command of a first start was faster.
            disk.write_new(path, os.urandom(KEY_BYTES).hex().encode() + b"\n")
    if path.stat().st_mode & 0o077:
        raise StoreUnusable(f"{path} can be read by others: chmod 600 {path}")
    return _parsed(path.read_text(encoding="ascii", errors="replace"), str(path))


def sealed(data_key: bytes, master_keys: Iterable[bytes]) -> bytes:
    """Seal a data key under each of these master keys, one after the other, 60 bytes each."""
    return b"".join(Box(key).seal(data_key, PLACE) for key in master_keys)


def unsealed(seals: bytes, master_key: bytes) -> bytes:
    """Open a data key; Damaged where none of its seals is of this master key."""
    box = Box(master_key)
    if len(seals) > SEALED_BYTES:
        log.warning("the data opens under two master keys: `recollect key master retire` ends that")
    for begin in range(0, len(seals), SEALED_BYTES):
        with suppress(Damaged):
            return box.open(seals[begin : begin + SEALED_BYTES], PLACE)
    raise Damaged("the data key does not open")


def data_key(path: Path, master_key: bytes) -> bytes:
    """Get the key that everything in a data folder is derived from, 32 bytes.

    It is random and made at the first start.

    Args:
        path: its file.
        master_key: 32 bytes.

    Raises:
        StoreUnusable: the master key is another, or the file is lost or damaged.
    """
    if not path.exists():
        if (path.parent / "recollect.db").exists():
            raise StoreUnusable(f"{path} is missing, and the data beside it needs it")
        with suppress(FileExistsError):  # Another command of a first start was faster.
            disk.write_new(path, sealed(os.urandom(KEY_BYTES), [master_key]))
    try:
        return unsealed(path.read_bytes(), master_key)
    except Damaged:
        raise StoreUnusable(
            f"{path} does not open: the master key is not the one it was made with, or the file "
            "is damaged (nothing was changed)"
        ) from None


def seal_again(path: Path, data_key: bytes, master_keys: Iterable[bytes]) -> None:
    """Write the file of a data key anew: these master keys open it, and no others.

    Only for whoever holds the folder's `disk.turn`.
    """
    unfinished = path.with_name(f"{path.name}.new")
    # What a crash left: sealed, but perhaps under a key that shall open nothing any more.
    disk.discard(unfinished)
    disk.write_new(unfinished, sealed(data_key, master_keys))
    disk.replace(unfinished, path)


def _parsed(text: str, source: str) -> bytes:
    try:
        key = bytes.fromhex(text.strip())
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise StoreUnusable(f"{source} is not 64 hexadecimal digits")
    return key


def _printed(command: str) -> bytes:
    try:
        # The operator's own command line, from the settings; never a caller's.
        printed = subprocess.run(  # noqa: S602
            command, shell=True, check=True, capture_output=True, timeout=COMMAND_S_MAX
        ).stdout
    except subprocess.CalledProcessError as error:
        raise StoreUnusable(f"the master key command failed with {error.returncode}") from None
    except subprocess.TimeoutExpired:
        raise StoreUnusable(f"the master key command took over {COMMAND_S_MAX:g} s") from None
    return _parsed(printed.decode("ascii", "replace"), "what the master key command prints")
