"""CreateCollection, DescribeCollection, ListCollections, DeleteCollection."""

import time
from datetime import UTC, datetime

import pytest

from contract.broken import COLLECTION, refusal
from toys import picture

ACCOUNT = "123456789012"


def test_a_collection_is_made_described_and_deleted(rekognition):
    made = rekognition.create_collection(CollectionId="Life.1_of-a")
    described = rekognition.describe_collection(CollectionId="Life.1_of-a")
    deleted = rekognition.delete_collection(CollectionId="Life.1_of-a")

    arn = f"arn:aws:rekognition:eu-west-1:{ACCOUNT}:collection/Life.1_of-a"
    assert (made["StatusCode"], made["CollectionArn"], made["FaceModelVersion"]) == (
        200,
        arn,
        "4.0",
    )
    assert described["CollectionARN"] == arn
    assert (described["FaceCount"], described["UserCount"]) == (0, 0)
    assert described["FaceModelVersion"] == "4.0"
    age = datetime.now(UTC) - described["CreationTimestamp"]
    assert 0 <= age.total_seconds() < 60
    assert deleted["StatusCode"] == 200
    assert refusal(rekognition.describe_collection, CollectionId="Life.1_of-a") == {
        "Code": "ResourceNotFoundException",
        "Message": "Collection:Life.1_of-a not found!",
    }


def test_a_name_is_taken_once_and_is_case_sensitive(rekognition, collection):
    error = refusal(rekognition.create_collection, CollectionId=collection)
    other = collection.swapcase()
    rekognition.create_collection(CollectionId=other)
    rekognition.delete_collection(CollectionId=other)

    assert error == {
        "Code": "ResourceAlreadyExistsException",
        "Message": f"The collection id: {collection} already exists",
    }


def test_deleting_takes_faces_users_and_tags_with_it(rekognition):
    for _ in range(2):
        rekognition.create_collection(CollectionId="again", Tags={"a": "b"})
        rekognition.index_faces(CollectionId="again", Image={"Bytes": picture(7)})
        rekognition.create_user(CollectionId="again", UserId="somebody")
        described = rekognition.describe_collection(CollectionId="again")
        rekognition.delete_collection(CollectionId="again")

        assert (described["FaceCount"], described["UserCount"]) == (1, 1)
    rekognition.create_collection(CollectionId="again")
    arn = rekognition.describe_collection(CollectionId="again")["CollectionARN"]

    assert rekognition.list_faces(CollectionId="again")["Faces"] == []
    assert rekognition.list_users(CollectionId="again")["Users"] == []
    assert rekognition.list_tags_for_resource(ResourceArn=arn)["Tags"] == {}
    rekognition.delete_collection(CollectionId="again")


@pytest.mark.parametrize("operation", ["describe_collection", "delete_collection"])
@pytest.mark.parametrize(("change", "code"), COLLECTION)
def test_what_is_no_collection_is_refused(rekognition, operation, change, code):
    assert refusal(getattr(rekognition, operation), **change)["Code"] == code


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"CollectionId": "no such"}, "ValidationException"),
        ({"Tags": {"aws:mine": "x"}}, "ValidationException"),
        ({"Tags": {"": "x"}}, "ValidationException"),
        ({"Tags": {"k": "v" * 257}}, "ValidationException"),
        ({"Tags": {f"k{n}": "v" for n in range(201)}}, "ValidationException"),
        ({"Tags": {f"k{n}": "v" for n in range(51)}}, "ServiceQuotaExceededException"),
    ],
)
def test_a_collection_that_breaks_a_rule_is_not_made(rekognition, change, code):
    assert (
        refusal(rekognition.create_collection, **{"CollectionId": "ruled"} | change)["Code"] == code
    )
    assert "ruled" not in rekognition.list_collections()["CollectionIds"]


def test_pages_hold_every_collection_once_in_order(serve):
    client = serve().client()
    names = sorted([f"c{n:02}" for n in range(7)] + ["x" * 255, "x" * 254 + "y", "x" * 150])
    for name in names:
        client.create_collection(CollectionId=name)

    pages = client.get_paginator("list_collections").paginate(PaginationConfig={"PageSize": 2})
    answers = list(pages)

    assert [name for page in answers for name in page["CollectionIds"]] == names
    assert all(len(p["CollectionIds"]) == len(p["FaceModelVersions"]) for p in answers)
    assert all(len(p.get("NextToken", "")) <= 255 for p in answers)
    assert len(client.list_collections(MaxResults=0)["CollectionIds"]) == len(names)


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"NextToken": "made-up"}, "InvalidPaginationTokenException"),
        ({"NextToken": "x" * 256}, "ValidationException"),
        ({"MaxResults": -1}, "ValidationException"),
        ({"MaxResults": 4097}, "ValidationException"),
    ],
)
def test_a_page_that_breaks_a_rule_is_refused(rekognition, request_, code):
    assert refusal(rekognition.list_collections, **request_)["Code"] == code


def test_a_page_token_is_of_one_account_and_operation_only(rekognition, collection):
    for person in (1, 2):
        rekognition.index_faces(CollectionId=collection, Image={"Bytes": picture(person)})
    token = rekognition.list_faces(CollectionId=collection, MaxResults=1)["NextToken"]

    error = refusal(rekognition.list_collections, NextToken=token)

    assert error["Code"] == "InvalidPaginationTokenException"


def test_timestamps_are_numbers_of_seconds(server, collection):
    """JS SDK v3 refuses anything else, boto3 would take text too: look at the wire."""
    import json

    from contract.wire import call

    status, body = call(server, "DescribeCollection", {"CollectionId": collection})

    assert status == 200
    assert abs(json.loads(body)["CreationTimestamp"] - time.time()) < 60
