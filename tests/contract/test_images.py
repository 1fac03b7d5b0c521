"""DetectFaces, CompareFaces."""

import pytest

from contract.broken import IMAGE, refusal
from toys import POOR, picture


def test_faces_are_detected_largest_first_with_what_the_pack_computes(rekognition):
    answer = rekognition.detect_faces(Image={"Bytes": picture(1, 2)}, Attributes=["ALL"])

    widths = [face["BoundingBox"]["Width"] for face in answer["FaceDetails"]]
    assert len(widths) == 2
    assert widths == sorted(widths, reverse=True)
    for face in answer["FaceDetails"]:
        assert set(face) == {"BoundingBox", "Confidence", "Landmarks", "Pose", "Quality"}
    assert "OrientationCorrection" not in answer


def test_no_face_is_a_success_with_nothing_in_it(rekognition):
    assert rekognition.detect_faces(Image={"Bytes": picture()})["FaceDetails"] == []


@pytest.mark.parametrize(
    ("change", "code"),
    [*IMAGE, ({"Attributes": ["NOSE"]}, "ValidationException")],
)
def test_detect_faces_names_the_rule_that_is_broken(rekognition, change, code):
    good = {"Image": {"Bytes": picture(1)}}

    assert refusal(rekognition.detect_faces, **good | change)["Code"] == code


def test_the_largest_source_face_is_compared_with_every_target_face(rekognition):
    answer = rekognition.compare_faces(
        SourceImage={"Bytes": picture(2, 3)}, TargetImage={"Bytes": picture(1, 2, 3, 2)}
    )

    assert len(answer["FaceMatches"]) == 2
    assert all(m["Similarity"] == pytest.approx(100) for m in answer["FaceMatches"])
    assert len(answer["UnmatchedFaces"]) == 2
    assert "Similarity" not in answer["UnmatchedFaces"][0]
    assert answer["SourceImageFace"]["BoundingBox"]["Width"] == pytest.approx(0.1)
    assert answer["SourceImageFace"]["Confidence"] == pytest.approx(99.5)


def test_the_threshold_decides_what_matches(rekognition):
    answer = rekognition.compare_faces(
        SourceImage={"Bytes": picture(1)},
        TargetImage={"Bytes": picture(2, 1, 3)},
        SimilarityThreshold=0,
    )

    similarities = [match["Similarity"] for match in answer["FaceMatches"]]
    assert len(similarities) == 3
    assert similarities == sorted(similarities, reverse=True)
    assert answer["UnmatchedFaces"] == []


@pytest.mark.parametrize("people", [((), (1,)), ((1,), ())])
def test_no_face_on_either_side_is_an_invalid_parameter(rekognition, people):
    error = refusal(
        rekognition.compare_faces,
        SourceImage={"Bytes": picture(*people[0])},
        TargetImage={"Bytes": picture(*people[1])},
    )

    assert error == {
        "Code": "InvalidParameterException",
        "Message": "Request has invalid parameters",
    }


def test_the_quality_filter_applies_where_it_is_asked_for(rekognition):
    call = {
        "SourceImage": {"Bytes": picture(1, quality=POOR)},
        "TargetImage": {"Bytes": picture(1)},
    }

    assert rekognition.compare_faces(**call)["FaceMatches"]
    error = refusal(rekognition.compare_faces, **call, QualityFilter="AUTO")
    assert error["Code"] == "InvalidParameterException"


@pytest.mark.parametrize("side", ["SourceImage", "TargetImage"])
@pytest.mark.parametrize(("image", "code"), IMAGE)
def test_compare_faces_names_the_picture_that_is_broken(rekognition, side, image, code):
    good = {"SourceImage": {"Bytes": picture(1)}, "TargetImage": {"Bytes": picture(1)}}

    error = refusal(rekognition.compare_faces, **good | {side: image["Image"]})

    assert error["Code"] == code
