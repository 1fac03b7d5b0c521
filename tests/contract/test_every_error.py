"""Every error that the model documents of every operation: provoked through boto3, or why not.

`test_nothing_is_left_out` fails when the model grows a pair that stands in neither list.
"""

import itertools
import threading
import uuid

import botocore
import numpy as np
import pytest

from contract.broken import refusal
from derived import MODEL, OPERATIONS
from faults.lying_store import LyingStore
from recollect.gallery.store import Enrolment, Face
from recollect.operations import users
from recollect.settings import BucketSettings
from recollect.vision.source import BYTES_MAX
from toys import picture

ACCOUNT = "123456789012"
NOBODY = "00000000-0000-4000-8000-000000000000"
ARN = f"arn:aws:rekognition:eu-west-1:{ACCOUNT}:collection/"

DOCUMENTED = [
    (operation, error.name)
    for operation in OPERATIONS
    for error in MODEL.operation_model(operation).error_shapes
]

GOOD = {
    "AssociateFaces": {"CollectionId": "c", "UserId": "u", "FaceIds": [NOBODY]},
    "CompareFaces": {
        "SourceImage": {"Bytes": picture(1)},
        "TargetImage": {"Bytes": picture(1)},
    },
    "CreateCollection": {"CollectionId": "new"},
    "CreateUser": {"CollectionId": "c", "UserId": "new"},
    "DeleteCollection": {"CollectionId": "c"},
    "DeleteFaces": {"CollectionId": "c", "FaceIds": [NOBODY]},
    "DeleteUser": {"CollectionId": "c", "UserId": "u"},
    "DescribeCollection": {"CollectionId": "c"},
    "DetectFaces": {"Image": {"Bytes": picture(1)}},
    "DisassociateFaces": {"CollectionId": "c", "UserId": "u", "FaceIds": [NOBODY]},
    "IndexFaces": {"CollectionId": "c", "Image": {"Bytes": picture(1)}},
    "ListCollections": {},
    "ListFaces": {"CollectionId": "c"},
    "ListTagsForResource": {"ResourceArn": f"{ARN}c"},
    "ListUsers": {"CollectionId": "c"},
    "SearchFaces": {"CollectionId": "c", "FaceId": NOBODY},
    "SearchFacesByImage": {"CollectionId": "c", "Image": {"Bytes": picture(1)}},
    "SearchUsers": {"CollectionId": "c", "UserId": "u"},
    "SearchUsersByImage": {"CollectionId": "c", "Image": {"Bytes": picture(1)}},
    "TagResource": {"ResourceArn": f"{ARN}c", "Tags": {"k": "v"}},
    "UntagResource": {"ResourceArn": f"{ARN}c", "TagKeys": ["k"]},
}
"""A request that keeps every rule; user `u` of collection `c` exists, face NOBODY does not."""

IMAGES = {
    "CompareFaces": ("SourceImage", "TargetImage"),
    "DetectFaces": ("Image",),
    "IndexFaces": ("Image",),
    "SearchFacesByImage": ("Image",),
    "SearchUsersByImage": ("Image",),
}
TAKE_TOKENS = ("AssociateFaces", "CreateUser", "DeleteUser", "DisassociateFaces")


def in_images(image):
    """A change of each picture of each operation that takes one."""
    return {op: [{member: image} for member in members] for op, members in IMAGES.items()}


def s3(name, bucket="photos"):
    return {"S3Object": {"Bucket": bucket, "Name": name}}


