"""Opaque page tokens, at most 255 characters: where the next page begins, and of what."""

from __future__ import annotations

import base64
import hashlib
import hmac

from recollect.errors import InvalidPaginationTokenException

MAC_BYTES = 12
MAC_LENGTH = 16
"""Characters of it in base64."""
LAST_MAX = 255 - MAC_LENGTH
"""Longest position that a token can hold, in characters."""


def seal(key: bytes, scope: str, last: str) -> str:
    """Make the token of the page after `last`.

    The token holds the position itself, not a count, so that pages stay exact while entries are
    inserted and deleted between them. It is bound to its scope (operation, account, collection,
    filter): used elsewhere it is refused.
    """
    assert len(last) <= LAST_MAX, "a position must fit its token"
    return _mac(key, scope, last) + last


def unseal(key: bytes, scope: str, token: str | None) -> str:
    """Give back the position in a token; nothing and the empty token mean the first page.

    Raises InvalidPaginationTokenException for a token that `seal` did not make for this scope.
    """
    if not token:
        return ""
    mac, position = token[:MAC_LENGTH], token[MAC_LENGTH:]
    if not hmac.compare_digest(mac.encode(), _mac(key, scope, position).encode()):
        raise InvalidPaginationTokenException
    return position


def _mac(key: bytes, scope: str, position: str) -> str:
    message = len(scope).to_bytes(4, "big") + f"{scope}{position}".encode()
    mac = hmac.new(key, message, hashlib.sha256).digest()[:MAC_BYTES]
    return base64.urlsafe_b64encode(mac).decode()
