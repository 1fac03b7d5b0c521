"""IndexFaces, ListFaces, DeleteFaces, SearchFaces."""

import numpy as np
import pytest

from contract.broken import COLLECTION, IMAGE, refusal
from toys import POOR, picture

STORES = ("sqlite", "postgres")
NOBODY = "00000000-0000-4000-8000-000000000000"


def index(rekognition, collection, *people, **more):
    options = {key: more.pop(key) for key in list(more) if key in ("side", "quality")}
    return rekognition.index_faces(
        CollectionId=collection, Image={"Bytes": picture(*people, **options)}, **more
    )


def ids(answer):
    return [record["Face"]["FaceId"] for record in answer["FaceRecords"]]


def test_every_face_is_enrolled_largest_first(rekognition, collection):
    answer = index(rekognition, collection, 1, 2, 3, ExternalImageId="group:1")

    widths = [record["Face"]["BoundingBox"]["Width"] for record in answer["FaceRecords"]]
    faces = [record["Face"] for record in answer["FaceRecords"]]
    assert widths == sorted(widths, reverse=True)
    assert len({face["FaceId"] for face in faces}) == 3
    assert len({face["ImageId"] for face in faces}) == 1
    assert {face["ExternalImageId"] for face in faces} == {"group:1"}
    assert {face["IndexFacesModelVersion"] for face in faces} == {"4.0"}
    assert answer["UnindexedFaces"] == []
    assert "OrientationCorrection" not in answer
    detail = answer["FaceRecords"][0]["FaceDetail"]
    assert set(detail) == {"BoundingBox", "Confidence", "Landmarks", "Pose", "Quality"}
    assert [point["Type"] for point in detail["Landmarks"]] == [
        "eyeLeft",
        "eyeRight",
        "mouthLeft",
        "mouthRight",
        "nose",
    ]


def test_listings_round_what_indexing_answered_exactly(rekognition, collection):
    answer = index(rekognition, collection, 5, side=37)
    (listed,) = rekognition.list_faces(CollectionId=collection)["Faces"]

    exact = answer["FaceRecords"][0]["Face"]["BoundingBox"]["Height"]
    assert exact == float(np.float32(37 / 300))
    assert listed["BoundingBox"]["Height"] == float(np.float32(0.123333))
    assert "UserId" not in listed


def test_the_same_picture_under_the_same_name_is_enrolled_once(rekognition, collection):
    first = index(rekognition, collection, 1, 2, ExternalImageId="a")
    again = index(rekognition, collection, 1, 2, ExternalImageId="a")
    other = index(rekognition, collection, 1, 2, ExternalImageId="b")

    assert ids(again) == ids(first)
    assert not set(ids(other)) & set(ids(first))
    assert rekognition.describe_collection(CollectionId=collection)["FaceCount"] == 4


def test_faces_beyond_max_faces_are_the_smallest_and_say_so(rekognition, collection):
    answer = index(rekognition, collection, 1, 2, 3, MaxFaces=1)

    assert len(answer["FaceRecords"]) == 1
    assert [face["Reasons"] for face in answer["UnindexedFaces"]] == [["EXCEEDS_MAX_FACES"]] * 2
    kept = answer["FaceRecords"][0]["FaceDetail"]["BoundingBox"]["Width"]
    assert all(f["FaceDetail"]["BoundingBox"]["Width"] < kept for f in answer["UnindexedFaces"])
    assert index(rekognition, collection, 4, MaxFaces=1000)["FaceRecords"]


def test_the_filter_is_auto_by_default_and_names_its_reasons(rekognition, collection):
    filtered = index(rekognition, collection, 1, quality=POOR)
    unfiltered = index(rekognition, collection, 1, quality=POOR, QualityFilter="NONE")

    assert filtered["FaceRecords"] == []
    assert [face["Reasons"] for face in filtered["UnindexedFaces"]] == [["LOW_SHARPNESS"]]
    assert len(unfiltered["FaceRecords"]) == 1


def test_no_face_is_a_success_with_nothing_in_it(rekognition, collection):
    answer = index(rekognition, collection)

    assert (answer["FaceRecords"], answer["UnindexedFaces"]) == ([], [])


@pytest.mark.parametrize(
    ("change", "code"),
    [
        *COLLECTION,
        *IMAGE,
        ({"ExternalImageId": "no such"}, "ValidationException"),
        ({"ExternalImageId": ""}, "ValidationException"),
        ({"MaxFaces": 0}, "ValidationException"),
        ({"QualityFilter": "SOME"}, "ValidationException"),
        ({"DetectionAttributes": ["NOSE"]}, "ValidationException"),
    ],
)
def test_index_faces_names_the_rule_that_is_broken(rekognition, collection, change, code):
    good = {"CollectionId": collection, "Image": {"Bytes": picture(1)}}

    assert refusal(rekognition.index_faces, **good | change)["Code"] == code
    assert rekognition.list_faces(CollectionId=collection)["Faces"] == []


def test_a_full_collection_takes_no_face_more(serve):
    client = serve(faces_per_collection_max=2).client()
    client.create_collection(CollectionId="small")
    index(client, "small", 1, 2)

    error = refusal(client.index_faces, CollectionId="small", Image={"Bytes": picture(3)})

    assert error["Code"] == "ServiceQuotaExceededException"
    assert client.describe_collection(CollectionId="small")["FaceCount"] == 2


def test_faces_are_listed_by_id_in_pages_that_hold_each_once(rekognition, collection):
    made = sorted(i for person in range(1, 8) for i in ids(index(rekognition, collection, person)))

    pages = rekognition.get_paginator("list_faces").paginate(
        CollectionId=collection, PaginationConfig={"PageSize": 3}
    )
    listed = [face["FaceId"] for page in pages for face in page["Faces"]]

    assert listed == made
    assert len(rekognition.list_faces(CollectionId=collection, MaxResults=0)["Faces"]) == 7


