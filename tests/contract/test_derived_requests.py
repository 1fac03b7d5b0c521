"""Requests derived from the service model, sent to a whole server: no answer leaves the shapes."""

import base64
import collections
import http.client
import json
import random

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

import derived
from recollect import errors
from recollect.settings import BucketSettings
from recollect.wire import plain
from recollect.wire.bearer import token
from toys import POOR, picture

SEED = 7
FACE = "0a1b2c3d-0000-4000-8000-000000000000"

PICTURES = [
    *(picture(person) for person in range(1, 6)),
    picture(1, 2, 3),
    picture(7, suffix=".jpg"),
    picture(8, quality=POOR),
    picture(),
    picture(9, size=(120, 79)),
    picture(4)[:200],
    b"GIF89a" * 50,
    base64.b64encode(picture(1)),
]


@pytest.fixture(scope="module")
def hosts(serve, tmp_path_factory):
    """A server whose bucket is a folder, the author's first words, and a caller of it."""
    folder = tmp_path_factory.mktemp("bucket")
    (folder / "a.png").write_bytes(picture(1))
    (folder / "not-a-picture").write_bytes(b"text")
    server = serve(buckets={"photos": BucketSettings(path=str(folder))})
    words = {
        "Blob": [base64.b64encode(data).decode() for data in PICTURES],
        "CollectionId": ["c1", "c2", "c3", "C3", "never-made"],
        "UserId": ["u1", "u:2", "u3"],
        "FaceId": [FACE],
        "S3Bucket": ["photos", "unknown"],
        "S3ObjectName": ["a.png", "not-a-picture", "../a.png", "none"],
        "ClientRequestToken": ["once", "twice"],
        "ResourceArn": ["arn:aws:rekognition:eu-west-1:123456789012:collection/c1", "x" * 30],
    }
    caller = Caller(server)
    yield words, caller
    caller.close()


class Caller:
    """Both dialects over one connection that is kept: signed, and with a bearer key."""

    def __init__(self, server):
        self.url = server.url
        self.connection = http.client.HTTPConnection(server.url.removeprefix("http://"))
        self.root = Credentials(server.root["AccessKeyId"], server.root["SecretAccessKey"])
        key = server.key({"Effect": "Allow", "Action": "*", "Resource": "*"}, bearer_key=True)
        self.bearer = {
            "content-type": "application/json",
            "authorization": f"Bearer {token(key.key_id, key.secret)}",
        }

    def close(self):
        self.connection.close()

    def aws(self, operation, body):
        headers = {
            "content-type": "application/x-amz-json-1.1",
            "x-amz-target": f"RekognitionService.{operation}",
        }
        request = AWSRequest("POST", self.url + "/", data=body, headers=headers)
        SigV4Auth(self.root, "rekognition", "eu-west-1").add_auth(request)
        return self._post("/", body, dict(request.headers.items()))

    def plain(self, operation, body):
        return self._post(f"/v1/{operation}", body, self.bearer)

    def _post(self, path, body, headers):
        self.connection.request("POST", path, body, headers)
        answer = self.connection.getresponse()
        return answer.status, answer.read()


def one(author, caller, counts):
    """Send one request and judge its answer; say what is wrong with it, or None."""
    operation, value = author.request()
    body = json.dumps(value).encode()
    due = derived.refusal_due(operation, value)
    if author.random.random() < 0.2:
        status, answer = caller.plain(operation, body)
        complaint = plain_complaint(operation, due, status, answer, counts)
    else:
        status, answer = caller.aws(operation, body)
        complaint = aws_complaint(operation, due, status, answer, counts)
        if complaint is None and status == 200:
            model = derived.MODEL.operation_model(operation)
            author.learn(json.loads(answer), model.output_shape)
            if operation.startswith("Create"):
                author.learn(value, model.input_shape)
    if complaint is None and due is None:
        complaint = derived.botocore_complaint(operation, value)
    if complaint is None:
        return None
    return f"{operation}: {complaint}: {body[:2000]!r} was answered {status} {answer[:500]!r}"


def aws_complaint(operation, due, status, answer, counts):
    complaint = derived.complaint(operation, status, answer)
    if complaint is not None:
        return complaint
    code = json.loads(answer).get("__type", "OK")
    counts[code] += 1
    refused = code if code in ("SerializationException", "ValidationException") else None
    return None if refused == due else f"{due} is due"


