"""The endpoint's seven stops, their order, and what is recorded."""

import base64
import gc
import hashlib
import json
import uuid
import weakref

import pytest
import structlog

from recollect.errors import (
    AccessDeniedException,
    MissingAuthenticationTokenException,
    ResourceNotFoundException,
    ThrottlingException,
)
from recollect.wire import model
from recollect.wire.dialect import Dialect
from recollect.wire.limits import Limits
from wire_stub import AWS, PREFIX, ask, caller, endpoint

JSON = {"content-type": "application/json"}
GOOD = {"CollectionId": "c"}


@pytest.fixture
def made():
    """Makes endpoints and closes them."""
    opened = []

    def make(**changes):
        opened.append(endpoint(**changes))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


def test_a_call_in_awss_dialect(made):
    seen = []
    app = made(operations={"ListFaces": lambda who, params: seen.append((who, params)) or
                           {"Faces": []}})  # fmt: skip

    reply = ask(app, GOOD | {"MaxResults": 2.9}, operation="ListFaces")

    assert (reply.status, reply.json) == (200, {"Faces": []})
    assert reply.headers["content-type"] == AWS
    assert uuid.UUID(reply.headers["x-amzn-requestid"]).version == 4
    assert seen == [(seen[0][0], {"CollectionId": "c", "MaxResults": 2})]
    assert (seen[0][0].account, seen[0][0].source_ip) == ("111122223333", "192.0.2.7")


@pytest.mark.parametrize(
    "how",
    [
        {"path": "/v1/ListFaces", "headers": JSON},
        {"path": "/v1/ListFaces", "headers": {}},
        {"headers": JSON | {"X-Amz-Target": PREFIX + "ListFaces"}},
        {"headers": JSON | {"X-Amz-Target": "ListFaces"}},
        {"headers": JSON, "query": "X-Amz-Target=RekognitionService.ListFaces"},
        {"headers": JSON, "query": "a=b&x-amz-target=ListFaces"},
        {
            "headers": {
                "content-type": "application/json; charset=utf-8",
                "x-amz-target": "ListFaces",
            }
        },
    ],
)
def test_a_call_in_the_plain_dialect(made, how):
    app = made(operations={"ListFaces": lambda who, params: {"Faces": []}})

    reply = ask(app, GOOD, **how)

    assert reply.status == 200
    assert reply.headers["content-type"] == "application/json"
    assert reply.json["success"] is True
    assert reply.json["data"]["Faces"] == []
    assert reply.json["data"]["id"] == reply.headers["x-amzn-requestid"]
    assert reply.json["data"]["created_at"].endswith("Z")


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": AWS},
        {"content-type": AWS.upper() + "; charset=utf-8"},
        {"content-type": "application/json", "accept": AWS},
        {"content-type": "text/plain", "accept": f"*/*, {AWS};q=0.9"},
    ],
)
@pytest.mark.parametrize("path", ["/", "/v1/ListFaces"])
def test_awss_content_type_is_always_awss_dialect(made, headers, path):
    target = {"X-Amz-Target": PREFIX + "ListFaces"}

    assert ask(made(), GOOD, path=path, headers=headers | target).body == b"{}"


@pytest.mark.parametrize(
    "headers",
    [{}, {"content-type": "application/x-amz-json-1.0"}, {"content-type": "text/plain"},
     {"content-type": "application/x-www-form-urlencoded"}, {"content-type": ""}],
)  # fmt: skip
def test_an_unknown_content_type_gets_the_empty_element(made, headers):
    reply = ask(made(), GOOD, headers=headers | {"x-amz-target": PREFIX + "ListFaces"})

    assert (reply.status, reply.body) == (404, b"<UnknownOperationException/>")
    assert reply.headers["x-amzn-requestid"]


@pytest.mark.parametrize("target", [None, "", "ListFaces", "RekognitionService.DetectLabels", "é"])
def test_an_unknown_operation_is_refused_without_a_word(made, target):
    headers = {"content-type": AWS} | ({} if target is None else {"x-amz-target": target})

    reply = ask(made(), GOOD, headers=headers)

    assert (reply.status, reply.body) == (400, b'{"__type":"UnknownOperationException"}')


