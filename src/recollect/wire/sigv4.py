"""AWS Signature Version 4: who signed a request, and how to sign one."""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from typing import TYPE_CHECKING

from recollect.errors import (
    ExpiredTokenException,
    InvalidSignatureException,
    UnrecognizedClientException,
)
from recollect.wire.caller import NOBODY, Caller
from recollect.wire.canonical import (
    ALGORITHM,
    TERMINATOR,
    TIMESTAMP,
    canonical_query,
    canonical_request,
    signature,
    signing_key,
    string_to_sign,
)
from recollect.wire.claim import claim_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from recollect.wire.caller import Credential, HttpRequest
    from recollect.wire.claim import Claim
    from recollect.wire.replays import Replays

SERVICES = frozenset({"rekognition"})

WINDOW_S = 300.0
"""How far the client's clock may be from ours, either way."""

# A region becomes a field of ARNs: a colon or a wildcard in it would shift the others.
_REGION_FORM = re.compile(r"[a-z0-9-]{1,64}")


def verify(
    request: HttpRequest,
    find: Callable[[str], Credential | None],
    *,
    now: float,
    window_s: float = WINDOW_S,
    services: AbstractSet[str] = SERVICES,
    regions: AbstractSet[str] | None = None,
    normalize: bool = True,
    replays: Replays | None = None,
) -> Caller:
    """Find out who signed a request.

    Args:
        request: whole; its path is the path that was signed, with every prefix.
        find: the credential of a key id, or None.
        now: epoch seconds.
        window_s: how far the client's clock may be from ours, either way.
        services: the signing names accepted in the credential scope.
        regions: the regions accepted there; None for any. A region is only a label here: every
            region sees the same collections.
        normalize: whether clients normalise the path before they sign it.
        replays: refuse a signature that was used before.

    Raises:
        MissingAuthenticationTokenException: it is not signed at all.
        IncompleteSignatureException: the signature cannot be read or leaves out what it must sign.
        InvalidSignatureException: wrong, too old, too new, or made for something else.
        UnrecognizedClientException: unknown or disabled key, or the wrong session token. It costs
            the same work as a wrong signature.
        ExpiredTokenException: rightly signed with a credential that has run out.
    """
    claim = claim_of(request)
    _check_scope(claim, services, regions)
    _check_clock(claim, now, window_s)

    # Nothing here branches on whether the key is known, until all of the work is done.
    credential = find(claim.key_id) or NOBODY
    # A secret that is empty for whatever reason must not become one that everybody knows.
    stranger = credential.bearer | (credential.secret == "") | (not credential.active)
    key = signing_key(credential.secret or NOBODY.secret, claim.date, claim.region, claim.service)
    payload_sha256 = _payload_sha256(request)
    right = False
    for query in _signed_queries(claim):
        canonical = canonical_request(
            request.method,
            request.path,
            query,
            request.headers,
            claim.signed,
            payload_sha256,
            normalize=normalize,
        )
        expected = signature(key, string_to_sign(claim.timestamp, claim.scope, canonical))
        right |= hmac.compare_digest(expected.encode(), claim.signature.encode("latin-1"))

    refusal = (InvalidSignatureException, UnrecognizedClientException)[stranger]
    if stranger | (not right):
        raise refusal
    _check_token(credential, claim.token, now)
    if replays is not None:
        until = claim.signed_at + (claim.life_s or window_s)
        replays.use(claim.key_id, claim.signature, until, now)
    return Caller(
        account=credential.account,
        name=credential.name,
        region=claim.region,
        key_id=credential.key_id,
        policies=credential.policies,
        source_ip=request.source_ip,
        secure=request.secure,
        user_agent=request.header("user-agent"),
    )


def _check_scope(
    claim: Claim, services: AbstractSet[str], regions: AbstractSet[str] | None
) -> None:
    if claim.service not in services:
        names = "', '".join(sorted(services))
        raise InvalidSignatureException(
            f"Credential should be scoped to correct service: '{names}'."
        )
    if not _REGION_FORM.fullmatch(claim.region) or (
        regions is not None and claim.region not in regions
    ):
        raise InvalidSignatureException("Credential should be scoped to a valid region.")


def _check_clock(claim: Claim, now: float, window_s: float) -> None:
    def stamp(seconds: float) -> str:
        return time.strftime(TIMESTAMP, time.gmtime(seconds))

    life_s = window_s if claim.life_s is None else claim.life_s
    if now - claim.signed_at > life_s:
        raise InvalidSignatureException(
            f"Signature expired: {claim.timestamp} is now earlier than {stamp(now - life_s)} "
            f"({stamp(now)} - {life_s / 60:g} min.)"
        )
    if claim.signed_at - now > window_s:
        raise InvalidSignatureException(
            f"Signature not yet current: {claim.timestamp} is still later than "
            f"{stamp(now + window_s)} ({stamp(now)} + {window_s / 60:g} min.)"
        )


def _payload_sha256(request: HttpRequest) -> str:
    wait = request.body_sha256
    payload_sha256 = hashlib.sha256(request.body).hexdigest() if wait is None else wait()
    if request.header("x-amz-content-sha256") not in (None, payload_sha256):
        raise InvalidSignatureException(
            "'x-amz-content-sha256' is not the SHA-256 of the body that was received. "
            "An unsigned or chunked payload is not accepted."
        )
    return payload_sha256


def _signed_queries(claim: Claim) -> list[Sequence[tuple[str, str]]]:
    """The queries that may have been signed: some clients presign, then add the session token.

    The token is compared with the credential's own in any case.
    """
    without = [pair for pair in claim.query if pair[0] != "X-Amz-Security-Token"]
    if claim.life_s is None or len(without) == len(claim.query):
        return [claim.query]
    return [claim.query, without]


def _check_token(credential: Credential, token: str | None, now: float) -> None:
    expected = credential.session_token or ""
    if not hmac.compare_digest(expected.encode(), (token or "").encode("latin-1")):
        raise UnrecognizedClientException
    if credential.expires_at is not None and credential.expires_at <= now:
        raise ExpiredTokenException


def sign(
    method: str,
    path: str,
    headers: Mapping[str, str],
    body: bytes,
    *,
    key_id: str,
    secret: str,
    region: str,
    now: float,
    query: str = "",
    service: str = "rekognition",
    session_token: str | None = None,
) -> dict[str, str]:
    """Sign a request in its headers.

    Args:
        method: upper case.
        path: as it will be sent, percent-encoded.
        headers: all that shall be signed; `host` must be among them.
        body: whole.
        key_id: of the access key.
        secret: of the access key.
        region: any region that the server accepts.
        now: epoch seconds.
        query: as it will be sent, without the question mark.
        service: the signing name.
        session_token: of temporary credentials.

    Returns:
        The headers given, names in lower case, with the date and the signature.
    """
    timestamp = time.strftime(TIMESTAMP, time.gmtime(now))
    sent = {name.lower(): value for name, value in headers.items()} | {"x-amz-date": timestamp}
    if session_token is not None:
        sent["x-amz-security-token"] = session_token
    signed = sorted(sent)
    scope = "/".join((timestamp[:8], region, service, TERMINATOR))
    canonical = canonical_request(
        method,
        path,
        canonical_query(query),
        sent.items(),
        signed,
        hashlib.sha256(body).hexdigest(),
    )
    key = signing_key(secret, timestamp[:8], region, service)
    proof = signature(key, string_to_sign(timestamp, scope, canonical))
    return sent | {
        "authorization": f"{ALGORITHM} Credential={key_id}/{scope}, "
        f"SignedHeaders={';'.join(signed)}, Signature={proof}"
    }
