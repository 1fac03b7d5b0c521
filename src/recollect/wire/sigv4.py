"""Who is calling: AWS Signature Version 4, verified and made, in headers and in queries.

The core (`canonical_request`, `string_to_sign`, `signing_key`, `signature`) serves both sides, so
that what this server accepts and what the command line sends cannot differ.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import calendar
import hashlib
import hmac
import math
import re
import threading
import time
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from recollect.errors import (
    ExpiredTokenException,
    IncompleteSignatureException,
    InvalidSignatureException,
    MissingAuthenticationTokenException,
    ThrottlingException,
    UnrecognizedClientException,
)
from recollect.wire.caller import NOBODY, Caller

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from recollect.wire.caller import Credential, HttpRequest

ALGORITHM = "AWS4-HMAC-SHA256"
TERMINATOR = "aws4_request"
SERVICES = frozenset({"rekognition"})

WINDOW_S = 300.0
"""How far the client's clock may be from ours, either way."""

EXPIRES_S_MAX = 604_800
"""Longest life of a presigned query, seven days as on AWS."""

AUTHORIZATION_CHARS_MAX = 4096
"""Longest Authorization header that is read; SDKs send about 300 characters."""

_TIMESTAMP = "%Y%m%dT%H%M%SZ"
_TIMESTAMP_FORM = re.compile(r"[0-9]{8}T[0-9]{6}Z")
# RFC 7231 writes GMT; Python's email package, and so botocore, writes -0000 for the same.
_HTTP_DATE_FORM = re.compile(
    r"[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} (GMT|-0000)"
)
# A region becomes a field of ARNs: a colon or a wildcard in it would shift the others.
_REGION_FORM = re.compile(r"[a-z0-9-]{1,64}")
_FOLD = re.compile(r"\r?\n[ \t]+")
_SPACES = re.compile(r" {2,}")

_DATES = ("x-amz-date", "date")
# Two of one of these would leave open which of them was meant.
_SINGLE = (
    "authorization",
    "host",
    "x-amz-target",
    "x-amz-content-sha256",
    "x-amz-security-token",
    *_DATES,
)


# The core -------------------------------------------------------------------------------------


def canonical_request(
    method: str,
    path: str,
    query: Sequence[tuple[str, str]],
    headers: Iterable[tuple[str, str]],
    signed: Sequence[str],
    payload_sha256: str,
    *,
    normalize: bool = True,
) -> str:
    """Write a request in the one form that both sides hash.

    Args:
        method: as sent.
        path: raw, as sent; it is percent-encoded once more, as every service but S3 does.
        query: names and values, percent-encoded (`canonical_query`), in any order.
        headers: names in lower case, bytes as latin-1; those not signed are passed over.
        signed: names of the signed headers, in lower case and sorted.
        payload_sha256: of the body, in hex.
        normalize: remove empty and dot segments of the path first, as every SDK does.
    """
    values: dict[str, list[str]] = {name: [] for name in signed}
    for name, value in headers:
        if name in values:
            values[name].append(_SPACES.sub(" ", _FOLD.sub(" ", value).strip(" ")))
    lines = [
        method,
        quote(_remove_dot_segments(path) if normalize else path, "/-_.~", "latin-1"),
        "&".join(f"{name}={value}" for name, value in sorted(query)),
        *(f"{name}:{','.join(values[name])}" for name in signed),
        "",
        ";".join(signed),
        payload_sha256,
    ]
    return "\n".join(lines)


def canonical_query(query: str) -> list[tuple[str, str]]:
    """Split a raw query and encode what the client should have encoded.

    Escapes stay as they are: %2f and %2F are different bytes, and clients sign what they send.
    """
    if not query:
        return []
    pairs = (part.partition("=") for part in query.split("&"))
    return [(_encode(name), _encode(value)) for name, _, value in pairs]


def string_to_sign(timestamp: str, scope: str, canonical: str) -> str:
    """Bind a canonical request to its time (`20150830T123600Z`) and credential scope."""
    digest = hashlib.sha256(canonical.encode("latin-1")).hexdigest()
    return "\n".join((ALGORITHM, timestamp, scope, digest))


@lru_cache(maxsize=1024)
def signing_key(secret: str, date: str, region: str, service: str) -> bytes:
    """Derive the key of one day, region and service; the last 1,024 are kept."""
    key = b"AWS4" + secret.encode()
    for part in (date, region, service, TERMINATOR):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def signature(key: bytes, to_sign: str) -> str:
    """Sign, in lower-case hex."""
    return hmac.digest(key, to_sign.encode("latin-1"), "sha256").hex()


def _encode(text: str) -> str:
    # A plus means a space to whoever reads the query later, so it has to mean one here.
    return quote(text.replace("+", " "), "-_.~%", "latin-1")


