"""JSON 1.1 bodies become values by shape and back."""

import base64
import json
import struct
from datetime import UTC, datetime

import pytest

from recollect.errors import (
    InternalServerError,
    InvalidParameterException,
    ResourceNotFoundException,
    SerializationException,
    UnknownOperationException,
    ValidationException,
)
from recollect.wire import codec, model
from recollect.wire.model import ServiceModel

SEARCH = model.operations()["SearchFacesByImage"].input
LIST = model.operations()["ListFaces"].input
TAG = model.operations()["TagResource"].input
FACES = model.operations()["SearchFacesByImage"].output
DESCRIBED = model.operations()["DescribeCollection"].output

ANYTHING = ServiceModel(
    {
        "metadata": {"targetPrefix": "Any", "apiVersion": "1"},
        "operations": {},
        "shapes": {
            "All": {
                "type": "structure",
                "members": {
                    "Long": {"shape": "Long"},
                    "Boolean": {"shape": "Boolean"},
                    "Double": {"shape": "Double"},
                    "Time": {"shape": "Time"},
                    "Blob": {"shape": "Blob"},
                    "Renamed": {"shape": "Long", "locationName": "other"},
                    "Again": {"shape": "All"},
                },
            },
            "Long": {"type": "long"},
            "Boolean": {"type": "boolean"},
            "Double": {"type": "double"},
            "Time": {"type": "timestamp"},
            "Blob": {"type": "blob"},
        },
    }
).shape("All")


def decode(body, shape=SEARCH):
    return codec.decode(body if isinstance(body, bytes) else json.dumps(body).encode(), shape)


def test_a_request_becomes_values_of_its_shape():
    picture = bytes(range(256))
    body = {
        "CollectionId": "c",
        "Image": {"Bytes": base64.b64encode(picture).decode()},
        "MaxFaces": 5,
        "FaceMatchThreshold": 80,
    }

    params = decode(body)

    assert params == body | {"Image": {"Bytes": picture}}
    assert type(params["FaceMatchThreshold"]) is float
    assert type(params["MaxFaces"]) is int


def test_unknown_members_are_ignored_and_nulls_count_as_absent():
    body = {"CollectionId": "c", "Other": {"deep": [1]}, "MaxFaces": None, "Image": {"Bytes": None}}

    assert decode(body) == {"CollectionId": "c", "Image": {}}


def test_of_a_member_that_stands_twice_the_last_counts():
    assert decode(b'{"MaxFaces":1,"CollectionId":"a","CollectionId":"b","MaxFaces":2}') == {
        "CollectionId": "b",
        "MaxFaces": 2,
    }


@pytest.mark.parametrize(
    ("number", "whole"), [(1.5, 1), (-1.5, -1), (1e2, 100), (7.0, 7), (-0.0, 0)]
)
def test_a_broken_number_is_cut_to_a_whole_one(number, whole):
    assert decode({"MaxFaces": number}) == {"MaxFaces": whole}


def test_an_empty_string_is_an_empty_blob():
    assert decode({"Image": {"Bytes": ""}}) == {"Image": {"Bytes": b""}}


def test_nulls_in_lists_and_maps_stay_to_be_refused():
    assert decode({"FaceIds": [None, "a"]}, LIST) == {"FaceIds": [None, "a"]}
    assert decode({"Tags": {"a": None}}, TAG) == {"Tags": {"a": None}}


@pytest.mark.parametrize(
    "body", [b"", b"null", b'"x"', b"1", b"true", b"{", b'{"a":1,}', b"{]", b"\xff", b"NaN",
             b'{"MaxFaces":NaN}', b'{"MaxFaces":Infinity}', b'{"MaxFaces":1e999}',
             b'\xef\xbb\xbf{}', b"{} {}", b'{"CollectionId":"\xff"}', b'{"CollectionId":"\\ud800"}',
             b"[" * 90_000, b'{"a":' * 90_000, b"1" * 6_000],
)  # fmt: skip
def test_what_is_no_json_object_is_refused_without_a_word(body):
    with pytest.raises(SerializationException) as caught:
        decode(body)

    assert str(caught.value) == ""


LIST_FOUND = "Start of list found where not expected"
OBJECT_FOUND = "Start of structure or map found where not expected."


