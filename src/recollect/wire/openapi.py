"""The service model as an OpenAPI 3.1 document of the plain dialect."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from recollect import errors
from recollect.errors import AnswerError
from recollect.wire import model, plain
from recollect.wire.model import OperationModel, Shape

# What every request may meet before its operation is reached; the model does not list these.
AT_THE_DOOR: tuple[type[AnswerError], ...] = (
    errors.ValidationException,
    errors.MissingAuthenticationTokenException,
    errors.IncompleteSignatureException,
    errors.InvalidSignatureException,
    errors.UnrecognizedClientException,
    errors.ExpiredTokenException,
    errors.RequestTimeoutException,
    errors.RequestEntityTooLargeException,
)

EXAMPLES: dict[str, Any] = {
    "CollectionId": "staff",
    "UserId": "alice",
    "ExternalImageId": "alice-2026",
    "FaceId": "7f9c24e8-3b12-4fef-91e0-2b5c0f5f0a11",
    "ImageBlob": "/9j/4AAQSkZJRgABAQAAAQABAAD/2Q==",
    "ResourceArn": "arn:aws:rekognition:us-east-1:000000000000:collection/staff",
    "TagKey": "team",
    "TagMap": {"team": "door"},
    "Percent": 90.0,
    "MaxFaces": 5,
    "MaxFacesToIndex": 5,
    "MaxUserResults": 5,
    "PageSize": 100,
    "AccessKeyId": "AKIA0123456789ABCDEF",
    "UserName": "searcher",
    "PolicyDocument": (
        '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", '
        '"Action": "rekognition:SearchFacesByImage", "Resource": "*"}]}'
    ),
    "KeyStatus": "Inactive",
    "KeyPageSize": 100,
    "AuditPageSize": 50,
}
"""A value for each shape that an example shows."""

SHOWN = {"Bytes", "ExternalImageId", "MaxFaces", "MaxResults", "MaxUsers", "Tags"}
SHOWN |= {"FaceMatchThreshold", "SimilarityThreshold", "UserMatchThreshold"}
"""Members that an example shows although they are not required."""

SHOWN_BY_SHAPE = {"SearchUsersRequest": {"UserId"}}
"""Likewise, for one shape: of UserId and FaceId exactly one must be given."""


def document(
    version: str,
    servers: tuple[str, ...] = ("/",),
    summaries: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Any]:
    """Describe `POST /v1/{Operation}` for every operation.

    Args:
        version: version of this server.
        servers: URLs under which the API is found, with the path prefix.
        summaries: what an operation does, by its name; of others the name says it.
    """
    operations = model.plain_operations()
    schemas: dict[str, Any] = {"Error": _error_schema()}
    paths = {
        f"/v1/{name}": {"post": {"summary": summaries.get(name, _words(name))} | _post(op, schemas)}
        for name, op in operations.items()
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "recollect",
            "version": version,
            "summary": "Face collections in Amazon Rekognition's words, as plain JSON",
            "description": (
                "The same operations answer AWS SDKs in AWS's own protocol on POST /. Here they "
                "take and give plain JSON in an envelope. Pictures are base64 in `Bytes`; "
                "timestamps of an operation are epoch seconds."
            ),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": url} for url in servers],
        "security": [{"bearer": []}, {"sigv4": []}],
        "paths": paths,
        "components": {
            "securitySchemes": _security(),
            "schemas": dict(sorted(schemas.items())),
        },
    }


def _security() -> dict[str, Any]:
    return {
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "description": "A bearer key of this server, as `recollect key create` makes it.",
        },
        "sigv4": {
            "type": "apiKey",
            "in": "header",
            "name": "Authorization",
            "description": (
                "AWS Signature Version 4 with service `rekognition`, over at least `host` and "
                "`x-amz-date`: what every AWS SDK and `curl --aws-sigv4` make."
            ),
        },
    }


def _words(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).capitalize()


def _post(operation: OperationModel, schemas: dict[str, Any]) -> dict[str, Any]:
    """One path: what it takes, the envelope it answers, and each error by its status."""
    assert operation.input is not None
    assert operation.output is not None
    return {
        "operationId": operation.name,
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": _reference(operation.input, schemas),
                    "example": example(operation),
                }
            },
        },
        "responses": {"200": _success(operation, schemas)} | _failures(operation),
    }


def _success(operation: OperationModel, schemas: dict[str, Any]) -> dict[str, Any]:
    assert operation.output is not None
    envelope = {
        "type": "object",
        "required": ["success", "data"],
        "properties": {
            "success": {"const": True},
            "data": {
                "allOf": [
                    {
                        "type": "object",
                        "required": ["id", "created_at"],
                        "properties": {
                            "id": {
                                "type": "string",
                                "description": "Id of the resource made here, else of the request",
                            },
                            "created_at": {"type": "string", "format": "date-time"},
                        },
                    },
                    _reference(operation.output, schemas),
                ]
            },
        },
    }
    return {"description": "Done", "content": {"application/json": {"schema": envelope}}}


def _failures(operation: OperationModel) -> dict[str, Any]:
    """The errors an operation may answer, gathered by status, each code an example."""
    declared = [getattr(errors, name) for name in operation.errors]
    by_status: dict[int, dict[str, Any]] = {}
    for kind in [*AT_THE_DOOR, *declared]:
        code = plain.code(kind("…"))
        by_status.setdefault(kind.web_status, {})[code] = {
            "value": {"success": False, "error": {"code": code, "message": "…"}}
        }
    return {
        str(status): {
            "description": ", ".join(examples),
            "content": {
                "application/json": {
                    "schema": {"$ref": "#/components/schemas/Error"},
                    "examples": examples,
                }
            },
        }
        for status, examples in sorted(by_status.items())
    }


def _error_schema() -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["success", "error"],
        "properties": {
            "success": {"const": False},
            "error": {
                "type": "object",
                "required": ["code", "message"],
                "properties": {"code": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    }


def _reference(shape: Shape, schemas: dict[str, Any]) -> dict[str, Any]:
    """Refer to a shape, and describe it under `components` the first time."""
    if shape.name not in schemas:
        schemas[shape.name] = {}  # Shapes may reach themselves.
        schemas[shape.name] = _schema(shape, schemas)
    return {"$ref": f"#/components/schemas/{shape.name}"}


def _schema(shape: Shape, schemas: dict[str, Any]) -> dict[str, Any]:
    match shape.type:
        case "structure":
            schema: dict[str, Any] = {
                "type": "object",
                "properties": {
                    name: _reference(member.shape, schemas)
                    for name, member in shape.members.items()
                },
            }
            if shape.required:
                schema["required"] = list(shape.required)
            return schema
        case "list":
            assert shape.member is not None
            items = _reference(shape.member, schemas)
            return {"type": "array", "items": items} | _bounds(shape, "Items")
        case "map":
            assert shape.key is not None
            assert shape.value is not None
            return {
                "type": "object",
                "propertyNames": _reference(shape.key, schemas),
                "additionalProperties": _reference(shape.value, schemas),
            } | _bounds(shape, "Properties")
        case "string":
            return {"type": "string"} | _bounds(shape, "Length") | _text_rules(shape)
        case "blob":
            return {"type": "string", "contentEncoding": "base64"} | _base64_bounds(shape)
        case "boolean":
            return {"type": "boolean"}
        case "timestamp":
            return {"type": "number", "description": "Epoch seconds"}
        case "integer" | "long":
            return {"type": "integer"} | _bounds(shape, "imum")
        case _:
            return {"type": "number"} | _bounds(shape, "imum")


def _bounds(shape: Shape, noun: str) -> dict[str, Any]:
    """`minLength` and `maxLength`, or whatever JSON Schema calls them for this type."""
    found = {f"min{noun}": shape.min, f"max{noun}": shape.max}
    return {key: bound for key, bound in found.items() if bound is not None}


def _base64_bounds(shape: Shape) -> dict[str, Any]:
    found = {"minLength": shape.min, "maxLength": shape.max}
    return {key: -(-int(n) // 3) * 4 for key, n in found.items() if n is not None}


def _text_rules(shape: Shape) -> dict[str, Any]:
    rules: dict[str, Any] = {}
    if shape.pattern is not None:
        # JSON Schema looks for a match anywhere; the model means the whole text.
        rules["pattern"] = f"^(?:{shape.pattern})$"
    if shape.enum:
        rules["enum"] = list(shape.enum)
    return rules


def example(operation: OperationModel) -> dict[str, Any]:
    """A request that fits its shape, as short as it can be and still be of use."""
    assert operation.input is not None
    made: dict[str, Any] = _example(operation.input)
    return made


def _example(shape: Shape) -> Any:
    if shape.name in EXAMPLES:
        return EXAMPLES[shape.name]
    if shape.type == "list":
        assert shape.member is not None
        return [_example(shape.member)]
    shown = {*shape.required, *SHOWN, *SHOWN_BY_SHAPE.get(shape.name, ())}
    return {name: _example(m.shape) for name, m in shape.members.items() if name in shown}
