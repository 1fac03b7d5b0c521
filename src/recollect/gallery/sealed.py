"""A sealed file of any length: written and read from front to back, never held whole in memory.

Bytes, in order: `RCLSEAL1`; 32 random bytes; then pieces. A piece is its length (4 bytes, little
endian, at most 4 MiB of content and 16 of tag) and AES-256-GCM of its content. The file's key is
HKDF-SHA-256 of the caller's key, salted with the random bytes; a piece's nonce is its number (11
bytes, big endian) and 1 for the last piece, else 0. So pieces cannot be changed, moved, left out,
repeated or taken from another file, and the end cannot be cut off.

Source of the construction: V. T. Hoang, R. Reyhanitabar, P. Rogaway, D. Vizár, "Online
Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance", CRYPTO 2015 (STREAM).
"""

from __future__ import annotations

import os
from typing import IO, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from recollect.gallery.crypt import KEY_BYTES, TAG_BYTES, Damaged

MAGIC: Final = b"RCLSEAL1"
SALT_BYTES: Final = 32
PIECE_BYTES: Final = 4 << 20


class SealedWriter:
    """Seals what is written to it.

    Args:
        file: opened for writing bytes; stays open.
        key: 32 bytes; every file gets a key of its own from it.
    """

    def __init__(self, file: IO[bytes], key: bytes) -> None:
        salt = os.urandom(SALT_BYTES)
        self._file = file
        self._cipher = _cipher(key, salt)
        self._number = 0
        self._waiting = bytearray()
        file.write(MAGIC + salt)

    def write(self, content: bytes | memoryview) -> None:
        """Add bytes."""
        self._waiting += memoryview(content).cast("B")
        # The last piece is sealed differently: one stays here until it is known not to be it.
        while len(self._waiting) > PIECE_BYTES:
            self._seal(bytes(self._waiting[:PIECE_BYTES]), last=False)
            del self._waiting[:PIECE_BYTES]

    def finish(self) -> None:
        """Seal the end; a file without one does not open."""
        self._seal(bytes(self._waiting), last=True)

    def _seal(self, content: bytes, *, last: bool) -> None:
        sealed = self._cipher.encrypt(_nonce(self._number, last=last), content, None)
        self._file.write(len(sealed).to_bytes(4, "little"))
        self._file.write(sealed)
        self._number += 1


class SealedReader:
    """Opens what a `SealedWriter` sealed, piece by piece: what it gives is what was written.

    Args:
        file: opened for reading bytes.
        key: the writer's.

    Raises:
        Damaged: from any method, where the file is not one that was sealed whole with this key.
    """

    def __init__(self, file: IO[bytes], key: bytes) -> None:
        head = file.read(len(MAGIC) + SALT_BYTES)
        if len(head) < len(MAGIC) + SALT_BYTES or not head.startswith(MAGIC):
            raise Damaged("the file is not a sealed one, or of another version")
        self._file = file
        self._cipher = _cipher(key, head[len(MAGIC) :])
        self._number = 0
        self._ended = False
        self._waiting = bytearray()

    def read(self, length_bytes: int) -> bytearray:
        """Read exactly so many bytes."""
        while len(self._waiting) < length_bytes:
            self._open()
        content = self._waiting[:length_bytes]
        del self._waiting[:length_bytes]
        return content

    def finish(self) -> None:
        """Make sure that everything was read and nothing is missing."""
        if not self._ended:
            self._open()
        if self._waiting or not self._ended or self._file.read(1):
            raise Damaged("the file goes on where it should end")

    def _open(self) -> None:
        if self._ended:
            raise Damaged("the file ends where it should go on")
        length_bytes = int.from_bytes(self._file.read(4), "little")
        if not TAG_BYTES <= length_bytes <= PIECE_BYTES + TAG_BYTES:
            raise Damaged(f"piece {self._number} of the file has an impossible length")
        sealed = self._file.read(length_bytes)
        for last in (False, True):
            try:
                content = self._cipher.decrypt(_nonce(self._number, last=last), sealed, None)
            except InvalidTag:
                continue
            self._ended = last
            self._number += 1
            self._waiting += content
            return
        raise Damaged(f"piece {self._number} of the file is not what was sealed")


def _cipher(key: bytes, salt: bytes) -> AESGCM:
    assert len(key) == KEY_BYTES
    derived = HKDF(SHA256(), KEY_BYTES, salt=salt, info=b"recollect sealed file").derive(key)
    return AESGCM(derived)


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])
