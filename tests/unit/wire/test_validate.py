"""Every rule of the model, on both sides of every line."""

import json

import pytest

from recollect.errors import ValidationException
from recollect.wire import model, openapi, validate
from recollect.wire.codec import decode

OPERATIONS = model.operations()
FACE = "00000000-0000-4000-8000-000000000000"


def broken(name, params):
    return list(validate.violations(params, OPERATIONS[name].input))


def valid(name):
    """A request that breaks no rule."""
    return decode(json.dumps(openapi.example(OPERATIONS[name])).encode(), OPERATIONS[name].input)


def places(shape, path=()):
    """Every place of a request shape: the path of members to it, and its shape."""
    yield path, shape
    for name, member in shape.members.items():
        yield from places(member.shape, (*path, name))


def placed(params, path, value):
    """Parameters with a value put at a path, its parents made where they are missing."""
    if not path:
        return value
    first, *rest = path
    return params | {first: placed(params.get(first) or {}, rest, value)}


EVERYWHERE = [
    pytest.param(name, path, shape, id=f"{name}.{'.'.join(path)}")
    for name, operation in OPERATIONS.items()
    for path, shape in places(operation.input)
    if path
]


def fitting(shape, length):
    """A text of that length that fits the shape's pattern, as far as one does."""
    return ("a" if shape.pattern is None or "a" in shape.pattern or "p{L}" in shape.pattern
            else "0") * length  # fmt: skip


def sized(shape, size):
    """A value of a shape that measures that much."""
    if shape.type in {"integer", "long"}:
        return int(size)
    if shape.type == "float":
        return float(size)
    if shape.type == "blob":
        return bytes(size)
    if shape.type == "string":
        return fitting(shape, size)
    if shape.type == "list":
        item = shape.member.enum[0] if shape.member.enum else FACE
        return [item if shape.member.name != "TagKey" else "k"] * size
    return {f"k{number}": "v" for number in range(size)}


@pytest.mark.parametrize(("name", "path", "shape"), EVERYWHERE)
def test_each_bound_is_where_the_model_says(name, path, shape):
    step = 0.5 if shape.type == "float" else 1
    for bound, beyond, word in [(shape.min, -step, "greater"), (shape.max, step, "less")]:
        if bound is None:
            continue
        inside = broken(name, placed(valid(name), path, sized(shape, bound)))
        assert not [text for text in inside if word in text], inside
        if bound == 0 and beyond < 0 and shape.type not in {"integer", "float"}:
            continue
        outside = broken(name, placed(valid(name), path, sized(shape, bound + beyond)))
        noun = "value" if shape.type in {"integer", "long", "float"} else "length"
        expected = f"Member must have {noun} {word} than or equal to {bound}"
        assert [text for text in outside if text.endswith(expected)], outside


@pytest.mark.parametrize(("name", "path", "shape"), EVERYWHERE)
def test_each_enum_and_pattern_is_checked(name, path, shape):
    if shape.enum:
        expected = f"Member must satisfy enum value set: [{', '.join(shape.enum)}]"
        for value in [shape.enum[0].lower(), "", shape.enum[0] + " "]:
            found = broken(name, placed(valid(name), path, value))
            assert [text for text in found if text.endswith(expected)]
        for value in shape.enum:
            assert broken(name, placed(valid(name), path, value)) == []
    if shape.pattern is not None:
        expected = f"Member must satisfy regular expression pattern: {shape.pattern}"
        for value in ["sp ace!", "a\n", "/../", "\u0000"]:
            found = broken(name, placed(valid(name), path, value))
            assert [text for text in found if text.endswith(expected)]


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_required_member_is_missed(name):
    required = OPERATIONS[name].input.required

    assert broken(name, {}) == [
        f"Value null at '{member[0].lower()}{member[1:]}' "
        "failed to satisfy constraint: Member must not be null"
        for member in OPERATIONS[name].input.members
        if member in required
    ]
    for member in required:
        without = {key: value for key, value in valid(name).items() if key != member}
        assert len(broken(name, without)) == 1


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_good_request_passes(name):
    assert broken(name, valid(name)) == []
    validate.check(valid(name), OPERATIONS[name].input)


