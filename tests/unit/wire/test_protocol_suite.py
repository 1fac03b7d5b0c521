"""AWS's own protocol cases for JSON 1.1, used from the server's side."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from recollect.errors import SerializationException
from recollect.wire import codec
from recollect.wire.model import ServiceModel

SHARED = Path(__file__).parents[3].parent / "shared"
SUITE = Path(os.environ.get("RECOLLECT_EVAL_DATA", SHARED / "data")).parent / "suites" / "aws-json"

CLIENTS_ONLY = {
    # The client's choice of compression, address and error header; botocore skips most as well.
    "SDKAppliedContentEncoding_awsJson1_1": "compression of requests is refused here",
    "SDKAppendsGzipAndIgnoresHttpProvidedEncoding_awsJson1_1": "compression is refused here",
    "AwsJson11FooErrorUsingXAmznErrorType": "error code in a header, which we never send",
    "AwsJson11FooErrorUsingXAmznErrorTypeWithUri": "error code in a header",
    "AwsJson11FooErrorUsingXAmznErrorTypeWithUriAndNamespace": "error code in a header",
    "AwsJson11FooErrorUsingCode": "another spelling of the code, for clients to read",
    "AwsJson11FooErrorUsingCodeAndNamespace": "another spelling of the code",
    "AwsJson11FooErrorUsingCodeUriAndNamespace": "another spelling of the code",
    "AwsJson11FooErrorWithDunderTypeAndNamespace": "another spelling of the code",
    "AwsJson11FooErrorWithDunderTypeUriAndNamespace": "another spelling of the code",
    "AwsJson11ComplexError": "an error with members; Rekognition's have none",
    "AwsJson11DateTimeWithNegativeOffset": "a response that a client must read; we write UTC",
    "AwsJson11DateTimeWithPositiveOffset": "a response that a client must read; we write UTC",
    "AwsJson11DateTimeWithFractionalSeconds": "see test_fractions_of_iso_dates_are_read",
    "handles_unexpected_json_output": "a response with members that no shape has",
    "json_1_1_service_responds_with_no_payload": "an empty response; we send {}",
    "AwsJson11DeserializeIgnoreType": "a response with a __type that a client must overlook",
    "AwsJson11StructuresDontDeserializeNullValues": "a response with nulls; we leave them out",
}


def cases(file):
    path = SUITE / file
    if not path.exists():
        return [pytest.param({}, {}, marks=pytest.mark.skip(f"no {path.name} in the suites"))]
    found = []
    for group in json.loads(path.read_text(encoding="utf-8")):
        for case in group["cases"]:
            reason = CLIENTS_ONLY.get(case["id"])
            marks = [pytest.mark.skip(reason)] if reason else []
            found.append(pytest.param(group, case, id=case["id"], marks=marks))
    return found


def shape_of(group, reference):
    document = {"metadata": {"apiVersion": "1"} | group["metadata"], "operations": {}}
    return ServiceModel(document | {"shapes": group["shapes"]}).shape(reference["shape"])


def without_nones(value):
    if isinstance(value, dict):
        return {k: without_nones(v) for k, v in value.items() if v is not None}
    return value


def expected_of(value, shape):
    """The suite writes blobs as text and moments as seconds."""
    if shape is None or value is None or shape.document:
        return value
    if shape.type == "structure":
        return {k: expected_of(v, shape.members[k].shape) for k, v in value.items()}
    if shape.type == "list":
        return [expected_of(item, shape.member) for item in value]
    if shape.type == "map":
        return {k: expected_of(item, shape.value) for k, item in value.items()}
    if shape.type == "blob":
        return value.encode()
    return value


@pytest.mark.parametrize(("group", "case"), cases("input.json"))
def test_a_clients_request_is_read(group, case):
    reference = case["given"].get("input")
    shape = shape_of(group, reference) if reference else None
    body = (case["serialized"].get("body") or "").encode()
    if "NaNFloat" in case["id"] or "Infinity" in case["id"]:
        # Decided: a number that JSON does not have is no number here, spelt as text neither.
        with pytest.raises(SerializationException):
            codec.decode(body, shape)
        return

    params = codec.decode(body, shape)

    assert params == without_nones(expected_of(case["params"], shape))


@pytest.mark.parametrize(("group", "case"), cases("output.json"))
def test_a_response_is_written_as_clients_read_it(group, case):
    if "error" in case:
        error = type(case["errorCode"], (SerializationException,), {})(case.get("errorMessage", ""))
        written = json.loads(codec.encode_error(error, "id"))
        assert written["__type"] == case["errorCode"]
        assert written.get("message") == case.get("errorMessage")
        return
    reference = case["given"].get("output")
    shape = shape_of(group, reference) if reference else None
    result = expected_of(case["result"], shape)
    if "NaNFloat" in case["id"] or "Infinity" in case["id"]:
        with pytest.raises(ValueError, match="finite"):
            codec.encode({k: float(v) for k, v in result.items()}, shape)
        return

    written = codec.encode(result, shape)

    assert json.loads(written) == json.loads(case["response"]["body"])


def test_fractions_of_iso_dates_are_read():
    shape = ServiceModel(
        {
            "metadata": {"apiVersion": "1", "targetPrefix": "T"},
            "operations": {},
            "shapes": {
                "S": {
                    "type": "structure",
                    "members": {"at": {"shape": "T", "timestampFormat": "iso8601"}},
                },
                "T": {"type": "timestamp"},
            },
        }
    ).shape("S")

    assert codec.decode(b'{"at":"2000-01-02T20:34:56.123Z"}', shape) == {"at": 946845296.123}
    moment = datetime(2000, 1, 2, 20, 34, 56, 123_000, tzinfo=UTC)
    assert codec.encode({"at": moment}, shape) == b'{"at":"2000-01-02T20:34:56.123Z"}'


def test_the_suite_is_whole():
    """Every case runs or is skipped with a reason; a reason for a case that is gone is stale."""
    if not SUITE.exists():
        pytest.skip("no suites beside the repository")
    ids = [p.id for file in ("input.json", "output.json") for p in cases(file)]

    assert len(ids) == 54 + 58
    assert set(CLIENTS_ONLY) <= set(ids)
