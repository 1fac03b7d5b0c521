"""What every operation refuses in the same way."""

import pytest
from botocore.exceptions import ClientError

COLLECTION = [
    ({"CollectionId": "no such"}, "ValidationException"),
    ({"CollectionId": ""}, "ValidationException"),
    ({"CollectionId": "a" * 256}, "ValidationException"),
    ({"CollectionId": None}, "ValidationException"),
    ({"CollectionId": "never-made"}, "ResourceNotFoundException"),
]
"""Changes of a good request to an operation on a collection, and the error each must meet."""

IMAGE = [
    ({"Image": {}}, "InvalidParameterException"),
    ({"Image": {"S3Object": {"Name": "x"}}}, "InvalidParameterException"),
    ({"Image": {"S3Object": {"Bucket": "photos"}}}, "InvalidParameterException"),
    ({"Image": {"Bytes": b"x", "S3Object": {}}}, "InvalidParameterException"),
    ({"Image": {"Bytes": b""}}, "ValidationException"),
    ({"Image": {"Bytes": b"GIF89a" * 100}}, "InvalidImageFormatException"),
    ({"Image": {"Bytes": b"x" * 5_242_881}}, "ValidationException"),
    ({"Image": {"S3Object": {"Bucket": "ab", "Name": "x"}}}, "ValidationException"),
    ({"Image": {"S3Object": {"Bucket": "unknown", "Name": "x"}}}, "InvalidS3ObjectException"),
]


def refusal(operation, **request):
    """The error that an operation answers; a success is a failure of the test."""
    with pytest.raises(ClientError) as caught:
        operation(**request)
    response = caught.value.response
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert response["ResponseMetadata"]["RequestId"]
    return response["Error"]
