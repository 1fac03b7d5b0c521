"""CreateUser, DeleteUser, ListUsers, AssociateFaces, DisassociateFaces, SearchUsers*."""

import pytest

from contract.broken import COLLECTION, IMAGE, refusal
from contract.test_faces import NOBODY, ids, index
from toys import POOR, picture

STORES = ("sqlite", "postgres")


@pytest.fixture
def ann(rekognition, collection):
    """A user with two faces of person 1."""
    rekognition.create_user(CollectionId=collection, UserId="ann")
    faces = ids(index(rekognition, collection, 1)) + ids(index(rekognition, collection, 1, side=60))
    rekognition.associate_faces(CollectionId=collection, UserId="ann", FaceIds=faces)
    return faces


def statuses(rekognition, collection):
    users = rekognition.list_users(CollectionId=collection)["Users"]
    return {user["UserId"]: user["UserStatus"] for user in users}


def test_a_user_is_created_becomes_active_and_is_deleted(rekognition, collection):
    rekognition.create_user(CollectionId=collection, UserId="a:b_c.d-e")
    (face,) = ids(index(rekognition, collection, 1))
    before = statuses(rekognition, collection)
    answer = rekognition.associate_faces(
        CollectionId=collection, UserId="a:b_c.d-e", FaceIds=[face]
    )
    after = statuses(rekognition, collection)
    rekognition.delete_user(CollectionId=collection, UserId="a:b_c.d-e")

    assert before == {"a:b_c.d-e": "CREATED"}
    assert answer["AssociatedFaces"] == [{"FaceId": face}]
    assert answer["UserStatus"] == "ACTIVE"
    assert after == {"a:b_c.d-e": "ACTIVE"}
    assert statuses(rekognition, collection) == {}
    (left,) = rekognition.list_faces(CollectionId=collection)["Faces"]
    assert "UserId" not in left


def test_a_user_exists_once(rekognition, collection):
    rekognition.create_user(CollectionId=collection, UserId="u")

    error = refusal(rekognition.create_user, CollectionId=collection, UserId="u")

    assert error["Code"] == "ConflictException"
    assert error["Message"] == "The user id: u already exists"


def test_the_same_token_has_one_effect(rekognition, collection):
    call = {"CollectionId": collection, "UserId": "u", "ClientRequestToken": "token-1"}
    rekognition.create_user(**call)
    rekognition.create_user(**call)

    error = refusal(rekognition.create_user, **call | {"UserId": "other"})

    assert error["Code"] == "IdempotentParameterMismatchException"
    assert "token-1" in error["Message"]
    assert statuses(rekognition, collection) == {"u": "CREATED"}


def test_a_repeated_association_has_the_first_answer(rekognition, collection):
    (face,) = ids(index(rekognition, collection, 1))
    rekognition.create_user(CollectionId=collection, UserId="u")
    call = {
        "CollectionId": collection,
        "UserId": "u",
        "FaceIds": [face],
        "ClientRequestToken": "again",
    }

    first, second = rekognition.associate_faces(**call), rekognition.associate_faces(**call)
    without_token = rekognition.associate_faces(CollectionId=collection, UserId="u", FaceIds=[face])

    assert first["AssociatedFaces"] == second["AssociatedFaces"] == [{"FaceId": face}]
    assert without_token["AssociatedFaces"] == []
    assert without_token["UnsuccessfulFaceAssociations"] == []


