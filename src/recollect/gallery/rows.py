"""What rows of the truth mean, whichever SQL holds them."""

from __future__ import annotations

import json
from functools import lru_cache
from secrets import token_urlsafe
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from recollect.errors import ResourceNotFoundException
from recollect.gallery.ids import packed, unpacked
from recollect.gallery.store import AccessKey, Face, User

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from recollect.gallery.crypt import Box
    from recollect.gallery.store import Collection, Enrolment, Templates

SCAN_ROWS: Final = 4096
"""Templates in one block of a scan."""
ONCE_S: Final = 24 * 3600.0
"""How long an idempotency token is remembered."""
SWAPPED: Final = "/"
"""Name of a collection in the middle of a swap: none that a caller could ask for."""
ERASED_ROWS_MAX: Final = 2000
"""Rows of a deleted collection erased in one transaction, so that other writes get their turn."""


def raw_id(text: str) -> bytes:
    """The sixteen bytes of an id that is one; ValueError otherwise."""
    raw = packed(text)
    if raw is None:
        raise ValueError(f"{text!r} is not a UUID in its canonical form")
    return raw


def no_collection(collection: Collection) -> ResourceNotFoundException:
    """The answer where a collection was deleted meanwhile."""
    return ResourceNotFoundException(
        f"The collection id: {collection.collection_id} does not exist"
    )


def no_user(user_id: str) -> ResourceNotFoundException:
    """The answer where there is no such user."""
    return ResourceNotFoundException(f"The user id: {user_id} does not exist")


def no_key(key_id: str) -> ResourceNotFoundException:
    """The answer where there is no such access key."""
    return ResourceNotFoundException(f"The access key: {key_id} does not exist")


def enrolled(enrolments: Sequence[Enrolment], dimension: int) -> Templates:
    """The templates of enrolments, shape (count, dimension), after a look at each."""
    templates = np.stack([enrolment.template for enrolment in enrolments])
    assert templates.dtype == np.float32
    assert templates.shape[1] == dimension, "templates come from another model"
    lengths = np.einsum("ij,ij->i", templates, templates)
    assert (np.abs(lengths - 1) < 1e-3).all(), "templates are not of unit length"
    return templates


def face(row: Sequence[Any]) -> Face:
    """A face from its ids, external id, box, confidence, model version and user."""
    face_id, image_id, external, left, top, width, height, confidence, version, user_id = row
    box = (left, top, width, height)
    return Face(unpacked(face_id), unpacked(image_id), external, box, confidence, version, user_id)


def user(row: Sequence[Any]) -> User:
    """A user from its key, id and number of faces."""
    key, user_id, face_count = row
    return User(unpacked(key), user_id, face_count)


def sealed_secret(secrets: Box, key: AccessKey) -> bytes:
    """A credential's secret and session token as they are stored, bound to its id."""
    return secrets.seal(json.dumps([key.secret, key.session_token]).encode(), key.key_id.encode())


def nobody(secrets: Box) -> tuple[Any, ...]:
    """The row that is opened in place of the row of an unknown key, so that it costs the same."""
    key = AccessKey("", token_urlsafe(30), "0" * 12, "nobody", ())
    sealed = sealed_secret(secrets, key)
    # As long as a short policy.
    policies = json.dumps(["-" * 90])
    return (key.key_id, sealed, key.account, key.name, policies, False, None, False, 0.0)


def opened_key(secrets: Box, row: Sequence[Any]) -> AccessKey:
    """The credential of a row with its secret."""
    secret, session_token = _secret(secrets, row[1], row[0])
    return access_key(row, secret, session_token)


@lru_cache(maxsize=1024)
def _secret(secrets: Box, sealed: bytes, key_id: str) -> tuple[str, str | None]:
    secret, session_token = json.loads(secrets.open(sealed, key_id.encode()))
    return secret, session_token


@lru_cache(maxsize=1024)
def _policies(text: str) -> tuple[str, ...]:
    return tuple(json.loads(text))


def access_key(row: Sequence[Any], secret: str, session_token: str | None) -> AccessKey:
    """A credential from its row, whose second value is the sealed secret."""
    key_id, _, account, name, policies, bearer, expires_at, active, created_at = row
    return AccessKey(
        key_id=key_id,
        secret=secret,
        account=account,
        name=name,
        policies=_policies(policies),
        bearer=bool(bearer),
        session_token=session_token,
        expires_at=expires_at,
        active=bool(active),
        created_at=created_at,
    )


def rounded(box: Iterable[float]) -> tuple[str, ...]:
    """A box to 6 significant digits, at which two boxes of a picture count as the same."""
    return tuple(f"{edge:.6g}" for edge in box)


def missing(face_ids: Iterable[str], found: Mapping[str, Face]) -> tuple[str, ...]:
    """The ids that were not found, each once."""
    return tuple(i for i in dict.fromkeys(face_ids) if i not in found)