@pytest.mark.parametrize(
    ("body", "shape", "text", "place"),
    [
        ([], SEARCH, LIST_FOUND, None),
        ({"CollectionId": ["c"]}, SEARCH, LIST_FOUND, "CollectionId"),
        ({"Image": []}, SEARCH, LIST_FOUND, "Image"),
        ({"Tags": []}, TAG, LIST_FOUND, "Tags"),
        ({"CollectionId": {}}, SEARCH, OBJECT_FOUND, "CollectionId"),
        ({"MaxFaces": {}}, SEARCH, OBJECT_FOUND, "MaxFaces"),
        ({"FaceIds": {}}, LIST, OBJECT_FOUND, "FaceIds"),
        ({"FaceIds": [["a"]]}, LIST, LIST_FOUND, "FaceIds.1"),
        ({"MaxFaces": "5"}, SEARCH, "STRING_VALUE can not be converted to an Integer", "MaxFaces"),
        (
            {"FaceMatchThreshold": "5"},
            SEARCH,
            "STRING_VALUE can not be converted to a Float",
            "FaceMatchThreshold",
        ),
        ({"CollectionId": 5}, SEARCH, "NUMBER_VALUE can not be converted to a String", None),
        ({"CollectionId": 5.5}, SEARCH, "NUMBER_VALUE can not be converted to a String", None),
        ({"CollectionId": True}, SEARCH, "TRUE_VALUE can not be converted to a String", None),
        ({"CollectionId": False}, SEARCH, "FALSE_VALUE can not be converted to a String", None),
        ({"MaxFaces": True}, SEARCH, "TRUE_VALUE can not be converted to an Integer", None),
        ({"MaxFaces": 1 << 31}, SEARCH, "NUMBER_VALUE can not be converted to an Integer", None),
        ({"MaxFaces": 1e30}, SEARCH, "NUMBER_VALUE can not be converted to an Integer", None),
        (
            b'{"FaceMatchThreshold":1%s}' % (b"0" * 400),
            SEARCH,
            "NUMBER_VALUE can not be converted to a Float",
            "FaceMatchThreshold",
        ),
        ({"FaceIds": "a"}, LIST, "Expected list or null", "FaceIds"),
        ({"FaceIds": 1}, LIST, "Expected list or null", "FaceIds"),
        ({"FaceIds": ["a", 1]}, LIST, "NUMBER_VALUE can not be converted to a String", "FaceIds.2"),
        ({"Image": "a"}, SEARCH, "Expected null", "Image"),
        ({"Tags": "a"}, TAG, "Expected null", "Tags"),
        ({"Tags": {"k": 1}}, TAG, "NUMBER_VALUE can not be converted to a String", "Tags.k"),
        ({"Image": {"Bytes": 5}}, SEARCH, "NUMBER_VALUE can not be converted to a Blob", None),
        ({"Long": 1 << 63}, ANYTHING, "NUMBER_VALUE can not be converted to a Long", None),
        ({"Boolean": 1}, ANYTHING, "NUMBER_VALUE can not be converted to a Boolean", None),
        ({"Boolean": "true"}, ANYTHING, "STRING_VALUE can not be converted to a Boolean", None),
        ({"Double": "NaN"}, ANYTHING, "STRING_VALUE can not be converted to a Double", None),
        ({"Time": "soon"}, ANYTHING, "STRING_VALUE can not be converted to a Timestamp", None),
        ({"Again": {"Again": {"Long": "a"}}}, ANYTHING,
         "STRING_VALUE can not be converted to a Long", "Again.Again.Long"),
    ],
)  # fmt: skip
def test_a_value_of_another_type_is_refused_in_awss_words(body, shape, text, place):
    with pytest.raises(SerializationException) as caught:
        decode(body, shape)

    assert str(caught.value) == text
    if place is not None:
        assert caught.value.__notes__ == [place]


@pytest.mark.parametrize(
    "text", ["!!!!", "AA", "AAA", "AA=", "AAAA\n", " AAAA", "AA AA", "AA-_", "AAAA=", "é", "=AAA"]
)
def test_base64_is_strict(text):
    with pytest.raises(SerializationException, match="base64"):
        decode({"Image": {"Bytes": text}})


