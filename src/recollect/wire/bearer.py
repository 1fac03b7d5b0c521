"""Who is calling: bearer keys, for programs that cannot sign.

`Authorization: Bearer recollect.<key id>.<secret>`. The first word lets secret scanners recognise
a leaked key. Whoever sees the header has the key, so it belongs inside TLS.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from recollect.errors import (
    ExpiredTokenException,
    IncompleteSignatureException,
    UnrecognizedClientException,
)
from recollect.wire.caller import NOBODY, Caller

if TYPE_CHECKING:
    from collections.abc import Callable

    from recollect.wire.caller import Credential, HttpRequest

PREFIX = "recollect."

TOKEN_CHARS_MAX = 512
"""Longest token that is read; ours have about 70 characters."""


def token(key_id: str, secret: str) -> str:
    """Write the token of a bearer key; the key id holds no full stop."""
    return f"{PREFIX}{key_id}.{secret}"


def is_bearer(request: HttpRequest) -> bool:
    """Whether the request carries a bearer token."""
    return (request.header("authorization") or "")[:7].lower() == "bearer "


def verify(
    request: HttpRequest,
    find: Callable[[str], Credential | None],
    *,
    now: float,
    region: str,
) -> Caller:
    """Find out whose bearer key a request carries.

    Args:
        request: with a bearer token in its Authorization header.
        find: the credential of a key id, or None.
        now: epoch seconds.
        region: the region that such a call is said to be made in.

    Raises:
        IncompleteSignatureException: not a token of ours.
        UnrecognizedClientException: unknown or disabled key or wrong secret; the answer and the
            work are the same for all of them.
        ExpiredTokenException: the right secret of a key that has run out.
    """
    headers = [value for name, value in request.headers if name == "authorization"]
    given = headers[0][7:].strip(" ")
    if len(headers) > 1 or len(given) > TOKEN_CHARS_MAX or not given.startswith(PREFIX):
        raise IncompleteSignatureException(
            f"A bearer token has the form {PREFIX}<key id>.<secret>."
        )
    key_id, _, secret = given.removeprefix(PREFIX).partition(".")

    credential = find(key_id) or NOBODY
    # A secret that is empty for whatever reason must not become one that everybody knows.
    usable = credential.bearer & credential.active & (secret != "")
    right = hmac.compare_digest(credential.secret.encode(), secret.encode("latin-1"))
    if not usable & right:
        raise UnrecognizedClientException
    if credential.expires_at is not None and credential.expires_at <= now:
        raise ExpiredTokenException
    return Caller(
        account=credential.account,
        name=credential.name,
        region=region,
        key_id=credential.key_id,
        policies=credential.policies,
        source_ip=request.source_ip,
        secure=request.secure,
        user_agent=request.header("user-agent"),
    )