def _remove_dot_segments(path: str) -> str:
    """RFC 3986, section 5.2.4, and without empty segments, as AWS does."""
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del kept[-1:]
        elif segment not in ("", "."):
            kept.append(segment)
    first, last = path.startswith("/") or not path, path.endswith("/") and bool(kept)
    return "/" * first + "/".join(kept) + "/" * last


# The server's side ----------------------------------------------------------------------------


class Replays:
    """Signatures that were used, each remembered until it would have expired anyway.

    A client that sends two equal requests within one second signs them alike, and the second is
    refused: offer this where replay matters more than that.
    """

    def __init__(self, count_max: int = 1_000_000) -> None:
        self._count_max = count_max
        self._until: dict[tuple[str, str], float] = {}
        self._lock = threading.Lock()

    def use(self, key_id: str, signature: str, until: float, now: float) -> None:
        """Remember one use; InvalidSignatureException if it is the second.

        Raises ThrottlingException where the memory is full of signatures that could still be
        replayed: forgetting one of them would let it pass.
        """
        with self._lock:
            if self._until.get((key_id, signature), -math.inf) >= now:
                raise InvalidSignatureException("The request signature was used before.")
            if len(self._until) >= self._count_max:
                self._until = {use: end for use, end in self._until.items() if end >= now}
            if len(self._until) >= self._count_max:
                raise ThrottlingException
            self._until[key_id, signature] = until


@dataclass(frozen=True, slots=True)
class _Claim:
    """What a request says of its own signature, not yet believed."""

    key_id: str
    scope: str
    date: str
    region: str
    service: str
    signed: tuple[str, ...]
    signature: str
    timestamp: str
    signed_at: float
    life_s: float | None
    """How long a presigned query lives; None for the header form, which has the clock window."""
    token: str | None
    query: tuple[tuple[str, str], ...]
    """The canonical query without the signature itself."""


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
    claim = _claim(request)
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


def _is_presigned(request: HttpRequest) -> bool:
    return any(name == "X-Amz-Algorithm" for name, _ in canonical_query(request.query))


def _claim(request: HttpRequest) -> _Claim:
    names = [name for name, _ in request.headers]
    for name in _SINGLE:
        if names.count(name) > 1:
            raise IncompleteSignatureException(f"There is more than one '{name}' header.")
    authorization, presigned = request.header("authorization"), _is_presigned(request)
    if authorization is not None and presigned:
        raise IncompleteSignatureException("The request is signed in its headers and its query.")
    if presigned:
        claim = _claim_of_query(request)
    elif authorization is not None:
        claim = _claim_of_header(request, authorization)
    else:
        raise MissingAuthenticationTokenException
    _check_signed_headers(request, claim.signed, date_needed=not presigned)
    return claim


def _claim_of_header(request: HttpRequest, authorization: str) -> _Claim:
    algorithm, _, rest = authorization.partition(" ")
    if algorithm != ALGORITHM or len(authorization) > AUTHORIZATION_CHARS_MAX:
        raise IncompleteSignatureException(f"Authorization header requires '{ALGORITHM}'.")
    parameters: dict[str, str] = {}
    for part in rest.split(","):
        name, equals, value = part.strip(" ").partition("=")
        if not equals or name in parameters:
            raise IncompleteSignatureException("Authorization header cannot be read.")
        parameters[name] = value
    names = ("Credential", "Signature", "SignedHeaders")
    missing = [name for name in names if not parameters.get(name)]
    if missing or len(parameters) != len(names):
        raise IncompleteSignatureException(
            " ".join(f"Authorization header requires '{name}' parameter." for name in missing)
            or "Authorization header has a parameter too many."
        )
    timestamp, signed_at = _date(request)
    return _read_claim(
        parameters["Credential"],
        parameters["SignedHeaders"],
        parameters["Signature"],
        timestamp=timestamp,
        signed_at=signed_at,
        life_s=None,
        token=request.header("x-amz-security-token"),
        query=canonical_query(request.query),
    )


