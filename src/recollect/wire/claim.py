"""What a request says of its own signature, in its headers or in its query, not yet believed."""

from __future__ import annotations

import calendar
import re
import time
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import unquote

from recollect.errors import (
    IncompleteSignatureException,
    InvalidSignatureException,
    MissingAuthenticationTokenException,
)
from recollect.wire.canonical import ALGORITHM, TERMINATOR, TIMESTAMP, canonical_query

if TYPE_CHECKING:
    from collections.abc import Sequence

    from recollect.wire.caller import HttpRequest

EXPIRES_S_MAX = 604_800
"""Longest life of a presigned query, seven days as on AWS."""

AUTHORIZATION_CHARS_MAX = 4096
"""Longest Authorization header that is read; SDKs send about 300 characters."""

_TIMESTAMP_FORM = re.compile(r"[0-9]{8}T[0-9]{6}Z")
# RFC 7231 writes GMT; Python's email package, and so botocore, writes -0000 for the same.
_HTTP_DATE_FORM = re.compile(
    r"[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} (GMT|-0000)"
)
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


@dataclass(frozen=True, slots=True)
class Claim:
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


def _is_presigned(request: HttpRequest) -> bool:
    return any(name == "X-Amz-Algorithm" for name, _ in canonical_query(request.query))


def claim_of(request: HttpRequest) -> Claim:
    """Read what a request says of its signature.

    Raises:
        MissingAuthenticationTokenException: it is not signed at all.
        IncompleteSignatureException: the signature cannot be read or leaves out what it must sign.
        InvalidSignatureException: its credential scope contradicts itself.
    """
    names = [name for name, _ in request.headers]
    if len(set(names)) < len(names):
        for name in _SINGLE:
            if names.count(name) > 1:
                raise IncompleteSignatureException(f"There is more than one '{name}' header.")
    authorization, presigned = request.header("authorization"), _is_presigned(request)
    if authorization is not None and presigned:
        raise IncompleteSignatureException("The request is signed in its headers and its query.")
    if presigned:
        claim = _of_query(request)
    elif authorization is not None:
        claim = _of_header(request, authorization)
    else:
        raise MissingAuthenticationTokenException
    _check_signed_headers(request, claim.signed, date_needed=not presigned)
    return claim


def _of_header(request: HttpRequest, authorization: str) -> Claim:
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
    return _read(
        parameters["Credential"],
        parameters["SignedHeaders"],
        parameters["Signature"],
        timestamp=timestamp,
        signed_at=signed_at,
        life_s=None,
        token=request.header("x-amz-security-token"),
        query=canonical_query(request.query),
    )


def _of_query(request: HttpRequest) -> Claim:
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
    signed_at = read_timestamp(sent["X-Amz-Date"])
    return _read(
        sent["X-Amz-Credential"],
        sent["X-Amz-SignedHeaders"],
        sent["X-Amz-Signature"],
        timestamp=sent["X-Amz-Date"],
        signed_at=signed_at,
        life_s=float(expires),
        token=sent.get("X-Amz-Security-Token") or request.header("x-amz-security-token"),
        query=[pair for pair in pairs if pair[0] != "X-Amz-Signature"],
    )


def _read(
    credential: str,
    signed_headers: str,
    signature: str,
    *,
    timestamp: str,
    signed_at: float,
    life_s: float | None,
    token: str | None,
    query: Sequence[tuple[str, str]],
) -> Claim:
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
    return Claim(
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
        return value, read_timestamp(value)
    value = request.header("date")
    if value is None:
        raise IncompleteSignatureException(
            "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header."
        )
    if _TIMESTAMP_FORM.fullmatch(value):
        return value, read_timestamp(value)
    try:
        if not _HTTP_DATE_FORM.fullmatch(value):
            raise ValueError(value)
        seconds = calendar.timegm(parsedate_to_datetime(value).timetuple())
    except ValueError:
        raise IncompleteSignatureException("The 'Date' header is not a date.") from None
    return time.strftime(TIMESTAMP, time.gmtime(seconds)), float(seconds)


def read_timestamp(text: str) -> float:
    """Epoch seconds of `20150830T123600Z`; IncompleteSignatureException where it is none."""
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
