"""An unmodified boto3 on a real port: what its users see of our answers."""

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from recollect.errors import ResourceNotFoundException, ThrottlingException
from recollect.wire.limits import Limits
from wire_stub import endpoint, running

PICTURE = bytes(range(256)) * 20_480  # 5 MiB


def client(port, attempts=1):
    config = Config(
        parameter_validation=False, retries={"total_max_attempts": attempts, "mode": "standard"}
    )
    return boto3.client(
        "rekognition",
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name="eu-west-1",
        aws_access_key_id="AKIATEST",
        aws_secret_access_key="secret",
        config=config,
    )


@pytest.fixture
def served():
    """Serves operations and gives a client of them."""
    opened = []

    def serve(operations, limits=None, attempts=1):
        app = endpoint(operations=operations, limits=limits)
        run = running(app, limits)
        server = run.__enter__()
        made = client(server.port, attempts)
        opened.append((app, run, made))
        return made

    yield serve
    for app, run, made in opened:
        made.close()
        run.__exit__(None, None, None)
        app.close()


def test_pictures_of_the_largest_size_arrive_whole(served):
    seen = []
    rekognition = served({"CompareFaces": lambda _, params: seen.append(params) or {}})

    rekognition.compare_faces(SourceImage={"Bytes": PICTURE}, TargetImage={"Bytes": PICTURE[::-1]})

    assert seen[0]["SourceImage"]["Bytes"] == PICTURE
    assert seen[0]["TargetImage"]["Bytes"] == PICTURE[::-1]


def test_one_byte_more_is_a_violation_and_far_more_an_http_error(served):
    rekognition = served({})

    with pytest.raises(ClientError) as caught:
        rekognition.detect_faces(Image={"Bytes": PICTURE + b"x"})
    assert caught.value.response["Error"] == {
        "Code": "ValidationException",
        "Message": "1 validation error detected: Value "
        "'java.nio.HeapByteBuffer[pos=0 lim=5242881 cap=5242881]' at 'image.bytes' failed to "
        "satisfy constraint: Member must have length less than or equal to 5242880",
    }
    with pytest.raises(ClientError) as caught:
        rekognition.detect_faces(Image={"Bytes": PICTURE * 3})
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 413
    assert caught.value.response["Error"]["Code"] == "RequestEntityTooLargeException"
    assert rekognition.list_collections()["ResponseMetadata"]["HTTPStatusCode"] == 200


def test_errors_have_their_class_message_and_request_id(served):
    def missing(caller, params):
        raise ResourceNotFoundException("The collection id: c does not exist")

    rekognition = served({"ListFaces": missing})

    with pytest.raises(rekognition.exceptions.ResourceNotFoundException) as caught:
        rekognition.list_faces(CollectionId="c")
    assert caught.value.response["Error"]["Message"] == "The collection id: c does not exist"
    metadata = caught.value.response["ResponseMetadata"]
    assert metadata["HTTPStatusCode"] == 400
    assert metadata["RequestId"] == metadata["HTTPHeaders"]["x-amzn-requestid"]


def test_a_refusal_is_tried_again_by_itself(served):
    tries = []

    def busy(caller, params):
        tries.append(1)
        if len(tries) < 3:
            raise ThrottlingException
        return {"CollectionIds": []}

    rekognition = served({"ListCollections": busy}, attempts=3)

    assert rekognition.list_collections()["CollectionIds"] == []
    assert len(tries) == 3


def test_a_rate_of_ones_own_is_told_as_aws_tells_it(served):
    rekognition = served({}, Limits(key_rate_per_s=1e-9))
    rekognition.list_collections()

    with pytest.raises(rekognition.exceptions.ProvisionedThroughputExceededException):
        rekognition.list_collections()
