"""Templates and secrets at rest: AES-256-GCM, every key under or derived from the master key."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from recollect.gallery import disk
from recollect.gallery.store import StoreUnusable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from recollect.gallery.store import Templates

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
DATA_KEY: Final = b"data key"
COMMAND_S_MAX: Final = 30.0
"""Longest wait for a command that prints the master key."""


class Damaged(Exception):
    """Stored bytes are not what was stored, or stand where they were not put; names the place."""


def master_key(path: Path, *, given: str = "", command: str = "") -> bytes:
    """Get the key that everything at rest hangs on, 32 bytes.

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
    if not path.exists():
        return _made(path)
    if path.stat().st_mode & 0o077:
        raise StoreUnusable(f"{path} can be read by others: chmod 600 {path}")
    return _parsed(path.read_text(encoding="ascii", errors="replace"), str(path))


def data_key(path: Path, master_key: bytes) -> bytes:
    """Get the key that everything in a data folder is derived from, 32 bytes.

    It is random, made at the first start, and lies sealed under the master key, so that another
    master key can take its place without touching the data.

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
            disk.write_new(path, Box(master_key).seal(os.urandom(KEY_BYTES), DATA_KEY))
    try:
        return Box(master_key).open(path.read_bytes(), DATA_KEY)
    except Damaged:
        raise StoreUnusable(
            f"{path} does not open: the master key is not the one it was made with, or the file "
            "is damaged (nothing was changed)"
        ) from None


def rewrap(path: Path, old_master_key: bytes, new_master_key: bytes) -> None:
    """Put another master key in the place of the one that seals a data key.

    Store the new one safely before: when this returns, the old one opens nothing any more.
    """
    key = data_key(path, old_master_key)
    unfinished = path.with_name(f"{path.name}.new")
    unfinished.unlink(missing_ok=True)
    disk.write_new(unfinished, Box(new_master_key).seal(key, DATA_KEY))
    disk.replace(unfinished, path)


def derived(key: bytes, purpose: str) -> bytes:
    """Derive a key of 32 bytes for one purpose, by HKDF with SHA-256 (RFC 5869)."""
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=b"recollect/" + purpose.encode()).derive(key)


class Box:
    """Seals small things under one key: nonce, ciphertext and tag in one piece."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def seal(self, plain: bytes, place: bytes) -> bytes:
        """Encrypt, bound to a place: it opens there only."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, plain, place)

    def open(self, sealed: bytes, place: bytes) -> bytes:
        """Decrypt; Damaged where a bit has changed or the place is another."""
        try:
            return self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], place)
        except (InvalidTag, ValueError) as error:
            raise Damaged(f"what is sealed at {place!r} cannot be opened") from error


class TemplateBox:
    """Seals the templates of one collection, each bound to account, collection and id.

    A nonce is random, 96 bits: at 2**32 seals of one collection two are alike with a chance of
    2**-33 (NIST SP 800-38D, section 8.3).

    Args:
        key: the collection's own key, 32 bytes.
        account: the account it belongs to.
        number: the collection's number in the store.
    """

    def __init__(self, key: bytes, account: str, number: int) -> None:
        self._cipher = AESGCM(key)
        self._place = f"{account}/{number}/".encode()

    def seal(self, ids: Sequence[bytes], templates: Templates) -> list[bytes]:
        """Encrypt templates, shape (count, dimension), under their ids."""
        rows = np.ascontiguousarray(templates, "<f4")
        size = rows.shape[1] * rows.itemsize
        plain, nonces = rows.tobytes(), os.urandom(NONCE_BYTES * len(ids))
        sealed = []
        for row, face in enumerate(ids):
            nonce = nonces[row * NONCE_BYTES : (row + 1) * NONCE_BYTES]
            template = plain[row * size : (row + 1) * size]
            sealed.append(nonce + self._cipher.encrypt(nonce, template, self._place + face))
        return sealed

    def open(self, ids: Sequence[bytes], sealed: Sequence[bytes], dimension: int) -> Templates:
        """Decrypt templates; Damaged names the first that cannot be opened."""
        decrypt, place = self._cipher.decrypt, self._place
        plain = []
        try:
            for face, blob in zip(ids, sealed, strict=True):
                plain.append(decrypt(blob[:NONCE_BYTES], blob[NONCE_BYTES:], place + face))
        except (InvalidTag, ValueError) as error:
            where = f"{place.decode()}{ids[len(plain)].hex()}"
            raise Damaged(f"the template at {where} cannot be opened") from error
        joined = bytearray().join(plain)
        if len(joined) != len(ids) * dimension * 4:
            raise Damaged(f"templates at {place.decode()} have another dimension")
        return np.frombuffer(joined, "<f4").reshape(len(ids), dimension).astype("f4", copy=False)


def _parsed(text: str, source: str) -> bytes:
    try:
        key = bytes.fromhex(text.strip())
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise StoreUnusable(f"{source} is not 64 hexadecimal digits")
    return key


def _made(path: Path) -> bytes:
    # A new key beside an old database would look like a fresh start and open nothing.
    if (path.parent / "recollect.db").exists():
        raise StoreUnusable(f"{path} is missing, and the data in {path.parent} needs it")
    key = os.urandom(KEY_BYTES)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with suppress(FileExistsError):  # Another command of a first start was faster.
        disk.write_new(path, key.hex().encode() + b"\n")
    return _parsed(path.read_text(encoding="ascii"), str(path))


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
