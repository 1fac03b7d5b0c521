"""The wire never fails as a bug, is as strict as botocore, and speaks what botocore reads."""

import base64
import json
import struct

import botocore.loaders
import botocore.model
import botocore.parsers
import botocore.validate
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recollect.errors import AnswerError
from recollect.wire import codec, model, openapi, validate
from wire_stub import ask, endpoint

OPERATIONS = model.operations()
NAMES = sorted(OPERATIONS)
BOTOCORE = botocore.model.ServiceModel(
    botocore.loaders.Loader().load_service_model("rekognition", "service-2"), "rekognition"
)

texts = st.text("aZ0._-: \u00e9\u2028\U0001f642\x00\"'!/", max_size=6)
scalars = st.none() | st.booleans() | st.integers(-(1 << 70), 1 << 70) | texts
scalars |= st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3)
)
FACE = "0a1b2c3d-0000-4000-8000-000000000000"


def sizes(shape, usual):
    """Lengths or values around the bounds of a shape."""
    low, high = shape.min or 0, shape.max if shape.max is not None else usual
    found = {low, low - 1, low + 1, min(high, 300), min(high + 1, 300)}
    return st.sampled_from(sorted(size for size in found if size >= 0))


def strings(shape):
    choices = [texts, sizes(shape, 3).map(lambda n: "a" * int(n)), st.just(FACE)]
    if shape.enum:
        choices.append(st.sampled_from(shape.enum))
    return st.one_of(choices)


def requests(shape, wrong):
    """JSON for a shape: mostly of its types, often beyond its rules, sometimes anything."""
    match shape.type:
        case "structure":
            members = {n: requests(m.shape, wrong) for n, m in shape.members.items()}
            made = st.fixed_dictionaries({}, optional=members)
        case "list":
            made = st.lists(requests(shape.member, wrong), max_size=3)
            made |= sizes(shape, 4).flatmap(
                lambda n: requests(shape.member, wrong).map(lambda item: [item] * int(n))
            )
        case "map":
            made = st.dictionaries(strings(shape.key), requests(shape.value, wrong), max_size=3)
        case "blob":
            made = st.binary(max_size=4).map(lambda data: base64.b64encode(data).decode())
        case "float":
            made = st.sampled_from([-0.5, 0, 0.0, 50, 99.9, 100, 100.5, 101, 1e39])
        case "integer":
            made = st.sampled_from([-1, 0, 1, 2, 100, 500, 501, 4096, 4097, 1 << 31, 1 << 40])
        case _:
            made = strings(shape)
    return made | wrong


def calls(wrong):
    return st.sampled_from(NAMES).flatmap(
        lambda name: st.tuples(st.just(name), requests(OPERATIONS[name].input, wrong))
    )


@pytest.fixture(scope="module")
def app():
    made = endpoint()
    yield made
    made.close()


def answers_typed(app, name, body):
    aws = ask(app, body, operation=name)
    plain = ask(app, body, path=f"/v1/{name}", headers={"content-type": "application/json"})
    assert aws.status == plain.status, (aws, plain)
    assert aws.status in {200, 400}
    assert aws.code in {None, "SerializationException", "ValidationException"}
    assert plain.code in {None, "VALIDATION_ERROR"}
    return aws


@given(st.sampled_from(NAMES), json_values)
def test_any_json_whatever_gets_a_typed_answer(app, name, value):
    answers_typed(app, name, json.dumps(value).encode())


@given(
    st.sampled_from(NAMES), st.binary(max_size=12) | st.text('{}[]",:0aeE+-.\\u ').map(str.encode)
)
def test_any_bytes_whatever_get_a_typed_answer(app, name, body):
    answers_typed(app, name, body)


def spaced(value):
    """JSON as a person writes it, with base64 that is long for a bound of three characters."""
    ours, theirs = (",", ":"), (" , ", " : ")
    return st.sampled_from([ours, theirs, (", ", ": ")]).map(
        lambda marks: json.dumps(value, separators=marks).encode()
    )


long_base64 = st.sampled_from(["AAAA", "AAAAAA==", "AAAAA", "ab+/" * 9, "ab-_", "a\\", 'a"bbbbbb'])
with_base64 = st.recursive(
    scalars | long_base64,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            texts | long_base64 | st.sampled_from(["Image", "Bytes"]), inner, max_size=3
        )
    ),
)
alike = st.one_of(
    calls(wrong=json_values | long_base64).map(lambda call: call[1]).flatmap(spaced),
    with_base64.flatmap(spaced),
    st.lists(
        st.sampled_from(['"', "AAAA", "AAAAAAAA", ":", ",", "{", "}", "[", "]", " ", "\\", "1"]),
        max_size=12,
    ).map(lambda parts: "".join(parts).encode()),
)