# Changes of a good request that must meet the error, by error and operation.
CHANGES = {
    "InvalidParameterException": in_images({})
    | {
        "SearchFaces": [{"FaceId": NOBODY}],
        "SearchUsers": [{"UserId": None}, {"FaceId": NOBODY}],
    },
    "InvalidS3ObjectException": in_images(s3("none")),
    "ImageTooLargeException": in_images(s3("too-large")),
    "InvalidImageFormatException": in_images(s3("text")),
    "InvalidPaginationTokenException": {
        name: [{"NextToken": "made-up"}] for name in ("ListCollections", "ListFaces", "ListUsers")
    },
    "ResourceAlreadyExistsException": {"CreateCollection": [{"CollectionId": "c"}]},
    "ConflictException": {"CreateUser": [{"UserId": "u"}]},
    "ResourceNotFoundException": {
        name: [{"CollectionId": "never-made"}] for name in GOOD if "CollectionId" in GOOD[name]
    }
    | {name: [{"ResourceArn": f"{ARN}never-made"}] for name in GOOD if "ResourceArn" in GOOD[name]},
    "ServiceQuotaExceededException": {
        "CreateCollection": [{"Tags": {f"k{n}": "v" for n in range(51)}}],
        "TagResource": [{"Tags": {f"k{n}": "v" for n in range(51)}}],
    },
}
del CHANGES["ResourceNotFoundException"]["CreateCollection"]
for name in ("AssociateFaces", "DeleteUser", "DisassociateFaces", "SearchUsers"):
    CHANGES["ResourceNotFoundException"][name].append({"UserId": "nobody"})
CHANGED = [
    (operation, error, change)
    for error, operations in CHANGES.items()
    for operation, changes in operations.items()
    for change in changes
]

EVERYWHERE = (
    "AccessDeniedException",
    "InternalServerError",
    "ProvisionedThroughputExceededException",
    "ThrottlingException",
)
FULL = ("IndexFaces", "CreateUser", "AssociateFaces")

RULED = "every rule of its parameters is one of the shape: ValidationException, as AWS was seen to"
IMPOSSIBLE = {
    ("ListCollections", "ResourceNotFoundException"): "it names no resource",
    **{
        (operation, "ConflictException"): "changes of a user wait for one another; none is refused"
        for operation in ("AssociateFaces", "DeleteUser", "DisassociateFaces")
    },
    **{
        (operation, "InvalidParameterException"): RULED
        for operation in GOOD
        if operation not in CHANGES["InvalidParameterException"]
    },
}
"""Pairs that the model documents and that do not occur here, each with its reason."""


def test_nothing_is_left_out():
    tested = {(operation, error) for operation, error, _ in CHANGED}
    tested |= {(operation, error) for operation in GOOD for error in EVERYWHERE}
    tested |= {(operation, "ServiceQuotaExceededException") for operation in FULL}
    tested |= {(operation, "IdempotentParameterMismatchException") for operation in TAKE_TOKENS}

    assert tested | IMPOSSIBLE.keys() == set(DOCUMENTED)
    assert not tested & IMPOSSIBLE.keys()
    assert GOOD.keys() == set(OPERATIONS)


def function(client, operation):
    """boto3's function of an operation."""
    return getattr(client, botocore.xform_name(operation))