def test_what_cannot_be_associated_says_why(rekognition, collection, ann):
    (stranger,) = ids(index(rekognition, collection, 2))
    rekognition.create_user(CollectionId=collection, UserId="bob")

    to_ann = rekognition.associate_faces(
        CollectionId=collection, UserId="ann", FaceIds=[stranger, NOBODY]
    )
    to_bob = rekognition.associate_faces(CollectionId=collection, UserId="bob", FaceIds=ann[:1])
    anyway = rekognition.associate_faces(
        CollectionId=collection, UserId="ann", FaceIds=[stranger], UserMatchThreshold=0
    )

    reasons = {f["FaceId"]: f["Reasons"] for f in to_ann["UnsuccessfulFaceAssociations"]}
    assert reasons == {stranger: ["LOW_MATCH_CONFIDENCE"], NOBODY: ["FACE_NOT_FOUND"]}
    low = [f for f in to_ann["UnsuccessfulFaceAssociations"] if f["FaceId"] == stranger]
    assert 0 <= low[0]["Confidence"] < 75
    assert to_bob["UnsuccessfulFaceAssociations"] == [
        {"FaceId": ann[0], "UserId": "ann", "Reasons": ["ASSOCIATED_TO_A_DIFFERENT_USER"]}
    ]
    assert to_bob["UserStatus"] == "CREATED"
    assert anyway["AssociatedFaces"] == [{"FaceId": stranger}]


def test_disassociated_faces_stay_and_the_rest_says_why(rekognition, collection, ann):
    (free,) = ids(index(rekognition, collection, 2))
    rekognition.create_user(CollectionId=collection, UserId="bob")
    rekognition.associate_faces(CollectionId=collection, UserId="bob", FaceIds=[free])

    answer = rekognition.disassociate_faces(
        CollectionId=collection, UserId="ann", FaceIds=[ann[0], free, NOBODY]
    )
    last = rekognition.disassociate_faces(
        CollectionId=collection, UserId="ann", FaceIds=[ann[1], ann[0]]
    )

    assert answer["DisassociatedFaces"] == [{"FaceId": ann[0]}]
    reasons = {f["FaceId"]: f["Reasons"] for f in answer["UnsuccessfulFaceDisassociations"]}
    assert reasons == {free: ["ASSOCIATED_TO_A_DIFFERENT_USER"], NOBODY: ["FACE_NOT_FOUND"]}
    assert (answer["UserStatus"], last["UserStatus"]) == ("ACTIVE", "CREATED")
    assert last["UnsuccessfulFaceDisassociations"] == []
    assert rekognition.describe_collection(CollectionId=collection)["FaceCount"] == 3
    assert rekognition.search_users(CollectionId=collection, FaceId=ann[0])["UserMatches"] == []


def test_users_are_listed_in_pages_that_hold_each_once(rekognition, collection):
    names = {f"user-{n}" for n in range(7)}
    for name in names:
        rekognition.create_user(CollectionId=collection, UserId=name)

    pages = rekognition.get_paginator("list_users").paginate(
        CollectionId=collection, PaginationConfig={"PageSize": 2}
    )
    listed = [user["UserId"] for page in pages for user in page["Users"]]

    assert sorted(listed) == sorted(names)


def test_users_are_found_by_face_by_user_and_by_picture(rekognition, collection, ann):
    (other,) = ids(index(rekognition, collection, 1, side=50))
    rekognition.create_user(CollectionId=collection, UserId="twin")
    rekognition.associate_faces(CollectionId=collection, UserId="twin", FaceIds=[other])
    rekognition.create_user(CollectionId=collection, UserId="empty")

    by_face = rekognition.search_users(CollectionId=collection, FaceId=ann[0])
    by_user = rekognition.search_users(CollectionId=collection, UserId="ann")
    by_empty = rekognition.search_users(CollectionId=collection, UserId="empty")
    by_picture = rekognition.search_users_by_image(
        CollectionId=collection, Image={"Bytes": picture(1, 2)}
    )

    found = {m["User"]["UserId"]: m["User"]["UserStatus"] for m in by_face["UserMatches"]}
    assert found == {"ann": "ACTIVE", "twin": "ACTIVE"}
    assert by_face["SearchedFace"] == {"FaceId": ann[0]}
    assert "SearchedUser" not in by_face
    assert [m["User"]["UserId"] for m in by_user["UserMatches"]] == ["twin"]
    assert by_user["SearchedUser"] == {"UserId": "ann"}
    assert by_empty["UserMatches"] == []
    assert {m["User"]["UserId"] for m in by_picture["UserMatches"]} == {"ann", "twin"}
    assert by_picture["SearchedFace"]["FaceDetail"]["BoundingBox"]["Width"] > 0
    assert [u["Reasons"] for u in by_picture["UnsearchedFaces"]] == [["FACE_NOT_LARGEST"]]