def test_an_unknown_operation_of_the_plain_dialect_is_not_found(made):
    for how in ({"path": "/v1/DetectLabels"}, {"path": "/v1/"}, {"path": "/v1/ListFaces/"},
                {"headers": JSON | {"x-amz-target": "DetectLabels"}}):  # fmt: skip
        reply = ask(made(), GOOD, **how)
        assert (reply.status, reply.code) == (404, "UNKNOWN_OPERATION")


def test_a_plain_request_without_an_operation_is_told_what_is_missing(made):
    reply = ask(made(), b"", headers=JSON)

    assert (reply.status, reply.code) == (400, "VALIDATION_ERROR")
    assert "X-Amz-Target" in reply.json["error"]["message"]


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
@pytest.mark.parametrize("path", ["/", "/v1/ListFaces"])
def test_other_verbs_are_not_allowed(made, method, path):
    plain = ask(made(), b"", method=method, path=path)
    assert (plain.status, plain.headers["allow"]) == (405, "POST")
    aws = ask(made(), b"", method=method, path=path, headers={"content-type": AWS})
    assert (aws.status, aws.code) == (405, "MethodNotAllowedException")


def test_other_paths_are_not_found(made):
    for path in ("/x", "//", "/v2/ListFaces", "/v1", "/v1x/ListFaces"):
        assert ask(made(), GOOD, path=path, headers=JSON).status == 404


def test_a_prefix_stands_before_every_path(made):
    app = made(path_prefix="/rek/")

    for path in ("/rek", "/rek/", "/rek/v1/ListFaces"):
        assert ask(app, GOOD, path=path, operation="ListFaces").status == 200
    for path in ("/", "/v1/ListFaces", "/rekk/", "/rek/x"):
        assert ask(app, GOOD, path=path, headers=JSON | {"x-amz-target": "ListFaces"}).status == 404


def test_compressed_bodies_are_refused(made):
    for encoding in ("gzip", "GZIP", "deflate, gzip", "br", "aws-chunked"):
        reply = ask(made(), GOOD, operation="ListFaces", headers={"content-encoding": encoding})
        assert (reply.status, reply.code) == (400, "SerializationException")
    assert ask(
        made(), GOOD, operation="ListFaces", headers={"content-encoding": "identity"}
    ).status == 200  # fmt: skip


def refuse(error):
    def refusing(*_):
        raise error

    return refusing


def test_the_checks_come_in_the_order_of_the_contract(made):
    """Each further step lets one more check pass; the first that fails answers."""
    nobody = {"identify": refuse(MissingAuthenticationTokenException())}
    denied = {"authorise": refuse(AccessDeniedException("no"))}
    missing = {"operations": {"ListFaces": refuse(ResourceNotFoundException("gone"))}}
    broken = b'{"CollectionId": 5}'
    wrong = {"CollectionId": "a b"}

    def code(body, operation="ListFaces", **changes):
        return ask(made(**changes), body, operation=operation).code

    everything = nobody | denied | missing
    assert code(broken, "Nothing", **everything) == "MissingAuthenticationTokenException"
    assert code(broken, "Nothing", **denied, **missing) == "UnknownOperationException"
    assert code(broken, **denied, **missing) == "SerializationException"
    assert code(wrong, **denied, **missing) == "ValidationException"
    assert code(GOOD, **denied, **missing) == "AccessDeniedException"
    assert code(GOOD, **missing) == "ResourceNotFoundException"
    assert code(GOOD) is None


def test_nothing_is_done_before_everything_is_checked(made):
    done = []
    for changes in (
        {"identify": refuse(MissingAuthenticationTokenException())},
        {"authorise": refuse(AccessDeniedException("no"))},
    ):
        app = made(operations={"ListFaces": lambda *call: done.append(call) or {}}, **changes)
        ask(app, GOOD, operation="ListFaces")
    ask(app, {"CollectionId": "a b"}, operation="ListFaces")

    assert done == []


def test_the_outcome_of_each_call_is_recorded_before_its_reply(made):
    outcomes = []
    picture = b"\x89PNG"
    answer = {"FaceRecords": []}
    app = made(operations={"IndexFaces": lambda *_: answer}, record=outcomes.append)
    body = {"CollectionId": "c", "Image": {"Bytes": base64.b64encode(picture).decode()}}

    reply = ask(app, body, operation="IndexFaces", headers={"user-agent": "Boto3/1"})

    (outcome,) = outcomes
    assert outcome.request_id == reply.headers["x-amzn-requestid"]
    assert (outcome.operation, outcome.dialect) == ("IndexFaces", Dialect.AWS)
    assert outcome.caller == caller_of(outcome)
    assert outcome.params == {
        "CollectionId": "c",
        "Image": {"Bytes": {"sha256": hashlib.sha256(picture).hexdigest(), "bytes": 4}},
    }
    assert (outcome.result, outcome.error) == (answer, None)
    assert (outcome.source_ip, outcome.user_agent) == ("192.0.2.7", "Boto3/1")
    assert 0 < outcome.started <= outcome.ended
    assert repr(picture) not in repr(outcome)


