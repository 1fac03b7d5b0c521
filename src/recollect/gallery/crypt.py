"""Templates and secrets at rest: AES-256-GCM, each sealed thing bound to its place."""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING, Final

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from recollect.gallery.store import Templates

ID_BYTES: Final = 16
KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16

ID: Final = struct.Struct(f"{ID_BYTES}s")


class Damaged(Exception):
    """Stored bytes are not what was stored, or stand where they were not put; names the place."""


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
        parts = [(blob[:NONCE_BYTES], blob[NONCE_BYTES:]) for blob in sealed]
        return self._open(ids, parts, dimension)

    def open_joined(self, ids: bytes, sealed: bytes, dimension: int) -> Templates:
        """Decrypt templates that lie one behind the other, as their ids do."""
        row = struct.Struct(f"{NONCE_BYTES}s{4 * dimension + TAG_BYTES}s")
        count = len(ids) // ID_BYTES
        if (len(ids), len(sealed)) != (count * ID_BYTES, count * row.size):
            raise self._of_another_dimension()
        return self._open([i for (i,) in ID.iter_unpack(ids)], row.iter_unpack(sealed), dimension)

    def _open(
        self, ids: Sequence[bytes], parts: Iterable[tuple[bytes, bytes]], dimension: int
    ) -> Templates:
        decrypt, place = self._cipher.decrypt, self._place
        plain = []
        try:
            for face, (nonce, text) in zip(ids, parts, strict=True):
                plain.append(decrypt(nonce, text, place + face))
        except (InvalidTag, ValueError) as error:
            where = f"{place.decode()}{ids[len(plain)].hex()}"
            raise Damaged(f"the template at {where} cannot be opened") from error
        joined = bytearray().join(plain)
        if len(joined) != len(ids) * dimension * 4:
            raise self._of_another_dimension()
        return np.frombuffer(joined, "<f4").reshape(len(ids), dimension).astype("f4", copy=False)

    def _of_another_dimension(self) -> Damaged:
        return Damaged(f"templates at {self._place.decode()} have another dimension")
