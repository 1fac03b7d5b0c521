"""AllFaces of the plain dialect: every face of a picture searched in one call."""

import base64
import json

import pytest

from contract.wire import call, plain
from recollect.wire import bearer
from toys import GOOD, POOR, picture


@pytest.fixture(scope="module")
def crew(rekognition):
    rekognition.create_collection(CollectionId="crew")
    for person in (1, 2, 3):
        rekognition.index_faces(
            CollectionId="crew",
            Image={"Bytes": picture(person)},
            ExternalImageId=f"person:{person}",
        )
    yield "crew"
    rekognition.delete_collection(CollectionId="crew")


@pytest.fixture(scope="module")
def token(server):
    key = server.key(
        {"Effect": "Allow", "Action": "rekognition:*", "Resource": "*"}, name="all", bearer_key=True
    )
    return bearer.token(key.key_id, key.secret)


def search(server, token, shown, **more):
    params = {
        "CollectionId": "crew",
        "Image": {"Bytes": base64.b64encode(shown).decode()},
        **more,
    }
    return plain(server, "SearchFacesByImage", params, token)


def names(searched):
    return [match["Face"]["ExternalImageId"] for match in searched["FaceMatches"]]


def test_each_face_has_its_own_matches_the_largest_first(server, crew, token):
    status, envelope = search(server, token, picture(2, 9, 1), AllFaces=True)

    data = envelope["data"]
    assert status == 200
    assert [names(face) for face in data["SearchedFaces"]] == [["person:2"], [], ["person:1"]]
    widths = [face["SearchedFaceBoundingBox"]["Width"] for face in data["SearchedFaces"]]
    assert widths == sorted(widths, reverse=True)
    assert all(face["SearchedFaceConfidence"] > 99 for face in data["SearchedFaces"])
    assert data["UnsearchedFaces"] == []
    assert data["FaceModelVersion"] == "4.0"
    assert "FaceMatches" not in data


def test_each_face_s_answer_is_the_one_it_has_alone(server, crew, token):
    _, together = search(server, token, picture(2, 1), AllFaces=True, FaceMatchThreshold=0)

    for person, face in zip((2, 1), together["data"]["SearchedFaces"], strict=True):
        _, alone = search(server, token, picture(person), FaceMatchThreshold=0)
        assert face["FaceMatches"] == alone["data"]["FaceMatches"]


def test_max_faces_is_of_each_face_and_a_poor_face_says_why(server, crew, token):
    _, envelope = search(
        server, token, picture(1, 2), AllFaces=True, FaceMatchThreshold=0, MaxFaces=1
    )
    assert [names(face) for face in envelope["data"]["SearchedFaces"]] == [
        ["person:1"],
        ["person:2"],
    ]

    _, envelope = search(
        server, token, picture(1, 2, quality=POOR), AllFaces=True, QualityFilter="AUTO"
    )
    assert envelope["data"]["SearchedFaces"] == []
    reasons = [face["Reasons"] for face in envelope["data"]["UnsearchedFaces"]]
    assert reasons == [["LOW_SHARPNESS"]] * 2


def test_a_picture_without_a_face_is_refused_as_ever(server, crew, token):
    status, envelope = search(server, token, picture(), AllFaces=True)

    assert status == 400
    assert envelope["error"] == {
        "code": "INVALID_PARAMETER",
        "message": "There are no faces in the image. Should be at least 1.",
    }


def test_without_it_and_with_false_the_answer_is_the_largest_face_s(server, crew, token):
    answers = [
        search(server, token, picture(2, 1), **more)[1]["data"]
        for more in ({}, {"AllFaces": False})
    ]

    for answer in answers:
        assert names(answer) == ["person:2"]
        assert "SearchedFaces" not in answer


def test_the_aws_dialect_does_not_know_it(server, crew):
    params = {
        "CollectionId": "crew",
        "Image": {"Bytes": base64.b64encode(picture(2, 1, quality=GOOD)).decode()},
    }
    exact = call(server, "SearchFacesByImage", params)

    for value in (True, "nonsense", {"a": [1]}):
        assert call(server, "SearchFacesByImage", params | {"AllFaces": value}) == exact
    # Neither under the plain dialect's path, as long as AWS's content type asks for AWS's answer.
    status, body = call(
        server, "SearchFacesByImage", params | {"AllFaces": True}, path="/v1/SearchFacesByImage"
    )
    assert (status, json.loads(body)) == (200, json.loads(exact[1]))


def test_a_value_of_another_type_is_refused(server, crew, token):
    status, envelope = search(server, token, picture(1), AllFaces="yes")

    assert status == 400
    assert envelope["error"]["code"] == "VALIDATION_ERROR"


def test_the_openapi_document_describes_it_and_marks_nothing_of_aws(server):
    import urllib.request

    with urllib.request.urlopen(f"{server.url}/openapi.json", timeout=10) as answer:
        document = json.load(answer)
    summary = document["paths"]["/v1/CreateUser"]["post"]["summary"]
    assert summary == "Make a user without faces."
    schemas = document["components"]["schemas"]
    assert "AllFaces" in schemas["SearchFacesByImageRequest"]["properties"]
    assert "SearchedFaces" in schemas["SearchFacesByImageResponse"]["properties"]
    assert "Pack" in schemas["CreateCollectionRequest"]["properties"]