def caller_of(outcome):
    class Request:
        source_ip, secure = outcome.source_ip, False

        @staticmethod
        def header(name):
            return None

    return caller(Request)


def test_a_refused_call_is_recorded_with_its_error(made):
    outcomes = []
    app = made(record=outcomes.append, authorise=refuse(AccessDeniedException("no")))

    ask(app, GOOD, operation="ListFaces")
    ask(app, {"CollectionId": "a b"}, operation="ListFaces")
    ask(app, b"[", operation="ListFaces")
    ask(app, b"{}", operation="Nothing")

    assert [(o.operation, o.error.code, o.params, o.result) for o in outcomes] == [
        ("ListFaces", "AccessDeniedException", GOOD, None),
        ("ListFaces", "ValidationException", None, None),
        ("ListFaces", "SerializationException", None, None),
        (None, "UnknownOperationException", None, None),
    ]


def test_what_cannot_be_recorded_is_not_answered(made):
    def full(outcome):
        raise OSError("disk full")

    app = made(operations={"ListFaces": lambda *_: {"FaceModelVersion": "secret"}}, record=full)

    with structlog.testing.capture_logs() as logs:
        reply = ask(app, GOOD, operation="ListFaces")

    assert (reply.status, reply.code) == (500, "InternalServerError")
    assert b"secret" not in reply.body
    assert b"disk" not in reply.body
    assert "disk full" in logs[0]["exception"]


@pytest.mark.parametrize("kind", [ZeroDivisionError, KeyError, RecursionError, MemoryError])
def test_a_bug_is_logged_under_its_request_id_and_answered_without_its_text(made, kind):
    secret = "AKIA-secret-signature"
    app = made(operations={"ListFaces": refuse(kind("inner text"))})

    with structlog.testing.capture_logs() as logs:
        reply = ask(app, GOOD, operation="ListFaces", headers={"authorization": secret})
        plain = ask(app, GOOD, path="/v1/ListFaces")

    assert reply.json == {
        "__type": "InternalServerError",
        "Code": "InternalServerError",
        "Logref": reply.headers["x-amzn-requestid"],
        "Message": "Internal server error",
    }
    assert (reply.status, plain.status, plain.code) == (500, 500, "INTERNAL_SERVER_ERROR")
    assert logs[0]["request_id"] == reply.headers["x-amzn-requestid"]
    assert "inner text" in logs[0]["exception"]
    assert secret not in json.dumps(logs, default=repr)


def test_an_answer_that_no_shape_has_is_a_bug_and_does_not_leave(made):
    app = made(operations={"ListFaces": lambda *_: {"Template": [0.25]}})

    with structlog.testing.capture_logs():
        reply = ask(app, GOOD, operation="ListFaces")

    assert reply.status == 500
    assert b"0.25" not in reply.body


def test_a_long_body_is_refused_by_its_announcement(made):
    outcomes = []
    app = made(limits=Limits(body_bytes_max=100), refused=outcomes.append)

    reply = ask(app, b"", operation="ListFaces", headers={"content-length": "101"})

    assert (reply.status, reply.code) == (413, "RequestEntityTooLargeException")
    assert outcomes[0].error.code == "RequestEntityTooLargeException"
    assert outcomes[0].caller is None
    for length in ("9" * 5000, "9" * 19):
        assert (
            ask(app, b"", operation="ListFaces", headers={"content-length": length}).status == 413
        )


def test_a_long_body_is_refused_while_it_arrives(made):
    app = made(limits=Limits(body_bytes_max=100))
    chunks = [b" " * 50, b" " * 49, b"{}"]

    assert ask(app, b"", operation="ListFaces", chunks=chunks).status == 413
    assert ask(app, b"", operation="ListFaces", chunks=[b" " * 50, b" " * 21, b'{"CollectionId":"cccccccc"}']).status == 200  # fmt: skip # noqa: E501
    assert app._bodies.held_bytes == 0


