"""Opaque page tokens, at most 255 characters: where the next page begins, and of what."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

from recollect.errors import InvalidPaginationTokenException

MAC_BYTES = 12
LAST_MAX = 160
"""Longest position a token can hold in bytes: 12 + 160 bytes are 230 characters."""


def seal(key: bytes, scope: str, last: str) -> str:
    """Make the token of the page after `last`.

    The token holds the position itself, not a count, so that pages stay exact while entries are
    inserted and deleted between them. It is bound to its scope (operation, account, collection,
    filter): used elsewhere it is refused.
    """
    position = last.encode()
    assert len(position) <= LAST_MAX, "a position must fit its token"
    return base64.urlsafe_b64encode(_mac(key, scope, position) + position).decode().rstrip("=")


def unseal(key: bytes, scope: str, token: str | None) -> str:
    """Give back the position in a token; nothing and the empty token mean the first page.

    Raises InvalidPaginationTokenException for a token that `seal` did not make for this scope.
    """
    if not token:
        return ""
    try:
        raw = base64.b64decode(token.encode() + b"=" * (-len(token) % 4), b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise InvalidPaginationTokenException from None
    mac, position = raw[:MAC_BYTES], raw[MAC_BYTES:]
    if not hmac.compare_digest(mac, _mac(key, scope, position)):
        raise InvalidPaginationTokenException
    return position.decode()


def _mac(key: bytes, scope: str, position: bytes) -> bytes:
    message = len(scope).to_bytes(4, "big") + scope.encode() + position
    return hmac.new(key, message, hashlib.sha256).digest()[:MAC_BYTES]