def test_pages_survive_what_comes_and_goes_between_them(rekognition, collection):
    stay = {i for person in range(1, 11) for i in ids(index(rekognition, collection, person))}
    goes = ids(index(rekognition, collection, 11, 12, 13))

    first = rekognition.list_faces(CollectionId=collection, MaxResults=4)
    last = first["Faces"][-1]["FaceId"]
    rekognition.delete_faces(CollectionId=collection, FaceIds=goes)
    for person in range(14, 20):
        index(rekognition, collection, person)
    listed = [face["FaceId"] for face in first["Faces"]]
    token = first["NextToken"]
    while token:
        page = rekognition.list_faces(CollectionId=collection, MaxResults=4, NextToken=token)
        listed += [face["FaceId"] for face in page["Faces"]]
        token = page.get("NextToken")

    assert last in listed
    assert len(listed) == len(set(listed))
    assert stay <= set(listed)


def test_faces_are_listed_by_user_and_by_id(rekognition, collection):
    one, two, three = (ids(index(rekognition, collection, p))[0] for p in (1, 2, 3))
    rekognition.create_user(CollectionId=collection, UserId="u")
    rekognition.associate_faces(CollectionId=collection, UserId="u", FaceIds=[one])

    of_user = rekognition.list_faces(CollectionId=collection, UserId="u")["Faces"]
    named = rekognition.list_faces(CollectionId=collection, FaceIds=[three, two, NOBODY, two])

    assert [(face["FaceId"], face["UserId"]) for face in of_user] == [(one, "u")]
    assert [face["FaceId"] for face in named["Faces"]] == sorted([two, three])
    error = refusal(rekognition.list_faces, CollectionId=collection, UserId="nobody")
    assert error["Code"] == "ResourceNotFoundException"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        *COLLECTION,
        ({"NextToken": "made-up"}, "InvalidPaginationTokenException"),
        ({"MaxResults": 4097}, "ValidationException"),
        ({"FaceIds": ["not-a-face"]}, "ValidationException"),
        ({"FaceIds": []}, "ValidationException"),
        ({"UserId": "no such"}, "ValidationException"),
    ],
)
def test_list_faces_names_the_rule_that_is_broken(rekognition, collection, change, code):
    assert refusal(rekognition.list_faces, **{"CollectionId": collection} | change)["Code"] == code


def test_deleted_faces_are_gone_and_unknown_ones_are_named(rekognition, collection):
    one, two = (ids(index(rekognition, collection, p))[0] for p in (1, 2))

    answer = rekognition.delete_faces(CollectionId=collection, FaceIds=[one, NOBODY, one])
    found = rekognition.search_faces_by_image(
        CollectionId=collection, Image={"Bytes": picture(1)}, FaceMatchThreshold=0
    )

    assert answer["DeletedFaces"] == [one]
    assert answer["UnsuccessfulFaceDeletions"] == [
        {"FaceId": NOBODY, "Reasons": ["FACE_NOT_FOUND"]}
    ]
    assert [match["Face"]["FaceId"] for match in found["FaceMatches"]] == [two]
    assert rekognition.describe_collection(CollectionId=collection)["FaceCount"] == 1


def test_a_face_of_a_user_is_not_deleted(rekognition, collection):
    (face,) = ids(index(rekognition, collection, 1))
    rekognition.create_user(CollectionId=collection, UserId="u")
    rekognition.associate_faces(CollectionId=collection, UserId="u", FaceIds=[face])

    answer = rekognition.delete_faces(CollectionId=collection, FaceIds=[face])

    assert answer["DeletedFaces"] == []
    assert answer["UnsuccessfulFaceDeletions"] == [
        {"FaceId": face, "UserId": "u", "Reasons": ["ASSOCIATED_TO_AN_EXISTING_USER"]}
    ]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        *COLLECTION,
        ({"FaceIds": ["A" * 36]}, "ValidationException"),
        ({"FaceIds": []}, "ValidationException"),
        ({"FaceIds": [NOBODY] * 4097}, "ValidationException"),
    ],
)
def test_delete_faces_names_the_rule_that_is_broken(rekognition, collection, change, code):
    good = {"CollectionId": collection, "FaceIds": [NOBODY]}

    assert refusal(rekognition.delete_faces, **good | change)["Code"] == code


def test_search_faces_leaves_the_searched_face_out(rekognition, collection):
    (one,) = ids(index(rekognition, collection, 1))
    (twin,) = ids(index(rekognition, collection, 1, side=60))
    index(rekognition, collection, 2)

    answer = rekognition.search_faces(CollectionId=collection, FaceId=one)

    assert answer["SearchedFaceId"] == one
    assert [match["Face"]["FaceId"] for match in answer["FaceMatches"]] == [twin]
    assert answer["FaceModelVersion"] == "4.0"


def test_an_unknown_face_to_search_for_is_an_invalid_parameter(rekognition, collection):
    assert refusal(rekognition.search_faces, CollectionId=collection, FaceId=NOBODY) == {
        "Code": "InvalidParameterException",
        "Message": "faceId was not found in the collection.",
    }


@pytest.mark.parametrize(
    ("change", "code"),
    [
        *COLLECTION,
        ({"FaceId": "X"}, "ValidationException"),
        ({"MaxFaces": 4097}, "ValidationException"),
        ({"FaceMatchThreshold": 101}, "ValidationException"),
    ],
)
def test_search_faces_names_the_rule_that_is_broken(rekognition, collection, change, code):
    good = {"CollectionId": collection, "FaceId": NOBODY}

    assert refusal(rekognition.search_faces, **good | change)["Code"] == code
