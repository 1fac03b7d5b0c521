"""What the wire knows of a request and of the one who sent it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One HTTP request, whole, as it was received."""

    method: str
    path: str
    """Raw path as sent, still percent-encoded, without the query."""
    query: str
    """Raw query string as sent, without the question mark."""
    headers: tuple[tuple[str, str], ...]
    """Names in lower case, values as sent, in the order received. Bytes here, in the path and in
    the query are read as latin-1, so that a signature over them can be checked."""
    body: bytes
    source_ip: str
    secure: bool
    """Whether it came over TLS."""
    body_sha256: Callable[[], str] | None = None
    """Of the body, in hex, where another thread computes it; waits until it has."""

    def header(self, name: str) -> str | None:
        """The first value of a header, or None."""
        for key, value in self.headers:
            if key == name:
                return value
        return None


@dataclass(frozen=True, slots=True)
class Credential:
    """A key as verification needs it."""

    key_id: str
    secret: str
    account: str
    """Twelve digits."""
    name: str
    """User name, the last part of the caller's ARN."""
    policies: tuple[str, ...]
    """IAM policy documents (JSON text); none means nothing is allowed."""
    bearer: bool = False
    session_token: str | None = None
    expires_at: float | None = None
    active: bool = True


NOBODY = Credential("", "no credential has this secret", "", "", (), active=False)
"""An unknown key is verified against this, so that it costs what a known key costs."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody whose signature was verified."""

    account: str
    name: str
    region: str
    """From the credential scope of the signature; the server's default for bearer keys."""
    key_id: str
    policies: tuple[str, ...]
    source_ip: str
    secure: bool
    user_agent: str | None = None

    @property
    def arn(self) -> str:
        """The caller's ARN; the root user of the account is called root."""
        if self.name == "root":
            return f"arn:aws:iam::{self.account}:root"
        return f"arn:aws:iam::{self.account}:user/{self.name}"