def plain_complaint(operation, due, status, answer, counts):
    """The envelope around what the AWS dialect would say."""
    envelope = json.loads(answer)
    if status == 200:
        data = envelope.pop("data")
        if envelope != {"success": True} or not data.pop("id") or not data.pop("created_at"):
            return "another envelope"
        counts["OK, plain"] += 1
        return derived.complaint(operation, 200, json.dumps(data)) or (due and f"{due} is due")
    code = envelope["error"].pop("code")
    counts[f"{code}, plain"] += 1
    if envelope["error"].keys() != {"message"} or envelope.keys() != {"success", "error"}:
        return "another envelope"
    if due or code == "VALIDATION_ERROR":
        return None if due and (status, code) == (400, "VALIDATION_ERROR") else f"{due} is due"
    declared = derived.MODEL.operation_model(operation).error_shapes
    statuses = {plain.code_of(shape.name): WEB_STATUS[shape.name] for shape in declared}
    return None if statuses.get(code) == status < 500 else f"{code} with {status}"


WEB_STATUS = {name: getattr(errors, name).web_status for name in derived.ERRORS}


@pytest.mark.parametrize(
    "count",
    [
        800,
        pytest.param(100_000, marks=[pytest.mark.slow, pytest.mark.timeout(4 * 3600)]),
    ],
)
def test_every_answer_keeps_the_shapes(hosts, count, capsys):
    words, caller = hosts
    author = derived.Author(random.Random(SEED), words)
    counts = collections.Counter()

    outside = [found for _ in range(count) if (found := one(author, caller, counts))]

    if count > 10_000:
        with capsys.disabled():
            print(f"\n{count:,} requests, seed {SEED}: {len(outside)} answers outside the shapes")
            for code, seen in counts.most_common():
                print(f"{seen:>8,}  {code}")
    assert not outside, "\n".join(outside[:5])
    # Requests that all fail alike would show nothing.
    assert counts["OK"] > count / 8, counts


@pytest.mark.parametrize(
    ("operation", "status", "answer"),
    [
        ("SearchFaces", 200, {"FaceMatches": [{"Similarity": 100.5}]}),
        ("SearchFaces", 200, {"FaceMatches": [{"Similarity": "80"}]}),
        ("SearchFaces", 200, {"FaceMatches": None}),
        ("SearchFaces", 200, {"Matches": []}),
        ("SearchFaces", 200, {"SearchedFaceId": "A"}),
        ("DescribeCollection", 200, {"FaceCount": 1.0}),
        ("ListUsers", 200, {"Users": [{"UserId": "u", "UserStatus": "GONE"}]}),
        ("CreateUser", 500, {"__type": "InternalServerError", "Code": "InternalServerError"}),
        ("CreateUser", 400, {"__type": "ResourceNotFoundException", "message": "m"}),
        ("CreateUser", 400, {"__type": "KeyError", "message": "m"}),
        (
            "CreateUser",
            400,
            dict.fromkeys(("__type", "Code", "Logref", "Message"), "ImageTooLargeException"),
        ),
    ],
)
def test_the_judge_knows_a_wrong_answer(operation, status, answer):
    assert derived.complaint(operation, status, json.dumps(answer))


@pytest.mark.parametrize(
    ("operation", "value", "due"),
    [
        ("ListCollections", {}, None),
        ("ListCollections", {"MaxResults": 1.5, "More": 1, "NextToken": None}, None),
        ("ListCollections", [], "SerializationException"),
        ("ListCollections", {"MaxResults": True}, "SerializationException"),
        ("ListCollections", {"MaxResults": 4097}, "ValidationException"),
        ("CreateCollection", {"CollectionId": "é"}, "ValidationException"),
        ("CreateCollection", {"CollectionId": "a", "Tags": {"é\u2028": "\u0660"}}, None),
        ("CreateCollection", {"CollectionId": "a", "Tags": {"aws:x": ""}}, "ValidationException"),
        ("CreateCollection", {"CollectionId": "a", "Tags": {"x": None}}, "ValidationException"),
        ("DeleteFaces", {"CollectionId": "a", "FaceIds": [FACE.upper()]}, "ValidationException"),
        ("DetectFaces", {"Image": {"Bytes": "eA"}}, "SerializationException"),
        ("DetectFaces", {"Image": {"Bytes": ""}}, "ValidationException"),
    ],
)
def test_the_judge_knows_a_wrong_request(operation, value, due):
    assert derived.refusal_due(operation, value) == due
