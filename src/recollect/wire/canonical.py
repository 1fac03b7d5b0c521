"""What both sides of a signature make alike: the canonical form of a request, its key, its proof.

The server and the command line share it, so that what one accepts and the other sends cannot
differ.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import hashlib
import hmac
import re
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ALGORITHM = "AWS4-HMAC-SHA256"
TERMINATOR = "aws4_request"
TIMESTAMP = "%Y%m%dT%H%M%SZ"

_FOLD = re.compile(r"\r?\n[ \t]+")
_SPACES = re.compile(r" {2,}")


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
            values[name].append(_trimmed(value))
    lines = [
        method,
        _canonical_path(path, normalize),
        "&".join(f"{name}={value}" for name, value in sorted(query)),
        *(f"{name}:{','.join(values[name])}" for name in signed),
        "",
        ";".join(signed),
        payload_sha256,
    ]
    return "\n".join(lines)


def _trimmed(value: str) -> str:
    """A header's value without spaces around it, and with one in the place of several."""
    if "\n" in value or "  " in value:  # Hardly ever.
        value = _SPACES.sub(" ", _FOLD.sub(" ", value))
    return value.strip(" ")


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


@lru_cache(maxsize=64)
def _canonical_path(path: str, normalize: bool) -> str:
    return quote(_remove_dot_segments(path) if normalize else path, "/-_.~", "latin-1")


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
