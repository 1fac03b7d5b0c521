"""The plain dialect: envelopes, codes and ids."""

import json

import pytest

from recollect import errors
from recollect.wire import model, plain

OPERATIONS = model.every_operation()


def test_a_success_carries_id_time_and_the_operations_own_members():
    body = plain.encode(
        OPERATIONS["DescribeCollection"],
        {"CollectionId": "c"},
        {"FaceCount": 2, "CreationTimestamp": 1569444828.274},
        "request-1",
        1795564728.5,
    )

    assert json.loads(body) == {
        "success": True,
        "data": {
            "id": "request-1",
            "created_at": "2026-11-24T23:58:48.500Z",
            "FaceCount": 2,
            "CreationTimestamp": 1569444828.274,
        },
    }


@pytest.mark.parametrize(
    ("name", "params", "made"),
    [
        ("CreateCollection", {"CollectionId": "c"}, "c"),
        ("CreateUser", {"CollectionId": "c", "UserId": "u"}, "u"),
        ("DeleteUser", {"CollectionId": "c", "UserId": "u"}, None),
        ("IndexFaces", {"CollectionId": "c"}, None),
        ("CreateAccessKey", {"UserName": "ann", "AccessKeyId": "AKIA"}, "AKIA"),
        ("DeleteAccessKey", {"AccessKeyId": "AKIA"}, None),
    ],
)
def test_the_id_is_that_of_the_resource_made(name, params, made):
    assert plain.made_id(OPERATIONS[name], params) == made


CODES = {
    "ValidationException": ("VALIDATION_ERROR", 400),
    "SerializationException": ("VALIDATION_ERROR", 400),
    "InvalidParameterException": ("INVALID_PARAMETER", 400),
    "InvalidImageFormatException": ("INVALID_IMAGE_FORMAT", 400),
    "InvalidS3ObjectException": ("INVALID_S3_OBJECT", 400),
    "InvalidPaginationTokenException": ("INVALID_PAGINATION_TOKEN", 400),
    "MissingAuthenticationTokenException": ("MISSING_AUTHENTICATION_TOKEN", 401),
    "InvalidSignatureException": ("INVALID_SIGNATURE", 401),
    "UnrecognizedClientException": ("UNRECOGNIZED_CLIENT", 401),
    "AccessDeniedException": ("ACCESS_DENIED", 403),
    "ResourceNotFoundException": ("RESOURCE_NOT_FOUND", 404),
    "UnknownOperationException": ("UNKNOWN_OPERATION", 404),
    "MethodNotAllowedException": ("METHOD_NOT_ALLOWED", 405),
    "RequestTimeoutException": ("REQUEST_TIMEOUT", 408),
    "ResourceAlreadyExistsException": ("RESOURCE_ALREADY_EXISTS", 409),
    "ConflictException": ("CONFLICT", 409),
    "ImageTooLargeException": ("IMAGE_TOO_LARGE", 413),
    "RequestEntityTooLargeException": ("REQUEST_ENTITY_TOO_LARGE", 413),
    "ThrottlingException": ("THROTTLING", 429),
    "ProvisionedThroughputExceededException": ("PROVISIONED_THROUGHPUT_EXCEEDED", 429),
    "InternalServerError": ("INTERNAL_SERVER_ERROR", 500),
}


@pytest.mark.parametrize("name", CODES)
def test_codes_are_awss_in_capitals_and_statuses_those_of_the_web(name):
    error = getattr(errors, name)("why")

    assert (plain.code(error), plain.status(error)) == CODES[name]
    assert json.loads(plain.encode_error(error)) == {
        "success": False,
        "error": {"code": CODES[name][0], "message": "why"},
    }


def test_the_message_says_where_a_type_is_wrong_and_is_never_empty():
    error = errors.SerializationException("Expected null")
    error.add_note("Image.S3Object")

    assert json.loads(plain.encode_error(error))["error"]["message"] == (
        "Expected null (at Image.S3Object)"
    )
    for silent in (errors.SerializationException(), errors.UnknownOperationException()):
        assert json.loads(plain.encode_error(silent))["error"]["message"]
