"""The two dialects: which one a request speaks, and how an answer is written in it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from recollect.errors import AnswerError
from recollect.wire import codec, plain


class Dialect(StrEnum):
    """How bodies are written."""

    AWS = "aws"
    PLAIN = "plain"
    NEITHER = "neither"
    """The content type is not ours: AWS answers with an empty XML element, and so do we."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP response, before the headers that every response has."""

    status: int
    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


def spoken(content_type: str | None, accept: str | None, *, by_path: bool = False) -> Dialect:
    """Tell the dialect of a request.

    Args:
        content_type: the header of that name.
        accept: likewise.
        by_path: whether the path names the operation, `/v1/{Operation}`.
    """
    sent, wanted = _media_types(content_type), _media_types(accept)
    if codec.CONTENT_TYPE in sent or codec.CONTENT_TYPE in wanted:
        return Dialect.AWS
    if by_path or plain.CONTENT_TYPE in sent:
        return Dialect.PLAIN
    return Dialect.NEITHER


def _media_types(header: str | None) -> list[str]:
    return [part.partition(";")[0].strip().lower() for part in (header or "").split(",")]


BESIDE: dict[int, tuple[tuple[str, str], ...]] = {
    401: (("www-authenticate", "Bearer"),),
    405: (("allow", "POST"),),
    429: (("retry-after", "1"),),
}
"""Headers that HTTP wants beside a status."""


def failure(dialect: Dialect, error: AnswerError, request_id: str) -> Answer:
    """Write an error."""
    if dialect is Dialect.AWS:
        status, kind, body = error.status, codec.CONTENT_TYPE, codec.encode_error(error, request_id)
    elif dialect is Dialect.PLAIN:
        status, kind, body = error.web_status, plain.CONTENT_TYPE, plain.encode_error(error)
    else:
        status, kind, body = error.web_status, "application/xml", f"<{error.code}/>".encode()
    return Answer(status, kind, body, BESIDE.get(status, ()))
