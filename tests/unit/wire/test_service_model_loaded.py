"""Operations are found by name and by target; shapes are whole."""

import json
from importlib.resources import files

import pytest

from recollect import errors
from recollect.wire import model


def test_twenty_one_operations_are_served():
    assert len(model.operations()) == 21
    assert model.rekognition().api_version == "2016-06-27"


@pytest.mark.parametrize(
    "target",
    ["", "ListFaces", "rekognitionservice.ListFaces", "RekognitionService.listFaces", "X.ListFaces",
     "RekognitionService.ListFaces ", "RekognitionService.DetectLabels", "RekognitionService."],
)  # fmt: skip
def test_a_target_is_matched_exactly(target):
    assert model.operation(target) is None


def test_a_shape_has_its_rules():
    search = model.operation("RekognitionService.SearchFacesByImage")

    assert search.input.required == ("CollectionId", "Image")
    threshold = search.input.members["FaceMatchThreshold"].shape
    assert (threshold.type, threshold.min, threshold.max) == ("float", 0, 100)
    collection = search.input.members["CollectionId"].shape
    assert (collection.min, collection.max, collection.pattern) == (1, 255, r"[a-zA-Z0-9_.\-]+")
    assert "AUTO" in search.input.members["QualityFilter"].shape.enum


def test_our_own_operations_are_told_from_rekognitions_by_their_target():
    assert not model.operations().keys() & model.administration().operations.keys()
    assert model.operation("Recollect.ReadAudit") is not None
    assert model.operation("RekognitionService.ReadAudit") is None
    assert model.operation("Recollect.ListFaces") is None


def test_shapes_of_one_name_are_the_same_in_both_models():
    """One description serves both, so a name means one thing."""
    ours = json.loads(files("recollect.wire").joinpath("administration.json").read_text("utf-8"))
    theirs = json.loads(files("recollect.wire").joinpath("rekognition.json").read_text("utf-8"))

    shared = ours["shapes"].keys() & theirs["shapes"].keys()

    assert {name: ours["shapes"][name] for name in shared} == {
        name: theirs["shapes"][name] for name in shared
    }


def test_four_operations_take_an_idempotency_token():
    assert {
        name
        for name, operation in model.operations().items()
        if "ClientRequestToken" in operation.input.members
    } == {"CreateUser", "DeleteUser", "AssociateFaces", "DisassociateFaces"}


def test_every_declared_error_is_a_class_of_ours():
    for operation in model.every_operation().values():
        for name in operation.errors:
            assert issubclass(getattr(errors, name), errors.AnswerError)
