"""The plain dialect: the same calls for people without an SDK, in a `success` envelope."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import msgspec

from recollect.errors import (
    AnswerError,
    SerializationException,
    UnknownOperationException,
    ValidationException,
)
from recollect.wire import codec, timestamp
from recollect.wire.model import OperationModel

CONTENT_TYPE = "application/json"

# The AWS dialect sends these two without a word.
UNSAID: dict[type[AnswerError], str] = {
    SerializationException: "The body is not a JSON object",
    UnknownOperationException: "No operation of that name is served here",
}


def encode(
    operation: OperationModel,
    params: dict[str, Any],
    result: dict[str, Any],
    request_id: str,
    now_s: float,
) -> bytes:
    """Serialise a response: `{"success": true, "data": {"id", "created_at", …}}`.

    Beside `id` and `created_at` stand the operation's own members, exactly as in the AWS dialect.

    Args:
        operation: what was called.
        params: what it was called with.
        result: what it answered.
        request_id: the call's id.
        now_s: time of the answer in epoch seconds; becomes `created_at`, ISO 8601 UTC.
    """
    plainly = codec.plainly(result, operation.output) if operation.output else {}
    data = {
        "id": made_id(operation, params | result) or request_id,
        "created_at": timestamp.iso(datetime.fromtimestamp(round(now_s, 3), UTC)),
    }
    return msgspec.json.encode({"success": True, "data": data | plainly})


def made_id(operation: OperationModel, said: dict[str, Any]) -> str | None:
    """The id of the one resource that a call makes, from what was asked and answered, or None.

    CreateCollection makes the collection named by CollectionId, CreateUser the user named by
    UserId. IndexFaces may make many faces or none; their ids stand in FaceRecords.
    """
    thing = operation.name.removeprefix("Create")
    return said.get(f"{thing}Id") if thing != operation.name else None


def encode_error(error: AnswerError) -> bytes:
    """Serialise an error: `{"success": false, "error": {"code", "message"}}`."""
    message = str(error) or UNSAID.get(type(error), "")
    for place in getattr(error, "__notes__", ()):
        message += f" (at {place})"
    return msgspec.json.encode(
        {"success": False, "error": {"code": code(error), "message": message}}
    )


def status(error: AnswerError) -> int:
    """HTTP status of an error, as usual on the web."""
    return error.web_status


def code(error: AnswerError) -> str:
    """VALIDATION_ERROR where the request itself is wrong, else AWS's code in capitals.

    ResourceNotFoundException becomes RESOURCE_NOT_FOUND, InvalidS3ObjectException
    INVALID_S3_OBJECT, InternalServerError INTERNAL_SERVER_ERROR.
    """
    if isinstance(error, (ValidationException, SerializationException)):
        return "VALIDATION_ERROR"
    return code_of(error.code)


def code_of(name: str) -> str:
    """An AWS code in capitals with underscores, without the word Exception."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.removesuffix("Exception")).upper()