@given(st.sampled_from(NAMES), alike)
@example("SearchFacesByImage", b'{"Image":{"Bytes":"AAAA","Bytes":"AAAAAA=="}}')
@example("SearchFacesByImage", b'{"CollectionId":"AAAA","Image":{"Bytes":"AAA\\"AAAA"}}')
@example("IndexFaces", b'{"ExternalImageId":"\\",AAAA","Image":{"Bytes":"AAAA"}}')
@example("TagResource", b'{"ResourceArn":"","Tags":{"AAAA":"AAAA"}}')
@example("SearchFacesByImage", b'"AAAA"')
@settings(max_examples=500)
def test_base64_taken_out_before_the_json_is_read_changes_nothing(monkeypatch_module, name, body):
    found = []
    for least in (3, 1 << 30):
        monkeypatch_module.setattr(codec, "ENCODED_CHARS_MIN", least)
        try:
            found.append(codec.decode(body, OPERATIONS[name].input))
        except AnswerError as error:
            found.append((type(error), str(error), getattr(error, "__notes__", None)))
    assert found[0] == found[1]


@pytest.fixture(scope="module")
def monkeypatch_module():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@given(calls(wrong=json_values))
@settings(max_examples=300)
def test_requests_derived_from_the_model_get_a_typed_answer(app, call):
    answers_typed(app, call[0], json.dumps(call[1]).encode())


def botocore_params(value, shape):
    """JSON as a caller of botocore would give it: bytes for blobs, no nulls, no unknown members."""
    if value is None:
        return None
    if shape.type == "structure" and isinstance(value, dict):
        return {
            key: botocore_params(item, shape.members[key].shape)
            for key, item in value.items()
            if key in shape.members and item is not None
        }
    if shape.type == "list" and isinstance(value, list):
        return [botocore_params(item, shape.member) for item in value]
    if shape.type == "map" and isinstance(value, dict):
        return {key: botocore_params(item, shape.value) for key, item in value.items()}
    if shape.type == "blob" and isinstance(value, str):
        return base64.b64decode(value)
    return value


odd = st.sampled_from([None, True, 1, 1.5, "x", [], {}, [None], {"a": None}])


@given(calls(wrong=st.nothing()) | calls(wrong=odd))
@example(("ListCollections", {"MaxResults": 1.5}))
@settings(max_examples=400)
def test_the_server_is_at_least_as_strict_as_botocore(call):
    name, value = call
    shape = OPERATIONS[name].input
    body = json.dumps(value).encode()
    try:
        theirs = botocore_params(value, shape)
    except ValueError:
        return  # A text that is no base64 cannot be given to botocore at all.
    report = botocore.validate.ParamValidator().validate(
        theirs, BOTOCORE.operation_model(name).input_shape
    )
    try:
        validate.check(codec.decode(body, shape), shape)
        ours = None
    except AnswerError as error:
        ours = error

    if report.has_errors() and not only_cut_numbers(report):
        assert ours is not None, report.generate_report()


def only_cut_numbers(report):
    """1.5 for an integer is no error on AWS; botocore does not let it through."""
    return all(
        kind == "invalid type" and more["param"] == 1.5 and more["valid_types"] == ["<class 'int'>"]
        for kind, _, more in report._errors
    )


def results(shape):
    """A random response of a shape."""
    match shape.type:
        case "structure":
            return st.fixed_dictionaries(
                {}, optional={n: st.none() | results(m.shape) for n, m in shape.members.items()}
            )
        case "list":
            return st.lists(results(shape.member), max_size=2)
        case "map":
            return st.dictionaries(texts, results(shape.value), max_size=2)
        case "float":
            return st.floats(-1e6, 1e6, width=64)
        case "integer" | "long":
            return st.integers(0, 1 << 31)
        case "timestamp":
            return st.integers(0, 4_000_000_000_000).map(lambda ms: ms / 1000)
        case "boolean":
            return st.booleans()
        case _:
            return st.sampled_from(shape.enum) if shape.enum else texts


def read_back(value, shape):
    """What a client should read: float32, no Nones, seconds instead of dates."""
    if shape.type == "structure":
        return {k: read_back(v, shape.members[k].shape) for k, v in value.items() if v is not None}
    if shape.type == "list":
        return [read_back(item, shape.member) for item in value]
    if shape.type == "float":
        return struct.unpack("f", struct.pack("f", value))[0]
    return value


@given(
    st.sampled_from(NAMES).flatmap(
        lambda name: st.tuples(st.just(name), results(OPERATIONS[name].output))
    )
)
@settings(max_examples=200)
def test_botocore_reads_what_was_written(drawn):
    name, result = drawn
    shape = OPERATIONS[name].output
    parser = botocore.parsers.JSONParser(timestamp_parser=float)
    http = {"status_code": 200, "headers": {}, "body": codec.encode(result, shape)}

    parsed = parser.parse(http, BOTOCORE.operation_model(name).output_shape)

    parsed.pop("ResponseMetadata", None)
    assert parsed == read_back(result, shape)


@pytest.mark.parametrize("name", NAMES)
def test_the_examples_of_the_documentation_are_good_requests(app, name):
    assert (
        answers_typed(app, name, json.dumps(openapi.example(OPERATIONS[name])).encode()).json == {}
    )