def test_all_violations_are_told_in_awss_words():
    params = {
        "CollectionId": "a b",
        "Image": {"Bytes": b""},
        "MaxFaces": 4097,
        "FaceMatchThreshold": 101.0,
        "QualityFilter": "BEST",
    }

    with pytest.raises(ValidationException) as caught:
        validate.check(params, OPERATIONS["SearchFacesByImage"].input)

    assert str(caught.value) == (
        "5 validation errors detected: "
        "Value 'a b' at 'collectionId' failed to satisfy constraint: "
        "Member must satisfy regular expression pattern: [a-zA-Z0-9_.\\-]+; "
        "Value 'java.nio.HeapByteBuffer[pos=0 lim=0 cap=0]' at 'image.bytes' "
        "failed to satisfy constraint: Member must have length greater than or equal to 1; "
        "Value '4097' at 'maxFaces' failed to satisfy constraint: "
        "Member must have value less than or equal to 4096; "
        "Value '101.0' at 'faceMatchThreshold' failed to satisfy constraint: "
        "Member must have value less than or equal to 100; "
        "Value 'BEST' at 'qualityFilter' failed to satisfy constraint: "
        "Member must satisfy enum value set: [NONE, AUTO, LOW, MEDIUM, HIGH]"
    )


def test_one_violation_is_one_error():
    params = {"CollectionId": "c", "Image": {"Bytes": bytes(7_843_602)}}

    with pytest.raises(ValidationException) as caught:
        validate.check(params, OPERATIONS["IndexFaces"].input)

    assert str(caught.value) == (
        "1 validation error detected: "
        "Value 'java.nio.HeapByteBuffer[pos=0 lim=7843602 cap=7843602]' at 'image.bytes' "
        "failed to satisfy constraint: Member must have length less than or equal to 5242880"
    )


def test_places_inside_lists_and_maps_are_named():
    assert broken("DeleteFaces", {"CollectionId": "c", "FaceIds": [FACE, "x", None]}) == [
        "Value 'x' at 'faceIds.2.member' failed to satisfy constraint: Member must satisfy regular "
        "expression pattern: [0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
        "Value null at 'faceIds.3.member' failed to satisfy constraint: Member must not be null",
    ]
    tags = {"aws:a": "v", "k": "v" * 257, "n": None}
    found = broken("TagResource", {"ResourceArn": "a" * 20, "Tags": tags})
    assert [text.partition(" failed")[0].partition(" at ")[2] for text in found] == [
        "'tags'",
        "'tags.k.member'",
        "'tags.n.member'",
    ]
    assert "Map keys must satisfy constraint: [Member must satisfy regular" in found[0]


def test_messages_are_short_whatever_was_sent():
    many = {"CollectionId": "!" * 1_000_000, "FaceIds": ["é" * 1_000] * 5_000}

    with pytest.raises(ValidationException) as caught:
        validate.check(many, OPERATIONS["DeleteFaces"].input)

    text = str(caught.value)
    assert text.startswith("5003 validation errors detected: ")
    assert text.count("failed to satisfy") == validate.VIOLATIONS_SHOWN_MAX
    assert len(text) < 100_000
    assert "!" * 257 not in text


@pytest.mark.parametrize(("length", "fits"), [(1, True), (128, True), (129, False), (0, False)])
def test_the_length_of_a_tag_key_is_bounded_in_maps_and_lists(length, fits):
    arn = {"ResourceArn": "a" * 20}

    assert (broken("TagResource", arn | {"Tags": {"k" * length: "v"}}) == []) is fits
    assert (broken("UntagResource", arn | {"TagKeys": ["k" * length]}) == []) is fits


@pytest.mark.parametrize(("length", "fits"), [(0, True), (256, True), (257, False)])
def test_the_length_of_a_tag_value_is_bounded(length, fits):
    params = {"ResourceArn": "a" * 20, "Tags": {"k": "v" * length}}

    assert (broken("TagResource", params) == []) is fits