def call(client, operation, change=None):
    """The code that a good request with a change meets."""
    request = GOOD[operation] | (change or {})
    given = {name: value for name, value in request.items() if value is not None}
    return refusal(function(client, operation), **given)["Code"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder as a bucket, with what no picture may be."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "text").write_text("no picture")
    with (folder / "too-large").open("wb") as file:
        file.truncate(BYTES_MAX + 1)
    return folder


@pytest.fixture(scope="module")
def some(serve, folder):
    """A server with collection `c` and its user `u`."""
    server = serve(buckets={"photos": BucketSettings(path=str(folder))})
    furnish(server)
    return server


def furnish(server):
    client = server.client()
    client.create_collection(CollectionId="c")
    client.create_user(CollectionId="c", UserId="u")


@pytest.mark.parametrize(("operation", "error", "change"), CHANGED)
def test_a_request_that_makes_no_sense_is_told_why(some, operation, error, change):
    assert call(some.client(), operation, change) == error


@pytest.mark.parametrize("operation", OPERATIONS)
def test_whoever_may_not_is_denied(some, denied, operation):
    assert call(denied, operation) == "AccessDeniedException"


@pytest.fixture(scope="module")
def denied(some):
    key = some.key({"Effect": "Allow", "Action": "s3:*", "Resource": "*"})
    return some.client(key.key_id, key.secret)


@pytest.fixture(scope="module")
def broken(serve):
    """A client of a server that cannot write down what it does."""

    def full(entry):
        raise OSError("no space left")

    server = serve()
    furnish(server)
    server.server.store.record = full
    return server.client()


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_fault_of_the_server_is_one_without_words(broken, operation):
    with pytest.raises(broken.exceptions.InternalServerError) as caught:
        function(broken, operation)(**GOOD[operation])

    response = caught.value.response
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 500
    assert response["Error"]["Message"] == "Internal server error"


@pytest.fixture(scope="module")
def spent(serve):
    """A client whose key has used up what it may ask in a second, and in an hour."""
    client = serve(key_rate_per_s=1e-6).client()
    client.list_collections()
    return client


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_key_that_asks_too_often_is_told_so(spent, operation):
    assert call(spent, operation) == "ProvisionedThroughputExceededException"


@pytest.fixture(scope="module")
def crowded(serve):
    """A client of a server whose only thread waits for a store that never answers."""
    store = LyingStore()
    bucket = BucketSettings(f"http://127.0.0.1:{store.port}", "eu-west-1", "AKIDEXAMPLE", "secret")
    server = serve(buckets={"photos": bucket}, call_threads=1, call_queue_max=0, s3_deadline_s=60)
    waiting = threading.Thread(
        target=call, args=(server.client(), "DetectFaces", {"Image": s3("never")})
    )
    waiting.start()
    while not store.requests:
        waiting.join(0.01)
    yield server.client()
    store.close()
    waiting.join()


@pytest.mark.parametrize("operation", OPERATIONS)
def test_whoever_finds_no_place_is_asked_to_slow_down(crowded, operation):
    assert call(crowded, operation) == "ThrottlingException"


@pytest.fixture(scope="module")
def full(serve):
    """A server whose collection `c` has one face and one user, `u`, and no room for another."""
    server = serve(faces_per_collection_max=1, users_per_collection_max=1)
    furnish(server)
    return server


@pytest.mark.parametrize("operation", FULL)
def test_what_is_full_takes_no_more(full, monkeypatch, operation):
    monkeypatch.setattr(users, "FACES_PER_USER_MAX", 1)
    store = full.server.store
    collection = store.collection(ACCOUNT, "c")
    while store.counts(collection)[0] < 2:
        enrol(store, collection)
    faces = [face.face_id for face in store.list_faces(collection, after="", limit=2)]
    change = {"FaceIds": faces} if operation == "AssociateFaces" else {}

    assert call(full.client(), operation, change) == "ServiceQuotaExceededException"


numbers = itertools.count(1)


def enrol(store, collection):
    number = next(numbers)
    face = Face(
        str(uuid.UUID(int=number, version=4)),
        str(uuid.UUID(int=number)),
        None,
        (0.1, 0.1, 0.5, 0.5),
        99.0,
        "4.0",
    )
    template = np.eye(collection.dimension, dtype=np.float32)[0]
    store.add_faces(collection, [Enrolment(face, template)])


@pytest.mark.parametrize("operation", TAKE_TOKENS)
def test_a_token_that_comes_again_with_other_parameters_is_refused(some, operation):
    client = some.client()
    name = f"once-{operation}"
    client.create_user(CollectionId="c", UserId=name)
    client.create_user(CollectionId="c", UserId=f"{name}-2")
    request = GOOD[operation] | {"UserId": name, "ClientRequestToken": name}
    if operation == "CreateUser":
        request["UserId"] = f"{name}-3"
    function(client, operation)(**request)

    again = call(client, operation, request | {"UserId": f"{name}-2"})

    assert again == "IdempotentParameterMismatchException"