def _claim_of_query(request: HttpRequest) -> _Claim:
    pairs = canonical_query(request.query)
    sent: dict[str, str] = {}
    for name, value in pairs:
        if name.startswith("X-Amz-"):
            if name in sent:
                raise IncompleteSignatureException(f"There is more than one '{name}' parameter.")
            sent[name] = unquote(value, "latin-1")
    names = ("Credential", "Date", "Expires", "Signature", "SignedHeaders")
    missing = [f"X-Amz-{name}" for name in names if not sent.get(f"X-Amz-{name}")]
    if missing:
        raise IncompleteSignatureException(
            " ".join(f"AWS query-string parameters must include '{name}'." for name in missing)
        )
    if sent["X-Amz-Algorithm"] != ALGORITHM:
        raise IncompleteSignatureException(f"X-Amz-Algorithm must be '{ALGORITHM}'.")
    expires = sent["X-Amz-Expires"]
    if not re.fullmatch(r"[0-9]{1,6}", expires) or not 1 <= int(expires) <= EXPIRES_S_MAX:
        raise IncompleteSignatureException(
            f"X-Amz-Expires must be a number of seconds from 1 to {EXPIRES_S_MAX}."
        )
    signed_at = _read_timestamp(sent["X-Amz-Date"])
    return _read_claim(
        sent["X-Amz-Credential"],
        sent["X-Amz-SignedHeaders"],
        sent["X-Amz-Signature"],
        timestamp=sent["X-Amz-Date"],
        signed_at=signed_at,
        life_s=float(expires),
        token=sent.get("X-Amz-Security-Token") or request.header("x-amz-security-token"),
        query=[pair for pair in pairs if pair[0] != "X-Amz-Signature"],
    )


def _read_claim(
    credential: str,
    signed_headers: str,
    signature: str,
    *,
    timestamp: str,
    signed_at: float,
    life_s: float | None,
    token: str | None,
    query: Sequence[tuple[str, str]],
) -> _Claim:
    parts = credential.rsplit("/", 4)
    if len(parts) != 5:
        raise IncompleteSignatureException(
            "Credential must have exactly 5 slash-delimited elements, e.g. "
            "keyid/date/region/service/term."
        )
    key_id, date, region, service, terminator = parts
    if terminator != TERMINATOR:
        raise InvalidSignatureException(
            f"Credential should be scoped with a valid terminator: '{TERMINATOR}'."
        )
    if date != timestamp[:8]:
        raise InvalidSignatureException(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from "
            f"HTTP: it should be '{timestamp[:8]}'."
        )
    return _Claim(
        key_id=key_id,
        scope="/".join((date, region, service, terminator)),
        date=date,
        region=region,
        service=service,
        signed=tuple(signed_headers.split(";")),
        signature=signature,
        timestamp=timestamp,
        signed_at=signed_at,
        life_s=life_s,
        token=token,
        query=tuple(query),
    )


def _date(request: HttpRequest) -> tuple[str, float]:
    """When a request says it was signed, as it stands in the string to sign and as a number."""
    value = request.header("x-amz-date")
    if value is not None:
        return value, _read_timestamp(value)
    value = request.header("date")
    if value is None:
        raise IncompleteSignatureException(
            "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header."
        )
    if _TIMESTAMP_FORM.fullmatch(value):
        return value, _read_timestamp(value)
    try:
        if not _HTTP_DATE_FORM.fullmatch(value):
            raise ValueError(value)
        seconds = calendar.timegm(parsedate_to_datetime(value).timetuple())
    except ValueError:
        raise IncompleteSignatureException("The 'Date' header is not a date.") from None
    return time.strftime(_TIMESTAMP, time.gmtime(seconds)), float(seconds)


def _read_timestamp(text: str) -> float:
    try:
        if not _TIMESTAMP_FORM.fullmatch(text):
            raise ValueError(text)
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise IncompleteSignatureException(
            "Date must be in ISO-8601 'basic format', e.g. 20150830T123600Z."
        ) from None


def _check_signed_headers(
    request: HttpRequest, signed: tuple[str, ...], *, date_needed: bool
) -> None:
    """Refuse a signature that leaves out what decides the meaning of the request."""
    if list(signed) != sorted(set(signed)) or any(name != name.lower() for name in signed):
        raise IncompleteSignatureException("SignedHeaders must be sorted and in lower case.")
    sent = {name for name, _ in request.headers}
    absent = [name for name in signed if name not in sent]
    if absent:
        raise IncompleteSignatureException("A header that is signed was not sent.")
    needed = ["host"]
    needed += [name for name in ("x-amz-date", "x-amz-target") if name in sent]
    if date_needed and "x-amz-date" not in sent:
        needed.append("date")
    for name in needed:
        if name not in signed:
            raise IncompleteSignatureException(
                f"'{name}' must be a 'SignedHeader' in the AWS Authorization."
            )


def _check_scope(
    claim: _Claim, services: AbstractSet[str], regions: AbstractSet[str] | None
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


def _check_clock(claim: _Claim, now: float, window_s: float) -> None:
    def stamp(seconds: float) -> str:
        return time.strftime(_TIMESTAMP, time.gmtime(seconds))

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


def _signed_queries(claim: _Claim) -> list[Sequence[tuple[str, str]]]:
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


# The client's side ----------------------------------------------------------------------------


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
    timestamp = time.strftime(_TIMESTAMP, time.gmtime(now))
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
