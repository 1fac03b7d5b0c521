import pytest
from botocore.exceptions import ClientError

from toys import POOR, picture


@pytest.fixture(scope="module")
def staff(rekognition):
    """A collection of persons 1 to 4, one picture each, and a second one of person 1."""
    rekognition.create_collection(CollectionId="staff")
    for person in (1, 2, 3, 4):
        rekognition.index_faces(
            CollectionId="staff",
            Image={"Bytes": picture(person)},
            ExternalImageId=f"person:{person}",
        )
    rekognition.index_faces(
        CollectionId="staff",
        Image={"Bytes": picture(1, side=60)},
        ExternalImageId="person:1-again",
    )
    yield "staff"
    rekognition.delete_collection(CollectionId="staff")


def test_finds_every_face_of_the_person_best_first_ties_by_face_id(rekognition, staff):
    answer = rekognition.search_faces_by_image(
        CollectionId=staff, Image={"Bytes": picture(1, side=80)}
    )

    names = {match["Face"]["ExternalImageId"] for match in answer["FaceMatches"]}
    ids = [match["Face"]["FaceId"] for match in answer["FaceMatches"]]
    assert names == {"person:1", "person:1-again"}
    assert ids == sorted(ids)
    assert all(match["Similarity"] == pytest.approx(100) for match in answer["FaceMatches"])
    assert answer["FaceModelVersion"] == "4.0"
    assert answer["SearchedFaceConfidence"] == pytest.approx(99.5)
    assert answer["SearchedFaceBoundingBox"] == pytest.approx(
        {"Left": 10 / 400, "Top": 20 / 300, "Width": 80 / 400, "Height": 80 / 300}
    )


def test_searches_the_largest_face_only(rekognition, staff):
    answer = rekognition.search_faces_by_image(
        CollectionId=staff, Image={"Bytes": picture(3, 2, 4)}
    )

    assert [m["Face"]["ExternalImageId"] for m in answer["FaceMatches"]] == ["person:3"]


def test_the_threshold_may_let_everybody_in_and_max_faces_cuts(rekognition, staff):
    everybody = rekognition.search_faces_by_image(
        CollectionId=staff, Image={"Bytes": picture(2)}, FaceMatchThreshold=0
    )["FaceMatches"]
    two = rekognition.search_faces_by_image(
        CollectionId=staff, Image={"Bytes": picture(2)}, FaceMatchThreshold=0, MaxFaces=2
    )["FaceMatches"]

    similarities = [match["Similarity"] for match in everybody]
    assert len(everybody) == 5
    assert similarities == sorted(similarities, reverse=True)
    assert two == everybody[:2]


def test_nobody_similar_is_an_empty_list(rekognition, staff):
    answer = rekognition.search_faces_by_image(CollectionId=staff, Image={"Bytes": picture(99)})

    assert answer["FaceMatches"] == []


def test_no_face_is_an_invalid_parameter_with_the_text_that_clients_compare(rekognition, staff):
    with pytest.raises(ClientError) as caught:
        rekognition.search_faces_by_image(CollectionId=staff, Image={"Bytes": picture()})

    error = caught.value.response["Error"]
    assert error["Code"] == "InvalidParameterException"
    assert error["Message"] == "There are no faces in the image. Should be at least 1."


def test_the_quality_filter_passes_over_a_poor_face(rekognition, staff):
    poor = picture(1, quality=POOR)

    found = rekognition.search_faces_by_image(CollectionId=staff, Image={"Bytes": poor})
    with pytest.raises(ClientError, match="There are no faces in the image"):
        rekognition.search_faces_by_image(
            CollectionId=staff, Image={"Bytes": poor}, QualityFilter="HIGH"
        )

    assert found["FaceMatches"], "the filter is NONE where none is asked for"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"FaceMatchThreshold": 100.1}, "ValidationException"),
        ({"FaceMatchThreshold": -0.1}, "ValidationException"),
        ({"MaxFaces": 0}, "ValidationException"),
        ({"MaxFaces": 4097}, "ValidationException"),
        ({"QualityFilter": "SOME"}, "ValidationException"),
        ({"CollectionId": "no such"}, "ValidationException"),
        ({"CollectionId": ""}, "ValidationException"),
        ({"CollectionId": None}, "ValidationException"),
        ({"CollectionId": "nobody"}, "ResourceNotFoundException"),
        ({"Image": {}}, "InvalidParameterException"),
        ({"Image": {"Bytes": b""}}, "ValidationException"),
        ({"Image": {"Bytes": b"GIF89a" * 100}}, "InvalidImageFormatException"),
        ({"Image": {"Bytes": picture(1)[:900]}}, "InvalidImageFormatException"),
        ({"Image": {"Bytes": picture(size=(79, 300))}}, "InvalidParameterException"),
        ({"Image": {"Bytes": b"x" * 5_242_881}}, "ValidationException"),
        (
            {"Image": {"Bytes": picture(1), "S3Object": {"Bucket": "bucket", "Name": "x"}}},
            "InvalidParameterException",
        ),
        (
            {"Image": {"S3Object": {"Bucket": "unknown", "Name": "x"}}},
            "InvalidS3ObjectException",
        ),
    ],
)
def test_a_broken_rule_is_named_by_its_error(rekognition, staff, change, code):
    good = {"CollectionId": staff, "Image": {"Bytes": picture(1)}}

    with pytest.raises(ClientError) as caught:
        rekognition.search_faces_by_image(**good | change)

    assert caught.value.response["Error"]["Code"] == code
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert caught.value.response["ResponseMetadata"]["RequestId"]


def test_an_old_face_model_takes_no_quality_filter(serve):
    from toys import ToyPack

    client = serve(packs={"toy": ToyPack("2.0")}).client()
    client.create_collection(CollectionId="old")
    client.index_faces(CollectionId="old", Image={"Bytes": picture(1)})

    assert client.search_faces_by_image(
        CollectionId="old", Image={"Bytes": picture(1)}, QualityFilter="NONE"
    )["FaceMatches"]
    for wanted in ("AUTO", "LOW", "MEDIUM", "HIGH"):
        with pytest.raises(client.exceptions.InvalidParameterException):
            client.search_faces_by_image(
                CollectionId="old", Image={"Bytes": picture(1)}, QualityFilter=wanted
            )


def test_the_caller_needs_the_permission_on_the_collection(server, staff):
    arn = "arn:aws:rekognition:*:123456789012:collection/"
    allowed = server.key(
        {"Effect": "Allow", "Action": "rekognition:SearchFacesByImage", "Resource": arn + staff}
    )
    other = server.key(
        {"Effect": "Allow", "Action": "rekognition:SearchFacesByImage", "Resource": arn + "x"},
        {"Effect": "Allow", "Action": "rekognition:SearchFaces", "Resource": "*"},
    )
    call = {"CollectionId": staff, "Image": {"Bytes": picture(1)}}

    assert server.client(allowed.key_id, allowed.secret).search_faces_by_image(**call)
    with pytest.raises(ClientError) as caught:
        server.client(other.key_id, other.secret).search_faces_by_image(**call)
    with pytest.raises(ClientError) as unknown:
        server.client(other.key_id, other.secret).search_faces_by_image(
            **call | {"CollectionId": "never-made"}
        )

    assert caught.value.response["Error"]["Code"] == "AccessDeniedException"
    assert "rekognition:SearchFacesByImage" in caught.value.response["Error"]["Message"]
    assert unknown.value.response["Error"]["Code"] == "AccessDeniedException"