def test_compare_faces_may_carry_two_pictures():
    limits = Limits()
    for name, operation in model.operations().items():
        mebibytes = limits.body_bytes_for(operation) // 1024**2
        assert mebibytes == (16 if name == "CompareFaces" else 8)
    assert limits.body_bytes_for(None) == limits.body_bytes_max


def test_bodies_are_bounded_together(made):
    app = made(limits=Limits(bodies_bytes_max=60))

    reply = ask(app, b"", operation="ListFaces", chunks=[b" " * 50, b" " * 50])

    assert (reply.status, reply.code) == (400, "ThrottlingException")
    assert app._bodies.held_bytes == 0


def test_each_key_has_its_rate(made):
    app = made(limits=Limits(key_rate_per_s=1e-9))

    def code(key):
        return ask(app, GOOD, operation="ListFaces", headers={"x-key": key}).code

    assert [code("a"), code("a"), code("b")] == [
        None, "ProvisionedThroughputExceededException", None
    ]  # fmt: skip


def test_a_refusal_at_the_door_is_told_and_costs_no_thread(made):
    outcomes = []
    app = made(refused=outcomes.append, record=refuse(AssertionError("not for refusals")))

    def full(kind, last):
        raise ThrottlingException

    app._slots.check = full
    aws = ask(app, GOOD, operation="ListFaces")
    plain = ask(app, GOOD, path="/v1/ListFaces")

    assert aws.json["__type"] == "ThrottlingException"
    assert aws.json["Message"] == "Slow down; sudden increase in rate of requests"
    assert (plain.status, plain.code, plain.headers["retry-after"]) == (429, "THROTTLING", "1")
    assert [o.operation for o in outcomes] == ["ListFaces", "ListFaces"]


@pytest.mark.parametrize(
    ("header", "last"),
    [
        (None, False),
        ("attempt=1; max=3", False),
        ("ttl=20260301T020000Z; attempt=2; max=3", False),
        ("ttl=20260301T020000Z; attempt=3; max=3", True),
        ("attempt=1; max=1", False),  # It was not refused before.
        ("attempt=5", False),
        ("attempt=many; max=3", False),
        ("attempt=99999999; max=3", False),
    ],
)
def test_a_last_attempt_is_told_by_the_count_of_the_sdk(made, header, last):
    app, seen = made(), []
    app._slots.check = lambda kind, last: seen.append(last)
    ask(app, GOOD, operation="ListFaces", headers={"amz-sdk-request": header} if header else {})
    assert seen[0] is last


def test_a_refused_call_is_forgotten_without_the_collector(made):
    """What it leaves in a circle stays until the collector comes: a picture, or eight."""

    class Held:
        pass

    seen = []

    def refuse(who, params):
        held = Held()
        seen.append(weakref.ref(held))
        raise ResourceNotFoundException("no such collection")

    app = made(operations={"ListFaces": refuse})
    gc.disable()
    try:
        assert ask(app, GOOD, operation="ListFaces").code == "ResourceNotFoundException"
        assert seen[0]() is None
    finally:
        gc.enable()


def test_pages_of_other_origins_may_call_only_where_the_configuration_says_so(made):
    page = {"origin": "https://app.example"}
    closed, open_ = made(), made(cors_origins=["https://app.example"])

    for app, other in ((closed, page), (open_, {"origin": "https://evil.example"})):
        assert ask(app, b"", method="OPTIONS", headers=other).status == 405
        reply = ask(app, GOOD, operation="ListFaces", headers=other)
        assert not [name for name in reply.headers if name.startswith("access-control")]

    preflight = ask(open_, b"", method="OPTIONS", headers=page)
    assert preflight.status == 204
    assert "x-amz-target" in preflight.headers["access-control-allow-headers"]
    reply = ask(open_, GOOD, operation="ListFaces", headers=page)
    assert reply.headers["access-control-allow-origin"] == "https://app.example"
    assert "x-amzn-RequestId" in reply.headers["access-control-expose-headers"]
    assert reply.headers["vary"] == "origin"


def test_no_header_that_would_change_the_error_for_clients(made):
    """boto3 takes the code from x-amzn-query-error and then finds no class for it."""
    reply = ask(made(), b"{}", operation="ListFaces")

    assert "x-amzn-query-error" not in reply.headers
