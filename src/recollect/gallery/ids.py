"""FaceIds, ImageIds and user keys: UUIDs, sixteen bytes in the store and text outside."""

from __future__ import annotations

import os
import time
import uuid
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

_FIELDS = ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32))
"""Digits of each field of a UUID; a dash stands between two fields."""


def new_face_id() -> str:
    """A FaceId that nobody has: a UUID of version 7, whose first 48 bits are the time in ms.

    Faces that are enrolled together stand together in the store's index of ids: a commit writes a
    few pages of it, where ids without order would make it write one for every face.

    Source: RFC 9562, section 5.7.
    """
    value = time.time_ns() // 1_000_000 << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 7 << 76  # version
    value = value & ~(0x3 << 62) | 2 << 62  # variant
    return str(uuid.UUID(int=value))


def packed(text: str) -> bytes | None:
    """The sixteen bytes of an id, or None where the text is no UUID in its canonical form."""
    try:
        raw = bytes.fromhex(text.replace("-", ""))
    except ValueError:
        return None
    return raw if len(raw) == 16 and unpacked(raw) == text else None


def packed_all(texts: Sequence[str]) -> npt.NDArray[np.uint8]:
    """The bytes of many ids, shape (count, 16); they are ids of ours, in their canonical form."""
    raw = bytes.fromhex("".join(texts).replace("-", ""))
    assert len(raw) == 16 * len(texts), "an id is no UUID"
    return np.frombuffer(raw, np.uint8).reshape(len(texts), 16)


def split_ids(joined: bytes) -> npt.NDArray[np.uint8]:
    """Ids that lie one behind the other, shape (count, 16)."""
    return np.frombuffer(joined, np.uint8).reshape(-1, 16)


def unpacked(raw: bytes) -> str:
    """The text of an id: 32 lower-case hexadecimal digits and four dashes."""
    digits = raw.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def unpacked_all(raw: Sequence[bytes]) -> list[str]:
    """The texts of many ids, several times as fast as one by one."""
    digits = np.frombuffer(b"".join(raw).hex().encode("ascii"), np.uint8).reshape(-1, 32)
    lines = np.full((len(digits), 37), ord("-"), np.uint8)
    lines[:, 36] = ord("\n")
    for dashes, (first, end) in enumerate(_FIELDS):
        lines[:, first + dashes : end + dashes] = digits[:, first:end]
    return lines.tobytes().decode("ascii").splitlines()
