"""The same flows through AWS's own command line, from PyPI."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from toys import picture

AWS = Path(sys.executable).parent / "aws"

pytestmark = pytest.mark.skipif(not AWS.exists(), reason="the AWS CLI is not installed")


@pytest.fixture(scope="module")
def aws(server, tmp_path_factory):
    """Run `aws rekognition …` against the server; answers the parsed output."""
    folder = tmp_path_factory.mktemp("aws")
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "AWS_ACCESS_KEY_ID": server.root["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": server.root["SecretAccessKey"],
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL_REKOGNITION": server.url,
        "AWS_MAX_ATTEMPTS": "1",
    }

    def run(*arguments, code=0):
        done = subprocess.run(
            [sys.executable, str(AWS), "rekognition", *arguments, "--output", "json"],
            capture_output=True,
            text=True,
            timeout=60,
            env=environ,
            cwd=folder,
        )
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout or "{}") if code == 0 else done.stderr

    (folder / "one.png").write_bytes(picture(1))
    (folder / "two.png").write_bytes(picture(1, 2))
    (folder / "none.png").write_bytes(picture())
    return run


def test_the_main_job(aws):
    name = ("--collection-id", "by-cli")
    aws("create-collection", *name)
    indexed = aws("index-faces", *name, "--image-bytes", "fileb://one.png")
    found = aws("search-faces-by-image", *name, "--image-bytes", "fileb://two.png")
    refused = aws("search-faces-by-image", *name, "--image-bytes", "fileb://none.png", code=255)
    compared = aws(
        *("compare-faces", "--source-image-bytes", "fileb://one.png"),
        *("--target-image-bytes", "fileb://two.png"),
    )
    doubly_encoded = aws(
        "detect-faces", "--image", '{"Bytes":"aGVsbG8gaGVsbG8gaGVsbG8="}', code=255
    )
    aws("delete-collection", *name)

    face = indexed["FaceRecords"][0]["Face"]["FaceId"]
    assert [match["Face"]["FaceId"] for match in found["FaceMatches"]] == [face]
    assert "There are no faces in the image. Should be at least 1." in refused
    assert len(compared["FaceMatches"]) == len(compared["UnmatchedFaces"]) == 1
    assert "InvalidImageFormatException" in doubly_encoded