def nested(depth):
    """A body of that many levels, under a name that no shape knows."""
    return b'{"x":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


def test_a_long_picture_is_never_made_a_string(monkeypatch):
    picture = bytes(range(256)) * 200
    read = []
    parse = codec.msgspec.json.decode
    monkeypatch.setattr(codec.msgspec.json, "decode", lambda body: read.append(body) or parse(body))

    params = decode({"CollectionId": "c", "Image": {"Bytes": base64.b64encode(picture).decode()}})

    assert params == {"CollectionId": "c", "Image": {"Bytes": picture}}
    assert len(read[0]) < 200


def test_depth_is_bounded_also_where_nobody_looks():
    assert decode(nested(codec.DEPTH_MAX)) == {}
    with pytest.raises(SerializationException, match="deeper than 32"):
        decode(nested(codec.DEPTH_MAX + 1))


def test_the_number_of_values_is_bounded():
    body = b'{"x":[' + b"0," * (codec.VALUES_MAX - 3) + b"0]}"
    assert decode(body) == {}

    with pytest.raises(SerializationException, match="100000 values"):
        decode(b'{"x":[' + b"0," * (codec.VALUES_MAX - 1) + b"0]}")


def test_an_operation_without_input_takes_an_empty_body():
    assert codec.decode(b"", None) == {}
    assert codec.decode(b"{}", None) == {}


def encode(result, shape=FACES):
    return json.loads(codec.encode(result, shape))


def test_floats_are_those_of_four_bytes():
    written = encode({"SearchedFaceConfidence": 99.9})["SearchedFaceConfidence"]

    assert written == struct.unpack("f", struct.pack("f", 99.9))[0] != 99.9


def test_empty_lists_stay_and_nones_go():
    assert encode({"FaceMatches": [], "SearchedFaceBoundingBox": None}) == {"FaceMatches": []}


def test_a_moment_is_epoch_seconds_to_the_millisecond():
    moment = datetime(2019, 9, 25, 20, 53, 48, 274_499, tzinfo=UTC)

    assert codec.encode({"CreationTimestamp": moment}, DESCRIBED) == (
        b'{"CreationTimestamp":1569444828.274}'
    )
    assert encode({"CreationTimestamp": moment.timestamp()}, DESCRIBED) == {
        "CreationTimestamp": 1569444828.274
    }


def test_blobs_longs_and_renamed_members_are_written():
    result = {"Blob": b"\x00\xff", "Long": 1 << 60, "Double": 0.1, "Boolean": False, "Renamed": 1}

    assert encode(result, ANYTHING) == {
        "Blob": "AP8=",
        "Long": 1 << 60,
        "Double": 0.1,
        "Boolean": False,
        "other": 1,
    }
    assert decode({"other": 1}, ANYTHING) == {"Renamed": 1}


def test_what_the_shape_does_not_know_does_not_leave_the_house():
    with pytest.raises(LookupError, match="Template"):
        encode({"FaceMatches": [{"Face": {"FaceId": "a", "Template": [0.1]}}]})


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf"), 1e39])
def test_a_number_that_json_does_not_have_is_never_written(number):
    with pytest.raises((ValueError, OverflowError)):
        encode({"SearchedFaceConfidence": number})


def test_a_service_error_has_a_capital_message():
    error = ResourceNotFoundException("The collection id: c does not exist")

    assert json.loads(codec.encode_error(error, "id-1")) == {
        "__type": "ResourceNotFoundException",
        "Code": "ResourceNotFoundException",
        "Logref": "id-1",
        "Message": "The collection id: c does not exist",
    }
    assert json.loads(codec.encode_error(InternalServerError(), "i"))["Message"] == (
        "Internal server error"
    )
    assert json.loads(codec.encode_error(InvalidParameterException(), "i"))["Message"] == (
        "Request has invalid parameters"
    )


def test_a_framework_error_has_a_small_message_or_none():
    assert json.loads(codec.encode_error(ValidationException("m"), "i")) == {
        "__type": "ValidationException",
        "message": "m",
    }
    assert codec.encode_error(UnknownOperationException(), "i") == (
        b'{"__type":"UnknownOperationException"}'
    )