def test_a_picture_without_a_valid_face_finds_no_user(rekognition, collection, ann):
    nobody = rekognition.search_users_by_image(CollectionId=collection, Image={"Bytes": picture()})
    poor = rekognition.search_users_by_image(
        CollectionId=collection, Image={"Bytes": picture(1, quality=POOR)}, QualityFilter="HIGH"
    )

    assert nobody["UserMatches"] == []
    assert "SearchedFace" not in nobody
    assert poor["UserMatches"] == []
    assert [u["Reasons"] for u in poor["UnsearchedFaces"]] == [["LOW_SHARPNESS"]]


def test_a_full_user_takes_no_face_more(rekognition, collection):
    faces = [i for n in range(101) for i in ids(index(rekognition, collection, 1, side=20 + n))]
    rekognition.create_user(CollectionId=collection, UserId="u")
    rekognition.associate_faces(CollectionId=collection, UserId="u", FaceIds=faces[:100])

    error = refusal(
        rekognition.associate_faces, CollectionId=collection, UserId="u", FaceIds=faces[100:]
    )

    assert error["Code"] == "ServiceQuotaExceededException"


@pytest.mark.parametrize(
    ("operation", "good"),
    [
        ("create_user", {"UserId": "u"}),
        ("delete_user", {"UserId": "u"}),
        ("list_users", {}),
        ("associate_faces", {"UserId": "u", "FaceIds": [NOBODY]}),
        ("disassociate_faces", {"UserId": "u", "FaceIds": [NOBODY]}),
        ("search_users", {"UserId": "u"}),
        ("search_users_by_image", {"Image": {"Bytes": picture(1)}}),
    ],
)
@pytest.mark.parametrize(("change", "code"), COLLECTION)
def test_what_is_no_collection_is_refused(rekognition, operation, good, change, code):
    assert refusal(getattr(rekognition, operation), **good | change)["Code"] == code


@pytest.mark.parametrize(
    ("operation", "request_", "code"),
    [
        ("create_user", {"UserId": "no such"}, "ValidationException"),
        ("create_user", {"UserId": "u" * 129}, "ValidationException"),
        ("create_user", {"UserId": "u", "ClientRequestToken": "ü"}, "ValidationException"),
        ("delete_user", {"UserId": "nobody"}, "ResourceNotFoundException"),
        ("list_users", {"MaxResults": 501}, "ValidationException"),
        ("list_users", {"NextToken": "made-up"}, "InvalidPaginationTokenException"),
        (
            "associate_faces",
            {"UserId": "nobody", "FaceIds": [NOBODY]},
            "ResourceNotFoundException",
        ),
        ("associate_faces", {"UserId": "u", "FaceIds": [NOBODY] * 101}, "ValidationException"),
        (
            "associate_faces",
            {"UserId": "u", "FaceIds": [NOBODY], "UserMatchThreshold": 101},
            "ValidationException",
        ),
        (
            "disassociate_faces",
            {"UserId": "nobody", "FaceIds": [NOBODY]},
            "ResourceNotFoundException",
        ),
        ("search_users", {}, "InvalidParameterException"),
        ("search_users", {"UserId": "u", "FaceId": NOBODY}, "InvalidParameterException"),
        ("search_users", {"UserId": "nobody"}, "ResourceNotFoundException"),
        ("search_users", {"FaceId": NOBODY}, "InvalidParameterException"),
        ("search_users", {"UserId": "u", "MaxUsers": 501}, "ValidationException"),
        *(("search_users_by_image", *broken) for broken in IMAGE),
    ],
)
def test_a_broken_rule_is_named_by_its_error(rekognition, collection, operation, request_, code):
    request = {"CollectionId": collection} | request_

    assert refusal(getattr(rekognition, operation), **request)["Code"] == code
