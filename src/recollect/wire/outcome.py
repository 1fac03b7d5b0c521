"""What became of one call, for the audit log, the metrics and the log line."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recollect.errors import AnswerError
    from recollect.wire.caller import Caller
    from recollect.wire.dialect import Dialect
    from recollect.wire.model import Shape


@dataclass(frozen=True, slots=True)
class Outcome:
    """One call and its answer; it holds no picture and no secret."""

    request_id: str
    operation: str | None
    """None where no operation of the name exists, or none was named."""
    caller: Caller | None
    """None where nobody was recognised."""
    params: dict[str, Any] | None
    """What was asked, with `{"sha256", "bytes"}` in place of each blob; None where it broke a rule
    of its shape, so its size is bounded."""
    result: dict[str, Any] | None
    error: AnswerError | None
    dialect: Dialect
    source_ip: str
    user_agent: str
    started: float
    """Epoch seconds: the header had arrived."""
    ended: float
    """Epoch seconds: the answer was ready."""


def without_blobs(value: Any, shape: Shape) -> Any:
    """Copy parameters with the digest and the length of each blob in its place."""
    if isinstance(value, bytes):
        return {"sha256": hashlib.sha256(value).hexdigest(), "bytes": len(value)}
    if shape.type == "structure" and isinstance(value, dict):
        return {name: without_blobs(v, shape.members[name].shape) for name, v in value.items()}
    if shape.member is not None and isinstance(value, list):
        return [without_blobs(item, shape.member) for item in value]
    if shape.value is not None and isinstance(value, dict):
        return {key: without_blobs(item, shape.value) for key, item in value.items()}
    return value
